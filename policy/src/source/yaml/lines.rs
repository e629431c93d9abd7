//! YAML as nearly all policies are written in it, read from the text itself: block maps and lists by indentation, flow maps
//! and lists, scalars on one line, comments. A tenth of the time that a parser's events take.
//!
//! Whatever is anything else (scalars over several lines, tags, anchors, directives, values that are not there, tabs) is `None`
//! here and left to the reader of events (`plain`). So this reader refuses nothing and accepts nothing that the others would
//! not read alike; the tests hold it against them.

use super::plain::{is_word, scalar, unique};
use super::{Key, Node, Value};
use serde_saphyr::granit_parser::ScalarStyle;
use std::borrow::Cow;

/// Deeper nesting is the general reader's to refuse.
const MAX_DEPTH: usize = 48;
/// Half of what the general reader takes.
const MAX_NODES: usize = 2_000_000;
/// A longer key might not be one.
const MAX_KEY: usize = 128;

/// Reads one document.
pub(super) fn read(text: &str) -> Option<Node> {
    if !text.bytes().all(|byte| byte == b'\n' || byte >= b' ' && byte != 0x7f) || !text.chars().all(is_printed) {
        return None;
    }
    let mut lines = Lines { text, at: 0, start: 0, line: 1, nodes: 0 };
    let indent = lines.content()?;
    let root = match lines.rest().trim_start_matches(' ').bytes().next()? {
        b'{' | b'[' => {
            lines.at += indent;
            // Over several lines it is another's.
            let root = lines.flow(usize::MAX, 0)?;
            lines.ended()?;
            root
        }
        _ => lines.block(indent, 0)?,
    };
    lines.content().is_none().then_some(root)
}

/// What no reader takes for a break or a mark.
fn is_printed(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}')
}

struct Lines<'t> {
    text: &'t str,
    /// Where reading goes on.
    at: usize,
    /// Where the line begins.
    start: usize,
    /// From 1.
    line: u32,
    nodes: usize,
}

