//! `state`: limits a rule looks at.
//!
//! | entry | holds when |
//! |---|---|
//! | `{count_within: jobs, key, window, gt}` | the window would hold more than `gt` jobs |
//! | `{sum_within: job.FIELD, key, window, gt}` | their `FIELD`s would add up to more |
//! | `{count_distinct_within: job.FIELD, key, window, gt}` | it would hold more different values |
//! | `{concurrency: jobs, key, gt, window: 24h}` | more would run at once (one whose end is never told counts for `window`) |
//! | `{budget: tokens or money, reserve: job.FIELD, key, window, gt}` | what is reserved and used would be more |
//! | `{rate: jobs, key, per, gt, burst: gt}` | more than `gt` a `per`, or `burst` at once |
//! | `{breaker: failures, key, failures, window, open_for, probes: 1}` | the breaker is open |

use super::duration;
use super::fields::{Fields, Reader, excerpt};
use super::params::{Params, resolve};
use super::yaml::{Node, Value};
use crate::language::{KeyPart, Measure, Pointer, StateCondition};
use crate::number::Number;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tidegate_protocol::limits::{Amount, BudgetOf, LimitDefinition, LimitId, LimitKind};

/// The most limits of one rule.
const MOST: usize = 16;
/// The most parts of a key.
const MOST_PARTS: usize = 8;
/// How long a job counts as running whose end is never told.
const CONCURRENCY_WINDOW_MS: u64 = 24 * 3_600_000;

const KINDS: [(&str, LimitKind, &[&str]); 7] = [
    ("count_within", LimitKind::CountWithin, &["window", "gt"]),
    ("sum_within", LimitKind::SumWithin, &["window", "gt"]),
    ("count_distinct_within", LimitKind::CountDistinctWithin, &["window", "gt"]),
    ("concurrency", LimitKind::Concurrency, &["window", "gt"]),
    ("budget", LimitKind::Budget, &["window", "gt", "reserve"]),
    ("rate", LimitKind::Rate, &["per", "gt", "burst"]),
    ("breaker", LimitKind::Breaker, &["failures", "window", "open_for", "probes"]),
];

/// Outer `None`: something was wrong.
pub(super) fn read(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    rule: &str,
    params: &Params<'_>,
    what: &str,
) -> Option<Vec<StateCondition>> {
    let Some(node) = fields.get("state") else { return Some(Vec::new()) };
    let what = format!("`state` of {what}");
    let items = reader.filled_list(node, &what)?;
    if items.len() > MOST {
        reader.wrong(node.line, format!("{what} has {} limits, more than {MOST}", items.len()), "split the rule");
        return None;
    }
    let read: Vec<_> = items
        .iter()
        .enumerate()
        .map(|(number, item)| {
            one(reader, item, &format!("limit {number} of rule `{rule}`"), &format!("{rule}#{number}"), params)
        })
        .collect();
    read.into_iter().collect()
}

fn one(reader: &mut Reader<'_>, node: &Node, what: &str, name: &str, params: &Params<'_>) -> Option<StateCondition> {
    let fields = reader.fields(node, what)?;
    let found: Vec<_> = KINDS.iter().filter(|(word, ..)| fields.get(word).is_some()).collect();
    let [(word, kind, own)] = found.as_slice() else {
        let words: Vec<_> = KINDS.iter().map(|(word, ..)| *word).collect();
        reader.wrong(
            node.line,
            format!("{what} is not of exactly one kind"),
            format!("write one of: {}", words.join(", ")),
        );
        return None;
    };
    let known: Vec<&str> = [*word, "key", "scope"].into_iter().chain(own.iter().copied()).collect();
    reader.only(fields, what, &known, &[]);
    let (measure, budget) = measure(reader, fields, *kind, word, what)?;
    let key = key(reader, fields, what);
    let global = match fields.get("scope") {
        None => Some(false),
        Some(node) => reader.choice(node, "scope", &[("tenant", false), ("global", true)]),
    };
    let definition = definition(reader, fields, *kind, budget, params, what)?;
    if let Err(bad) = definition.check() {
        reader.wrong(node.line, format!("{what}: {bad}"), "correct the limit");
        return None;
    }
    let (key, global) = (key?, global?);
    let limit = id(name, &definition, global, &key, &measure)?;
    Some(StateCondition { limit, definition: Arc::new(definition), global, key, measure })
}

/// What a job takes, and of a budget what it is in.
fn measure(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    kind: LimitKind,
    word: &str,
    what: &str,
) -> Option<(Measure, Option<BudgetOf>)> {
    let node = reader.required(fields, word, what)?;
    let jobs = |reader: &mut Reader<'_>, noun: &'static str| reader.choice(node, word, &[(noun, ())]);
    match kind {
        LimitKind::CountWithin | LimitKind::Concurrency | LimitKind::Rate => {
            jobs(reader, "jobs").map(|()| (Measure::One, None))
        }
        LimitKind::Breaker => jobs(reader, "failures").map(|()| (Measure::One, None)),
        LimitKind::SumWithin => field(reader, node, what).map(|field| (Measure::Sum(field), None)),
        LimitKind::CountDistinctWithin => field(reader, node, what).map(|field| (Measure::Distinct(field), None)),
        LimitKind::Budget => {
            let of = reader.choice(node, word, &[("tokens", BudgetOf::Tokens), ("money", BudgetOf::Money)]);
            let reserve = reader.required(fields, "reserve", what).and_then(|node| field(reader, node, what));
            Some((Measure::Sum(reserve?), Some(of?)))
        }
    }
}

