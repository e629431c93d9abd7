//! Along any chain nothing grows: scope, time and constraints of each job are within its parent's.

use std::time::Duration;

use proptest::prelude::*;
use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::decision::Decision;
use tidegate_protocol::delegation::Scope;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::Job;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Signal, Stage};

use crate::delegation::{
    ACCEPTS, POLICY, SEARCH, SEARCHER, child, configured, decided, envelope, planner, run, same_after_replay, shard,
    ticket,
};
use crate::shard::Shard;
use crate::tickets::{SENDER, STAMP, signed};

/// Any subset of these.
fn some(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(of, 0..=of.len())
}

#[derive(Debug, Clone)]
struct Link {
    capability: &'static str,
    topic: &'static str,
    scope: Option<(Vec<&'static str>, Vec<&'static str>)>,
    /// Milliseconds from the first job on.
    deadline: Option<u64>,
    wait_ms: u64,
}

fn link() -> impl Strategy<Value = Link> {
    let everything = (vec!["plan", "search", "gpu"], vec!["job.agent.>", "job.search"]);
    let drawn = (
        some(&["plan", "search", "gpu", "pay"]),
        some(&["job.>", "job.agent.>", "job.agent.plan", "job.search", "job.*"]),
    );
    let scope = prop_oneof![3 => Just(everything), 1 => drawn];
    (
        prop::sample::select(vec!["plan", "plan", "plan", "search"]),
        prop::sample::select(vec!["job.agent.plan", "job.agent.plan", "job.search"]),
        prop::option::weighted(0.8, scope),
        prop::option::weighted(0.4, 20_000_u64..100_000),
        0_u64..5_000,
    )
        .prop_map(|(capability, topic, scope, deadline, wait_ms)| Link {
            capability,
            topic,
            scope,
            deadline,
            wait_ms,
        })
}

impl Link {
    fn envelope(&self, n: usize, begun: Timestamp) -> String {
        let mut value = serde_json::json!({
            "id": format!("j{n}"), "tenant": "acme", "capability": self.capability, "topic": self.topic,
            "actor": {"id": format!("a{n}")}, "payload": {},
        });
        if let Some((capabilities, topics)) = &self.scope {
            value["scope"] = serde_json::json!({"capabilities": capabilities, "topics": topics});
        }
        if let Some(ms) = self.deadline {
            value["deadline"] = (begun.millis() + ms).into();
        }
        value.to_string()
    }
}

/// Whether these keep to those.
fn keeps_to(these: Option<&Constraints>, those: Option<&Constraints>) -> bool {
    let tightest = |mut all: Constraints| {
        all.tighten(&those.cloned().unwrap_or_default());
        all
    };
    let these = these.cloned().unwrap_or_default();
    tightest(these.clone()) == these
}

#[test]
fn along_a_chain_nothing_grows() {
    // Without token budgets, of which the first child takes all.
    let policy = POLICY.replace("max_tokens: 1000, ", "").replace("max_tokens: 400", "max_artifact_bytes: 400");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    });
    let deepest = std::cell::Cell::new(0);
    let chains = prop::collection::vec(link(), 2..7);
    let result = runner.run(&chains, |links| {
        let mut shard = Shard::new(configured(ACCEPTS));
        shard.policy(&policy);
        shard.kernel.observe(Signal::Owner { epoch: STAMP.epoch }, shard.at);
        let begun = shard.at;
        let mut above: Option<(Job, Decision, String)> = None;
        for (n, link) in links.iter().enumerate() {
            shard.at = shard.at + Duration::from_millis(link.wait_ms);
            let own = link.envelope(n, begun);
            let value = above.as_ref().map_or_else(|| own.clone(), |(.., ticket)| child(ticket, &own));
            let outcome = run(&mut shard, &value);
            let Some(KernelFact::JobDecided { job, decision, .. }) = outcome.facts.last() else { break };
            if !decision.verdict.permits() {
                break;
            }
            if let Some((parent, said, _)) = &above {
                let handed = Scope::handed_on_by(parent);
                let delegation = job.delegation.as_deref().unwrap();
                prop_assert_eq!(&delegation.scope, &handed);
                prop_assert!(handed.admits(job).is_ok() && handed.covers(&Scope::handed_on_by(job)).is_ok());
                prop_assert!(decision.expires_ms <= said.expires_ms && decision.expires_ms >= Some(shard.at.millis()));
                prop_assert!(parent.deadline.is_none_or(|most| job.deadline.is_some_and(|own| own <= most)));
                prop_assert!(keeps_to(decision.constraints.as_deref(), said.constraints.as_deref()));
                let depth = parent.delegation.as_ref().map_or(0, |delegation| delegation.depth());
                prop_assert_eq!(delegation.depth(), depth + 1);
                deepest.set(deepest.get().max(delegation.depth()));
                prop_assert_eq!(delegation.chain.last().map(|last| &last.job), Some(&parent.id));
            }
            above = Some((job.clone(), decision.clone(), ticket(&outcome)));
        }
        same_after_replay(&shard);
        Ok(())
    });
    result.unwrap();
    assert!(deepest.get() >= 4, "no chain was longer than {}", deepest.get());
}

#[test]
fn a_childs_time_ends_with_whatever_of_its_parents_ends_first() {
    // A kernel lets no ticket outlast its job's chain; the next one takes nobody's word for it, an older version's neither.
    for (ticket_s, deadline_s, chain_s) in [(20, 30, 40), (30, 20, 40), (40, 30, 20), (40, 20, 30), (20, 20, 20)] {
        let mut shard = shard();
        let root = planner(&mut shard, "");
        let (.., message) = decided(&run(&mut shard, &child(&root, &envelope("m", SEARCHER))));
        let message = message.unwrap();
        let at = |seconds| (shard.at + Duration::from_secs(seconds)).millis();
        let mut text: serde_json::Value = serde_json::from_slice(message.value.as_ref().unwrap()).unwrap();
        text["decision"]["expires_ms"] = at(ticket_s).into();
        text["job"]["deadline"] = at(deadline_s).into();
        text["job"]["delegation"]["expires_ms"] = at(chain_s).into();
        let (ends, deadline) = (at(ticket_s.min(deadline_s).min(chain_s)), at(deadline_s));
        let middle = signed(text.to_string().as_bytes(), &message.to, "node", SENDER);
        let (job, decision, _) = decided(&run(&mut shard, &child(&middle, &envelope("c", SEARCH))));
        let row = (ticket_s, deadline_s, chain_s);
        assert!(decision.verdict.permits(), "{row:?}: {}", decision.reason);
        assert_eq!((job.delegation.unwrap().expires_ms, decision.expires_ms), (ends, Some(ends)), "{row:?}");
        assert_eq!(job.deadline, Some(deadline), "{row:?}");
        // And then it is over.
        shard.at = Timestamp(ends * 1_000);
        let late = shard.job(&child(&middle, &envelope("late", SEARCH)));
        let Some(KernelFact::RecordRejected { reason, .. }) = late.facts.last() else { panic!("{late:?}") };
        assert_eq!(*reason, DeadReason::ParentTicketExpired, "{row:?}");
    }
}
