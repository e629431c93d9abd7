//! Kept jobs against a naive model: a list that is searched.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::ids::Capability;
use tidegate_protocol::job::{Actor, InputHash};
use tidegate_protocol::kept::{DeferredWhy, ExactJson};

use super::*;

fn job(offset: Offset) -> Job {
    let none: [(&str, &[u8]); 0] = [];
    Job {
        id: JobId::new(format!("j{offset}")).unwrap(),
        tenant: TenantId::new("acme").unwrap(),
        topic: "job".to_owned(),
        actor: Actor::default(),
        capability: Capability::new("pay").unwrap(),
        requires: Vec::new(),
        risk_tags: Vec::new(),
        labels: BTreeMap::new(),
        priority: 5,
        deadline: None,
        not_before: None,
        ordering_key: None,
        select: tidegate_protocol::selector::Selector::default(),
        prefer: tidegate_protocol::selector::Selector::default(),
        retry: tidegate_protocol::job::Retry::default(),
        parent: None,
        scope: None,
        delegation: None,
        source: SourcePosition::new("jobs".to_owned().try_into().unwrap(), 0, offset),
        input_hash: InputHash::of(b"x", none),
        submitted_ms: 0,
    }
}

fn deferred(offset: Offset, until: u64, retry: Option<u64>, waits_for: &[u8]) -> KeptJob {
    let why = if retry.is_some() { DeferredWhy::Throttle } else { DeferredWhy::Slice };
    let waits_for = waits_for.iter().map(|n| format!("l{n}")).collect();
    KeptJob {
        job: job(offset),
        payload: PayloadAt::None,
        record: Box::new(KeptRecord {
            value: ExactJson::new(&"9".repeat(usize::try_from(offset).unwrap() + 1)).unwrap(),
            key: None,
            headers: Vec::new(),
        }),
        since: Timestamp(0),
        leases: 0,
        strikes: 0,
        hold: None,
        deferral: Some(Deferral {
            why,
            until: Timestamp(until),
            retry: retry.map(Timestamp),
            throttled: 0,
            waits_for,
            decision: None,
        }),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Keep(Box<KeptJob>),
    End(Offset),
    Wake(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let kept = (0..6_u64, 0..9_u64, prop::option::of(0..9_u64), prop::collection::btree_set(0..3_u8, 0..3));
    prop_oneof![
        3 => kept.prop_map(|(offset, until, retry, waits)| {
            let waits: Vec<u8> = if retry.is_some() { Vec::new() } else { waits.into_iter().collect() };
            Step::Keep(Box::new(deferred(offset, until, retry, &waits)))
        }),
        1 => (0..6_u64).prop_map(Step::End),
        1 => (0..3_u8).prop_map(Step::Wake),
    ]
}

proptest! {
    #[test]
    fn every_question_is_answered_as_a_plain_list_would(steps in prop::collection::vec(step(), 0..40)) {
        let mut kept = Kept::new(KeptBounds { jobs: 3, bytes: 10 });
        let mut model: Vec<KeptJob> = Vec::new();
        for step in steps {
            match step {
                Step::Keep(job) => {
                    model.retain(|m| m.job.source != job.job.source);
                    model.push((*job).clone());
                    kept.keep(*job);
                }
                Step::End(offset) => {
                    let source = job(offset).source;
                    let known = model.iter().find(|m| m.job.source == source).cloned();
                    kept.end(&source);
                    prop_assert_eq!(kept.leaving(&source), known.as_ref());
                    model.retain(|m| m.job.source != source);
                }
                Step::Wake(limit) => {
                    kept.wake(&format!("l{limit}"));
                    for job in &mut model {
                        job.deferral.as_mut().unwrap().waits_for.retain(|l| *l != format!("l{limit}"));
                    }
                }
            }
            model.sort_by_key(|m| m.job.source.offset);
            prop_assert!(kept.iter().eq(model.iter()));
            let deferral = |m: &KeptJob| m.deferral.clone().unwrap();
            let least = |of: &dyn Fn(&KeptJob) -> Option<Timestamp>| model.iter().filter_map(of).min();
            prop_assert_eq!(kept.next_deadline(), least(&|m| Some(deferral(m).until)));
            prop_assert_eq!(kept.next_retry(), least(&|m| deferral(m).retry));
            for at in (0..10).map(Timestamp) {
                let woken = model.iter().find(|m| deferral(m).is_woken());
                let delayed = model.iter().filter(|m| deferral(m).retry.is_some_and(|r| r <= at));
                let ready = woken.or_else(|| delayed.min_by_key(|m| (deferral(m).retry, m.job.source.offset)));
                prop_assert_eq!(kept.next_ready(at), ready);
                let mut overdue: Vec<_> = model.iter().filter(|m| deferral(m).until <= at).collect();
                overdue.sort_by_key(|m| (deferral(m).until, m.job.source.offset));
                prop_assert!(kept.overdue(at).eq(overdue));
            }
            let bytes: usize = model.iter().map(|m| m.record.bytes()).sum();
            prop_assert_eq!(kept.is_full(KeptAs::Deferred), model.len() >= 3 || bytes >= 10);
            for job in &model {
                prop_assert_eq!(kept.of(&job.job), Some(job));
                prop_assert_eq!(kept.get(&job.job.source), Some(job));
            }
            let mut again = Kept::new(KeptBounds { jobs: 3, bytes: 10 });
            again.replace(kept.iter().cloned().collect());
            prop_assert_eq!(format!("{:?}", again.iter().collect::<Vec<_>>()), format!("{:?}", kept.iter().collect::<Vec<_>>()));
            prop_assert_eq!(again.next_ready(Timestamp(9)), kept.next_ready(Timestamp(9)));
        }
    }
}
