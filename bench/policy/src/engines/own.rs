//! Tidegate's own engine.

use crate::engine::{Decision, Engine, Ruling};
use crate::workload::{self, Job, Topic, Workload};
use anyhow::anyhow;
use std::fmt::Write;
use tidegate_policy::{Effect, Scratch, Snapshot, Subject, load};

/// Rules a file, so that none is larger than a bundle may be.
const A_FILE: usize = 20_000;

/// A compiled set of bundles.
#[derive(Debug)]
pub struct OwnEngine {
    snapshot: Snapshot,
    scratch: Scratch,
    jobs: Vec<Job>,
}

impl OwnEngine {
    /// Loads the workload's rules as bundles.
    ///
    /// # Errors
    /// The set is refused, which is a defect of this bench.
    pub fn build(workload: &Workload) -> anyhow::Result<Self> {
        let snapshot = load(bundles(workload), None).map_err(|refused| anyhow!("{refused}"))?;
        Ok(Self { snapshot, scratch: Scratch::new(), jobs: Vec::new() })
    }
}

/// The workload as bundle files, name and text.
fn bundles(workload: &Workload) -> Vec<(String, String)> {
    let numbered: Vec<_> = workload.rules.iter().enumerate().collect();
    let bundle = |(number, rules): (usize, &[(usize, &workload::Rule)])| {
        let mut text = format!(
            "id: bench-{number}\nrevision: 1\ncombine: most_restrictive\n\
             schemas:\n  - {{ topics: ['>'], fields: {{ amount: number, currency: string, note: string, order: string }} }}\nrules:\n"
        );
        for (place, rule) in rules {
            write_rule(&mut text, *place, rule);
        }
        (format!("bench-{number}.yaml"), text)
    };
    numbered.chunks(A_FILE).enumerate().map(bundle).collect()
}

fn write_rule(text: &mut String, place: usize, rule: &workload::Rule) {
    let mut matches = Vec::new();
    if let Some(tenant) = rule.tenant {
        matches.push(format!("tenants: [{}]", workload::tenant(tenant)));
    }
    if rule.topic != Topic::Any {
        matches.push(format!("topics: ['{}']", rule.topic));
    }
    let trust = if rule.tags.is_empty() {
        ""
    } else {
        matches.push(format!("risk_tags: [{}]", rule.tags.join(", ")));
        ", trust: claimed"
    };
    let when = rule.above.map_or_else(String::new, |above| format!(", when: job.amount > {above}"));
    let decision = if rule.denies { "deny" } else { "allow" };
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "  - {{ id: r{place:06}, match: {{ {} }}{trust}{when}, decision: {decision} }}",
        matches.join(", ")
    );
}

fn subject(job: &Job) -> Subject<'_> {
    let mut subject = Subject::new(&job.tenant, &job.topic, "act");
    subject.risk_tags = &job.tags;
    subject.payload = job.payload.as_bytes();
    subject
}

impl Engine for OwnEngine {
    fn rule_on(&mut self, job: &Job) -> Ruling {
        let subject = subject(job);
        let found = self.snapshot.find(&subject, 0, &mut self.scratch);
        let decision = if found.effect() == Effect::Allow { Decision::Allow } else { Decision::Deny };
        let number = |rule: &tidegate_policy::Rule| rule.id().trim_start_matches('r').parse().ok();
        let mut rules: Vec<u32> = found.winners().filter_map(number).collect();
        rules.sort_unstable();
        Ruling { decision, rules }
    }

    fn prepare(&mut self, jobs: &[Job]) {
        self.jobs = jobs.to_vec();
    }

    fn time(&mut self, place: usize) {
        if let Some(job) = self.jobs.get(place) {
            let subject = subject(job);
            let found = self.snapshot.find(&subject, 0, &mut self.scratch);
            std::hint::black_box((found.effect(), found.count()));
        }
    }
}