impl<'t> Lines<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next_is(&self, wanted: &[u8]) -> bool {
        self.text.as_bytes().get(self.at + 1).is_none_or(|byte| wanted.contains(byte))
    }

    fn column(&self) -> usize {
        self.at - self.start
    }

    fn blanks(&mut self) {
        while self.peek() == Some(b' ') {
            self.at += 1;
        }
    }

    fn next_line(&mut self) {
        self.at += 1;
        (self.start, self.line) = (self.at, self.line + 1);
    }

    /// From the start of a line to that of the next with something on it, whose indentation it returns; `None` at the end.
    fn content(&mut self) -> Option<usize> {
        loop {
            self.blanks();
            match self.peek()? {
                b'\n' => self.next_line(),
                b'#' => {
                    self.at += self.rest().find('\n')?;
                    self.next_line();
                }
                _ => {
                    let indent = self.column();
                    self.at = self.start;
                    return Some(indent);
                }
            }
        }
    }

    /// Whether nothing but a comment is left of the line.
    fn is_at_end(&self) -> bool {
        let blank_before = self.at.checked_sub(1).and_then(|at| self.text.as_bytes().get(at)) == Some(&b' ');
        match self.peek() {
            None | Some(b'\n') => true,
            Some(byte) => byte == b'#' && blank_before,
        }
    }

    /// On to the next line, if nothing is left of this one.
    fn ended(&mut self) -> Option<()> {
        self.blanks();
        if !self.is_at_end() {
            return None;
        }
        match self.rest().find('\n') {
            Some(end) => {
                self.at += end;
                self.next_line();
            }
            None => (self.at, self.start) = (self.text.len(), self.text.len()),
        }
        Some(())
    }

    fn is_dash(&self) -> bool {
        self.peek() == Some(b'-') && self.next_is(b" \n")
    }

    fn counted(&mut self, depth: usize) -> Option<()> {
        self.nodes += 1;
        (depth <= MAX_DEPTH && self.nodes <= MAX_NODES).then_some(())
    }

    /// The map or list whose first line, from its start on, is so far indented.
    // Recursion is at most MAX_DEPTH deep.
    fn block(&mut self, indent: usize, depth: usize) -> Option<Node> {
        self.at += indent;
        if self.is_dash() { self.items(indent, depth) } else { self.entries(indent, depth) }
    }

    /// A list whose dashes stand in this column, from the first on.
    fn items(&mut self, column: usize, depth: usize) -> Option<Node> {
        self.counted(depth)?;
        let line = self.line;
        let mut items = Vec::new();
        loop {
            self.at += 1;
            self.blanks();
            let item = if self.is_at_end() {
                self.below(column + 1, depth)?
            } else if matches!(self.peek(), Some(b'{' | b'[')) || !self.is_key() {
                self.on_line(column, depth)?
            } else {
                self.entries(self.column(), depth + 1)?
            };
            items.push(item);
            match self.content() {
                Some(indent) if indent == column => {
                    self.at += indent;
                    if !self.is_dash() {
                        self.at = self.start;
                        break;
                    }
                }
                Some(indent) if indent > column => return None,
                Some(_) | None => break,
            }
        }
        Some(Node { line, value: Value::List(items) })
    }

    /// A map whose keys stand in this column, from the first on.
    fn entries(&mut self, column: usize, depth: usize) -> Option<Node> {
        self.counted(depth)?;
        let line = self.line;
        let mut entries = Vec::new();
        loop {
            let key = self.key()?;
            if !self.next_is(b" \n") {
                return None;
            }
            self.at += 1;
            self.blanks();
            // Dashes of a list may stand right below the key.
            let value = if !self.is_at_end() {
                self.on_line(column, depth)?
            } else if let Some(dashes) = self.dashes_at(column) {
                self.at += dashes;
                self.items(column, depth + 1)?
            } else {
                self.below(column + 1, depth)?
            };
            entries.push((key, value));
            match self.content() {
                Some(indent) if indent == column => self.at += indent,
                Some(indent) if indent > column => return None,
                Some(_) | None => break,
            }
        }
        unique(&entries).then_some(Node { line, value: Value::Map(entries) })
    }

    /// Whether the next line with something on it has a dash in this column; then reading goes on at its start.
    fn dashes_at(&mut self, column: usize) -> Option<usize> {
        let (at, start, line) = (self.at, self.start, self.line);
        self.ended()?;
        let found = self.content() == Some(column);
        if found {
            self.at += column;
            let dash = self.is_dash();
            self.at = self.start;
            if dash {
                return Some(column);
            }
        }
        (self.at, self.start, self.line) = (at, start, line);
        None
    }

    /// The map or list on the lines below, indented so far at least.
    fn below(&mut self, least: usize, depth: usize) -> Option<Node> {
        self.ended()?;
        let indent = self.content().filter(|indent| *indent >= least)?;
        self.block(indent, depth + 1)
    }

    /// What ends with its line: a scalar, or a map or list in brackets, which may go on below if indented more than `column`.
    fn on_line(&mut self, column: usize, depth: usize) -> Option<Node> {
        let node = match self.peek()? {
            b'{' | b'[' => self.flow(column, depth + 1)?,
            b'"' | b'\'' => self.quoted_node(depth)?,
            _ => {
                let line = self.line;
                self.counted(depth)?;
                let rest = self.rest();
                let end = rest.find('\n').unwrap_or(rest.len());
                let whole = rest.get(..end)?;
                let text = whole.find(" #").map_or(whole, |comment| whole.get(..comment).unwrap_or(whole));
                let text = text.trim_end_matches(' ');
                if !begins_plain(text) || text.contains(": ") || text.ends_with(':') {
                    return None;
                }
                self.at += text.len();
                Node { line, value: scalar(Cow::Borrowed(text), ScalarStyle::Plain)? }
            }
        };
        self.ended()?;
        Some(node)
    }

    fn quoted_node(&mut self, depth: usize) -> Option<Node> {
        self.counted(depth)?;
        let line = self.line;
        let text = self.quoted()?;
        Some(Node { line, value: Value::Text(text.into_owned()) })
    }

    /// A quoted text that ends on its line and has no escapes but of quotes and backslashes.
    fn quoted(&mut self) -> Option<Cow<'t, str>> {
        let quote = char::from(self.peek()?);
        let (from, mut escaped) = (self.at + 1, false);
        let mut end = from;
        loop {
            let rest = self.text.get(end..)?;
            end += rest.find([quote, '\\', '\n'])?;
            match (self.text.as_bytes().get(end)?, self.text.as_bytes().get(end + 1)) {
                (b'\n', _) => return None,
                (b'\\', _) if quote == '\'' => end += 1,
                (b'\\', Some(b'"' | b'\\')) | (b'\'', Some(b'\'')) => {
                    escaped = true;
                    end += 2;
                }
                (b'\\', _) => return None,
                _ => break,
            }
        }
        let text = self.text.get(from..end)?;
        self.at = end + 1;
        Some(match (escaped, quote) {
            (false, _) => Cow::Borrowed(text),
            (true, '\'') => Cow::Owned(text.replace("''", "'")),
            (true, _) => Cow::Owned(unescaped(text)),
        })
    }

    /// The key that begins here, up to its colon.
    fn key(&mut self) -> Option<Key> {
        let line = self.line;
        self.nodes += 1;
        let name = match self.peek()? {
            b'"' | b'\'' => self.quoted()?,
            _ => {
                let rest = self.rest();
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-./".contains(c))).unwrap_or(rest.len());
                let name = rest.get(..end).filter(|name| is_word(name))?;
                self.at += end;
                Cow::Borrowed(name)
            }
        };
        (name.len() <= MAX_KEY && self.peek() == Some(b':')).then(|| Key { line, name: name.into_owned() })
    }

    /// Whether a key of a block map begins here.
    fn is_key(&mut self) -> bool {
        let (at, nodes) = (self.at, self.nodes);
        let found = self.key().is_some() && self.next_is(b" \n");
        (self.at, self.nodes) = (at, nodes);
        found
    }

    /// A value in flow style.
    // Recursion is at most MAX_DEPTH deep.
    fn flow(&mut self, column: usize, depth: usize) -> Option<Node> {
        let line = self.line;
        match self.peek()? {
            b'[' => {
                self.counted(depth)?;
                let mut items = Vec::new();
                self.at += 1;
                while !self.closed(b']', column, items.is_empty())? {
                    items.push(self.flow(column, depth + 1)?);
                }
                Some(Node { line, value: Value::List(items) })
            }
            b'{' => {
                self.counted(depth)?;
                let mut entries = Vec::new();
                self.at += 1;
                while !self.closed(b'}', column, entries.is_empty())? {
                    let plain = !matches!(self.peek(), Some(b'"' | b'\''));
                    let key = self.key()?;
                    if plain && !self.next_is(b" ") {
                        return None;
                    }
                    self.at += 1;
                    self.blanks();
                    entries.push((key, self.flow(column, depth + 1)?));
                }
                unique(&entries).then_some(Node { line, value: Value::Map(entries) })
            }
            b'"' | b'\'' => self.quoted_node(depth),
            _ => {
                self.counted(depth)?;
                let rest = self.rest();
                let end = rest.find([',', '[', ']', '{', '}', '\n', '#'])?;
                let text = rest.get(..end)?;
                // A comment, or what may be one.
                if rest.as_bytes().get(end) == Some(&b'#') {
                    return None;
                }
                let text = text.trim_end_matches(' ');
                if !begins_plain(text) || text.contains(": ") || text.ends_with(':') {
                    return None;
                }
                self.at += text.len();
                Some(Node { line, value: scalar(Cow::Borrowed(text), ScalarStyle::Plain)? })
            }
        }
    }

    /// Goes to the next element of a map or list in brackets, or past its end.
    fn closed(&mut self, end: u8, column: usize, first: bool) -> Option<bool> {
        self.flow_blanks(column)?;
        let next = self.peek()?;
        if next == end {
            self.at += 1;
            return Some(true);
        }
        if !first {
            if next != b',' {
                return None;
            }
            self.at += 1;
            self.flow_blanks(column)?;
            // A comma before the end is another's to read.
            return (self.peek()? != end).then_some(false);
        }
        Some(false)
    }

    /// Over blanks, and to a next line that is indented more than `column`.
    fn flow_blanks(&mut self, column: usize) -> Option<()> {
        self.blanks();
        if self.peek()? == b'\n' {
            self.next_line();
            self.blanks();
            let goes_on = column != usize::MAX && self.column() > column && !matches!(self.peek()?, b'\n' | b'#');
            return goes_on.then_some(());
        }
        Some(())
    }
}

