//! The plain part of YAML, straight from the parser's events: what almost every policy is written in, at a fifth of the
//! time. Whatever stands outside of it (tags, anchors and aliases, merge keys, a second document, keys twice, deep nesting,
//! anything wrong) is `None` here and left to the general reader, which also finds the words for what is wrong. So this
//! reader refuses nothing and accepts nothing that the general one would not read alike; the tests hold one against the other.

use super::{Key, Node, Value, general};
use crate::number::Number;
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Deeper nesting is the general reader's to refuse.
const MAX_DEPTH: usize = 48;
/// Half of what the general reader takes.
const MAX_NODES: usize = 2_000_000;
/// Keys of a map compared with each other one by one.
const FEW_KEYS: usize = 16;

/// Reads one plain document.
pub(super) fn read(text: &str) -> Option<Node> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut events = Events { parser: Parser::new_from_str_with_options(text, options), nodes: 0 };
    let (Event::StreamStart, _) = events.next()? else { return None };
    let (Event::DocumentStart(_, None), _) = events.next()? else { return None };
    let root = events.node(0)?;
    let (Event::DocumentEnd, _) = events.next()? else { return None };
    let (Event::StreamEnd, _) = events.next()? else { return None };
    Some(root)
}

struct Events<'t> {
    parser: Parser<'t, StrInput<'t>>,
    nodes: usize,
}

impl<'t> Events<'t> {
    fn next(&mut self) -> Option<(Event<'t>, Span)> {
        self.parser.next_event()?.ok()
    }

    fn node(&mut self, depth: usize) -> Option<Node> {
        let (event, at) = self.next()?;
        self.started(event, at, depth)
    }

    // Recursion is at most MAX_DEPTH deep.
    fn started(&mut self, event: Event<'t>, at: Span, depth: usize) -> Option<Node> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return None;
        }
        let line = line(at);
        let value = match event {
            Event::Scalar(text, style, 0, None) => scalar(text, style)?,
            Event::SequenceStart(_, 0, None) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, at) => items.push(self.started(event, at, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, 0, None) => Value::Map(self.entries(depth)?),
            Event::Alias(_) | _ => return None,
        };
        Some(Node { line, value })
    }

    fn entries(&mut self, depth: usize) -> Option<Vec<(Key, Node)>> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        loop {
            let (text, style, at) = match self.next()? {
                (Event::MappingEnd, _) => break,
                (Event::Scalar(text, style, 0, None), at) => (text, style, at),
                _ => return None,
            };
            if style == ScalarStyle::Plain && !is_word(&text) {
                return None;
            }
            self.nodes += 1;
            let key = Key { line: line(at), name: text.into_owned() };
            entries.push((key, self.node(depth + 1)?));
        }
        unique(&entries).then_some(entries)
    }
}

fn line(at: Span) -> u32 {
    u32::try_from(at.start.line()).unwrap_or(u32::MAX)
}

pub(super) fn unique(entries: &[(Key, Node)]) -> bool {
    let names = || entries.iter().map(|(key, _)| key.name.as_str());
    if entries.len() <= FEW_KEYS {
        return names().enumerate().all(|(at, name)| names().take(at).all(|before| before != name));
    }
    names().collect::<BTreeSet<_>>().len() == entries.len()
}

pub(super) fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Option<Value> {
    if style != ScalarStyle::Plain || is_word(&text) {
        return Some(Value::Text(text.into_owned()));
    }
    match &*text {
        // Neither a number nor a boolean has blanks inside; and alone, `--- 1` would be a document and its marker.
        _ if text.contains([' ', '\n', '\t']) => Some(Value::Text(text.into_owned())),
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ if is_whole(&text) => text.parse::<i64>().ok().map(|int| Value::Number(Number::Int(int.into()))),
        // What else a plain scalar is, the general reader says.
        _ => match general(&text).ok()?.value {
            Value::Text(same) => (same == *text).then_some(Value::Text(same)),
            value @ (Value::Bool(_) | Value::Number(_)) => Some(value),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        },
    }
}

/// A plain scalar that is text whatever schema is read by: it begins with a letter and is none of the words for nothing,
/// booleans and floats.
pub(super) fn is_word(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n", "inf", "infinity", "nan"];
    first && !(text.len() <= 8 && words.iter().any(|word| text.eq_ignore_ascii_case(word)))
}

