//! A secret key and its public half, as text.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use tidegate_protocol::ids::KeyId;
use tidegate_protocol::signature::{Sign, Signature};

/// Begins a secret's text, so that scanners for leaked secrets find it.
const MARK: &str = "tidegate-secret-1:";

/// Signs. Its secret is never shown but by [`SecretKey::reveal`], and wiped from memory when dropped.
#[derive(Clone)]
pub struct SecretKey {
    id: KeyId,
    key: SigningKey,
}

/// Text that is no secret key. Does not quote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no secret key: it must be `tidegate-secret-1:` and 64 hex digits, as `tidegate keys create` prints it"
)]
pub struct BadSecret;

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(id: KeyId) -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self::from_seed(id, &seed))
    }

    /// The key of a seed (RFC 8032's private key).
    #[must_use]
    pub fn from_seed(id: KeyId, seed: &[u8; 32]) -> Self {
        Self { id, key: SigningKey::from_bytes(seed) }
    }

    /// Reads a secret's text.
    ///
    /// # Errors
    /// [`BadSecret`].
    pub fn parse(id: KeyId, text: &str) -> Result<Self, BadSecret> {
        let digits = text.trim().strip_prefix(MARK).ok_or(BadSecret)?;
        let mut seed = [0; 32];
        hex::decode_to_slice(digits, &mut seed).map_err(|_| BadSecret)?;
        Ok(Self::from_seed(id, &seed))
    }

    /// The secret's text: to be written to a file, or printed once.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{MARK}{}", hex::encode(self.key.to_bytes()))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("id", &self.id).field("public", &self.public()).finish_non_exhaustive()
    }
}

impl Sign for SecretKey {
    fn key(&self) -> &KeyId {
        &self.id
    }

    fn sign(&self, statement: &[u8]) -> Signature {
        self.key.sign(statement).to_bytes()
    }
}

/// A public key; shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub(crate) VerifyingKey);

/// Text that is no public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no public key: it must be 64 hex digits of an Ed25519 key that is not weak")]
pub struct BadPublic {
    /// As written (cut at 80 characters).
    pub text: String,
}

impl FromStr for PublicKey {
    type Err = BadPublic;
    fn from_str(text: &str) -> Result<Self, BadPublic> {
        let bad = || BadPublic { text: text.chars().take(80).collect() };
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| bad())?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| bad())?;
        if key.is_weak() { Err(bad()) } else { Ok(Self(key)) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> KeyId {
        KeyId::new("k").unwrap()
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn a_key_signs_as_the_rfc_says() {
        let mut seed = [0; 32];
        hex::decode_to_slice("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", &mut seed).unwrap();
        let key = SecretKey::from_seed(id(), &seed);
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(key.public().to_string(), public);
        assert_eq!(
            hex::encode(key.sign(&[0x72])),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn a_secret_is_read_as_it_was_revealed_and_shown_nowhere_else() {
        let key = SecretKey::generate(id()).unwrap();
        let secret = key.reveal();
        assert_eq!(SecretKey::parse(id(), &format!("{secret}\n")).unwrap().public(), key.public());
        let digits = secret.strip_prefix(MARK).unwrap();
        assert!(!format!("{key:?}").contains(digits) && format!("{key:?}").contains(&key.public().to_string()));
        for bad in ["", digits, &secret[..secret.len() - 1], &format!("{secret}0")] {
            let refused = SecretKey::parse(id(), bad).unwrap_err();
            assert!(!refused.to_string().contains(digits));
        }
        assert_ne!(SecretKey::generate(id()).unwrap().reveal(), secret);
    }

    #[test]
    fn a_weak_or_broken_public_key_is_refused() {
        // Points of order 4, 1 and 8.
        let eighth = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
        for bad in ["", "00", &"0".repeat(64), &format!("01{}", "0".repeat(62)), eighth, &"z".repeat(64)] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }
}
