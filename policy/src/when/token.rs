//! A condition's text as tokens, within bounds that hold before anything else looks at it.

use super::problem::Fault;

/// The longest condition, in bytes.
pub const MAX_TEXT_BYTES: usize = 4096;

/// The most tokens of a condition.
pub const MAX_TOKENS: usize = 1024;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Int(i64),
    /// The magnitude of `i64::MIN`, which only a minus before it makes an integer.
    IntMinMagnitude,
    Float(f64),
    Text(String),
    Name(String),
    Mark(Mark),
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Open,
    Close,
    OpenList,
    CloseList,
    Dot,
    Comma,
    Question,
    Colon,
    Not,
    And,
    Or,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    Divided,
    Remainder,
}

/// Longer marks first, so that `<=` is not `<`.
const MARKS: &[(&str, Mark)] = &[
    ("&&", Mark::And),
    ("||", Mark::Or),
    ("==", Mark::Equal),
    ("!=", Mark::NotEqual),
    ("<=", Mark::LessOrEqual),
    (">=", Mark::GreaterOrEqual),
    ("<", Mark::Less),
    (">", Mark::Greater),
    ("(", Mark::Open),
    (")", Mark::Close),
    ("[", Mark::OpenList),
    ("]", Mark::CloseList),
    (".", Mark::Dot),
    (",", Mark::Comma),
    ("?", Mark::Question),
    (":", Mark::Colon),
    ("!", Mark::Not),
    ("+", Mark::Plus),
    ("-", Mark::Minus),
    ("*", Mark::Times),
    ("/", Mark::Divided),
    ("%", Mark::Remainder),
];

impl Mark {
    pub(super) fn text(self) -> &'static str {
        MARKS.iter().find(|(_, mark)| *mark == self).map_or("", |(text, _)| text)
    }
}

/// A token and the byte it starts at.
pub(super) type Placed = (usize, Token);

