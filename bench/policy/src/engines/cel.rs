//! The `cel` crate: each rule is one expression.
//!
//! CEL has no index and no way to combine rules; what is around the expressions is what anyone who embeds it writes. Once
//! every rule is asked ([`Cel`]), and once only those that an index by tenant and topic leads to ([`IndexedCel`]).

use crate::engine::{Decision, Engine, Ruling};
use crate::workload::{self, Job, Rule, Topic, Workload};
use anyhow::Context as _;
use cel::{Context, Program, Value};
use std::collections::HashMap;

/// One rule.
struct Expression {
    /// `None` where nothing is left to ask.
    program: Option<Program>,
    denies: bool,
}

impl Expression {
    fn new(parts: &[String], denies: bool) -> anyhow::Result<Self> {
        let text = parts.join(" && ");
        let compile = || Program::compile(&text).with_context(|| format!("expression `{text}`"));
        Ok(Self { program: if parts.is_empty() { None } else { Some(compile()?) }, denies })
    }

    fn holds(&self, job: &Context<'_, '_>) -> bool {
        self.program.as_ref().is_none_or(|program| matches!(program.execute(job), Ok(Value::Bool(true))))
    }
}

/// The matching rules of the decision, ascending, and the decision.
fn decide<'e>(
    rules: impl Iterator<Item = (u32, &'e Expression)>,
    job: &Context<'_, '_>,
    matching: &mut Vec<u32>,
) -> Decision {
    matching.clear();
    let mut decision = None;
    for (place, rule) in rules {
        if !rule.holds(job) {
            continue;
        }
        let this = if rule.denies { Decision::Deny } else { Decision::Allow };
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

/// What tenant and topic must be.
fn place(rule: &Rule) -> Vec<String> {
    let tenant = rule.tenant.map(|tenant| format!("job.tenant == '{}'", workload::tenant(tenant)));
    let topic = match rule.topic {
        Topic::Exact(..) => Some(format!("job.topic == '{}'", rule.topic)),
        Topic::Area(area) => Some(format!("job.topic.startsWith('area-{area}.')")),
        Topic::Act(act) => Some(format!("job.topic.endsWith('.act-{act}')")),
        Topic::Any => None,
    };
    tenant.into_iter().chain(topic).collect()
}

/// What else must be.
fn rest(rule: &Rule) -> Vec<String> {
    let any: Vec<_> = rule.tags.iter().map(|tag| format!("'{tag}' in job.risk_tags")).collect();
    let tags = (!any.is_empty()).then(|| format!("({})", any.join(" || ")));
    tags.into_iter().chain(rule.above.map(|above| format!("job.amount > {above}"))).collect()
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

/// Every rule is asked.
pub struct Cel {
    rules: Vec<Expression>,
    jobs: Vec<Context<'static, 'static>>,
    matching: Vec<u32>,
}

impl std::fmt::Debug for Cel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cel").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl Cel {
    /// Compiles every rule.
    ///
    /// # Errors
    /// An expression is refused, which is a defect of this bench.
    pub fn build(workload: &Workload) -> anyhow::Result<Self> {
        let compile = |rule: &Rule| Expression::new(&[place(rule), rest(rule)].concat(), rule.denies);
        let rules = workload.rules.iter().map(compile).collect::<anyhow::Result<_>>()?;
        Ok(Self { rules, jobs: Vec::new(), matching: Vec::new() })
    }
}

impl Engine for Cel {
    fn rule_on(&mut self, job: &Job) -> Ruling {
        let decision = decide((0..).zip(&self.rules), &context(job), &mut self.matching);
        Ruling { decision, rules: self.matching.clone() }
    }

    fn prepare(&mut self, jobs: &[Job]) {
        self.jobs = jobs.iter().map(context).collect();
    }

    fn time(&mut self, place: usize) {
        if let Some(job) = self.jobs.get(place) {
            std::hint::black_box(decide((0..).zip(&self.rules), job, &mut self.matching));
        }
    }
}

/// Only rules whose tenant and topic fit are asked.
pub struct IndexedCel {
    rules: Vec<Expression>,
    index: HashMap<(Option<u32>, Topic), Vec<u32>>,
    jobs: Vec<(Context<'static, 'static>, [Topic; 4], u32)>,
    candidates: Vec<u32>,
    matching: Vec<u32>,
}

impl std::fmt::Debug for IndexedCel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexedCel").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl IndexedCel {
    /// Compiles every rule without what the index knows.
    ///
    /// # Errors
    /// An expression is refused, which is a defect of this bench.
    pub fn build(workload: &Workload) -> anyhow::Result<Self> {
        let compile = |rule: &Rule| Expression::new(&rest(rule), rule.denies);
        let rules = workload.rules.iter().map(compile).collect::<anyhow::Result<_>>()?;
        let mut index: HashMap<_, Vec<u32>> = HashMap::new();
        for (place, rule) in (0..).zip(&workload.rules) {
            index.entry((rule.tenant, rule.topic)).or_default().push(place);
        }
        Ok(Self { rules, index, jobs: Vec::new(), candidates: Vec::new(), matching: Vec::new() })
    }

    fn judge(&mut self, job: &Context<'_, '_>, topics: &[Topic; 4], tenant: u32) -> Decision {
        let Self { rules, index, candidates, matching, .. } = self;
        candidates.clear();
        for topic in topics {
            for tenant in [Some(tenant), None] {
                candidates.extend(index.get(&(tenant, *topic)).into_iter().flatten());
            }
        }
        candidates.sort_unstable();
        let rule = |&place: &u32| rules.get(place as usize).map(|rule| (place, rule));
        decide(candidates.iter().filter_map(rule), job, matching)
    }
}

/// The topics of rules that fit the job's.
fn fitting(job: &Job) -> [Topic; 4] {
    let (area, act) = job.place;
    [Topic::Exact(area, act), Topic::Area(area), Topic::Act(act), Topic::Any]
}

impl Engine for IndexedCel {
    fn rule_on(&mut self, job: &Job) -> Ruling {
        let decision = self.judge(&context(job), &fitting(job), job.tenant_number);
        Ruling { decision, rules: self.matching.clone() }
    }

    fn prepare(&mut self, jobs: &[Job]) {
        self.jobs = jobs.iter().map(|job| (context(job), fitting(job), job.tenant_number)).collect();
    }

    fn time(&mut self, place: usize) {
        let jobs = std::mem::take(&mut self.jobs);
        if let Some((job, topics, tenant)) = jobs.get(place) {
            std::hint::black_box(self.judge(job, topics, *tenant));
        }
        self.jobs = jobs;
    }
}
