//! The payload as a tape of JSON values, and finding what a pointer names.
//!
//! Parsers differ on a repeated key: the worker might read another value than we did. So a pointer that meets one
//! finds nothing it can vouch for.

use super::tape;
use crate::language::Pointer;
use simd_json::{Buffers, INPUT_PADDING, Node, StaticNode, Tape};

/// A larger payload is not looked into: every deriver that applies is uncertain.
pub const MAX_PAYLOAD_BYTES: usize = 4 << 20;

/// A payload nested deeper is not looked into.
pub const MAX_PAYLOAD_DEPTH: usize = 128;

/// Buffers above this are given back after use, so that one large payload does not stay resident.
const KEEP_BYTES: usize = 256 << 10;

pub(super) struct Payload {
    text: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl Default for Payload {
    fn default() -> Self {
        Self { text: Vec::new(), buffers: Buffers::with_max_depth(0, MAX_PAYLOAD_DEPTH), tape: Tape(Vec::new()) }
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text is a submitter's data.
        f.debug_struct("Payload").finish_non_exhaustive()
    }
}

impl Payload {
    /// Parses and hands the tape to `read`; `None` when the payload is not JSON within the limits.
    pub(super) fn with<R>(&mut self, bytes: &[u8], read: impl FnOnce(Option<&[Node<'_>]>) -> R) -> R {
        if bytes.len() > MAX_PAYLOAD_BYTES {
            return read(None);
        }
        if bytes.len() <= tape::MOST_BYTES {
            let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
            if tape::read(bytes, &mut tape.0).is_some() {
                let result = read(Some(&tape.0));
                self.tape = tape.reset();
                return result;
            }
            self.tape = tape.reset();
        }
        // The parser unescapes strings in place, so it needs a copy.
        self.text.clear();
        self.text.extend_from_slice(bytes);
        self.text.resize(bytes.len() + INPUT_PADDING, 0);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(&mut self.text, bytes.len(), &mut self.buffers, &mut tape);
        let result = read(parsed.is_ok().then_some(tape.0.as_slice()));
        self.tape = tape.reset();
        if bytes.len() > KEEP_BYTES {
            *self = Self::default();
        }
        result
    }
}

/// What a pointer found. A value is the tape from its node on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'t, 'i> {
    Value(&'t [Node<'i>]),
    /// Nothing there, or `null`.
    Missing,
    /// A key on the way came twice, or the way leads through something that has no such inside.
    Unsound,
}

/// Follows the tokens of a pointer.
pub(super) fn locate<'t, 'i>(tape: &'t [Node<'i>], pointer: &Pointer) -> Found<'t, 'i> {
    let mut at = tape;
    for token in &pointer.tokens {
        let next = match at.first() {
            Some(Node::Object { len, .. }) => member(at, *len, token),
            Some(Node::Array { len, .. }) => element(at, *len, token),
            Some(Node::Static(StaticNode::Null)) => Found::Missing,
            Some(Node::String(_) | Node::Static(_)) | None => Found::Unsound,
        };
        match next {
            Found::Value(value) => at = value,
            Found::Missing | Found::Unsound => return next,
        }
    }
    match at.first() {
        Some(Node::Static(StaticNode::Null)) => Found::Missing,
        Some(_) => Found::Value(at),
        None => Found::Unsound,
    }
}

/// Everything after the first value of the tape.
pub(crate) fn after<'t, 'i>(tape: &'t [Node<'i>]) -> &'t [Node<'i>] {
    let count = match tape.first() {
        Some(Node::Object { count, .. } | Node::Array { count, .. }) => *count,
        Some(Node::String(_) | Node::Static(_)) | None => 0,
    };
    tape.get(count + 1..).unwrap_or_default()
}

fn member<'t, 'i>(object: &'t [Node<'i>], len: usize, name: &str) -> Found<'t, 'i> {
    let mut rest = object.get(1..).unwrap_or_default();
    let mut found = Found::Missing;
    for _ in 0..len {
        let Some((Node::String(key), value)) = rest.split_first() else { return Found::Unsound };
        if *key == name {
            if matches!(found, Found::Value(_)) {
                return Found::Unsound;
            }
            found = Found::Value(value);
        }
        rest = after(value);
    }
    found
}

fn element<'t, 'i>(array: &'t [Node<'i>], len: usize, token: &str) -> Found<'t, 'i> {
    // RFC 6901: digits without a leading zero.
    let plain = token.bytes().all(|b| b.is_ascii_digit()) && (token.len() == 1 || !token.starts_with('0'));
    let Some(index) = token.parse::<usize>().ok().filter(|_| plain) else { return Found::Unsound };
    if index >= len {
        return Found::Missing;
    }
    elements(array).nth(index).map_or(Found::Unsound, Found::Value)
}

/// The elements of the array at the start of the tape, each as the tape from its node on.
pub(crate) fn elements<'t, 'i>(array: &'t [Node<'i>]) -> impl Iterator<Item = &'t [Node<'i>]> {
    let mut left = match array.first() {
        Some(Node::Array { len, .. }) => *len,
        Some(Node::Object { .. } | Node::String(_) | Node::Static(_)) | None => 0,
    };
    let mut rest = array.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        let here = rest;
        rest = after(rest);
        Some(here)
    })
}
