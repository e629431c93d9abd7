//! A record's value as a parsed tape, with the place of every node in the original bytes.
//!
//! simd-json finds all structural characters of the text first (`{ } [ ] : ,`, opening quotes, first letters of other
//! scalars) and then builds a tape with one node per value, both in order. So the n-th structural character that
//! begins a value is where node n stands; that is checked, never assumed, and a property test compares the spans with
//! serde_json's. The parser does not recurse: nesting beyond the limit ends it.

use std::ops::Range;

use simd_json::{Buffers, ErrorType, INPUT_PADDING, Node, StaticNode, Tape};

use crate::sources::Pointer;

/// Memory that parsing reuses. Holds nothing between records that a decision depends on.
pub(crate) struct ParserMemory {
    input: Vec<u8>,
    buffers: Buffers,
    tape: Tape<'static>,
}

/// Why a value is no document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotJson {
    /// Nested deeper than allowed.
    TooDeep,
    /// Anything else, with the byte where it shows.
    Malformed { at: usize },
}

/// A parsed value.
#[derive(Clone, Copy)]
pub(crate) struct Document<'a> {
    nodes: &'a [Node<'a>],
    structurals: &'a [u32],
    /// The original bytes: the parser unescapes strings in its own copy.
    value: &'a [u8],
}

/// A value in the document, by its number on the tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeAt(usize);

/// The document's outermost value.
pub(crate) const ROOT: NodeAt = NodeAt(0);

/// A pointer that leads to two values.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Float,
    Text(&'a str),
    List,
    Object,
}

impl Shape<'_> {
    /// For messages.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Negative(_) | Self::Float => "a number",
            Self::Text(_) => "a text",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

impl ParserMemory {
    /// For values nested up to `max_depth`.
    pub(crate) fn new(max_depth: usize) -> Self {
        Self { input: Vec::new(), buffers: Buffers::with_max_depth(2_048, max_depth), tape: Tape(Vec::new()) }
    }

    /// Parses `value` and gives the document to `then`.
    pub(crate) fn parse<R>(&mut self, value: &[u8], then: impl FnOnce(Document<'_>) -> R) -> Result<R, NotJson> {
        self.input.clear();
        self.input.extend_from_slice(value);
        self.input.resize(value.len() + INPUT_PADDING, b' ');
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let parsed = simd_json::fill_tape_padded(&mut self.input, value.len(), &mut self.buffers, &mut tape);
        let result = match parsed {
            Ok(()) => Ok(then(Document { nodes: &tape.0, structurals: self.buffers.structural_indexes(), value })),
            Err(error) if matches!(error.error(), ErrorType::DepthLimitExceeded) => Err(NotJson::TooDeep),
            Err(error) => Err(NotJson::Malformed { at: error.index().min(value.len()) }),
        };
        self.tape = tape.reset();
        result
    }
}

impl<'a> Document<'a> {
    /// What stands there.
    pub(crate) fn shape(&self, at: NodeAt) -> Shape<'a> {
        match self.nodes.get(at.0) {
            None | Some(Node::Static(StaticNode::Null)) => Shape::Null,
            Some(Node::Static(StaticNode::Bool(value))) => Shape::Bool(*value),
            Some(Node::Static(StaticNode::U64(value))) => Shape::Unsigned(*value),
            Some(Node::Static(StaticNode::I64(value))) => {
                u64::try_from(*value).map_or(Shape::Negative(*value), Shape::Unsigned)
            }
            Some(Node::Static(StaticNode::F64(_))) => Shape::Float,
            Some(Node::String(text)) => Shape::Text(text),
            Some(Node::Array { .. }) => Shape::List,
            Some(Node::Object { .. }) => Shape::Object,
        }
    }

    /// The number behind the last node of this value.
    fn behind(&self, at: NodeAt) -> usize {
        match self.nodes.get(at.0) {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => at.0 + count + 1,
            _ => at.0 + 1,
        }
    }

