//! Globs over dotted job topics: whole segments, `*` for exactly one, a last `>` for one or more.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A glob over dotted job topics.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicGlob(Box<str>);

/// Text that is no glob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no topic glob: {problem}")]
pub struct BadTopicGlob {
    /// As written.
    pub text: String,
    /// What is wrong.
    pub problem: &'static str,
}

impl TopicGlob {
    /// Longest glob, bytes: that of a job's topic.
    pub const MOST_BYTES: usize = 256;

    /// Checks `text`: dotted segments, `*` for exactly one, a last `>` for one or more.
    ///
    /// # Errors
    /// [`BadTopicGlob`] with what is wrong.
    pub fn new(text: &str) -> Result<Self, BadTopicGlob> {
        let bad = |problem| Err(BadTopicGlob { text: text.chars().take(200).collect(), problem });
        if text.len() > Self::MOST_BYTES {
            return bad("it is longer than 256 bytes");
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return bad("it has white space or a control character");
        }
        let mut segments = text.split('.').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "" => return bad("a segment is empty"),
                ">" if segments.peek().is_some() => return bad("`>` may only be the last segment"),
                "*" | ">" => {}
                _ if segment.contains(['*', '>']) => return bad("a wildcard must be a whole segment"),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for `topic`.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        let mut given = topic.split('.');
        for wanted in self.0.split('.') {
            match (wanted, given.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(segment)) if wanted == segment => {}
                _ => return false,
            }
        }
        given.next().is_none()
    }

    /// Whether it stands for every topic that `other` stands for. Exact: segments are compared place by place, and a `>` is
    /// covered by a `>` alone.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut narrower = other.0.split('.');
        for wider in self.0.split('.') {
            match (wider, narrower.next()) {
                (">", Some(_)) => return true,
                (_, Some(">")) => return false,
                ("*", Some(_)) => {}
                (wider, Some(segment)) if wider == segment => {}
                _ => return false,
            }
        }
        narrower.next().is_none()
    }
}

impl fmt::Display for TopicGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TopicGlob {
    type Error = BadTopicGlob;
    fn try_from(text: String) -> Result<Self, BadTopicGlob> {
        Self::new(&text)
    }
}

impl From<TopicGlob> for String {
    fn from(glob: TopicGlob) -> Self {
        glob.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_glob_covers_what_stands_for_no_more() {
        for (wider, narrower, expected) in [
            ("job.pay.wire", "job.pay.wire", true),
            ("job.pay.*", "job.pay.wire", true),
            ("job.pay.*", "job.pay.>", false),
            ("job.pay.>", "job.pay.*", true),
            ("job.pay.>", "job.pay.>", true),
            ("job.pay.>", "job.pay", false),
            ("job.>", "job.pay.>", true),
            (">", "job", true),
            ("*", ">", false),
            ("*.pay.>", "job.pay.x.y", true),
            ("job.pay.wire", "job.pay.*", false),
            ("job.pay", "job.pay.wire", false),
        ] {
            let glob = |text| TopicGlob::new(text).unwrap();
            assert_eq!(glob(wider).covers(&glob(narrower)), expected, "{wider} {narrower}");
        }
    }

    proptest! {
        /// Against its meaning: every topic of up to four segments over two words.
        #[test]
        fn covering_is_inclusion(wider in "(a|b|\\*)(\\.(a|b|\\*)){0,2}(\\.>)?", narrower in "(a|b|\\*)(\\.(a|b|\\*)){0,2}(\\.>)?") {
            let (wider, narrower) = (TopicGlob::new(&wider).unwrap(), TopicGlob::new(&narrower).unwrap());
            let mut topics: Vec<String> = vec![String::new()];
            let mut all = Vec::new();
            for _ in 0..5 {
                topics = topics.iter().flat_map(|t| ["a", "b", "c"].map(|s| if t.is_empty() { s.to_owned() } else { format!("{t}.{s}") })).collect();
                all.extend(topics.iter().cloned());
            }
            let included = all.iter().filter(|t| narrower.matches(t)).all(|t| wider.matches(t));
            prop_assert_eq!(wider.covers(&narrower), included, "{} {}", wider, narrower);
        }
    }
}
