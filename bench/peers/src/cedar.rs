//! Cedar: a policy per rule, with tenants as principals and topics as resources in their area and act, so that what a
//! rule is about stands in the policy's head as Cedar's guide has it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::str::FromStr;

use anyhow::Context as _;
use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression};
use tidegate_policy_bench::{Decision, Engine, Job, Ruling, Topic, Workload};

struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    jobs: Vec<Request>,
}

pub(crate) fn build(workload: &Workload) -> anyhow::Result<Box<dyn Engine>> {
    let mut text = String::new();
    for rule in &workload.rules {
        let principal = rule.tenant.map_or_else(String::new, |tenant| format!(" == Tenant::\"tenant-{tenant}\""));
        let resource = match rule.topic {
            Topic::Exact(..) => format!(" == Topic::\"{}\"", rule.topic),
            Topic::Area(area) => format!(" in Area::\"area-{area}\""),
            Topic::Act(act) => format!(" in Act::\"act-{act}\""),
            Topic::Any => String::new(),
        };
        let mut conditions = Vec::new();
        if !rule.tags.is_empty() {
            let tags: Vec<_> = rule.tags.iter().map(|tag| format!("\"{tag}\"")).collect();
            conditions.push(format!("context.risk_tags.containsAny([{}])", tags.join(", ")));
        }
        if let Some(above) = rule.above {
            conditions.push(format!("context.amount > {above}"));
        }
        let when = if conditions.is_empty() { String::new() } else { format!(" when {{ {} }}", conditions.join(" && ")) };
        let effect = if rule.denies { "forbid" } else { "permit" };
        writeln!(text, "{effect}(principal{principal}, action, resource{resource}){when};")?;
    }
    Ok(Box::new(Cedar {
        authorizer: Authorizer::new(),
        policies: PolicySet::from_str(&text).context("Cedar's policies")?,
        entities: topics()?,
        jobs: Vec::new(),
    }))
}

fn topics() -> anyhow::Result<Entities> {
    let mut entities = Vec::new();
    for area in 0..20 {
        for act in 0..10 {
            let parents = HashSet::from([uid("Area", &format!("area-{area}"))?, uid("Act", &format!("act-{act}"))?]);
            entities.push(Entity::new(uid("Topic", &format!("area-{area}.act-{act}"))?, HashMap::new(), parents)?);
        }
    }
    Ok(Entities::from_entities(entities, None)?)
}

fn uid(kind: &str, id: &str) -> anyhow::Result<EntityUid> {
    Ok(EntityUid::from_str(&format!("{kind}::\"{id}\""))?)
}

fn request(job: &Job) -> anyhow::Result<Request> {
    let tags = job.tags.iter().map(|tag| RestrictedExpression::new_string((*tag).to_owned()));
    let context = Context::from_pairs([
        ("risk_tags".to_owned(), RestrictedExpression::new_set(tags)),
        ("amount".to_owned(), RestrictedExpression::new_long(job.amount.into())),
    ])?;
    Ok(Request::new(uid("Tenant", &job.tenant)?, uid("Action", "act")?, uid("Topic", &job.topic)?, context, None)?)
}

impl Engine for Cedar {
    fn rule_on(&mut self, job: &Job) -> Ruling {
        let request = request(job).expect("the workload's names are Cedar's too");
        let response = self.authorizer.is_authorized(&request, &self.policies, &self.entities);
        // Policies without an id of their own are called policy0, policy1, …
        let number = |id: &cedar_policy::PolicyId| id.to_string().trim_start_matches("policy").parse().ok();
        let mut rules: Vec<u32> = response.diagnostics().reason().filter_map(number).collect();
        rules.sort_unstable();
        let decision = match response.decision() {
            cedar_policy::Decision::Allow => Decision::Allow,
            cedar_policy::Decision::Deny => Decision::Deny,
        };
        Ruling { decision, rules }
    }

    fn prepare(&mut self, jobs: &[Job]) {
        self.jobs = jobs.iter().map(|job| request(job).expect("the workload's names are Cedar's too")).collect();
    }

    fn time(&mut self, place: usize) {
        if let Some(request) = self.jobs.get(place) {
            std::hint::black_box(self.authorizer.is_authorized(request, &self.policies, &self.entities));
        }
    }
}