    /// Names and values of an object, in order; nothing for any other value.
    pub(crate) fn members(self, object: NodeAt) -> impl Iterator<Item = (&'a str, NodeAt)> {
        let end = match self.nodes.get(object.0) {
            Some(Node::Object { .. }) => self.behind(object),
            _ => 0,
        };
        let mut next = object.0 + 1;
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let Some(Node::String(name)) = self.nodes.get(next) else { return None };
            let value = NodeAt(next + 1);
            next = self.behind(value);
            Some((*name, value))
        })
    }

    /// Items of a list, in order; nothing for any other value.
    pub(crate) fn items(self, list: NodeAt) -> impl Iterator<Item = NodeAt> {
        let end = match self.nodes.get(list.0) {
            Some(Node::Array { .. }) => self.behind(list),
            _ => 0,
        };
        let mut next = list.0 + 1;
        std::iter::from_fn(move || {
            let at = NodeAt(next);
            (next < end).then(|| {
                next = self.behind(at);
                at
            })
        })
    }

    /// The value a pointer leads to.
    pub(crate) fn find(&self, pointer: &Pointer) -> Result<Option<NodeAt>, Ambiguous> {
        let mut at = ROOT;
        for token in &pointer.tokens {
            let next = match self.shape(at) {
                Shape::Object => {
                    let mut named = self.members(at).filter(|(name, _)| *name == &**token);
                    let first = named.next();
                    if named.next().is_some() {
                        return Err(Ambiguous);
                    }
                    first.map(|(_, value)| value)
                }
                Shape::List => list_index(token).and_then(|index| self.items(at).nth(index)),
                Shape::Null
                | Shape::Bool(_)
                | Shape::Unsigned(_)
                | Shape::Negative(_)
                | Shape::Float
                | Shape::Text(_) => None,
            };
            match next {
                Some(found) => at = found,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Where a value stands in the original bytes; `None` would be a disagreement with the parser.
    pub(crate) fn span(&self, at: NodeAt) -> Option<Range<usize>> {
        let mut places = self.structurals.iter().map(|&place| place as usize);
        let mut begun = 0;
        let start = places.find(|&place| {
            let begins = begins_value(self.value.get(place));
            begun += usize::from(begins);
            begins && begun == at.0 + 1
        })?;
        let end = match self.value.get(start)? {
            b'{' | b'[' => {
                let mut open = 1_usize;
                places.find(|&place| {
                    match self.value.get(place) {
                        Some(b'{' | b'[') => open += 1,
                        Some(b'}' | b']') => open -= 1,
                        _ => {}
                    }
                    open == 0
                })? + 1
            }
            _ => {
                let next = places.next().unwrap_or(self.value.len()).min(self.value.len());
                let gap = self.value.get(start..next)?.iter().rev().take_while(|b| is_space(**b)).count();
                next - gap
            }
        };
        self.agrees(at, start..end).then_some(start..end)
    }

    /// A cheap cross-check of tape and bytes.
    fn agrees(&self, at: NodeAt, span: Range<usize>) -> bool {
        let bytes = self.value.get(span).unwrap_or_default();
        let ends = (bytes.first(), bytes.last());
        match self.nodes.get(at.0) {
            Some(Node::Object { .. }) => ends == (Some(&b'{'), Some(&b'}')),
            Some(Node::Array { .. }) => ends == (Some(&b'['), Some(&b']')),
            Some(Node::String(text)) => ends == (Some(&b'"'), Some(&b'"')) && bytes.len() >= text.len() + 2,
            Some(Node::Static(_)) => bytes.first().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-'),
            None => false,
        }
    }
}

const fn begins_value(byte: Option<&u8>) -> bool {
    !matches!(byte, None | Some(b'}' | b']' | b':' | b','))
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// An index as RFC 6901 writes it: no sign, no leading zero.
fn list_index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    plain.then(|| token.parse().ok()).flatten()
}
