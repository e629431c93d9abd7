//! Text with holes: how a mapping says what an attribute is made of.
//!
//! | written | meaning |
//! |---|---|
//! | `bank` | the constant `bank` |
//! | `{/suite}` | the value at that JSON Pointer of the record |
//! | `job.{/suite}.{/function}` | several, with text between |
//! | `{header:ce_subject}` | the value of a header |
//! | `{/urgency\|5}` | the same with a default for when it is missing or null |
//! | `{{` and `}}` | a brace |

use std::borrow::Cow;

/// Where a hole's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A JSON Pointer.
    Field(Pointer),
    /// A header of that name.
    Header(Box<str>),
}

/// A hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) origin: Origin,
    pub(crate) default: Option<Box<str>>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(Box<str>),
    Hole(Hole),
}

/// A checked template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    pub(crate) parts: Vec<Part>,
}

/// A checked JSON Pointer (RFC 6901), unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) text: Box<str>,
    pub(crate) tokens: Vec<Box<str>>,
}

impl Pointer {
    /// `""` is the whole record; otherwise it starts with `/`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        if !text.is_empty() {
            let Some(rest) = text.strip_prefix('/') else {
                return Err(format!("`{text}` is no JSON Pointer: it does not start with `/`"));
            };
            for token in rest.split('/') {
                tokens.push(
                    unescape(token).ok_or_else(|| {
                        format!("`{text}` is no JSON Pointer: a `~` is followed by neither `0` nor `1`")
                    })?,
                );
            }
        }
        Ok(Self { text: text.into(), tokens })
    }
}

fn unescape(token: &str) -> Option<Box<str>> {
    if !token.contains('~') {
        return Some(token.into());
    }
    let mut out = String::with_capacity(token.len());
    let mut letters = token.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '~' => match letters.next() {
                Some('0') => out.push('~'),
                Some('1') => out.push('/'),
                _ => return None,
            },
            other => out.push(other),
        }
    }
    Some(out.into())
}

impl Template {
    /// Reads what was written; the error says what is wrong with it.
    pub(crate) fn parse(written: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = written;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            text.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                text.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                text.push('}');
                rest = after;
            } else if let Some(after) = from.strip_prefix('{') {
                let Some((inside, after)) = after.split_once('}') else {
                    return Err(format!("`{written}` has a `{{` without its `}}`; write `{{{{` for a brace"));
                };
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                parts.push(Part::Hole(Hole::parse(inside)?));
                rest = after;
            } else {
                return Err(format!("`{written}` has a `}}` without its `{{`; write `}}}}` for a brace"));
            }
        }
        text.push_str(rest);
        if !text.is_empty() || parts.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Ok(Self { parts })
    }

    /// The holes.
    pub(crate) fn holes(&self) -> impl Iterator<Item = &Hole> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Hole(hole) => Some(hole),
        })
    }

    /// The one hole this consists of.
    pub(crate) fn only_hole(&self) -> Option<&Hole> {
        match self.parts.as_slice() {
            [Part::Hole(hole)] => Some(hole),
            _ => None,
        }
    }

    /// Fills the holes: `value` gives what stands there now, or why it cannot be used. `Ok(None)` when something is
    /// missing that has no default.
    pub(crate) fn fill<'a, E>(
        &'a self,
        mut value: impl FnMut(&'a Hole) -> Result<Option<Cow<'a, str>>, E>,
    ) -> Result<Option<Cow<'a, str>>, E> {
        let mut filled = |hole: &'a Hole| -> Result<Option<Cow<'a, str>>, E> {
            Ok(value(hole)?.or_else(|| hole.default.as_deref().map(Cow::Borrowed)))
        };
        match self.parts.as_slice() {
            [Part::Text(text)] => return Ok(Some(Cow::Borrowed(text))),
            [Part::Hole(hole)] => return filled(hole),
            _ => {}
        }
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Hole(hole) => match filled(hole)? {
                    Some(text) => out.push_str(&text),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(Cow::Owned(out)))
    }
}

impl Hole {
    fn parse(inside: &str) -> Result<Self, String> {
        let (origin, default) = match inside.split_once('|') {
            Some((origin, default)) => (origin, Some(default.into())),
            None => (inside, None),
        };
        let origin = if let Some(name) = origin.strip_prefix("header:") {
            if name.is_empty() {
                return Err(format!("`{{{inside}}}` names no header; write `{{header:NAME}}`"));
            }
            Origin::Header(name.into())
        } else if origin.starts_with('/') {
            Origin::Field(Pointer::parse(origin)?)
        } else {
            return Err(format!(
                "`{{{inside}}}` is neither a JSON Pointer like `{{/amount}}` nor a header like `{{header:ce_type}}`"
            ));
        };
        Ok(Self { origin, default })
    }

    /// As it was written, for messages.
    pub(crate) fn shown(&self) -> String {
        match &self.origin {
            Origin::Field(pointer) => format!("field `{}`", pointer.text),
            Origin::Header(name) => format!("header `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(written: &str) -> Option<String> {
        let template = Template::parse(written).unwrap();
        template
            .fill(|hole| {
                Ok::<_, ()>(match &hole.origin {
                    Origin::Field(pointer) if &*pointer.text == "/a" => Some(Cow::Borrowed("A")),
                    Origin::Field(pointer) if pointer.tokens.first().is_some_and(|t| &**t == "x/y~z") => {
                        Some(Cow::Borrowed("escaped"))
                    }
                    Origin::Header(name) if &**name == "h" => Some(Cow::Borrowed("H")),
                    Origin::Field(_) | Origin::Header(_) => None,
                })
            })
            .unwrap()
            .map(Cow::into_owned)
    }

    #[test]
    fn a_template_is_text_with_fields_headers_and_defaults() {
        for (written, expected) in [
            ("bank", Some("bank")),
            ("", Some("")),
            ("{/a}", Some("A")),
            ("job.{/a}.{header:h}", Some("job.A.H")),
            ("{/none|5}", Some("5")),
            ("{/none|}", Some("")),
            ("x{/none}", None),
            ("{{{/a}}}", Some("{A}")),
            ("{/x~1y~0z}", Some("escaped")),
        ] {
            assert_eq!(filled(written).as_deref(), expected, "{written}");
        }
    }

    #[test]
    fn a_bad_template_says_what_is_wrong() {
        for (written, part) in [
            ("{/a", "without its `}`"),
            ("a}", "without its `{`"),
            ("{suite}", "neither a JSON Pointer"),
            ("{header:}", "names no header"),
            ("{/a~2}", "neither `0` nor `1`"),
        ] {
            let error = Template::parse(written).unwrap_err();
            assert!(error.contains(part), "{written}: {error}");
        }
    }
}
