//! Golden files: a fact, with its record, emits exactly these bytes, for ever.
//!
//! `tests/messages/NAME.fact.json` is a fact as it stands in a log, `NAME.messages.txt` what follows from it. A fact about a
//! kept job follows `NAME.before.json`, the fact that keeps it. `NAME.settles.json` is the value of the record it settles,
//! where that is another than the job's own.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_kernel::KernelTopics;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Outbox, Stage};

use crate::shard::{Shard, config, pool, source};

/// The record all these facts are about.
fn settled() -> Record {
    let headers: Headers = [
        ("ce_id", "17"),
        ("ce_source", "/till"),
        ("traceparent", "00-aa-bb-01"),
        ("tg-kind", "fence"),
        ("content-type", "application/json"),
        ("__connect.errors.topic", "older"),
    ]
    .into_iter()
    .collect();
    let value = r#"{"id":"j1","tenant":"acme","topic":"job.pay.wire","capability":"pay","payload":{"amount": 20.50, "to":"é"}}"#;
    Record {
        offset: 7,
        timestamp_ms: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"k\xff")),
        value: Some(Bytes::from_static(value.as_bytes())),
        headers,
    }
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

#[test]
fn a_fact_emits_exactly_these_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".fact.json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 16, "golden files are missing");
    for name in names {
        let fact = fs::read_to_string(folder.join(format!("{name}.fact.json"))).unwrap();
        let fact: KernelFact = serde_json::from_str(&fact).unwrap();
        let mut shard = Shard::new(config(source("{name: jobs.raw, tenants: any}"), vec![pool("bank", &["pay"], &[])]));
        let before = folder.join(format!("{name}.before.json"));
        if before.exists() {
            shard.fact(&serde_json::from_str(&fs::read_to_string(before).unwrap()).unwrap());
            shard.kernel.apply(&fact, Timestamp(1_700_000_000_123_456));
        }
        let mut record = settled();
        if let Ok(value) = fs::read_to_string(folder.join(format!("{name}.settles.json"))) {
            record.value = Some(Bytes::from(value.trim_end().to_owned()));
        }
        let mut outbox = Outbox::new();
        let input = shard.kernel.needs_input(&fact).then_some(&record);
        shard.kernel.emit(&fact, Timestamp(1_700_000_000_123_456), input, &mut outbox);
        let mut out = String::new();
        for message in outbox.into_messages() {
            writeln!(out, "{} ordinal {} {:?}", message.to, message.ordinal, message.delivery).unwrap();
            writeln!(out, "  key    {}", message.key.as_deref().map_or_else(|| "null".to_owned(), shown)).unwrap();
            for (name, value) in message.headers.iter() {
                writeln!(out, "  header {name}: {}", shown(value)).unwrap();
            }
            writeln!(out, "  value  {}", message.value.as_deref().map_or_else(|| "null".to_owned(), shown)).unwrap();
        }
        let golden = folder.join(format!("{name}.messages.txt"));
        if std::env::var_os("TIDEGATE_REWRITE").is_some() {
            fs::write(&golden, &out).unwrap();
        }
        assert_eq!(out, fs::read_to_string(&golden).unwrap(), "{name}: a released fact must go on emitting the same");
    }
}

/// What a fact leads to, of `settled` with another `traceparent`.
fn messages_of(name: &str, cloudevents: bool, traceparent: &str) -> Vec<tidegate_stage::Message> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/messages/{name}.fact.json"));
    let fact: KernelFact = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut configured = config(source("{name: jobs.raw, tenants: any}"), vec![pool("bank", &["pay"], &[])]);
    configured.topics = Arc::new(KernelTopics { cloudevents, ..KernelTopics::clone(&configured.topics) });
    let shard = Shard::new(configured);
    let mut record = settled();
    record.headers = [("ce_id", "17"), ("ce_source", "/till"), ("traceparent", traceparent)]
        .map(|(name, value)| (name, value.to_owned()))
        .into_iter()
        .collect();
    let mut outbox = Outbox::new();
    shard.kernel.emit(&fact, Timestamp(1_700_000_000_123_456), Some(&record), &mut outbox);
    outbox.into_messages()
}

#[test]
fn a_judged_job_names_the_trace_of_its_record_when_that_is_one() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let value = |traceparent: &str| {
        let value = messages_of("job_allowed", false, traceparent).remove(0).value.unwrap();
        String::from_utf8(value.to_vec()).unwrap()
    };
    assert!(value(trace).ends_with(&format!(r#""to":"é"}},"traceparent":"{trace}"}}"#)), "{}", value(trace));
    assert!(value("00-x\",\"job\":{}").ends_with(r#""to":"é"}}"#), "what is none goes no further");
}

#[test]
fn denied_and_finished_are_cloudevents_where_that_is_wanted() {
    let messages = messages_of("job_denied", true, "");
    let headers = |message: &tidegate_stage::Message| {
        message.headers.iter().map(|(name, value)| format!("{name}: {}", shown(value))).collect::<Vec<_>>()
    };
    let [denied, finished] = &messages[..] else { panic!("{messages:?}") };
    let denied = headers(denied);
    assert!(denied.contains(&"ce_type: tidegate.job.denied".to_owned()), "{denied:?}");
    assert!(denied.contains(&"ce_causeid: 17".to_owned()) && denied.contains(&"ce_causesource: /till".to_owned()));
    assert_eq!(denied.iter().filter(|header| header.starts_with("ce_id:")).count(), 1, "{denied:?}");
    let finished = headers(finished);
    assert!(finished.contains(&"ce_id: jobs.raw/0@7.finished.1700000000123456".to_owned()), "{finished:?}");
    let approved = headers(&messages_of("job_allowed", true, "").remove(0));
    assert!(approved.contains(&"ce_id: 17".to_owned()) && !approved.iter().any(|header| header.starts_with("ce_type")));
}
