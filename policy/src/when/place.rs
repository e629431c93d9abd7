//! Finding what a condition names in the payload's tape.
//!
//! Parsers differ on a repeated key: the worker might read another value than we did. So a name that comes twice in its
//! object is nothing we can vouch for, like an object with more keys than a condition looks through.

use super::facts::Facts;
use super::kind::MAX_OBJECT_KEYS;
use super::program::{Place, Root, Step};
use crate::evaluate::{after, elements};
use crate::number::Number;
use simd_json::{Node, StaticNode};

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// The tape from the value on; never `null`.
    Value(&'a [Node<'a>]),
    /// Nothing there, or `null`.
    Missing,
    /// It cannot be told.
    Unsound,
}

/// An element of a loop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot<'a> {
    Nothing,
    Node(&'a [Node<'a>]),
    Text(&'a str),
    Number(Number),
}

impl<'a> Slot<'a> {
    pub(super) fn text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Node([Node::String(text), ..]) => Some(text),
            Self::Node(_) | Self::Number(_) | Self::Nothing => None,
        }
    }

    pub(super) fn number(self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(number),
            Self::Node([Node::Static(StaticNode::I64(value)), ..]) => Some(Number::Int((*value).into())),
            Self::Node([Node::Static(StaticNode::U64(value)), ..]) => Some(Number::Int((*value).into())),
            Self::Node([Node::Static(StaticNode::F64(value)), ..]) if value.is_finite() => Some(Number::Float(*value)),
            Self::Node(_) | Self::Text(_) | Self::Nothing => None,
        }
    }
}

/// What stands at the place.
pub(super) fn find<'a>(facts: &Facts<'a>, slots: &[Slot<'a>], place: &Place) -> Found<'a> {
    follow(facts, slots, place.root, &place.steps)
}

/// What the last step starts from.
pub(super) fn parent<'a>(facts: &Facts<'a>, slots: &[Slot<'a>], place: &Place) -> Found<'a> {
    let (_, before) = place.steps.split_last().unzip();
    follow(facts, slots, place.root, before.unwrap_or_default())
}

fn follow<'a>(facts: &Facts<'a>, slots: &[Slot<'a>], root: Root, steps: &[Step]) -> Found<'a> {
    let start = match root {
        Root::Payload => facts.payload,
        Root::Loop(level) => match slots.get(level) {
            Some(Slot::Node(tape)) => Some(*tape),
            Some(Slot::Nothing | Slot::Text(_) | Slot::Number(_)) | None => None,
        },
    };
    let Some(mut at) = start else { return Found::Unsound };
    for step in steps {
        let next = match step {
            Step::Member(name) | Step::Key(name) => member(at, name),
            Step::Index { at: index, max } => element(at, *index, *max),
        };
        match next {
            Found::Value(value) => at = value,
            Found::Missing | Found::Unsound => return next,
        }
    }
    known(at)
}

fn known<'a>(value: &'a [Node<'a>]) -> Found<'a> {
    match value.first() {
        Some(Node::Static(StaticNode::Null)) => Found::Missing,
        Some(Node::Object { .. } | Node::Array { .. } | Node::String(_) | Node::Static(_)) => Found::Value(value),
        None => Found::Unsound,
    }
}

pub(super) fn member<'a>(object: &'a [Node<'a>], name: &str) -> Found<'a> {
    let len = match object.first() {
        Some(Node::Object { len, .. }) if *len <= MAX_OBJECT_KEYS => *len,
        Some(Node::Static(StaticNode::Null)) => return Found::Missing,
        Some(Node::Object { .. } | Node::Array { .. } | Node::String(_) | Node::Static(_)) | None => {
            return Found::Unsound;
        }
    };
    let mut rest = object.get(1..).unwrap_or_default();
    let mut found = None;
    for _ in 0..len {
        let Some((Node::String(key), value)) = rest.split_first() else { return Found::Unsound };
        if *key == name && found.replace(value).is_some() {
            return Found::Unsound;
        }
        rest = after(value);
    }
    found.map_or(Found::Missing, known)
}

fn element<'a>(array: &'a [Node<'a>], index: u32, max: u32) -> Found<'a> {
    match array.first() {
        Some(Node::Array { len, .. }) if *len > max as usize => Found::Unsound,
        Some(Node::Array { len, .. }) if (index as usize) < *len => {
            elements(array).nth(index as usize).map_or(Found::Unsound, known)
        }
        Some(Node::Array { .. } | Node::Static(StaticNode::Null)) => Found::Missing,
        Some(Node::Object { .. } | Node::String(_) | Node::Static(_)) | None => Found::Unsound,
    }
}

/// The elements of an array; `None` when it is none, or longer than `max`.
pub(super) fn elements_of<'a>(array: &'a [Node<'a>], max: u32) -> Option<impl Iterator<Item = &'a [Node<'a>]>> {
    match array.first() {
        Some(Node::Array { len, .. }) if *len <= max as usize => Some(elements(array)),
        Some(Node::Object { .. } | Node::Array { .. } | Node::String(_) | Node::Static(_)) | None => None,
    }
}

/// How many members an object has, those that are `null` left out; `None` when it is none, or a key comes twice.
pub(super) fn member_count(object: &[Node<'_>]) -> Option<usize> {
    keys_of(object)?.try_fold(0, |count, key| key.map(|_| count + 1))
}

/// The keys of an object whose value is not `null`; an item is `None` for a key that comes twice. `None` when it is no
/// object, or has too many keys.
pub(super) fn keys_of<'a>(object: &'a [Node<'a>]) -> Option<impl Iterator<Item = Option<&'a str>>> {
    let len = match object.first() {
        Some(Node::Object { len, .. }) if *len <= MAX_OBJECT_KEYS => *len,
        Some(Node::Object { .. } | Node::Array { .. } | Node::String(_) | Node::Static(_)) | None => return None,
    };
    Some(members(object, len).enumerate().filter_map(move |(at, (key, value))| {
        let again = members(object, len).skip(at + 1).any(|(other, _)| other == key);
        match (again, value.first()) {
            (true, _) => Some(None),
            (false, Some(Node::Static(StaticNode::Null))) => None,
            (false, _) => Some(Some(key)),
        }
    }))
}

/// Keys and values as they stand.
pub(super) fn members<'a>(object: &'a [Node<'a>], len: usize) -> impl Iterator<Item = (&'a str, &'a [Node<'a>])> {
    let mut rest = object.get(1..).unwrap_or_default();
    (0..len).map_while(move |_| match rest.split_first() {
        Some((Node::String(key), value)) => {
            rest = after(value);
            Some((*key, value))
        }
        Some((Node::Object { .. } | Node::Array { .. } | Node::Static(_), _)) | None => None,
    })
}
