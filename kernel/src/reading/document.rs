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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotJson {
    /// Nested deeper than allowed.
    TooDeep,
    /// Anything else.
    Malformed,
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
            Err(_) => Err(NotJson::Malformed),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use std::collections::BTreeMap;

    fn spans(text: &str) -> BTreeMap<String, String> {
        ParserMemory::new(64)
            .parse(text.as_bytes(), |document| {
                document
                    .members(ROOT)
                    .map(|(name, at)| (name.to_owned(), text[document.span(at).unwrap()].to_owned()))
                    .collect()
            })
            .unwrap()
    }

    fn raw(text: &str) -> BTreeMap<String, String> {
        let parsed: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).unwrap();
        parsed.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
    }

    #[test]
    fn spans_are_the_exact_bytes_of_each_value() {
        for text in [
            r#"{"a":1}"#,
            r#" { "a" : -1.5e3 , "b":"x" } "#,
            r#"{"a":"\\\"}{[]:,","b":{"c":[1,{"d":"]"}]},"e":[],"f":{}}"#,
            "{\"a\":\n\t[ 1 , 2 ]\r\n,\"b\":true , \"c\" :false,\"d\":null }",
            r#"{"\u0061\"":"\u00e9\\","é":"ü"}"#,
            r#"{"a":"","b":"\\","c":"\\\\\""}"#,
        ] {
            assert_eq!(spans(text), raw(text), "{text}");
        }
    }

    #[test]
    fn a_bare_value_is_its_own_span() {
        for text in ["1", " \"x\" ", "[1]", "null\n", "{}", "-0.5", "true"] {
            let span = ParserMemory::new(64).parse(text.as_bytes(), |document| document.span(ROOT).unwrap()).unwrap();
            assert_eq!(&text[span], text.trim());
        }
    }

    #[test]
    fn nesting_beyond_the_limit_is_told_apart_from_bad_json() {
        let mut memory = ParserMemory::new(3);
        assert_eq!(memory.parse(b"[[[1]]]", |_| ()), Ok(()));
        assert_eq!(memory.parse(b"[[[[1]]]]", |_| ()), Err(NotJson::TooDeep));
        let bomb = vec![b'['; 1 << 20];
        assert_eq!(memory.parse(&bomb, |_| ()), Err(NotJson::TooDeep));
        assert_eq!(memory.parse(b"{\"a\":", |_| ()), Err(NotJson::Malformed));
        assert_eq!(memory.parse(b"{\"a\":1}", |document| document.members(ROOT).count()), Ok(1));
    }

    #[test]
    fn pointers_lead_to_one_value_or_none() {
        let text = br#"{"a":{"b":[10,{"c":"x"}],"d":1,"d":2},"":7}"#;
        ParserMemory::new(64)
            .parse(text, |document| {
                let find = |pointer: &str| document.find(&Pointer::parse(pointer).unwrap());
                let shape = |pointer: &str| find(pointer).unwrap().map(|at| document.shape(at));
                assert_eq!(shape("/a/b/1/c"), Some(Shape::Text("x")));
                assert_eq!(shape("/a/b/0"), Some(Shape::Unsigned(10)));
                assert_eq!(shape("/a/b/01"), None);
                assert_eq!(shape("/a/b/2"), None);
                assert_eq!(shape("/a/b/0/c"), None);
                assert_eq!(shape("/"), Some(Shape::Unsigned(7)));
                assert_eq!(shape(""), Some(Shape::Object));
                assert_eq!(find("/a/d"), Err(Ambiguous));
            })
            .unwrap();
    }

    fn json() -> impl Strategy<Value = String> {
        let space = || prop::sample::select(vec!["", " ", "\n", "\t \r\n"]);
        let text = || any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap());
        let scalar = prop_oneof![
            text(),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<u64>().prop_map(|n| n.to_string()),
            (-1e9..1e9_f64).prop_map(|n| serde_json::to_string(&n).unwrap()),
            prop::sample::select(vec!["true", "false", "null", "0", "-1", "1E5", "\"\\ud83d\\ude00\\/\"", "\"\\\\\""])
                .prop_map(str::to_owned),
        ];
        scalar.prop_recursive(6, 60, 8, move |inner| {
            let list = prop::collection::vec((inner.clone(), space()), 0..6).prop_map(|items| {
                let items: Vec<String> = items.into_iter().map(|(item, s)| format!("{s}{item}{s}")).collect();
                format!("[{}]", items.join(","))
            });
            let object = prop::collection::btree_map(any::<String>(), (inner, space()), 0..6).prop_map(|members| {
                let members: Vec<String> = members
                    .into_iter()
                    .map(|(name, (value, s))| format!("{s}{}{s}:{s}{value}{s}", serde_json::to_string(&name).unwrap()))
                    .collect();
                format!("{{{}}}", members.join(","))
            });
            prop_oneof![list, object]
        })
    }

    proptest! {
        #[test]
        fn spans_agree_with_serde_json(values in prop::collection::vec((any::<String>(), json()), 0..8), space in " {0,3}") {
            let names: BTreeMap<String, String> = values.into_iter().collect();
            let members: Vec<String> = names
                .iter()
                .map(|(name, value)| format!("{}{space}:{space}{value}{space}", serde_json::to_string(name).unwrap()))
                .collect();
            let text = format!("{space}{{{space}{}}}{space}", members.join(","));
            prop_assert_eq!(spans(&text), raw(&text));
        }

        #[test]
        fn no_bytes_make_the_parser_panic_or_misplace(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let parsed = ParserMemory::new(8).parse(&bytes, |document| document.span(ROOT));
            if let Ok(span) = parsed {
                let span = span.unwrap();
                prop_assert!(serde_json::from_slice::<Box<RawValue>>(&bytes[span]).is_ok());
            }
        }
    }
}
