//! Configuration: what a source may say, and what a shard consists of.

use tidegate_kernel::{
    DEFAULT_RECORD_BYTES, INPUT_JOBS, Kernel, KernelRefused, Mapping, MappingWritten, Routes, RoutesRefused,
    SourceWritten, envelope_of_line, shard_spec,
};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::JobId;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::topic_glob::TopicGlob;
use tidegate_spine::Headers;
use tidegate_stage::{InputKind, Pace, Stage};

use crate::shard::{PLAIN, Shard, config, pool, record, source};

fn refused(yaml: &str) -> String {
    serde_saphyr::from_str::<SourceWritten>(yaml).unwrap().checked().unwrap_err().to_string()
}

#[test]
fn a_source_that_cannot_be_used_says_where_why_and_what_to_do() {
    for (yaml, parts) in [
        (
            "{name: a, tenants: {constant: x}, format: cloudevents, parent_ticket: accepted}",
            ["`parent_ticket`", "only the job envelope", "parent_ticket: refused"],
        ),
        ("{name: 'a b', tenants: any}", ["`name`", "`a b` is not", "choose another name"]),
        ("{name: a, topic: 'x y', tenants: any}", ["`topic`", "`x y` is not", "full name"]),
        ("{name: a, tenants: {allowed: []}}", ["`tenants`", "lets no record in", "write `any`"]),
        ("{name: a, tenants: any, format: mapped}", ["`mapping`", "needs one", "say what `topic`"]),
        (
            "{name: a, tenants: any, mapping: {topic: t, capability: c, tenant: t}}",
            ["`mapping`", "not be used", "format: mapped"],
        ),
        (
            "{name: a, tenants: any, format: mapped, mapping: {topic: t, capability: c}}",
            ["`mapping.tenant`", "whose", "map `tenant`"],
        ),
        (
            "{name: a, tenants: {constant: x}, format: mapped, mapping: {capability: c}}",
            ["`mapping.topic`", "missing", "optional `|default`"],
        ),
        (
            "{name: a, tenants: {constant: x}, format: mapped, mapping: {topic: '{x}', capability: c}}",
            ["`mapping.topic`", "`{x}`", "optional `|default`"],
        ),
        (
            "{name: a, tenants: {constant: x}, format: mapped, mapping: {topic: t, capability: c, drop: [/a/b]}}",
            ["`mapping.drop`", "top-level", "optional `|default`"],
        ),
        (
            "{name: a, tenants: {constant: x}, format: mapped, mapping: {topic: t, capability: c, payload: '', drop: [/a]}}",
            ["`mapping.drop`", "exact bytes", "optional `|default`"],
        ),
        (
            "{name: a, tenants: {constant: x}, format: mapped, mapping: {topic: '{/a}', capability: c, drop: [/a]}}",
            ["`mapping.drop`", "used", "optional `|default`"],
        ),
        ("{name: a, tenants: any, limits: {max_bytes: 0}}", ["`limits.max_bytes`", "`0`", "broker"]),
        ("{name: a, tenants: any, limits: {max_depth: 9999}}", ["`limits.max_depth`", "`9999`", "64"]),
    ] {
        let said = refused(yaml);
        for part in parts {
            assert!(said.contains(part), "{yaml}: {said} lacks {part}");
        }
    }
    for unknown in [
        "{name: a, tenants: any, retention: 5}",
        "{name: a}",
        "{name: a, tenants: any, limits: {max: 1}}",
        "{name: a, tenants: some}",
    ] {
        assert!(serde_saphyr::from_str::<SourceWritten>(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn a_source_shows_its_defaults() {
    let written: SourceWritten = serde_saphyr::from_str(PLAIN).unwrap();
    assert_eq!(
        serde_json::to_string(&written).unwrap(),
        r#"{"name":"jobs.raw","topic":null,"format":"tidegate-json","mapping":null,"tenants":"any","observe":false,"parent_ticket":"refused","ticket_ttl_ms":null,"limits":{"max_bytes":1000000,"max_depth":64}}"#
    );
}

#[test]
fn a_shard_has_four_inputs_and_all_its_outputs() {
    let pools = || vec![pool("bank", &["pay"], &[]), pool("mail", &["mail"], &[])];
    let kernel = config(source(PLAIN), pools());
    let spec = shard_spec(&kernel, "node-1", Pace::default()).unwrap();
    assert_eq!(spec.sender.as_str(), "kernel.jobs.raw/0");
    assert_eq!(spec.facts.to_string(), "tidegate.decisions.jobs.raw/0");
    let inputs: Vec<_> =
        spec.inputs.iter().map(|i| (i.partition.to_string(), i.kind, i.writers.sealed(), i.trim)).collect();
    assert_eq!(
        inputs,
        [
            ("tidegate.jobs.raw/0".to_owned(), InputKind::Jobs, false, true),
            ("tidegate.commands.jobs.raw/0".to_owned(), InputKind::Control, false, false),
            ("tidegate.outcomes.jobs.raw/0".to_owned(), InputKind::Control, true, false),
            ("tidegate.grants.jobs.raw/0".to_owned(), InputKind::Control, true, false),
        ]
    );
    let outputs: Vec<String> = spec.outputs.iter().map(ToString::to_string).collect();
    let expected: Vec<String> =
        [("approved.bank", 4), ("approved.mail", 4), ("withdrawals.bank", 1), ("withdrawals.mail", 1), ("finished", 4)]
            .into_iter()
            .flat_map(|(topic, partitions)| (0..partitions).map(move |n| format!("tidegate.{topic}/{n}")))
            .chain((0..2).map(|n| format!("tidegate.limits.requests/{n}")))
            .collect();
    assert_eq!(outputs, expected);
    let mut adopted = config(source("{name: a, topic: foreign, tenants: any, observe: true}"), pools());
    adopted.shard = 3;
    let spec = shard_spec(&adopted, "node-1", Pace::default()).unwrap();
    assert_eq!(spec.inputs[0].partition.to_string(), "foreign/3");
    assert!(!spec.inputs[0].trim, "a foreign topic is never trimmed");
    assert!(spec.outputs.is_empty(), "nothing is released");
}

#[test]
fn what_cannot_work_is_refused_at_the_start() {
    let mut small = config(source(PLAIN), Vec::new());
    small.max_record_bytes = 1_000;
    assert_eq!(Kernel::new(small).err(), Some(KernelRefused { max_record_bytes: 1_000 }));
    let twice = Routes::new(vec![pool("a", &[], &[]), pool("a", &[], &[])], "t.");
    assert!(matches!(twice, Err(RoutesRefused::Duplicate { .. })), "{twice:?}");
    for (buckets, tenant_buckets) in [(0, 0), (4, 0), (2, 3)] {
        let mut one = pool("a", &[], &[]);
        (one.buckets, one.tenant_buckets) = (buckets, tenant_buckets);
        assert!(matches!(Routes::new(vec![one], "t."), Err(RoutesRefused::Buckets { .. })));
    }
    for shards in [0, 5] {
        let one = tidegate_kernel::Pool { shards, ..pool("a", &[], &[]) };
        assert!(matches!(Routes::new(vec![one], "t."), Err(RoutesRefused::Shards { .. })));
    }
    for bad in ["", "a..b", "a.>.b", "a*", "a b"] {
        assert!(TopicGlob::new(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_headers_make_too_large_is_dead_by_reference() {
    let mut shard = Shard::usual();
    let headers: Headers = [("ce_source", "x".repeat(600_000)), ("ce_id", "y".repeat(600_000))].into_iter().collect();
    let job = br#"{"id":"j1","tenant":"acme","topic":"job.pay.wire","capability":"pay","payload":{"amount":1}}"#;
    let outcome = shard.feed(INPUT_JOBS, record(Some(job), headers));
    assert!(
        matches!(
            &outcome.facts[..],
            [_, KernelFact::RecordRejected { reason: DeadReason::TooLarge, job: Some(_), .. }]
        ),
        "{:?}",
        outcome.facts
    );
    let largest = outcome.messages.iter().map(|m| m.headers.bytes() + m.value.as_ref().map_or(0, |v| v.len())).max();
    assert!(largest < Some(DEFAULT_RECORD_BYTES), "{largest:?}");
    let dead = outcome.messages.iter().find(|m| m.to.topic.as_str() == "tidegate.dead").unwrap();
    assert_eq!(dead.value, None);
    assert!(dead.headers.get(tidegate_protocol::headers::DEAD_HASH).is_some());
}

#[test]
fn facts_are_counted_by_what_they_say() {
    let mut shard = Shard::usual();
    let job = r#"{"id":"j1","tenant":"acme","topic":"job.pay.wire","capability":"pay","payload":{"amount":1}}"#;
    let mut counted = Vec::new();
    for record in [job, job, "x", r#"{"id":"j2","tenant":"acme","topic":"job.x","capability":"pay"}"#] {
        for fact in shard.job(record).facts {
            Kernel::tally(&fact, &mut |name, label, value| counted.push(format!("{name} {label}={value}")));
        }
    }
    assert_eq!(
        counted,
        [
            "tidegate_kernel_records_total outcome=decided",
            "tidegate_kernel_decisions_total verdict=allow",
            "tidegate_kernel_records_total outcome=repeated",
            "tidegate_kernel_records_total outcome=rejected",
            "tidegate_kernel_dead_total reason=unparsable",
            "tidegate_kernel_records_total outcome=decided",
            "tidegate_kernel_decisions_total verdict=deny",
        ]
    );
    let mut figures = Vec::new();
    shard.kernel.figures(&mut |name, value| figures.push(format!("{name} {value}")));
    assert_eq!(
        figures,
        [
            "tidegate_kernel_known_ids 2",
            "tidegate_kernel_policy_revision 1",
            "tidegate_kernel_held_jobs 0",
            "tidegate_kernel_deferred_jobs 0",
            "tidegate_kernel_limit_holdings 0",
            "tidegate_kernel_open_spends 0"
        ]
    );
}

#[test]
fn globs_are_about_segments() {
    for (glob, topic, expected) in [
        ("job.pay.wire", "job.pay.wire", true),
        ("job.pay.*", "job.pay.wire", true),
        ("job.pay.*", "job.pay", false),
        ("job.pay.*", "job.pay.wire.fast", false),
        ("job.>", "job.pay.wire", true),
        ("job.>", "job", false),
        ("*.pay.>", "job.pay.x", true),
        (">", "job", true),
        ("job", "job.pay", false),
    ] {
        assert_eq!(TopicGlob::new(glob).unwrap().matches(topic), expected, "{glob} {topic}");
    }
}

#[test]
fn a_snapshot_of_something_else_is_refused() {
    let mut kernel = Kernel::new(config(source(PLAIN), Vec::new())).unwrap();
    for text in
        ["", "{}", r#"{"v":2,"adopted":null,"window":[]}"#, r#"{"v":1,"adopted":null,"window":[["a","b","zz",1,2]]}"#]
    {
        assert!(kernel.restore(text).is_err(), "{text}");
    }
    kernel.restore(r#"{"v":1,"adopted":null,"window":[]}"#).unwrap();
}

#[test]
fn agent_traces_become_envelopes_that_a_source_reads() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let written = std::fs::read_to_string(root.join("examples/agentdojo/mapping.yaml")).unwrap();
    let mapping = Mapping::checked(&serde_saphyr::from_str::<MappingWritten>(&written).unwrap()).unwrap();
    let line = br#"{"suite": "banking", "task": "user_task_0", "kind": "user", "step": 1, "goal": "x", "function": "send_money", "args": {"amount":  98.70, "subject": "Car\t"}}"#;
    let envelope = envelope_of_line(&mapping, line, Some(&JobId::new("j1").unwrap())).unwrap();
    assert_eq!(
        String::from_utf8(envelope.clone()).unwrap(),
        r#"{"id":"j1","tenant":"banking","topic":"job.banking.send_money","capability":"send_money","payload":{"amount":  98.70, "subject": "Car\t"}}"#
    );
    let mut shard = Shard::usual();
    let outcome = shard.job(std::str::from_utf8(&envelope).unwrap());
    assert_eq!(outcome.messages.len(), 2, "read as a job, and denied: {outcome:?}");
    let refusal =
        envelope_of_line(&mapping, br#"{"suite":"banking","function":"f","args":{},"extra":1}"#, None).unwrap_err();
    assert_eq!(refusal.to_string(), "field `extra` is neither used nor dropped by the source's mapping");
}
