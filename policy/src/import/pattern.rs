//! Topic patterns after Go's `path.Match`: `*` for any characters but `/`, `?` for one, `[a-z]` for one of a class,
//! `\` before a character that stands for itself.

use crate::source::{Node, Reader};

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern {
    pub(super) text: String,
}

/// Reads a list of patterns; blank ones match nothing there and are refused.
pub(super) fn read_all(reader: &mut Reader<'_>, items: &[Node], what: &str) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for item in items {
        let Some(text) = reader.text(item, &format!("an entry of {what}")).map(str::trim) else { continue };
        match check(text) {
            Ok(()) => {
                let pattern = Pattern { text: text.to_owned() };
                if !patterns.contains(&pattern) {
                    patterns.push(pattern);
                }
            }
            Err(why) => reader.wrong(
                item.line,
                format!("bad pattern `{text}` in {what}: {why}"),
                "there it matches nothing; correct or remove it",
            ),
        }
    }
    patterns
}

fn check(text: &str) -> Result<(), &'static str> {
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.next().is_none() => return Err("it ends with a `\\`"),
            '[' => class(&mut rest)?,
            _ => {}
        }
    }
    Ok(())
}

/// After the `[`: an optional `^`, then one range or more, then `]`.
fn class(rest: &mut std::str::Chars<'_>) -> Result<(), &'static str> {
    const OPEN: &str = "a class is not closed, or empty";
    let mut ahead = rest.clone();
    if ahead.next() == Some('^') {
        rest.next();
    }
    for ranges in 0.. {
        let low = match rest.next() {
            Some(']') if ranges > 0 => return Ok(()),
            Some('-' | ']') | None => return Err(OPEN),
            Some('\\') => rest.next().ok_or(OPEN)?,
            Some(c) => c,
        };
        let mut ahead = rest.clone();
        if ahead.next() == Some('-') {
            rest.next();
            let high = match rest.next() {
                Some('-' | ']') | None => return Err(OPEN),
                Some('\\') => rest.next().ok_or(OPEN)?,
                Some(c) => c,
            };
            if high < low {
                return Err("a class has a range that ends before it begins");
            }
        }
    }
    Err(OPEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_refused_where_go_refuses_it() {
        for good in ["job.*", "job.?x", "job.[a-z]*", "job.[^a]", r"job.\*", r"[\]a]", "", "]", "a-b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["job.[", "job.[]", "job.[a", "job.[a-]", "[^]", r"job.\", "[-a]", r"[a\"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
