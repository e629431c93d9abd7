//! What holds for any input whatever.

use crate::shard::{PLAIN, POLICY, Shard, config, pool, record, source};
use proptest::prelude::*;
use tidegate_kernel::INPUT_JOBS;
use tidegate_protocol::facts::KernelFact;
use tidegate_spine::Headers;
use tidegate_stage::Stage;

const CLOUD: &str = "{name: events, format: cloudevents, tenants: {constant: acme}}";
const MAPPED: &str = "
name: calls
format: mapped
tenants: any
mapping:
  id: '{/id}'
  tenant: '{/tenant}'
  topic: 'job.{/tool}'
  capability: '{/tool}'
  requires: ['{/requires}']
  labels: {user: '{/user|nobody}', trace: '{header:trace}'}
  priority: '{/urgency|5}'
  payload: /args
";

/// Fields and values that nearly make a job.
fn near_job() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"acme\"".to_owned()),
        Just("\"job.pay.wire\"".to_owned()),
        Just("\"pay\"".to_owned()),
        Just("{\"id\":\"a\",\"type\":\"agent\"}".to_owned()),
        Just("[\"pay\",\"pay\"]".to_owned()),
        Just("{\"amount\":2000}".to_owned()),
        Just("9".to_owned()),
        Just("-1".to_owned()),
        Just("1e99".to_owned()),
        Just("\"Zg==\"".to_owned()),
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    let name = prop::sample::select(vec![
        "id",
        "tenant",
        "topic",
        "actor",
        "capability",
        "requires",
        "risk_tags",
        "labels",
        "priority",
        "deadline",
        "ttl_ms",
        "not_before",
        "delay_ms",
        "ordering_key",
        "retry",
        "select",
        "prefer",
        "parent",
        "payload",
        "payload_base64",
        "payload_ref",
        "other",
        "tool",
        "args",
        "user",
        "urgency",
    ]);
    prop::collection::vec((name, value), 0..12).prop_map(|fields| {
        let fields: Vec<String> = fields.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// A job that is read, with an id out of few.
fn job() -> impl Strategy<Value = String> {
    (0..6_u8, 0..3_u16, prop::bool::ANY).prop_map(|(id, amount, routable)| {
        let capability = if routable { "pay" } else { "fly" };
        format!(
            r#"{{"id":"j{id}","tenant":"acme","topic":"job.pay.wire","capability":"{capability}","payload":{{"amount":{}}}}}"#,
            u32::from(amount) * 700
        )
    })
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        3 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Some),
        4 => near_job().prop_map(|s| Some(s.into_bytes())),
        4 => job().prop_map(|s| Some(s.into_bytes())),
        2 => (job(), 0..200_usize).prop_map(|(s, cut)| Some(s.into_bytes().into_iter().take(cut).collect())),
        2 => (job(), 0..200_usize, any::<u8>()).prop_map(|(s, at, byte)| {
            let mut bytes = s.into_bytes();
            if let Some(b) = bytes.get_mut(at) { *b = byte; }
            Some(bytes)
        }),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    let name = prop::sample::select(vec![
        "ce_specversion",
        "ce_id",
        "ce_source",
        "ce_type",
        "ce_tenant",
        "ce_priority",
        "ce_requires",
        "trace",
        "tg-kind",
        "__connect.errors.topic",
    ]);
    let value = prop_oneof![
        Just(b"1.0".to_vec()),
        Just(b"job.pay.wire".to_vec()),
        Just(b"acme".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop_oneof![
        3 => Just(Headers::new()),
        1 => prop::collection::vec((name, value), 0..6).prop_map(|h| h.into_iter().collect()),
    ]
}

/// Settles with one fact, whatever it is, and releases what the fact says and nothing more.
fn check(shard: &mut Shard, value: Option<&[u8]>, headers: Headers) -> Result<(), TestCaseError> {
    let outcome = shard.feed(INPUT_JOBS, record(value, headers));
    prop_assert_eq!(outcome.settling, 1, "{:?}", outcome);
    prop_assert!(!outcome.waits);
    let to = |topic: &str| outcome.messages.iter().filter(|m| m.to.topic.as_str().starts_with(topic)).count();
    let (approved, denied, finished, dead) =
        (to("tidegate.approved."), to("tidegate.denied"), to("tidegate.finished"), to("tidegate.dead"));
    let expected = match outcome.facts.last() {
        Some(KernelFact::JobDecided { pool: Some(_), .. }) => (1, 0, 0, 0),
        Some(KernelFact::JobDecided { pool: None, .. }) => (0, 1, 1, 0),
        Some(KernelFact::RecordRejected { job: Some(_), .. }) => (0, 0, 1, 1),
        Some(KernelFact::RecordRejected { job: None, .. }) => (0, 0, 0, 1),
        Some(KernelFact::JobRepeated { .. } | KernelFact::JobDeferred { .. } | KernelFact::JobHeld { .. }) => {
            (0, 0, 0, 0)
        }
        Some(
            KernelFact::PolicyAdopted { .. }
            | KernelFact::HoldRenewed { .. }
            | KernelFact::ApprovalGiven { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::CommandRefused { .. }
            | KernelFact::JobCancelled { .. }
            | KernelFact::JobWithdrawn { .. }
            | KernelFact::DelegationRevoked { .. }
            | KernelFact::RecordRedriven { .. }
            | KernelFact::RecordDropped { .. }
            | KernelFact::SliceRequested { .. }
            | KernelFact::SliceGranted { .. }
            | KernelFact::SliceReturned { .. }
            | KernelFact::SpendSettled { .. }
            | KernelFact::OutcomePassedOn { .. },
        )
        | None => return Err(TestCaseError::fail("no settling fact")),
    };
    prop_assert_eq!((approved, denied, finished, dead), expected);
    for message in &outcome.messages {
        let value = message.value.as_deref();
        if message.to.topic.as_str() != "tidegate.dead" {
            let value: Result<serde_json::Value, _> = serde_json::from_slice(value.unwrap());
            prop_assert!(value.is_ok());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_record_is_settled_by_one_fact_and_replay_gives_equal_bytes(
        records in prop::collection::vec((value(), headers()), 1..40),
        kind in 0..3_usize,
    ) {
        let yaml = [PLAIN, CLOUD, MAPPED][kind];
        let mut shard = Shard::new(config(source(yaml), vec![pool("bank", &["pay", "job.pay.wire"], &[])]));
        shard.policy(POLICY);
        for (value, headers) in records {
            check(&mut shard, value.as_deref(), headers)?;
        }
        let live = shard.kernel.snapshot().unwrap();
        prop_assert_eq!(&shard.replayed().snapshot().unwrap(), &live);
        let mut restored = tidegate_kernel::Kernel::new(shard.config.clone()).unwrap();
        restored.restore(&live).unwrap();
        prop_assert_eq!(restored.snapshot().unwrap(), live);
    }

    #[test]
    fn one_id_gets_one_end_within_the_window(jobs in prop::collection::vec(job(), 1..60)) {
        let mut shard = Shard::usual();
        let mut first = std::collections::BTreeMap::new();
        for job in jobs {
            let id: serde_json::Value = serde_json::from_str(&job).unwrap();
            let outcome = shard.job(&job);
            let fact = outcome.facts.last().unwrap();
            match first.get(&id["id"].to_string()) {
                None => {
                    let settled = matches!(fact, KernelFact::JobDecided { .. } | KernelFact::RecordRejected { job: Some(_), .. });
                    prop_assert!(settled, "{:?}", fact);
                    first.insert(id["id"].to_string(), job);
                }
                Some(known) if *known == job => prop_assert!(matches!(fact, KernelFact::JobRepeated { .. }), "{:?}", fact),
                Some(_) => {
                    let conflict = matches!(fact, KernelFact::RecordRejected { job: None, reason, .. }
                        if *reason == tidegate_protocol::outcome::DeadReason::IdConflict);
                    prop_assert!(conflict, "{:?}", fact);
                }
            }
        }
    }
}
