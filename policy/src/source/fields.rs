//! Reading the fields of a map, collecting what is wrong instead of stopping at it.

use super::yaml::{Key, Node, Value};
use crate::glob::{Glob, Syntax};
use crate::language::TextSet;
use crate::number::Number;
use crate::problem::Problem;
use std::collections::BTreeSet;
use std::fmt::Display;

/// One file being read and what was found wrong in it. What a value is called (`what`) is put into words only where
/// something is wrong with it.
#[derive(Debug)]
pub(crate) struct Reader<'f> {
    pub(crate) file: &'f str,
    pub(crate) problems: Vec<Problem>,
}

/// The entries of a map, and what an author would call it (`rule `pay-large``).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'n> {
    pub(crate) line: u32,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    pub(crate) fn get(self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = (&'n Key, &'n Node)> {
        self.entries.iter().map(|(key, node)| (key, node))
    }
}

impl<'f> Reader<'f> {
    pub(crate) fn new(file: &'f str) -> Self {
        Self { file, problems: Vec::new() }
    }

    pub(crate) fn wrong(&mut self, line: u32, reason: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(self.file, line, reason, remedy));
    }

    fn wrong_type(&mut self, node: &Node, what: impl Display + Copy, wanted: &str) {
        let got = match &node.value {
            Value::Bool(value) => format!("the boolean `{value}`"),
            Value::Number(number) => format!("the number `{number}`"),
            Value::Text(text) => format!("the text `{}`", excerpt(text)),
            other @ (Value::Null | Value::List(_) | Value::Map(_)) => other.kind().to_owned(),
        };
        let remedy = match (&node.value, wanted) {
            (Value::Bool(_) | Value::Number(_), "text") => "put it in quotes".to_owned(),
            _ => format!("write {wanted}"),
        };
        self.wrong(node.line, format!("{what} must be {wanted}, not {got}"), remedy);
    }

    /// The node as a map.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, what: impl Display + Copy) -> Option<Fields<'n>> {
        if let Value::Map(entries) = &node.value {
            Some(Fields { line: node.line, entries })
        } else {
            self.wrong_type(node, what, "a map");
            None
        }
    }

    /// Refuses fields that are not known; for those that people may look for here, with what to do instead.
    pub(crate) fn only(
        &mut self,
        fields: Fields<'_>,
        what: impl Display + Copy,
        known: &[&str],
        instead: &[(&str, &str)],
    ) {
        for (key, _) in fields.iter() {
            let name = key.name.as_str();
            if known.contains(&name) {
                continue;
            }
            match instead.iter().find(|(looked_for, _)| *looked_for == name) {
                Some((_, remedy)) => self.wrong(key.line, format!("{what} cannot have `{name}`"), *remedy),
                None => self.unknown(key, what, known),
            }
        }
    }

    /// Refuses a field that is not known.
    pub(crate) fn unknown(&mut self, key: &Key, what: impl Display + Copy, known: &[&str]) {
        self.wrong(
            key.line,
            format!("unknown field `{}` in {what}", excerpt(&key.name)),
            format!("remove or correct it; known here: {}", known.join(", ")),
        );
    }

    /// A field that must be there.
    pub(crate) fn required<'n>(
        &mut self,
        fields: Fields<'n>,
        name: &str,
        what: impl Display + Copy,
    ) -> Option<&'n Node> {
        let node = fields.get(name);
        if node.is_none() {
            self.wrong(fields.line, format!("{what} has no `{name}`"), format!("add `{name}`"));
        }
        node
    }

    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: impl Display + Copy) -> Option<&'n [Node]> {
        if let Value::List(items) = &node.value {
            Some(items)
        } else {
            self.wrong_type(node, what, "a list");
            None
        }
    }

    /// Text that is not empty.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: impl Display + Copy) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) if text.is_empty() => {
                self.wrong(node.line, format!("{what} is empty"), "write its value or remove the field");
                None
            }
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Map(_) => {
                self.wrong_type(node, what, "text");
                None
            }
        }
    }

    pub(crate) fn optional_text(
        &mut self,
        fields: Fields<'_>,
        name: &str,
        what: impl Display + Copy,
    ) -> Option<Box<str>> {
        fields.get(name).and_then(|node| self.text(node, format_args!("`{name}` of {what}"))).map(Box::from)
    }

    /// Text that names something: letters, digits and `. _ - : /`, at most 128 bytes.
    pub(crate) fn name<'n>(&mut self, node: &'n Node, what: impl Display + Copy) -> Option<&'n str> {
        let text = self.text(node, what)?;
        if text.len() <= 128 && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-:/".contains(c)) {
            return Some(text);
        }
        self.wrong(
            node.line,
            format!("{what} `{}` is not a name", excerpt(text)),
            "use up to 128 letters, digits and any of `. _ - : /`",
        );
        None
    }

    pub(crate) fn flag(&mut self, fields: Fields<'_>, name: &str, what: impl Display + Copy) -> Option<bool> {
        let Some(node) = fields.get(name) else { return Some(false) };
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.wrong_type(node, format_args!("`{name}` of {what}"), "true or false");
        None
    }

    /// A whole number from 0.
    pub(crate) fn whole(&mut self, node: &Node, what: impl Display + Copy) -> Option<u64> {
        if let Value::Number(Number::Int(value)) = node.value
            && let Ok(value) = u64::try_from(value)
        {
            return Some(value);
        }
        self.wrong_type(node, what, "a whole number from 0");
        None
    }

    /// A list of texts, none twice, at least one; missing means empty.
    pub(crate) fn texts(&mut self, fields: Fields<'_>, name: &str, what: impl Display + Copy) -> Option<TextSet> {
        let Some(node) = fields.get(name) else { return Some(TextSet::new()) };
        self.text_set(node, format_args!("`{name}` of {what}"))
    }

    pub(crate) fn text_set(&mut self, node: &Node, what: impl Display + Copy) -> Option<TextSet> {
        let items = self.filled_list(node, what)?;
        let mut set = TextSet::new();
        let mut sound = true;
        for item in items {
            match self.text(item, format_args!("an entry of {what}")) {
                Some(text) => {
                    if !set.insert(text.into()) {
                        self.wrong(item.line, format!("`{}` stands twice in {what}", excerpt(text)), "remove one");
                        sound = false;
                    }
                }
                None => sound = false,
            }
        }
        sound.then_some(set)
    }

    /// A list with something in it: an empty one could mean everything or nothing.
    pub(crate) fn filled_list<'n>(&mut self, node: &'n Node, what: impl Display + Copy) -> Option<&'n [Node]> {
        let items = self.list(node, what)?;
        if items.is_empty() {
            self.wrong(node.line, format!("{what} is empty"), "leave it out to mean any, or list what is meant");
            return None;
        }
        Some(items)
    }

    /// What an attribute must be and must not be: `[..]`, or `{in: [..], not_in: [..]}`; missing means neither.
    pub(super) fn in_or_not(
        &mut self,
        fields: Fields<'_>,
        name: &str,
        what: impl Display + Copy,
    ) -> Option<(TextSet, TextSet)> {
        let Some(node) = fields.get(name) else { return Some(Default::default()) };
        let what = format_args!("`{name}` of {what}");
        let Value::Map(_) = &node.value else {
            return self.text_set(node, what).map(|texts| (texts, TextSet::new()));
        };
        let (wanted, unwanted) = self.pair(node, what)?;
        let mut read = |node: Option<&Node>, name: &str| match node {
            Some(node) => self.text_set(node, format_args!("`{name}` of {what}")),
            None => Some(TextSet::new()),
        };
        let (wanted, unwanted) = (read(wanted, "in"), read(unwanted, "not_in"));
        Some((wanted?, unwanted?))
    }

    /// The parts of `{in, not_in}`, of which there is at least one.
    pub(super) fn pair<'n>(
        &mut self,
        node: &'n Node,
        what: impl Display + Copy,
    ) -> Option<(Option<&'n Node>, Option<&'n Node>)> {
        let fields = self.fields(node, what)?;
        self.only(fields, what, &["in", "not_in"], &[]);
        let pair = (fields.get("in"), fields.get("not_in"));
        if pair.0.is_none() && pair.1.is_none() {
            self.wrong(node.line, format!("{what} is empty"), "write a list, or `in` and `not_in`");
            return None;
        }
        Some(pair)
    }

    /// A list of topic globs.
    pub(super) fn globs_of(
        &mut self,
        node: &Node,
        syntax: Syntax,
        what: impl Display + Copy,
    ) -> Option<BTreeSet<Glob>> {
        let mut globs = BTreeSet::new();
        let mut sound = true;
        for item in self.filled_list(node, what)? {
            let Some(text) = self.text(item, format_args!("an entry of {what}")) else {
                sound = false;
                continue;
            };
            match Glob::parse(text, syntax) {
                Ok(glob) => {
                    globs.insert(glob);
                }
                Err(why) => {
                    sound = false;
                    self.wrong(item.line, format!("bad glob `{}` in {what}: {why}", excerpt(text)), syntax.remedy());
                }
            }
        }
        sound.then_some(globs)
    }

    /// One of a closed set of words.
    pub(crate) fn choice<T: Copy>(&mut self, node: &Node, what: impl Display + Copy, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|&(_, value)| value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.wrong(
                node.line,
                format!("unknown {what} `{}`", excerpt(text)),
                format!("use one of: {}", known.join(", ")),
            );
        }
        found
    }
}

/// User input in a message, shortened.
pub(super) fn excerpt(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}
