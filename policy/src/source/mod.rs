//! From text to the checked language.
//!
//! A file becomes a tree of located values (`yaml`), the tree is read field by field (`bundle` and what it names, with
//! `fields`), and everything wrong is collected with its line, so that an author sees all of it at once. Serde's
//! derived types are not used here: they stop at the first error and lose lines inside untagged values.
//!
//! Fields that the language will have but this version lacks are refused by name, never skipped.

mod bundle;
mod concurrency;
mod consequence;
mod deriver;
mod duration;
mod fields;
mod matches;
mod params;
mod rule;
mod schema;
mod state;
mod tenants;
mod window;
mod yaml;

pub(crate) use bundle::read as read_bundle;
pub use consequence::{DEFAULT_APPROVAL_TTL_MS, DEFAULT_GIVE_UP_AFTER_MS, DEFAULT_RETRY_AFTER_MS};
pub(crate) use fields::{Fields, Reader};
pub(crate) use yaml::{Node, Value, parse};