/// Whether a plain scalar surely begins so.
fn begins_plain(text: &str) -> bool {
    match text.as_bytes() {
        [b'-', second, ..] => second.is_ascii_alphanumeric(),
        [first, ..] => first.is_ascii_alphanumeric() || b"/._($~".contains(first) || *first >= 0x80,
        [] => false,
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::general;
    use super::super::plain::tests::{draw, mutilated};
    use super::read;

    /// Both readers say the same, as far as this one says anything. Whether it did.
    fn agree(text: &str) -> bool {
        let Some(read) = read(text) else { return false };
        match general(text) {
            Ok(general) => assert_eq!(format!("{read:?}"), format!("{general:?}"), "{text}"),
            Err(error) => panic!("{text}\nread here, but: {error}"),
        }
        true
    }

    const FILES: [&str; 4] = [
        include_str!("../../../tests/import/golden/office.safety.yaml"),
        include_str!("../../../tests/import/golden/office.bundle.yaml"),
        include_str!("../../../tests/import/golden/tenants.bundle.yaml"),
        "# a\nid: b\nrevision: 7\nderivers:\n- { tag: t, topics: [job.x, 'job.*'], field: /to }\n-   tag: u # why\n    topics:\n      - \"a \\\"b\\\"\"\n\
         \n      # no\n      - it's\n    test: { k: [a,\n      b], l: {m: -5, p: 1.5},\n     o: '' }\nrules:\n  -\n    id: x\n    when: a.b > 5 && c == 'd' # e\n  - [a]\n  - f g\n  - 'h'\n",
    ];

    #[test]
    fn files_as_people_write_them_are_read_here() {
        for file in FILES {
            assert!(agree(file), "{file}");
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        let texts = [
            "",
            "a",
            "a:",
            "a: 1\na: 2",
            "a: |\n  b",
            "a: b\n  c",
            "a: &x 1",
            "a: *x",
            "a: !t 1",
            "a: 1\n--- \nb: 2",
            "a: [",
            "a: [b: c]",
            "a: {b}",
            "a: [b,]",
            "a: {b: }",
            "a:\t1",
            "a: 1\r\n",
            "? a\n: b",
            "- a\nb: c",
            "a: b: c",
            "a: \"b\n  c\"",
            "5: a",
            "null: a",
            "a: [b\n]",
            "a:\n  - b\n  c: d",
            "a: 'b' c",
            "a: [b]c",
            "a: \"\\x41\"",
            "- - a",
            "a: @b",
            "a: }",
        ];
        for text in texts {
            assert!(read(text).is_none(), "{text}");
            agree(text);
        }
    }

    #[test]
    fn random_documents_are_read_alike() {
        let mut random = fastrand::Rng::with_seed(12);
        let mut known = 0;
        for _ in 0..6_000 {
            let whole = format!("root:{}", draw(&mut random, 3));
            let text = if random.bool() { mutilated(&mut random, whole) } else { whole };
            known += usize::from(agree(&text));
        }
        assert!(known > 800, "{known}");
    }

    #[test]
    fn mutilated_files_are_read_alike() {
        let mut random = fastrand::Rng::with_seed(13);
        let mut known = 0;
        for round in 0..4_000 {
            let text = mutilated(&mut random, FILES[round % FILES.len()].to_owned());
            known += usize::from(agree(&text));
        }
        assert!(known > 1_000, "{known}");
    }
}
