//! Rego by regorus: partial sets `allow` and `deny`, one rule each, as OPA's guides have it.

use std::fmt::Write;

use anyhow::Context as _;
use regorus::{CompiledPolicy, Value};
use tidegate_policy_bench::{Decision, Engine, Job, Ruling, Topic, Workload};

/// Rules a module: regorus bounds a module's length.
const A_MODULE: usize = 500;

struct Rego {
    policy: CompiledPolicy,
    jobs: Vec<Value>,
}

pub(crate) fn build(workload: &Workload) -> anyhow::Result<Box<dyn Engine>> {
    let mut engine = regorus::Engine::new();
    let head = "package bench\nimport rego.v1\n";
    // Both sets must be there where no rule is of the one kind.
    let ruling = "default ruling := {}\nruling := {\"allow\": allow, \"deny\": deny}\n\
                  allow contains -1 if { false }\ndeny contains -1 if { false }\n";
    engine.add_policy("ruling.rego".to_owned(), format!("{head}{ruling}"))?;
    let rules: Vec<_> = workload.rules.iter().enumerate().collect();
    for (module, rules) in rules.chunks(A_MODULE).enumerate() {
        let mut text = head.to_owned();
        for (place, rule) in rules {
            let mut body = Vec::new();
            if let Some(tenant) = rule.tenant {
                body.push(format!("input.tenant == \"tenant-{tenant}\""));
            }
            match rule.topic {
                Topic::Exact(..) => body.push(format!("input.topic == \"{}\"", rule.topic)),
                Topic::Area(area) => body.push(format!("startswith(input.topic, \"area-{area}.\")")),
                Topic::Act(act) => body.push(format!("endswith(input.topic, \".act-{act}\")")),
                Topic::Any => {}
            }
            if !rule.tags.is_empty() {
                let tags: Vec<_> = rule.tags.iter().map(|tag| format!("\"{tag}\"")).collect();
                body.push(format!("some tag in input.risk_tags; tag in {{{}}}", tags.join(", ")));
            }
            if let Some(above) = rule.above {
                body.push(format!("input.amount > {above}"));
            }
            let body = if body.is_empty() { "true".to_owned() } else { body.join("; ") };
            let set = if rule.denies { "deny" } else { "allow" };
            writeln!(text, "{set} contains {place} if {{ {body} }}")?;
        }
        engine.add_policy(format!("rules-{module}.rego"), text)?;
    }
    let policy = engine.compile_with_entrypoint(&"data.bench.ruling".into()).context("compiling Rego")?;
    Ok(Box::new(Rego { policy, jobs: Vec::new() }))
}

fn input(job: &Job) -> Value {
    serde_json::json!({ "tenant": job.tenant, "topic": job.topic, "risk_tags": job.tags, "amount": job.amount }).into()
}

impl Engine for Rego {
    fn rule_on(&mut self, job: &Job) -> Ruling {
        let ruling = self.policy.eval_with_input(input(job)).expect("no rule here can fail");
        let set = |name: &str| -> Vec<u32> {
            let set = ruling[name].as_set().expect("`ruling` has two sets");
            set.iter().map(|place| place.as_u32().expect("sets of numbers")).collect()
        };
        let (allow, deny) = (set("allow"), set("deny"));
        match (allow.is_empty(), deny.is_empty()) {
            (_, false) => Ruling { decision: Decision::Deny, rules: deny },
            (false, true) => Ruling { decision: Decision::Allow, rules: allow },
            (true, true) => Ruling { decision: Decision::Deny, rules: Vec::new() },
        }
    }

    fn prepare(&mut self, jobs: &[Job]) {
        self.jobs = jobs.iter().map(input).collect();
    }

    fn time(&mut self, place: usize) {
        if let Some(job) = self.jobs.get(place) {
            std::hint::black_box(self.policy.eval_with_input(job.clone()).expect("no rule here can fail"));
        }
    }
}
