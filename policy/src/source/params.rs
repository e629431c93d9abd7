//! Named values of a bundle.

use super::deriver::scalars;
use super::fields::{Fields, Reader, excerpt};
use super::yaml::{Node, Value};
use crate::language::Scalars;
use crate::when::Param;
use std::collections::BTreeMap;

/// As written, by name.
pub(super) type Params<'n> = BTreeMap<&'n str, &'n Node>;

/// A value is a scalar or a list of scalars of one kind.
pub(super) fn read<'n>(reader: &mut Reader<'_>, fields: Fields<'n>, what: &str) -> Params<'n> {
    let Some(node) = fields.get("params") else { return BTreeMap::new() };
    let Some(entries) = reader.fields(node, &format!("`params` of {what}")) else { return BTreeMap::new() };
    let mut params = BTreeMap::new();
    for (key, node) in entries.iter() {
        let sound = match &node.value {
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => true,
            Value::List(_) => scalars(reader, node, &format!("parameter `{}`", excerpt(&key.name))).is_some(),
            Value::Null | Value::Map(_) => {
                reader.wrong(
                    node.line,
                    format!("parameter `{}` is {}", excerpt(&key.name), node.value.kind()),
                    "give it a text, a number, a boolean or a list of texts or of numbers",
                );
                false
            }
        };
        if sound {
            params.insert(key.name.as_str(), node);
        }
    }
    params
}

/// As conditions see them.
pub(super) fn typed(reader: &mut Reader<'_>, params: &Params<'_>) -> BTreeMap<Box<str>, Param> {
    let typed = |(name, node): (&&str, &&Node)| {
        let param = match &node.value {
            Value::Bool(value) => Param::Bool(*value),
            Value::Number(number) => Param::Number(*number),
            Value::Text(text) => Param::Text(text.as_str().into()),
            // Wrong ones are not among the parameters any more.
            Value::List(_) => match scalars(reader, node, "a parameter")? {
                Scalars::Texts(texts) => Param::Texts(texts.into_iter().collect()),
                Scalars::Numbers(numbers) => Param::Numbers(numbers),
            },
            Value::Null | Value::Map(_) => return None,
        };
        Some(((*name).into(), param))
    };
    params.iter().filter_map(typed).collect()
}

/// `params.NAME` stands for the parameter; anything else for itself.
pub(super) fn resolve<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
    what: &str,
    params: &Params<'n>,
) -> Option<&'n Node> {
    let Value::Text(text) = &node.value else { return Some(node) };
    let Some(name) = text.strip_prefix("params.") else { return Some(node) };
    let found = params.get(name).copied();
    if found.is_none() {
        reader.wrong(
            node.line,
            format!("{what} names the parameter `{}`, which the bundle does not have", excerpt(name)),
            "add it under `params` or correct the name",
        );
    }
    found
}
