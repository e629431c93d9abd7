//! What stands in records as text, read and written without a copy between: a job's records have dozens of such fields.

use std::fmt::{self, Display};
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::decimal;

/// Reads a value straight from the text it stands in.
pub(crate) fn deserialize<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    from.deserialize_str(Text(read, PhantomData))
}

struct Text<F, E>(F, PhantomData<E>);

impl<T, E: Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<F, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<D: Error>(self, text: &str) -> Result<T, D> {
        (self.0)(text).map_err(D::custom)
    }
}

/// Short text that is made in place. What does not fit is left out: `N` is to be enough.
pub(crate) struct Short<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Short<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    pub(crate) fn push(&mut self, text: &str) {
        let end = self.len + text.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(text.as_bytes());
            self.len = end;
        }
    }

    pub(crate) fn push_number(&mut self, number: u64) {
        self.push(decimal::digits(number, &mut [b'0'; 20]));
    }

    pub(crate) fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use crate::ids::SourceName;
    use crate::job::SourcePosition;

    #[test]
    fn the_longest_position_is_written_whole() {
        let source = SourceName::new("s".repeat(100)).unwrap();
        let longest = SourcePosition::new(source, u32::MAX, u64::MAX).redriven(u32::MAX);
        assert_eq!(longest.text(), longest.to_string());
        let written = serde_json::to_string(&longest).unwrap();
        assert_eq!(serde_json::from_str::<SourcePosition>(&written).unwrap(), longest);
    }
}
