//! Texts as conditions compare them: as they are, or with ASCII capitals taken as small letters, without a copy.

use crate::language::TextSet;
use std::cmp::Ordering;

#[derive(Clone, Copy, Debug)]
pub(super) struct Glimpse<'a> {
    pub(super) text: &'a str,
    /// Capitals count as small letters.
    lower: bool,
}

impl<'a> Glimpse<'a> {
    pub(super) fn plain(text: &'a str) -> Self {
        Self { text, lower: false }
    }

    pub(super) fn lowered(self) -> Self {
        Self { lower: true, ..self }
    }

    fn bytes(self) -> impl Iterator<Item = u8> {
        self.text.bytes().map(move |byte| if self.lower { byte.to_ascii_lowercase() } else { byte })
    }

    pub(super) fn equals(self, other: Self) -> bool {
        same(self.text.as_bytes(), self.lower, other.text.as_bytes(), other.lower)
    }

    pub(super) fn order(self, other: Self) -> Ordering {
        if !self.lower && !other.lower {
            return self.text.cmp(other.text);
        }
        self.bytes().cmp(other.bytes())
    }

    pub(super) fn starts_with(self, start: Self) -> bool {
        let (text, wanted) = (self.text.as_bytes(), start.text.as_bytes());
        text.get(..wanted.len()).is_some_and(|text| same(text, self.lower, wanted, start.lower))
    }

    pub(super) fn ends_with(self, end: Self) -> bool {
        let (text, wanted) = (self.text.as_bytes(), end.text.as_bytes());
        let start = text.len().checked_sub(wanted.len());
        start.and_then(|start| text.get(start..)).is_some_and(|text| same(text, self.lower, wanted, end.lower))
    }

    pub(super) fn is_in(self, set: &TextSet) -> bool {
        if !self.lower || !self.text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return set.contains(self.text);
        }
        set.iter().any(|listed| self.equals(Glimpse::plain(listed)))
    }
}

fn same(a: &[u8], lower_a: bool, b: &[u8], lower_b: bool) -> bool {
    if !lower_a && !lower_b {
        return a == b;
    }
    let fold = |byte: u8, lower: bool| if lower { byte.to_ascii_lowercase() } else { byte };
    a.len() == b.len() && a.iter().zip(b).all(|(&a, &b)| fold(a, lower_a) == fold(b, lower_b))
}
