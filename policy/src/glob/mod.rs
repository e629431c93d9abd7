//! Topic globs, in one of two syntaxes.
//!
//! **Dots** (the usual one): dotted segments, `*` stands for exactly one segment, a last `>` for one or more. No partial
//! wildcards inside a segment: `job.pay*` is refused, because what it means differs between brokers and a policy must
//! mean one thing.
//!
//! **Path** (for files written for matchers of paths, where a dot is a letter like any other): `*` stands for any run of
//! characters but `/`, `?` for one such character. Classes and escapes are refused.

mod path;
mod table;

pub(crate) use table::GlobTable;

use std::fmt;

/// The longest glob, in segments. Also bounds how deep a topic is looked at.
const MAX_SEGMENTS: usize = 32;
/// The longest path glob, in bytes.
const MAX_PATH_BYTES: usize = 512;

/// How globs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Syntax {
    Dots,
    Path,
}

impl Syntax {
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Dots => "write dotted segments, `*` for one segment, `>` for the rest",
            Self::Path => "write `*` for any run of characters and `?` for one",
        }
    }
}

/// A checked glob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Glob {
    text: Box<str>,
    syntax: Syntax,
}

/// Why a text is not a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadGlob {
    Empty,
    EmptySegment,
    RestNotLast,
    PartialWildcard,
    Blank,
    TooLong,
    Class,
}

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::EmptySegment => "a segment between dots is empty",
            Self::RestNotLast => "`>` may only be the last segment",
            Self::PartialWildcard => "a wildcard must be a whole segment",
            Self::Blank => "it contains white space or a control character",
            Self::TooLong => "it has more than 32 segments or 512 bytes",
            Self::Class => "classes (`[`) and escapes (`\\`) are not taken",
        })
    }
}

impl Glob {
    pub(crate) fn parse(text: &str, syntax: Syntax) -> Result<Self, BadGlob> {
        if text.is_empty() {
            return Err(BadGlob::Empty);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(BadGlob::Blank);
        }
        match syntax {
            Syntax::Dots => check_dots(text)?,
            Syntax::Path if text.len() > MAX_PATH_BYTES => return Err(BadGlob::TooLong),
            Syntax::Path if text.contains(['[', ']', '\\']) => return Err(BadGlob::Class),
            Syntax::Path => {}
        }
        Ok(Self { text: text.into(), syntax })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// Whether the glob stands for this topic, looked at alone. The evaluator asks the [`GlobTable`] instead.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        if self.syntax == Syntax::Path {
            return path::matches(&self.text, topic);
        }
        let mut wanted = self.text.split('.');
        let mut given = topic.split('.');
        loop {
            match (wanted.next(), given.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(want), Some(have)) if want == have => {}
                (Some(_), Some(_) | None) | (None, Some(_)) => return false,
            }
        }
    }

    /// Whether it certainly stands for every topic the other stands for.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        if self == other || self.syntax == Syntax::Dots && &*self.text == ">" {
            return true;
        }
        if (self.syntax, other.syntax) != (Syntax::Dots, Syntax::Dots) {
            // A path glob without wildcards is one topic.
            return other.syntax == Syntax::Path && !other.text.contains(['*', '?']) && self.matches(&other.text);
        }
        let mut wanted = self.text.split('.');
        let mut given = other.text.split('.');
        loop {
            match (wanted.next(), given.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(have)) if have != ">" => {}
                (Some(want), Some(have)) if want == have => {}
                (Some(_), Some(_) | None) | (None, Some(_)) => return false,
            }
        }
    }
}

