//! Globs against globs: whether one stands for all another stands for, and whether two stand for anything in common.

use crate::glob::{Glob, Syntax};

/// Whether every topic `narrow` stands for, `wide` stands for too.
///
/// Globs of paths are not taken apart: one covers itself, and a topic written out.
pub(super) fn covers(wide: &Glob, narrow: &Glob) -> bool {
    if wide.syntax() == Syntax::Path || narrow.syntax() == Syntax::Path {
        let written_out = !narrow.as_str().contains(['*', '>', '?']);
        return wide == narrow || written_out && wide.matches(narrow.as_str());
    }
    let (mut wide, mut narrow) = (wide.as_str().split('.'), narrow.as_str().split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            // Each segment of the narrow one is one segment of a topic or more, so the rest is one or more.
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(_), Some(">")) => return false,
            (Some("*"), Some(_)) => {}
            // A `*` in the narrow one stands for more than any word.
            (Some(word), Some(other)) if word == other => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

/// Whether some topic both stand for; taken for granted of globs of paths.
pub(super) fn meet(a: &Glob, b: &Glob) -> bool {
    if a.syntax() == Syntax::Path || b.syntax() == Syntax::Path {
        return true;
    }
    let (mut a, mut b) = (a.as_str().split('.'), b.as_str().split('.'));
    loop {
        match (a.next(), b.next()) {
            (Some(">"), Some(_)) | (Some(_), Some(">")) | (None, None) => return true,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(word), Some(other)) if word == other => {}
            (Some(_), Some(_) | None) | (None, Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_relations_are_those_of_the_topics_matched() {
        // Every glob of up to three segments over two words against every other, by all topics of up to four segments.
        let words = |last: bool| if last { vec!["a", "b", "*", ">"] } else { vec!["a", "b", "*"] };
        let mut globs: Vec<String> = words(true).into_iter().map(str::to_owned).collect();
        for first in words(false) {
            for second in words(true) {
                globs.push(format!("{first}.{second}"));
            }
            for second in words(false) {
                for third in words(true) {
                    globs.push(format!("{first}.{second}.{third}"));
                }
            }
        }
        let mut topics = vec![String::new()];
        for length in 0..4 {
            let longer: Vec<String> = topics
                .iter()
                .filter(|topic| topic.split('.').filter(|part| !part.is_empty()).count() == length)
                // `c` is a word no glob names.
                .flat_map(|topic| {
                    ["a", "b", "c"].map(|word| format!("{topic}.{word}").trim_start_matches('.').to_owned())
                })
                .collect();
            topics.extend(longer);
        }
        topics.retain(|topic| !topic.is_empty());
        assert_eq!(topics.len(), 3 + 9 + 27 + 81);
        let globs: Vec<Glob> = globs.iter().map(|text| Glob::parse(text, Syntax::Dots).unwrap()).collect();
        for wide in &globs {
            for narrow in &globs {
                let all = topics.iter().all(|topic| !narrow.matches(topic) || wide.matches(topic));
                let any = topics.iter().any(|topic| narrow.matches(topic) && wide.matches(topic));
                assert_eq!(covers(wide, narrow), all, "{} covers {}", wide.as_str(), narrow.as_str());
                assert_eq!(meet(wide, narrow), any, "{} meets {}", wide.as_str(), narrow.as_str());
            }
        }
    }
}
