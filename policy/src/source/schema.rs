//! `schemas`: what is in the payloads of some topics.
//!
//! `{topics: [..], fields: {amount: number, to: {iban: string}, items: [{sku: string}], note: string?}}`. A `?` says that
//! the field may be missing; every field a condition reads may be, so it only tells readers.

use super::fields::{Fields, Reader, excerpt};
use super::yaml::{Key, Node, Value};
use crate::glob::Syntax;
use crate::language::Schema;
use crate::when::{self, Kind};
use std::sync::Arc;

pub(super) fn read(reader: &mut Reader<'_>, fields: Fields<'_>, syntax: Syntax, what: &str) -> Vec<Schema> {
    let Some(node) = fields.get("schemas") else { return Vec::new() };
    let Some(items) = reader.filled_list(node, &format!("`schemas` of {what}")) else { return Vec::new() };
    items.iter().filter_map(|item| one(reader, item, syntax)).collect()
}

fn one(reader: &mut Reader<'_>, node: &Node, syntax: Syntax) -> Option<Schema> {
    let entry = reader.fields(node, "a schema")?;
    reader.only(entry, "a schema", &["topics", "fields"], &[]);
    let topics = reader.required(entry, "topics", "a schema");
    let topics = topics.and_then(|node| reader.globs_of(node, syntax, "`topics` of a schema"));
    let fields =
        reader.required(entry, "fields", "a schema").and_then(|node| record(reader, node, "`fields` of a schema", 1));
    Some(Schema { topics: topics?, fields: fields? })
}

fn record(reader: &mut Reader<'_>, node: &Node, what: &str, depth: usize) -> Option<when::Fields> {
    if depth > when::MAX_FIELD_DEPTH {
        reader.wrong(node.line, format!("{what} is deeper than {}", when::MAX_FIELD_DEPTH), "declare fewer levels");
        return None;
    }
    let entries = reader.fields(node, what)?;
    let mut fields = when::Fields::new();
    for (key, node) in entries.iter() {
        let kind = kind(reader, key, node, depth)?;
        fields.declare(key.name.strip_suffix('?').unwrap_or(&key.name), kind);
    }
    Some(fields)
}

fn kind(reader: &mut Reader<'_>, key: &Key, node: &Node, depth: usize) -> Option<Kind> {
    let what = format!("field `{}`", excerpt(&key.name));
    match &node.value {
        Value::Text(word) => {
            let plain = word.strip_suffix('?').unwrap_or(word);
            Kind::word(plain)
                .map_err(|why| reader.wrong(node.line, format!("the kind of {what}: {why}"), "correct the word"))
                .ok()
        }
        Value::Map(_) => record(reader, node, &what, depth + 1).map(|fields| Kind::Record(Arc::new(fields))),
        Value::List(items) => match items.as_slice() {
            [of] => kind(reader, key, of, depth + 1).map(Kind::list),
            _ => {
                reader.wrong(node.line, format!("{what} is a list of {} kinds", items.len()), "write one: `[string]`");
                None
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            reader.wrong(
                node.line,
                format!("the kind of {what} is {}", node.value.kind()),
                "write a word as `string` or `number`, a map of fields, or a list of one kind",
            );
            None
        }
    }
}