fn check_dots(text: &str) -> Result<(), BadGlob> {
    let mut segments = text.split('.').peekable();
    let mut count = 0;
    while let Some(segment) = segments.next() {
        count += 1;
        match segment {
            "" => return Err(BadGlob::EmptySegment),
            ">" if segments.peek().is_some() => return Err(BadGlob::RestNotLast),
            "*" | ">" => {}
            _ if segment.contains(['*', '>']) => return Err(BadGlob::PartialWildcard),
            _ => {}
        }
    }
    if count > MAX_SEGMENTS { Err(BadGlob::TooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dots(text: &str) -> Result<Glob, BadGlob> {
        Glob::parse(text, Syntax::Dots)
    }

    fn agree(glob: &Glob, topic: &str, expected: bool) {
        assert_eq!(glob.matches(topic), expected, "{} against {topic}", glob.as_str());
        let table = GlobTable::build([glob].into_iter());
        let mut hits = 0;
        table.find(topic, &mut |_| hits += 1);
        assert_eq!(hits == 1, expected, "table: {} against {topic}", glob.as_str());
    }

    #[test]
    fn a_glob_is_refused_for_its_own_reason() {
        let rows = [
            ("", BadGlob::Empty),
            ("job..x", BadGlob::EmptySegment),
            ("job.", BadGlob::EmptySegment),
            ("job.>.x", BadGlob::RestNotLast),
            ("job.pay*", BadGlob::PartialWildcard),
            ("job.>x", BadGlob::PartialWildcard),
            ("job. x", BadGlob::Blank),
        ];
        for (text, why) in rows {
            assert_eq!(dots(text), Err(why), "{text}");
        }
        assert_eq!(dots("a.".repeat(33).trim_end_matches('.')), Err(BadGlob::TooLong));
        assert_eq!(Glob::parse("job.[ab]", Syntax::Path), Err(BadGlob::Class));
        assert_eq!(Glob::parse(&"a".repeat(513), Syntax::Path), Err(BadGlob::TooLong));
    }

    #[test]
    fn star_is_one_segment_and_rest_is_one_or_more() {
        let rows = [
            ("job.pay", "job.pay", true),
            ("job.pay", "job.pay.wire", false),
            ("job.*", "job.pay", true),
            ("job.*", "job.pay.wire", false),
            ("job.*", "job", false),
            ("job.>", "job.pay", true),
            ("job.>", "job.pay.wire", true),
            ("job.>", "job", false),
            (">", "job", true),
            ("*.pay.>", "job.pay.wire", true),
            ("job.*.wire", "job..wire", true),
        ];
        for (glob, topic, expected) in rows {
            agree(&dots(glob).unwrap(), topic, expected);
        }
    }

    #[test]
    fn a_path_glob_takes_dots_for_letters() {
        let rows = [
            ("job.*", "job.pay.wire", true),
            ("job.*", "job.", true),
            ("job.*", "job", false),
            ("job.*", "job.a/b", false),
            ("job.p?y", "job.pay", true),
            ("job.p?y", "job.py", false),
            ("*.wire", "job.pay.wire", true),
            ("*.wire", "job.wired", false),
            ("job.*.*e", "job.pay.wire", true),
            ("*", "", true),
            ("job.pay", "job.pay", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
        ];
        for (glob, topic, expected) in rows {
            agree(&Glob::parse(glob, Syntax::Path).unwrap(), topic, expected);
        }
    }

    #[test]
    fn a_glob_covers_what_it_always_stands_for() {
        let rows = [
            (">", "job.>", true),
            ("job.>", "job.pay.*", true),
            ("job.*", "job.pay", true),
            ("job.*", "job.>", false),
            ("job.>", "job", false),
            ("job.>", "*.pay", false),
            ("job.pay", "job.*", false),
            ("job.*.wire", "job.*.wire", true),
        ];
        for (wide, narrow, expected) in rows {
            assert_eq!(dots(wide).unwrap().covers(&dots(narrow).unwrap()), expected, "{wide} over {narrow}");
        }
        let path = |text| Glob::parse(text, Syntax::Path).unwrap();
        assert!(dots(">").unwrap().covers(&path("job.*")) && dots("job.*").unwrap().covers(&path("job.pay")));
        assert!(!dots("job.>").unwrap().covers(&path("job.*")) && !path("job.*").covers(&path("job.p*")));
    }
}
