//! Where in the file a field stands, for errors found after reading.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// One step down from the file's top.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

/// The lines of a file's fields.
pub(super) struct Lines(Option<Node>);

struct Node {
    line: u64,
    below: Below,
}

enum Below {
    Fields(BTreeMap<String, Node>),
    Items(Vec<Node>),
    Nothing,
}

pub(super) fn options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::Error;
    options.strict_booleans = true;
    options.with_snippet = false;
    options
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        Self(serde_saphyr::from_str_with_options(text, options()).ok())
    }

    /// The line of the deepest part of `path` that is written; `None` when nothing of it is.
    pub(super) fn of_path(&self, path: &[Step<'_>]) -> Option<u64> {
        let mut node = self.0.as_ref()?;
        let mut line = None;
        for step in path {
            let below = match (step, &node.below) {
                (Step::Field(name), Below::Fields(fields)) => fields.get(*name),
                (Step::Item(number), Below::Items(items)) => items.get(*number),
                (Step::Field(_) | Step::Item(_), Below::Fields(_) | Below::Items(_) | Below::Nothing) => None,
            };
            match below {
                Some(below) => {
                    line = Some(below.line);
                    node = below;
                }
                None => break,
            }
        }
        line
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Below>::deserialize(from)?;
        Ok(Self { line: spanned.referenced.line(), below: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Below {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(BelowVisitor)
    }
}

struct BelowVisitor;

impl<'de> Visitor<'de> for BelowVisitor {
    type Value = Below;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Below, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, node)) = map.next_entry::<String, Node>()? {
            fields.insert(name, node);
        }
        Ok(Below::Fields(fields))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Below, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Below::Items(items))
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Below, D::Error> {
        IgnoredAny::deserialize(from).map(|_| Below::Nothing)
    }
    fn visit_unit<E: Error>(self) -> Result<Below, E> {
        Ok(Below::Nothing)
    }
    fn visit_none<E: Error>(self) -> Result<Below, E> {
        Ok(Below::Nothing)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Below, E> {
        Ok(Below::Nothing)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<Below, E> {
        Ok(Below::Nothing)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<Below, E> {
        Ok(Below::Nothing)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Below, E> {
        Ok(Below::Nothing)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Below, E> {
        Ok(Below::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_written_part_of_a_path_has_its_line() {
        let lines = Lines::of("prefix: x\npools:\n  - name: a\n  - name: b\n    lanes: 3\n");
        let table: [(&[Step<'_>], Option<u64>); 4] = [
            (&[Step::Field("prefix")], Some(1)),
            (&[Step::Field("pools"), Step::Item(1), Step::Field("lanes")], Some(5)),
            (&[Step::Field("pools"), Step::Item(1), Step::Field("shards")], Some(4)),
            (&[Step::Field("listen")], None),
        ];
        for (path, expected) in table {
            assert_eq!(lines.of_path(path), expected, "{path:?}");
        }
        assert_eq!(Lines::of("").of_path(&[]), None);
    }
}
