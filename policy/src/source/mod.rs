//! From text to the checked language.
//!
//! A file becomes a tree of located values (`yaml`), the tree is read field by field (`fields`, `bundle`, `rule`,
//! `deriver`), and everything wrong is collected with its line, so that an author sees all of it at once. Serde's
//! derived types are not used here: they stop at the first error and lose lines inside untagged values.
//!
//! Fields that the language will have but this version lacks are refused by name, never skipped.

mod bundle;
mod deriver;
mod fields;
mod rule;
mod yaml;

pub(crate) use bundle::read as read_bundle;
pub(crate) use fields::{Fields, Reader};
pub(crate) use yaml::{Node, Value, parse};
