//! Golden files: a fact, with its record, emits exactly these bytes, for ever.
//!
//! `tests/messages/NAME.fact.json` is a fact as it stands in a log, `NAME.messages.txt` what follows from it. A fact about a
//! kept job follows `NAME.before.json`, the fact that keeps it. `NAME.settles.json` is the value of the record it settles,
//! where that is another than the job's own.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bytes::Bytes;
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
