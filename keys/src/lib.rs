//! Keys: what signs ([`SecretKey`]), and who is trusted for what ([`Keyring`]). Ed25519 (RFC 8032), verified strictly:
//! no weak key, no second form of a signature.
//!
//! A key has an **id**, which records name, and is trusted for **roles**, for some tenants or all, and **until** a time.
//! To change a key: create the new one, trust it everywhere, sign with it, then give the old one a time after which it
//! counts for nothing. It stays in the list, else what it signed before could not be read (the facts log above all).
//!
//! A worker that pulls jobs over HTTP signs nothing: it has a [`BearerKey`], of which configurations hold the digest.
//!
//! Deliberately absent: certificates, key servers, agents. A key is a file, or a variable of the environment.

mod bearer;
mod file;
mod keyring;
mod secret;

pub use bearer::{BadDigest, BearerDigest, BearerKey};
pub use file::{FileError, create, read};
pub use keyring::{Keyring, KeyringError, Trusted};
pub use secret::{BadPublic, BadSecret, PublicKey, SecretKey};
