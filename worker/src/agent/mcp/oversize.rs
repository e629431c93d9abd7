//! A message that is too large to be taken in: whose answer it is, read from its bytes as they go by.
//!
//! One server serves all jobs, and what one of them gets back must not cost the others their calls. So a line that is too long
//! is not the end of the conversation: it is passed over, and its call fails. No more of it is kept than its ids.

/// Most ids of one line.
const IDS: usize = 100;
/// Longest key or id that is looked at, bytes.
const WORD: usize = 24;

/// Looks for the ids of the responses in a message, or in an array of them.
#[derive(Debug, Default)]
pub(super) struct Ids {
    depth: u32,
    /// Depth of the members of a message: 1, or 2 within an array.
    level: u32,
    in_string: bool,
    escaped: bool,
    /// A value follows, not a key.
    of_value: bool,
    /// The key or the bare value that is being read; cut off.
    word: Vec<u8>,
    /// The last key at `level`.
    key: Vec<u8>,
    id: Option<u64>,
    /// It asks for something: its id is the server's own.
    asks: bool,
    found: Vec<u64>,
}

impl Ids {
    /// Goes on with the next bytes of the line.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.in_string {
                self.within_string(*byte);
            } else {
                self.outside(*byte);
            }
        }
    }

    /// The ids of all responses in it.
    pub(super) fn found(self) -> Vec<u64> {
        self.found
    }

    fn keep(&mut self, byte: u8) {
        if self.word.len() < WORD {
            self.word.push(byte);
        }
    }

    fn within_string(&mut self, byte: u8) {
        match byte {
            _ if std::mem::take(&mut self.escaped) => self.keep(byte),
            b'\\' => self.escaped = true,
            b'"' => {
                self.in_string = false;
                if self.depth == self.level && !self.of_value {
                    self.key = std::mem::take(&mut self.word);
                    self.asks |= self.key == b"method";
                }
                // A text is none of our ids, which are numbers.
                self.word.clear();
            }
            byte => self.keep(byte),
        }
    }

    fn outside(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.word.clear();
                self.in_string = true;
            }
            b'{' | b'[' => {
                if self.level == 0 {
                    self.level = if byte == b'[' { 2 } else { 1 };
                }
                self.depth += 1;
                self.of_value = false;
                self.word.clear();
            }
            b':' => {
                self.of_value = true;
                self.word.clear();
            }
            b',' | b'}' | b']' => {
                self.value_ends();
                self.of_value = self.depth > self.level;
                if byte != b',' {
                    if byte == b'}' && self.depth == self.level {
                        self.message_ends();
                    }
                    self.depth = self.depth.saturating_sub(1);
                }
                if self.depth <= self.level {
                    self.of_value = false;
                }
            }
            byte if byte.is_ascii_whitespace() => {}
            byte => self.keep(byte),
        }
    }

    fn value_ends(&mut self) {
        let word = std::mem::take(&mut self.word);
        if self.depth == self.level && self.of_value && self.key == b"id" {
            self.id = str::from_utf8(&word).ok().and_then(|word| word.parse().ok());
        }
    }

    fn message_ends(&mut self) {
        let id = self.id.take();
        if !std::mem::take(&mut self.asks) && self.found.len() < IDS {
            self.found.extend(id);
        }
        self.key.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<u64> {
        let found = |size: usize| {
            let mut ids = Ids::default();
            text.as_bytes().chunks(size).for_each(|chunk| ids.feed(chunk));
            ids.found()
        };
        assert_eq!(found(1), found(7));
        found(1_000)
    }

    #[test]
    fn the_id_of_a_response_is_found_wherever_it_stands() {
        for text in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"text":"a\"id\":9,\\"}]}}"#,
            r#"{"result":{"id":9,"x":[{"id":8}]},"jsonrpc":"2.0","id": 7 }"#,
            r#"{"error":{"code":-1,"message":"\"id\":3}"},"id":7}"#,
        ] {
            assert_eq!(ids(text), [7], "{text}");
        }
        assert_eq!(ids(r#"[{"id":1,"result":[1,2]},{"result":{"id":5},"id":2}, {"id":3,"method":"ping"}]"#), [1, 2]);
    }

    #[test]
    fn what_is_no_response_of_ours_has_none() {
        for text in [
            r#"{"id":7,"method":"sampling/createMessage","params":{"id":8}}"#,
            r#"{"id":"7","result":1}"#,
            r#"{"id":null,"result":1}"#,
            r#"{"method":"notifications/message","params":{"data":"id"}}"#,
            r#"{"idx":7,"result":1}"#,
            r#"{"id":7,"result":"it never ends"#,
            "no json: id: 7}}]]",
        ] {
            assert_eq!(ids(text), Vec::<u64>::new(), "{text}");
        }
    }
}