/// Splits the text; the last token is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, Fault> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Fault::new(
            0,
            format!("the condition has {} bytes, more than {MAX_TEXT_BYTES}", text.len()),
            "split it into several rules, or move lists into `params`",
        ));
    }
    let mut scanner = Scanner { text, at: 0 };
    let mut found = Vec::new();
    loop {
        let placed = scanner.next()?;
        if found.len() == MAX_TOKENS {
            return Err(Fault::new(
                placed.0,
                format!("the condition has more than {MAX_TOKENS} tokens"),
                "split it into several rules, or move lists into `params`",
            ));
        }
        let end = placed.1 == Token::End;
        found.push(placed);
        if end {
            return Ok(found);
        }
    }
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes the longest start whose characters all fit.
    fn run(&mut self, fits: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn skip_blank(&mut self) {
        loop {
            self.run(char::is_whitespace);
            if !self.rest().starts_with("//") {
                return;
            }
            self.run(|c| c != '\n');
        }
    }

    fn next(&mut self) -> Result<Placed, Fault> {
        self.skip_blank();
        let start = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((start, Token::End)) };
        let token = if first.is_ascii_digit() || first == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
        {
            self.number()?
        } else if first == '"' || first == '\'' {
            Token::Text(self.quoted(start, false)?)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let name = self.run(|c| c.is_ascii_alphanumeric() || c == '_');
            match (name, self.rest().chars().next()) {
                ("r" | "R", Some('"' | '\'')) => Token::Text(self.quoted(start, true)?),
                ("b" | "B" | "br" | "rb" | "bR" | "Br" | "BR" | "rB" | "Rb" | "RB", Some('"' | '\'')) => {
                    return Err(Fault::new(start, "bytes are not part of the language", "write a text, without `b`"));
                }
                _ => Token::Name(name.to_owned()),
            }
        } else if let Some((text, mark)) = MARKS.iter().find(|(text, _)| rest.starts_with(text)) {
            self.at += text.len();
            Token::Mark(*mark)
        } else {
            let remedy = match first {
                '{' | '}' => "maps are not part of the language; compare field by field",
                '=' => "compare with `==`",
                '&' => "write `&&`",
                '|' => "write `||`",
                _ => "remove it, or put it between quotes",
            };
            return Err(Fault::new(start, format!("`{}` means nothing here", first.escape_default()), remedy));
        };
        Ok((start, token))
    }

    fn number(&mut self) -> Result<Token, Fault> {
        let start = self.at;
        let bad = |text: &str, remedy: &str| {
            Err(Fault::new(start, format!("`{text}` is not a number of the language"), remedy.to_owned()))
        };
        if let Some(digits) = self.rest().strip_prefix("0x").or_else(|| self.rest().strip_prefix("0X")) {
            self.at += 2;
            let digits = digits.get(..digits.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(digits.len()));
            let digits = digits.unwrap_or_default();
            self.at += digits.len();
            return match i64::from_str_radix(digits, 16) {
                Ok(value) => Ok(Token::Int(value)),
                Err(_) => bad(&format!("0x{digits}"), "write an integer that fits in 64 bits with its sign"),
            };
        }
        let digit = |c: char| c.is_ascii_digit();
        self.run(digit);
        let mut whole = true;
        let fraction = self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(digit));
        if fraction {
            self.at += 1;
            self.run(digit);
            whole = false;
        }
        if let Some(rest) = self.rest().strip_prefix(['e', 'E']) {
            let signed = rest.strip_prefix(['+', '-']);
            if signed.unwrap_or(rest).starts_with(digit) {
                self.at += 1 + usize::from(signed.is_some());
                self.run(digit);
                whole = false;
            }
        }
        // What hangs on without a blank belongs to it: `1u`, `12abc`.
        let hangs = self.run(|c| c.is_ascii_alphanumeric() || c == '_');
        let text = self.text.get(start..self.at).unwrap_or_default();
        match hangs {
            "" => {}
            "u" | "U" => return bad(text, "unsigned integers are not part of the language; leave out the `u`"),
            _ => return bad(text, "put a blank or an operator between a number and a name"),
        }
        if whole {
            return match text.parse::<u64>() {
                Ok(value) => match i64::try_from(value) {
                    Ok(value) => Ok(Token::Int(value)),
                    Err(_) if value == i64::MIN.unsigned_abs() => Ok(Token::IntMinMagnitude),
                    Err(_) => bad(text, "write an integer that fits in 64 bits with its sign"),
                },
                Err(_) => bad(text, "write an integer that fits in 64 bits with its sign"),
            };
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Token::Float(value)),
            Ok(_) | Err(_) => bad(text, "write a number that fits in a 64-bit float"),
        }
    }

    /// Reads a quoted text at the cursor; `start` is where its token starts, which may be an `r` before.
    fn quoted(&mut self, start: usize, raw: bool) -> Result<String, Fault> {
        let rest = self.rest();
        if rest.starts_with("\"\"\"") || rest.starts_with("'''") {
            return Err(Fault::new(
                start,
                "texts over several lines are not part of the language",
                "write `\\n` in a text",
            ));
        }
        let mut chars = rest.char_indices();
        let Some((_, quote)) = chars.next() else { return Ok(String::new()) };
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += at + c.len_utf8();
                    return Ok(text);
                }
                '\n' | '\r' => break,
                '\\' if raw => {
                    // As in CEL a quote after a backslash does not end a raw text, and both stay.
                    text.push('\\');
                    if let Some((_, next)) = chars.next() {
                        text.push(next);
                    }
                }
                '\\' => text.push(escape(&mut chars).ok_or_else(|| {
                    Fault::new(
                        self.at + at,
                        "an escape that means nothing",
                        "use `\\\\`, `\\\"`, `\\'`, `\\n`, `\\r`, `\\t`, `\\xHH` or `\\uHHHH`, or `r'...'` for a pattern",
                    )
                })?),
                c => text.push(c),
            }
        }
        Err(Fault::new(start, "a text without its closing quote", format!("end it with `{quote}`")))
    }
}

fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let (_, c) = chars.next()?;
    let digits = match c {
        '\\' | '"' | '\'' | '`' | '?' => return Some(c),
        'n' => return Some('\n'),
        'r' => return Some('\r'),
        't' => return Some('\t'),
        'x' | 'X' => 2,
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let mut value = 0_u32;
    for _ in 0..digits {
        let (_, digit) = chars.next()?;
        value = value.checked_mul(16)?.checked_add(digit.to_digit(16)?)?;
    }
    char::from_u32(value)
}
