//! Why a condition was refused.

use std::fmt;

/// What is wrong with a condition, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionProblem {
    /// The character it is about, counted from 1 over the whole text.
    pub column: u32,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for ConditionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}; {}", self.column, self.reason, self.remedy)
    }
}

impl std::error::Error for ConditionProblem {}

/// As [`ConditionProblem`], with the place in bytes, until the text is at hand.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(at: usize, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { at, reason: reason.into(), remedy: remedy.into() }
    }

    pub(super) fn place(self, text: &str) -> ConditionProblem {
        let before = text.char_indices().take_while(|(at, _)| *at < self.at).count();
        let column = u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1);
        ConditionProblem { column, reason: self.reason, remedy: self.remedy }
    }
}

/// What the author may have meant: the known name fewest edits away, at most two and fewer than its letters.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Longer names are not looked at: the work is their product.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    let scored = known.into_iter().filter(|known| known.len() <= LONGEST).map(|known| (edits(name, known), known));
    scored.filter(|&(edits, known)| edits <= 2 && edits < known.len().min(name.len())).min().map(|(_, known)| known)
}

/// Levenshtein's distance in bytes, one row at a time.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let above = *cell;
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in
            [("", "abc", 3), ("amount", "amount", 0), ("amuont", "amount", 2), ("kitten", "sitting", 3)]
        {
            assert_eq!(edits(a, b), expected, "{a} {b}");
            assert_eq!(edits(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_a_near_name_is_proposed() {
        assert_eq!(nearest("amuont", ["amount", "currency"]), Some("amount"));
        assert_eq!(nearest("iban", ["amount", "currency"]), None);
        assert_eq!(nearest("a", ["b"]), None);
    }
}