/// A decimal integer that fits, without sign and leading zero.
fn is_whole(text: &str) -> bool {
    text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Both readers say the same, as far as this one says anything. Whether it did.
    fn agree(text: &str) -> bool {
        let Some(plain) = read(text) else { return false };
        match general(text) {
            Ok(general) => assert_eq!(format!("{plain:?}"), format!("{general:?}"), "{text}"),
            Err(error) => panic!("{text}\nread here, but: {error}"),
        }
        true
    }

    #[test]
    fn files_as_people_write_them_are_plain() {
        let texts = [
            include_str!("../../../tests/import/golden/office.safety.yaml"),
            include_str!("../../../tests/import/golden/office.bundle.yaml"),
            include_str!("../../../tests/import/golden/tenants.bundle.yaml"),
        ];
        assert!(texts.iter().all(|text| agree(text)));
    }

    #[test]
    fn scalars_are_read_alike() {
        let scalars = "a|yes|No|null|~|true|True|FALSE|0|7|-7|+7|07|0x1F|0o17|0b1|1_000|1.5|-0.5|.5|5.|1e3|1e999|.inf|.nan|nan|\
            inf|Infinity|24h|30s|08:00-18:00|2026-01-01|/amount|job.>|@x|a b|a#b|-x|?x|:x|12:30:45|\"5\"|'true'|\"\\u0041\"|''|\
            9223372036854775807|9223372036854775808|18446744073709551615|18446744073709551616|99999999999999999999|-9223372036854775808|1.|0.1|00|=|<<|%x";
        let known = scalars.split('|').filter(|scalar| {
            [format!("k: {scalar}\n"), format!("[{scalar}, {scalar}]"), format!("- {scalar}\n- b: {scalar}\n")]
                .iter()
                .all(|text| agree(text))
        });
        assert!(known.count() > 30);
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_general_reader() {
        let texts = [
            "",
            "a: 1\na: 2",
            "a: &x 1\nb: *x",
            "a: !!str 1",
            "--- a\n--- b",
            "<<: {a: 1}",
            "? [a]\n: b",
            "%YAML 1.2\n---\na: 1",
            "a: [",
            "null: 1",
            "5: 1",
        ];
        for text in texts {
            assert!(read(text).is_none(), "{text}");
        }
    }

    /// Text from pieces, with mistakes.
    pub(in super::super) fn draw(random: &mut fastrand::Rng, depth: usize) -> String {
        let scalars = [
            "a", "job.>", "5", "1.5", "true", "no", "24h", "\"q: x\"", "'it''s'", "~", "-3", "a b", "/x", "*", "08:00",
        ];
        let mut scalar = || scalars[random.usize(..scalars.len())].to_owned();
        let few = [scalar(), scalar(), scalar()];
        if depth == 0 {
            return format!(" {}\n", few[0]);
        }
        let indent = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
        match random.u32(..7) {
            0 => format!(" [{}, {}]\n", few[0], few[1]),
            1 => format!(" {{ k: {}, l: {}, m: [{}] }} # why\n", few[0], few[1], few[2]),
            2 => format!("\n{}", indent(&format!("- {}\n-{}", few[0], draw(random, depth - 1)))),
            3 => format!(" |\n{}", indent("some\n  text")),
            4 => format!(" >-\n{}", indent("folded\ntext")),
            _ => {
                let (one, two) = (draw(random, depth - 1), draw(random, depth - 1));
                format!("\n{}", indent(&format!("key:{one}\"other\":{two}third: {}\n", few[0])))
            }
        }
    }

    /// A text with one or two mistakes.
    pub(in super::super) fn mutilated(random: &mut fastrand::Rng, mut text: String) -> String {
        for _ in 0..random.usize(1..3) {
            let at = random.usize(..text.len());
            let odd = [
                ":", " ", "\n", "#", "-", "&a ", "*a", "\"", "'", "{", "}", "[", "]", ",", "!", "?", "\t", "|", "%",
                "---\n", "0", "  ", "\\", ">", "\n- ", " #", ": ",
            ];
            if text.is_char_boundary(at) {
                match random.bool() {
                    true => text.insert_str(at, odd[random.usize(..odd.len())]),
                    false => drop(text.remove(at)),
                }
            }
        }
        text
    }

    #[test]
    fn random_documents_are_read_alike() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut plain = 0;
        for _ in 0..6_000 {
            let whole = format!("root:{}", draw(&mut random, 3));
            let text = if random.bool() { mutilated(&mut random, whole) } else { whole };
            plain += usize::from(agree(&text));
        }
        assert!(plain > 2_000, "{plain}");
    }
}
