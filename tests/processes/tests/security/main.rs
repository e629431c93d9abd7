//! A broker that asks who is there: TLS and SCRAM-SHA-512 on a real Kafka, and the rights that `topics export` prints.
//!
//! | module | what it shows |
//! |---|---|
//! | `ground` | a folder with a configuration for each user of the broker |
//! | `doors` | the right credentials are let in; a wrong password, an unknown CA and no TLS are each told apart |
//! | `rights` | each role runs with exactly the rights that are printed for it, and with no other role's |
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod doors;
mod ground;
mod rights;
