//! The language of conditions (`when`): what it means, what it refuses, and what it can cost.

#![expect(clippy::panic, reason = "a test says what it met")]

mod agreement;
mod generate;
mod meaning;
mod reference;
mod refusals;

use std::collections::BTreeMap;
use std::sync::Arc;
use tidegate_policy::Subject;
use tidegate_policy::when::{Facts, Fields, Kind, Number, Outcome, Param, Tags, Truth, Types, compile};

/// The schema and the parameters that the tests' conditions name.
fn types() -> Types {
    let mut to = Fields::new();
    to.declare("iban", Kind::TEXT);
    to.declare("bank", Kind::TEXT);
    let mut item = Fields::new();
    item.declare("sku", Kind::TEXT);
    item.declare("qty", Kind::Int);
    item.declare("price", Kind::Number);
    item.declare("tags", Kind::List { of: Kind::TEXT.into(), max: 20 });
    item.declare("extra", Kind::Map(Kind::Number.into()));
    let mut fields = Fields::new();
    fields.declare("amount", Kind::Number);
    fields.declare("fee", Kind::Number);
    fields.declare("count", Kind::Int);
    fields.declare("currency", Kind::TEXT);
    fields.declare("note", Kind::Text { max: 2_000 });
    fields.declare("urgent", Kind::Bool);
    fields.declare("due", Kind::Time);
    fields.declare("to", Kind::Record(Arc::new(to)));
    fields.declare("items", Kind::List { of: Kind::Record(Arc::new(item)).into(), max: 50 });
    fields.declare("codes", Kind::list(Kind::Int));
    fields.declare("few", Kind::List { of: Kind::Int.into(), max: 50 });
    fields.declare("emails", Kind::list(Kind::TEXT));
    fields.declare("rates", Kind::Map(Kind::Number.into()));
    fields.declare("priority", Kind::TEXT);
    let texts = |texts: &[&str]| Param::Texts(texts.iter().map(|&text| text.into()).collect());
    let params = BTreeMap::from([
        ("limit".into(), Param::Number(Number::Int(1_000))),
        ("rate".into(), Param::Number(Number::Float(1.5))),
        ("home".into(), Param::Text("EUR".into())),
        ("strict".into(), Param::Bool(true)),
        ("banks".into(), texts(&["AB", "CD"])),
        ("none".into(), texts(&[])),
        ("steps".into(), Param::Numbers(vec![Number::Int(1), Number::Float(2.5)])),
    ]);
    let tags = ["financial", "pii", "unsure"].map(Into::into).into();
    Types { fields, params, tags: Some(tags) }
}

/// 2026-03-04T05:06:07.890Z, a Wednesday.
const NOW: u64 = 1_772_600_767_890;

/// Evaluates a condition on a payload, with fixed attributes.
fn judge(text: &str, payload: &str) -> Truth {
    let condition = compile(text, &types()).unwrap_or_else(|problem| panic!("{text}: {problem}"));
    with_facts(payload, |facts| condition.holds(facts))
}

fn with_facts<R>(payload: &str, judge: impl FnOnce(&Facts<'_>) -> R) -> R {
    let mut text = payload.as_bytes().to_vec();
    let tape = simd_json::to_tape(&mut text).ok();
    let mut subject = Subject::new("acme", "job.payments.wire", "pay");
    subject.actor_id = Some("agent-7");
    subject.priority = 3;
    subject.deadline_ms = Some(NOW + 60_000);
    subject.requires = &["net", "gpu"];
    subject.risk_tags = &["claimed"];
    subject.labels = &[("env", "prod"), ("zone", "eu"), ("twice", "a"), ("twice", "b")];
    let names: Vec<Arc<str>> = ["financial", "pii", "unsure"].map(Arc::from).into();
    let facts = Facts {
        subject: &subject,
        payload: tape.as_ref().map(|tape| tape.0.as_slice()),
        tags: Tags { names: &names, outcomes: &[Outcome::Present, Outcome::Absent, Outcome::Uncertain] },
        at_ms: NOW,
    };
    judge(&facts)
}