fn definition(
    reader: &mut Reader<'_>,
    fields: Fields<'_>,
    kind: LimitKind,
    budget: Option<BudgetOf>,
    params: &Params<'_>,
    what: &str,
) -> Option<LimitDefinition> {
    let window = match (kind, fields.get("window")) {
        (LimitKind::Concurrency, None) => Some(CONCURRENCY_WINDOW_MS),
        (LimitKind::Rate, _) => time(reader, fields, "per", what),
        _ => time(reader, fields, "window", what),
    };
    let most = if kind == LimitKind::Breaker { "failures" } else { "gt" };
    let limit = amount(reader, fields, most, params, what);
    let mut definition = LimitDefinition::new(kind, limit?, Duration::from_millis(window?));
    definition.budget = budget;
    if kind == LimitKind::Rate && fields.get("burst").is_some() {
        definition.burst = Some(amount(reader, fields, "burst", params, what)?);
    }
    if kind == LimitKind::Breaker {
        definition.open_ms = Some(time(reader, fields, "open_for", what)?);
        definition.probes = Some(match fields.get("probes") {
            None => 1,
            Some(Node { value: Value::Number(Number::Int(probes)), .. }) if (1..=1_000).contains(probes) => {
                u32::try_from(*probes).ok()?
            }
            Some(node) => {
                reader.wrong(
                    node.line,
                    format!("`probes` of {what} must be a whole number from 1 to 1000"),
                    "correct it",
                );
                return None;
            }
        });
    }
    Some(definition)
}

/// A tenant's jobs at once; `None` when the rule's id is too long for a limit's.
pub(super) fn concurrency(rule: &str, most: u32) -> Option<StateCondition> {
    let window = Duration::from_millis(CONCURRENCY_WINDOW_MS);
    let definition = LimitDefinition::new(LimitKind::Concurrency, Amount::units(most.into())?, window);
    let limit = id(&format!("{rule}#0"), &definition, false, &[], &Measure::One)?;
    Some(StateCondition {
        limit,
        definition: Arc::new(definition),
        global: false,
        key: Vec::new(),
        measure: Measure::One,
    })
}

fn time(reader: &mut Reader<'_>, fields: Fields<'_>, name: &str, what: &str) -> Option<u64> {
    let node = reader.required(fields, name, what)?;
    duration::read(reader, node, &format!("`{name}` of {what}"))
}

fn amount(reader: &mut Reader<'_>, fields: Fields<'_>, name: &str, params: &Params<'_>, what: &str) -> Option<Amount> {
    let node = reader.required(fields, name, what)?;
    let node = resolve(reader, node, what, params)?;
    let found = match node.value {
        Value::Number(number) => number.amount(),
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
    };
    if found.is_none() {
        reader.wrong(
            node.line,
            format!("`{name}` of {what} must be a number from 0 with at most 6 decimals"),
            "write a number or `params.NAME`",
        );
    }
    found
}

fn key(reader: &mut Reader<'_>, fields: Fields<'_>, what: &str) -> Option<Vec<KeyPart>> {
    let what = format!("`key` of {what}");
    let node = reader.required(fields, "key", &what)?;
    let items = reader.list(node, &what)?;
    if items.len() > MOST_PARTS {
        reader.wrong(node.line, format!("{what} has more than {MOST_PARTS} parts"), "name fewer");
        return None;
    }
    let parts: Vec<_> = items.iter().map(|item| part(reader, item, &what)).collect();
    parts.into_iter().collect()
}

fn part(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<KeyPart> {
    let text = reader.text(node, &format!("a part of {what}"))?;
    if let Some(label) = text.strip_prefix("labels.").filter(|label| !label.is_empty()) {
        return Some(KeyPart::Label(label.into()));
    }
    if text.starts_with("job.") {
        return field(reader, node, what).map(KeyPart::Payload);
    }
    let words = [
        ("tenant", KeyPart::Tenant),
        ("actor_id", KeyPart::ActorId),
        ("actor_type", KeyPart::ActorType),
        ("capability", KeyPart::Capability),
        ("topic", KeyPart::Topic),
        ("pack_id", KeyPart::PackId),
    ];
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let found = words.into_iter().find(|(word, _)| *word == text).map(|(_, part)| part);
    if found.is_none() {
        reader.wrong(
            node.line,
            format!("`{}` is no part of {what}", excerpt(text)),
            format!("use one of: {}, labels.NAME, job.FIELD", known.join(", ")),
        );
    }
    found
}

/// `job.amount` or `job.payload.amount`, with dots for what is inside.
fn field(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Pointer> {
    let text = reader.text(node, &format!("a field of {what}"))?;
    let path = text.strip_prefix("job.").map(|path| path.strip_prefix("payload.").unwrap_or(path));
    let tokens: Option<Vec<Box<str>>> = path.filter(|path| path.split('.').count() <= 8).and_then(|path| {
        let token = |name: &str| {
            let sound = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
            sound.then(|| Box::from(name))
        };
        path.split('.').map(token).collect()
    });
    let Some(tokens) = tokens else {
        reader.wrong(
            node.line,
            format!("`{}` in {what} is no field of a payload", excerpt(text)),
            "write `job.NAME`, with dots for what is inside: `job.to.iban`",
        );
        return None;
    };
    let text: String = tokens.iter().map(|token| format!("/{token}")).collect();
    Some(Pointer { text: text.into(), tokens, each: false })
}

/// `<rule>#<number>@<16 hex digits>`: the digits stand for all that makes it another limit when it changes.
fn id(name: &str, definition: &LimitDefinition, global: bool, key: &[KeyPart], measure: &Measure) -> Option<LimitId> {
    let text =
        format!("tidegate limit v1\n{}\n{global}\n{key:?}\n{measure:?}", serde_json::to_string(definition).ok()?);
    let digest = hex::encode(Sha256::digest(text.as_bytes()));
    LimitId::new(format!("{name}@{}", digest.get(..16)?)).ok()
}
