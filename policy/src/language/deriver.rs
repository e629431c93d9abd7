//! Computing risk tags from topic and payload.

use super::TextSet;
use crate::glob::Glob;
use crate::number::Number;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Computes a risk tag from topic and payload.
#[derive(Debug)]
pub(crate) struct Deriver {
    pub(crate) bundle: Arc<str>,
    pub(crate) tag: Arc<str>,
    pub(crate) topics: BTreeSet<Glob>,
    pub(crate) field: Pointer,
    pub(crate) test: Test,
    /// A missing field means the test does not hold, instead of being uncertain.
    pub(crate) optional: bool,
}

/// A JSON pointer, unescaped; `each` when it ended in `/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) text: Box<str>,
    pub(crate) tokens: Vec<Box<str>>,
    pub(crate) each: bool,
}

#[derive(Debug)]
pub(crate) enum Test {
    Missing,
    Equal(Scalar),
    In(Scalars),
    NotIn(Scalars),
    /// Starts with any of them.
    Prefix(TextSet),
    Greater(Number),
    Less(Number),
    /// Not one plain e-mail address that is listed or whose domain is. All lower case, domains without `@`.
    AddressNotIn {
        addresses: TextSet,
        domains: TextSet,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Scalar {
    Text(Box<str>),
    Number(Number),
    Bool(bool),
}

/// A list of one kind of scalar.
#[derive(Debug)]
pub(crate) enum Scalars {
    Texts(TextSet),
    Numbers(Vec<Number>),
}
