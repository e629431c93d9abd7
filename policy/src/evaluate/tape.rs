//! JSON as small payloads have it, read straight onto a tape: texts without escapes, whole numbers of few digits, little
//! nesting. The parser finds the structure of a payload before it reads it, which pays for large ones.
//!
//! Anything else, and anything wrong, is `None` here and left to the parser: so this reads nothing that the parser would not
//! read alike, which the tests hold against it.

use simd_json::{Node, StaticNode};

/// Longer payloads are the parser's.
pub(super) const MOST_BYTES: usize = 512;
/// Deeper ones too.
const MAX_DEPTH: usize = 8;
/// More digits than fit into 64 bits for certain.
const MAX_DIGITS: usize = 18;

/// Fills an empty tape.
pub(super) fn read<'t>(bytes: &'t [u8], tape: &mut Vec<Node<'t>>) -> Option<()> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader { text, bytes, at: 0 };
    reader.blanks();
    reader.value(tape, 0)?;
    reader.blanks();
    (reader.at == bytes.len()).then_some(())
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
}

impl<'t> Reader<'t> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn takes(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    // Recursion is at most MAX_DEPTH deep.
    fn value(&mut self, tape: &mut Vec<Node<'t>>, depth: usize) -> Option<()> {
        let node = match self.peek()? {
            b'"' => Node::String(self.string()?),
            b'{' => return self.members(tape, depth + 1),
            b'[' => return self.elements(tape, depth + 1),
            b't' => self.word("true", StaticNode::Bool(true))?,
            b'f' => self.word("false", StaticNode::Bool(false))?,
            b'n' => self.word("null", StaticNode::Null)?,
            _ => self.number()?,
        };
        tape.push(node);
        Some(())
    }

    fn members(&mut self, tape: &mut Vec<Node<'t>>, depth: usize) -> Option<()> {
        let (place, mut len) = self.opened(tape, Node::Object { len: 0, count: 0 }, depth)?;
        if !self.takes(b'}') {
            loop {
                let name = self.string()?;
                tape.push(Node::String(name));
                self.blanks();
                if !self.takes(b':') {
                    return None;
                }
                self.blanks();
                self.value(tape, depth)?;
                len += 1;
                if self.closed(b'}')? {
                    break;
                }
            }
        }
        let count = tape.len() - place - 1;
        *tape.get_mut(place)? = Node::Object { len, count };
        Some(())
    }

    fn elements(&mut self, tape: &mut Vec<Node<'t>>, depth: usize) -> Option<()> {
        let (place, mut len) = self.opened(tape, Node::Array { len: 0, count: 0 }, depth)?;
        if !self.takes(b']') {
            loop {
                self.value(tape, depth)?;
                len += 1;
                if self.closed(b']')? {
                    break;
                }
            }
        }
        let count = tape.len() - place - 1;
        *tape.get_mut(place)? = Node::Array { len, count };
        Some(())
    }

    /// Where on the tape what begins here stands, and that it has nothing yet.
    fn opened(&mut self, tape: &mut Vec<Node<'t>>, node: Node<'t>, depth: usize) -> Option<(usize, usize)> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.blanks();
        tape.push(node);
        Some((tape.len() - 1, 0))
    }

    /// After a member or element: whether that was the last.
    #[inline]
    fn closed(&mut self, end: u8) -> Option<bool> {
        self.blanks();
        if self.takes(b',') {
            self.blanks();
            return Some(false);
        }
        self.takes(end).then_some(true)
    }

    #[inline]
    fn string(&mut self) -> Option<&'t str> {
        if !self.takes(b'"') {
            return None;
        }
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < b' ')?;
        if rest.get(length) != Some(&b'"') {
            return None;
        }
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length + 1;
        Some(text)
    }

    fn word(&mut self, word: &str, node: StaticNode) -> Option<Node<'t>> {
        if !self.text.get(self.at..)?.starts_with(word) {
            return None;
        }
        self.at += word.len();
        self.ended().then_some(Node::Static(node))
    }

    #[inline]
    fn number(&mut self) -> Option<Node<'t>> {
        let negative = self.takes(b'-');
        let from = self.at;
        let mut number = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - from;
        let padded = digits > 1 && self.bytes.get(from) == Some(&b'0');
        if digits == 0 || digits > MAX_DIGITS || padded || negative && number == 0 || !self.ended() {
            return None;
        }
        Some(Node::Static(match negative {
            // At most MAX_DIGITS: it fits.
            true => StaticNode::I64(-i64::try_from(number).ok()?),
            false => StaticNode::U64(number),
        }))
    }

    /// Whether a number or word ends here.
    #[inline]
    fn ended(&self) -> bool {
        matches!(self.peek(), None | Some(b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both say the same, as far as this says anything. Whether it did.
    fn agree(text: &[u8]) -> bool {
        let mut tape = Vec::new();
        if read(text, &mut tape).is_none() {
            return false;
        }
        let mut copy = text.to_vec();
        let shown = String::from_utf8_lossy(text).into_owned();
        let parsed = simd_json::to_tape(&mut copy).unwrap_or_else(|error| panic!("{shown}: read, but {error}"));
        assert_eq!(format!("{tape:?}"), format!("{:?}", parsed.0), "{shown}");
        true
    }

    #[test]
    fn payloads_as_jobs_have_them_are_read_here() {
        for text in [
            r#"{"order":"o-1","amount":9007199254740993,"currency":"EUR","note":"as agreed"}"#,
            r#" { "to" : { "iban" : "DE12", "names" : [ "ä", "ß" ] } , "n" : [ 1 , -2, 0, true , false, null, {}, [] ] } "#,
            "null",
            "7",
            "\"a\"",
            "[[[[[[[[]]]]]]]]",
        ] {
            assert!(agree(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_odd_is_left_to_the_parser() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "[1 2]",
            "01",
            "-",
            "-0",
            "1.0",
            "1e3",
            "1234567890123456789",
            "+1",
            "tru",
            "truex",
            "nulll",
            "\"a",
            "\"\\n\"",
            "\"a\nb\"",
            "{a:1}",
            "[1]]",
            "[1] x",
            "1x",
            "[[[[[[[[[]]]]]]]]]",
            "\u{feff}1",
        ] {
            assert!(read(text.as_bytes(), &mut Vec::new()).is_none(), "{text}");
        }
        assert!(read(b"\"\xff\"", &mut Vec::new()).is_none());
    }

    #[test]
    fn mutilated_payloads_are_read_alike() {
        let whole = r#"{"a":{"b":[1,-20,"x y","ö"],"c":null},"d":true,"e":[[],{}],"f":"","g":false,"h":0}"#;
        let odd = b"\"{}[],:-0159.eE tfn\\\x00\n\xc3";
        let mut random = fastrand::Rng::with_seed(5);
        let mut known = 0;
        for _ in 0..60_000 {
            let mut bytes = whole.as_bytes().to_vec();
            for _ in 0..random.usize(1..4) {
                let (at, byte) = (random.usize(..bytes.len()), odd[random.usize(..odd.len())]);
                match random.u32(..3) {
                    0 => bytes.insert(at, byte),
                    1 => drop(bytes.remove(at)),
                    _ => bytes[at] = byte,
                }
            }
            known += usize::from(agree(&bytes));
        }
        assert!(known > 3_000, "{known}");
    }
}
