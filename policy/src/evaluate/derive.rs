//! Computing tags from topic and payload.

use super::payload::{Found, elements, locate};
use super::plain_address;
use crate::compile::Snapshot;
use crate::language::{Deriver, Scalar, Scalars, Test};
use crate::number::Number;
use crate::subject::{Subject, present};
use simd_json::{Node, StaticNode};
use std::borrow::Cow;
use std::cmp::Ordering;

/// What is known of a tag, or of a predicate. Several derivers of one tag: the strongest holds; several predicates of one
/// rule: the weakest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is not so.
    #[default]
    Absent,
    /// It cannot be told.
    Uncertain,
    /// It is so.
    Present,
}

/// Fills `tags`. `derivers` are those of the topic.
pub(super) fn derive(
    snapshot: &Snapshot,
    subject: &Subject<'_>,
    derivers: &[u32],
    tape: Option<&[Node<'_>]>,
    tags: &mut Vec<Outcome>,
) {
    tags.clear();
    tags.resize(snapshot.tags.len(), Outcome::Absent);
    if present(subject.topic).is_none() {
        // Which derivers apply cannot be told, so none of their tags can be ruled out.
        tags.fill(Outcome::Uncertain);
        return;
    }
    for &place in derivers {
        let known = snapshot.derivers.get(place as usize).zip(snapshot.derives.get(place as usize));
        let Some((deriver, &tag)) = known else { continue };
        if let Some(state) = tags.get_mut(tag as usize) {
            *state = outcome(deriver, tape).max(*state);
        }
    }
}

/// Applies one deriver; no tape means the payload could not be read.
pub(super) fn outcome(deriver: &Deriver, tape: Option<&[Node<'_>]>) -> Outcome {
    let Some(tape) = tape else { return Outcome::Uncertain };
    match locate(tape, &deriver.field) {
        Found::Unsound => Outcome::Uncertain,
        Found::Missing => missing(deriver),
        Found::Value(value) if !deriver.field.each => test(deriver, value),
        Found::Value(array @ [Node::Array { .. }, ..]) => {
            elements(array).map(|element| test(deriver, element)).max().unwrap_or_default()
        }
        Found::Value(_) => Outcome::Uncertain,
    }
}

fn missing(deriver: &Deriver) -> Outcome {
    match (&deriver.test, deriver.optional) {
        (Test::Missing, _) => Outcome::Present,
        (_, true) => Outcome::Absent,
        (_, false) => Outcome::Uncertain,
    }
}

fn test(deriver: &Deriver, value: &[Node<'_>]) -> Outcome {
    let Some(node) = value.first() else { return Outcome::Uncertain };
    if matches!(node, Node::Static(StaticNode::Null)) {
        return missing(deriver);
    }
    let holds = match &deriver.test {
        Test::Missing => Some(false),
        Test::Equal(Scalar::Text(wanted)) => text(node).map(|text| text == &**wanted),
        Test::Equal(Scalar::Number(wanted)) => number(node).map(|number| number.equals(*wanted)),
        Test::Equal(Scalar::Bool(wanted)) => boolean(node).map(|value| value == *wanted),
        Test::In(list) => contains(list, node),
        Test::NotIn(list) => contains(list, node).map(|held| !held),
        Test::Prefix(list) => text(node).map(|text| list.iter().any(|start| text.starts_with(&**start))),
        Test::Greater(limit) => number(node).and_then(|number| number.order(*limit)).map(Ordering::is_gt),
        Test::Less(limit) => number(node).and_then(|number| number.order(*limit)).map(Ordering::is_lt),
        Test::AddressNotIn { addresses, domains } => text(node).map(|text| {
            let lower = lower_case(text);
            plain_address(&lower).is_none_or(|(_, domain)| !domains.contains(domain) && !addresses.contains(&*lower))
        }),
    };
    match holds {
        Some(true) => Outcome::Present,
        Some(false) => Outcome::Absent,
        // Another type than the test is about.
        None => Outcome::Uncertain,
    }
}

/// Copies only what has capitals.
fn lower_case(text: &str) -> Cow<'_, str> {
    match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(text.to_ascii_lowercase()),
        false => Cow::Borrowed(text),
    }
}

fn contains(list: &Scalars, node: &Node<'_>) -> Option<bool> {
    match list {
        Scalars::Texts(texts) => text(node).map(|text| texts.contains(text)),
        Scalars::Numbers(numbers) => number(node).map(|number| numbers.iter().any(|listed| listed.equals(number))),
    }
}

pub(super) fn text<'i>(node: &Node<'i>) -> Option<&'i str> {
    match node {
        Node::String(text) => Some(text),
        Node::Object { .. } | Node::Array { .. } | Node::Static(_) => None,
    }
}

pub(super) fn number(node: &Node<'_>) -> Option<Number> {
    match node {
        Node::Static(StaticNode::I64(value)) => Some(Number::Int((*value).into())),
        Node::Static(StaticNode::U64(value)) => Some(Number::Int((*value).into())),
        Node::Static(StaticNode::F64(value)) if value.is_finite() => Some(Number::Float(*value)),
        Node::Static(_) | Node::String(_) | Node::Object { .. } | Node::Array { .. } => None,
    }
}

fn boolean(node: &Node<'_>) -> Option<bool> {
    match node {
        Node::Static(StaticNode::Bool(value)) => Some(*value),
        Node::Static(_) | Node::String(_) | Node::Object { .. } | Node::Array { .. } => None,
    }
}
