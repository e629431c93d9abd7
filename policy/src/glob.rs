//! Topic globs: dotted segments, `*` stands for exactly one segment, a last `>` for one or more.
//!
//! No partial wildcards inside a segment: `job.pay*` is refused, because what it means differs between
//! brokers and a policy must mean one thing.

use std::collections::HashMap;
use std::fmt;

/// The longest glob, in segments. Also bounds how deep a topic is looked at.
const MAX_SEGMENTS: usize = 32;

/// A checked glob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Glob {
    text: Box<str>,
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
}

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::EmptySegment => "a segment between dots is empty",
            Self::RestNotLast => "`>` may only be the last segment",
            Self::PartialWildcard => "a wildcard must be a whole segment",
            Self::Blank => "it contains white space or a control character",
            Self::TooLong => "it has more than 32 segments",
        })
    }
}

impl Glob {
    pub(crate) fn parse(text: &str) -> Result<Self, BadGlob> {
        if text.is_empty() {
            return Err(BadGlob::Empty);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(BadGlob::Blank);
        }
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
        if count > MAX_SEGMENTS {
            return Err(BadGlob::TooLong);
        }
        Ok(Self { text: text.into() })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the glob stands for this topic, segment by segment. The evaluator asks the [`Trie`] instead.
    pub(crate) fn matches(&self, topic: &str) -> bool {
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
}

/// All globs of a snapshot in one tree, so that finding those of a topic costs its segments and not their number.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    nodes: Vec<Branch>,
}

#[derive(Debug, Default)]
struct Branch {
    literal: HashMap<Box<str>, u32, crate::compile::FixedState>,
    any: Option<u32>,
    /// The glob that ends here.
    here: Option<u32>,
    /// The glob that ends here with `>`.
    rest: Option<u32>,
}

impl Trie {
    /// Builds the tree; a glob's id is its place in `globs`.
    pub(crate) fn build<'g>(globs: impl Iterator<Item = &'g Glob>) -> Self {
        let mut trie = Self { nodes: vec![Branch::default()] };
        for (id, glob) in (0_u32..).zip(globs) {
            trie.insert(glob, id);
        }
        trie
    }

    fn insert(&mut self, glob: &Glob, id: u32) {
        let mut at = 0_u32;
        for segment in glob.text.split('.') {
            let fresh = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
            let Some(branch) = self.nodes.get_mut(at as usize) else { return };
            let next = match segment {
                ">" => {
                    branch.rest = Some(id);
                    return;
                }
                "*" => *branch.any.get_or_insert(fresh),
                name => *branch.literal.entry(name.into()).or_insert(fresh),
            };
            if next == fresh {
                self.nodes.push(Branch::default());
            }
            at = next;
        }
        if let Some(branch) = self.nodes.get_mut(at as usize) {
            branch.here = Some(id);
        }
    }

    /// Calls `found` once with the id of every glob that stands for the topic.
    pub(crate) fn find(&self, topic: &str, found: &mut impl FnMut(u32)) {
        self.descend(0, Some(topic), found);
    }

    // Recursion is as deep as the longest glob, at most MAX_SEGMENTS.
    fn descend(&self, at: u32, rest: Option<&str>, found: &mut impl FnMut(u32)) {
        let Some(branch) = self.nodes.get(at as usize) else { return };
        let Some(rest) = rest else {
            branch.here.into_iter().for_each(found);
            return;
        };
        if let Some(id) = branch.rest {
            found(id);
        }
        let (segment, after) = match rest.split_once('.') {
            Some((segment, after)) => (segment, Some(after)),
            None => (rest, None),
        };
        if let Some(&next) = branch.literal.get(segment) {
            self.descend(next, after, found);
        }
        if let Some(next) = branch.any {
            self.descend(next, after, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Glob::parse(text), Err(why), "{text}");
        }
        assert_eq!(Glob::parse("a.".repeat(33).trim_end_matches('.')), Err(BadGlob::TooLong));
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
            let glob = Glob::parse(glob).unwrap();
            assert_eq!(glob.matches(topic), expected, "{} against {topic}", glob.as_str());
            let trie = Trie::build([&glob].into_iter());
            let mut hits = 0;
            trie.find(topic, &mut |_| hits += 1);
            assert_eq!(hits == 1, expected, "trie: {} against {topic}", glob.as_str());
        }
    }
}
