//! The `cel` crate: each rule's whole match is one expression, and every rule is asked.
//!
//! CEL has no index and no way to combine rules; what is around the expressions is what anyone who embeds it writes.

use crate::engine::{Decision, Engine, Ruling};
use crate::workload::{self, Job, Topic, Workload};
use anyhow::Context as _;
use cel::{Context, Program, Value};
use std::collections::HashMap;

/// Compiled expressions, one a rule.
pub struct CelEngine {
    rules: Vec<(Program, bool)>,
    jobs: Vec<Context<'static, 'static>>,
    matching: Vec<u32>,
}

impl std::fmt::Debug for CelEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CelEngine").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl CelEngine {
    /// Compiles every rule.
    ///
    /// # Errors
    /// An expression is refused, which is a defect of this bench.
    pub fn build(workload: &Workload) -> anyhow::Result<Self> {
        let compile = |rule: &workload::Rule| {
            let text = expression(rule);
            let program = Program::compile(&text).with_context(|| format!("expression `{text}`"))?;
            Ok((program, rule.denies))
        };
        let rules = workload.rules.iter().map(compile).collect::<anyhow::Result<_>>()?;
        Ok(Self { rules, jobs: Vec::new(), matching: Vec::new() })
    }

    fn judge(rules: &[(Program, bool)], job: &Context<'_, '_>, matching: &mut Vec<u32>) -> Decision {
        matching.clear();
        let mut decision = None;
        for (place, (program, denies)) in (0_u32..).zip(rules) {
            if !matches!(program.execute(job), Ok(Value::Bool(true))) {
                continue;
            }
            let this = if *denies { Decision::Deny } else { Decision::Allow };
            // The first deny makes what allowed before it irrelevant.
            if decision == Some(Decision::Allow) && this == Decision::Deny {
                matching.clear();
            }
            if decision != Some(Decision::Deny) || this == Decision::Deny {
                decision = Some(this);
                matching.push(place);
            }
        }
        decision.unwrap_or(Decision::Deny)
    }
}

fn expression(rule: &workload::Rule) -> String {
    let mut parts = Vec::new();
    if let Some(tenant) = rule.tenant {
        parts.push(format!("job.tenant == '{}'", workload::tenant(tenant)));
    }
    match rule.topic {
        Topic::Exact(..) => parts.push(format!("job.topic == '{}'", rule.topic)),
        Topic::Area(area) => parts.push(format!("job.topic.startsWith('area-{area}.')")),
        Topic::Act(act) => parts.push(format!("job.topic.endsWith('.act-{act}')")),
        Topic::Any => {}
    }
    if !rule.tags.is_empty() {
        let any: Vec<_> = rule.tags.iter().map(|tag| format!("'{tag}' in job.risk_tags")).collect();
        parts.push(format!("({})", any.join(" || ")));
    }
    if let Some(above) = rule.above {
        parts.push(format!("job.amount > {above}"));
    }
    if parts.is_empty() { "true".to_owned() } else { parts.join(" && ") }
}

fn context(job: &Job) -> Context<'static, 'static> {
    let tags: Vec<Value> = job.tags.iter().map(|tag| Value::from(*tag)).collect();
    let fields: HashMap<&str, Value> = HashMap::from([
        ("tenant", Value::from(job.tenant.as_str())),
        ("topic", Value::from(job.topic.as_str())),
        ("risk_tags", Value::from(tags)),
        ("amount", Value::Int(job.amount.into())),
    ]);
    let mut context = Context::default();
    context.add_variable_from_value("job", fields);
    context
}

impl Engine for CelEngine {
    fn rule_on(&mut self, job: &Job) -> Ruling {
        let decision = Self::judge(&self.rules, &context(job), &mut self.matching);
        Ruling { decision, rules: self.matching.clone(), whole: true }
    }

    fn prepare(&mut self, jobs: &[Job]) {
        self.jobs = jobs.iter().map(context).collect();
    }

    fn time(&mut self, place: usize) {
        if let Some(job) = self.jobs.get(place) {
            std::hint::black_box(Self::judge(&self.rules, job, &mut self.matching));
        }
    }
}
