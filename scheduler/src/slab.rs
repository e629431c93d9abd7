//! Values by small numbers, and where they are by a key that they contain.
//!
//! What waits is held once; everything that orders or finds it holds four bytes. A slab grows by pieces, so nothing is moved when
//! there is more of it, and a number that is free is used again.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

/// No number.
pub(crate) const NONE: u32 = u32::MAX;

/// Bytes of a piece, at most: nine of them fill 512 KiB, which is how allocators portion out what is of this size (of twice as many
/// bytes four would, and an eighth were lost).
const PIECE_BYTES: usize = 56 << 10;

/// Values by number.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    pieces: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Values of a piece.
    const PIECE: usize = {
        let values = PIECE_BYTES / size_of::<Option<T>>();
        if values == 0 { 1 } else { values }
    };

    /// Takes a value in; its number. There is room for less than [`NONE`] values.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(number) = self.free.pop()
            && let Some(place) = self.place(number)
        {
            *place = Some(value);
            return number;
        }
        if self.pieces.last().is_none_or(|piece| piece.len() == Self::PIECE) {
            self.pieces.push(Vec::with_capacity(Self::PIECE));
        }
        let before = (self.pieces.len() - 1) * Self::PIECE;
        let Some(piece) = self.pieces.last_mut() else { return NONE };
        piece.push(Some(value));
        u32::try_from(before + piece.len() - 1).unwrap_or(NONE)
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.place(number)?.take()?;
        self.len -= 1;
        self.free.push(number);
        Some(value)
    }

    fn place(&mut self, number: u32) -> Option<&mut Option<T>> {
        let number = number as usize;
        self.pieces.get_mut(number / Self::PIECE)?.get_mut(number % Self::PIECE)
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.pieces.get(number / Self::PIECE)?.get(number % Self::PIECE)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.place(number)?.as_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten().flatten()
    }
}

/// Numbers of a slab by key. It holds no key: whoever asks says how a number's key is found.
///
/// Looked up, never walked through: its order shows nowhere, and its random keys keep submitters, who choose ids, from crowding a
/// bucket.
#[derive(Debug, Default)]
pub(crate) struct Index {
    numbers: HashTable<u32>,
    #[expect(clippy::disallowed_types, reason = "the order in the table shows nowhere")]
    keys: std::collections::hash_map::RandomState,
}

impl Index {
    /// Adds a number, which is not in.
    pub(crate) fn insert<K: Hash>(&mut self, number: u32, key: impl Fn(u32) -> Option<K>) {
        let hash = |number: u32| self.keys.hash_one(key(number));
        self.numbers.insert_unique(hash(number), number, |other| hash(*other));
    }

    /// The number whose key that is.
    pub(crate) fn find<K: Hash + PartialEq>(&self, wanted: K, key: impl Fn(u32) -> Option<K>) -> Option<u32> {
        let wanted = Some(wanted);
        self.numbers.find(self.keys.hash_one(&wanted), |number| key(*number) == wanted).copied()
    }

    /// Takes the number out whose key that is.
    pub(crate) fn remove<K: Hash + PartialEq>(&mut self, wanted: K, key: impl Fn(u32) -> Option<K>) -> Option<u32> {
        let wanted = Some(wanted);
        let found = self.numbers.find_entry(self.keys.hash_one(&wanted), |number| key(*number) == wanted).ok()?;
        Some(found.remove().0)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_found_by_key_however_many_there_are() {
        let (mut slab, mut index) = (Slab::default(), Index::default());
        for n in 0..5_000_u64 {
            let at = slab.insert(n.to_string());
            index.insert(at, |at| slab.get(at).map(String::as_str));
        }
        for n in (0..5_000_u64).step_by(2) {
            let key = n.to_string();
            let at = index.remove(key.as_str(), |at| slab.get(at).map(String::as_str)).unwrap();
            assert_eq!(slab.remove(at), Some(key));
            assert_eq!(slab.remove(at), None);
        }
        assert_eq!((slab.len(), index.len(), slab.values().count()), (2_500, 2_500, 2_500));
        let find = |slab: &Slab<String>, index: &Index, key: &str| {
            index.find(key, |at| slab.get(at).map(String::as_str)).and_then(|at| slab.get(at).cloned())
        };
        assert_eq!(find(&slab, &index, "4999").as_deref(), Some("4999"));
        assert_eq!(find(&slab, &index, "4998"), None);
        let at = slab.insert("new".into());
        assert!(at < 5_000, "a place that was free");
        *slab.get_mut(at).unwrap() = "newer".into();
        index.insert(at, |at| slab.get(at).map(String::as_str));
        assert_eq!(find(&slab, &index, "newer").as_deref(), Some("newer"));
    }
}
