//! What is appended and what is read.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_protocol::address::Offset;

/// Headers of a record, in order. Few, so a plain list. A clone shares it: a record in memory is handed to each reader, and
/// nobody changes it then.
#[derive(Debug, Clone, Default)]
pub struct Headers(Option<Arc<List>>);

type List = Vec<(Cow<'static, str>, Bytes)>;

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// No headers yet, room for `n`.
    #[must_use]
    pub fn with_capacity(n: usize) -> Self {
        Self(Some(Arc::new(Vec::with_capacity(n))))
    }

    /// Adds a header behind the others; names may repeat.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) {
        Arc::make_mut(self.0.get_or_insert_default()).push((name.into(), value.into()));
    }

    fn list(&self) -> &[(Cow<'static, str>, Bytes)] {
        self.0.as_ref().map_or(&[], |list| list)
    }

    /// The value of the *last* header of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.list().iter().rev().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// [`Self::get`], when it is UTF-8.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|v| std::str::from_utf8(v).ok())
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.list().iter().map(|(n, v)| (n.as_ref(), v))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// Bytes of names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.list().iter().map(|(n, v)| n.len() + v.len()).sum()
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<Bytes>> FromIterator<(N, V)> for Headers {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(iter: T) -> Self {
        Self(Some(Arc::new(iter.into_iter().map(|(n, v)| (n.into(), v.into())).collect())))
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.list() == other.list()
    }
}

impl Eq for Headers {}

/// A record to append. `value: None` is a tombstone (keyed topics) or a null value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Key bytes; decides nothing about the partition, the caller names that itself.
    pub key: Option<Bytes>,
    /// Value bytes.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Headers,
}

impl NewRecord {
    /// Bytes of key, value and headers: what limits and back-pressure count.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.bytes()
    }
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: Offset,
    /// Milliseconds since the Unix epoch. The broker's own clock where the topic's spec says `broker_time`,
    /// otherwise what the producer wrote. Data, never the time a policy sees.
    pub timestamp_ms: i64,
    /// Key bytes.
    pub key: Option<Bytes>,
    /// Value bytes; `None` is a null value.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Headers,
}

impl Record {
    /// Bytes of key, value and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + self.headers.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_share_one_list_until_one_of_them_gets_another_header() {
        let mut one = Headers::from_iter([("a", "1")]);
        let other = one.clone();
        one.push("b", "2");
        assert_eq!((one.len(), other.len(), other.text("a"), other.get("b")), (2, 1, Some("1"), None));
        assert_eq!(Headers::new(), Headers::with_capacity(3));
    }
}
