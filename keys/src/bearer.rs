//! Bearer keys: a secret that its holder sends with every request, of which the other side knows the SHA-256 alone.
//!
//! 256 random bits need no salt and no slow hash: there is nothing to guess.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Begins a bearer key's text, so that scanners for leaked secrets find it.
const MARK: &str = "tidegate-worker-1:";

/// A bearer key. Hidden in `Debug`; shown by [`BearerKey::reveal`] alone.
#[derive(Clone)]
pub struct BearerKey(String);

/// The SHA-256 of a bearer key's text; 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BearerDigest([u8; 32]);

/// Text that is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no SHA-256: it must be 64 hex digits, as `tidegate keys create --role worker` prints them")]
pub struct BadDigest {
    /// As written (cut at 80 characters).
    pub text: String,
}

impl BearerKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random)?;
        Ok(Self(format!("{MARK}{}", hex::encode(random))))
    }

    /// Its text: to be written to a file, or printed once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What may be known of it.
    #[must_use]
    pub fn digest(&self) -> BearerDigest {
        BearerDigest::of(&self.0)
    }
}

impl fmt::Debug for BearerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerKey(***)")
    }
}

impl BearerDigest {
    /// Of what somebody offers as a key.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl FromStr for BearerDigest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut digest = [0; 32];
        let bad = || BadDigest { text: text.chars().take(80).collect() };
        hex::decode_to_slice(text, &mut digest).map_err(|_| bad())?;
        Ok(Self(digest))
    }
}

impl fmt::Display for BearerDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_digest_and_shown_nowhere() {
        let key = BearerKey::generate().unwrap();
        assert!(key.reveal().starts_with(MARK) && key.reveal().len() == MARK.len() + 64);
        assert_eq!(format!("{key:?}"), "BearerKey(***)");
        let digest = key.digest();
        assert_eq!(digest.to_string().parse::<BearerDigest>().unwrap(), digest);
        assert_ne!(BearerDigest::of(&key.reveal()[1..]), digest);
        assert!(BearerKey::generate().unwrap().digest() != digest);
        for bad in ["", "00", &"z".repeat(64)] {
            assert!(bad.parse::<BearerDigest>().is_err(), "{bad}");
        }
    }
}
