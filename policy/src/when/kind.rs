//! What a condition may name, and of which kind it is: the declared fields of a payload and a bundle's parameters.

use crate::number::Number;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The longest text a condition reads, in bytes, unless the field declares another bound.
pub const MAX_READ_BYTES: u32 = 65_536;

/// The longest attribute, label or name of a set (`requires`, tags) a condition reads, in bytes.
pub const MAX_NAME_BYTES: u32 = 1_024;

/// The longest list a condition reads, in elements, unless the field declares another bound.
pub const MAX_READ_ITEMS: u32 = 1_000;

/// The most keys of an object a condition looks into.
pub const MAX_OBJECT_KEYS: usize = 256;

/// The deepest a field may be declared.
pub const MAX_FIELD_DEPTH: usize = 8;

/// The kind of a declared field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A JSON number without fraction or exponent, within a signed 64-bit integer.
    Int,
    /// Any JSON number. It compares exactly; arithmetic on it is done in 64-bit floats.
    Number,
    /// A JSON text of at most so many bytes.
    Text {
        /// Longer ones cannot be told.
        max: u32,
    },
    /// A JSON text that is an RFC 3339 timestamp.
    Time,
    /// A JSON array.
    List {
        /// Of its elements.
        of: Box<Kind>,
        /// Longer ones cannot be told.
        max: u32,
    },
    /// A JSON object with declared fields; others may be there.
    Record(Arc<Fields>),
    /// A JSON object whose keys are data, all values of one kind.
    Map(Box<Kind>),
}

impl Kind {
    /// A text of the usual bound.
    pub const TEXT: Self = Self::Text { max: MAX_READ_BYTES };

    /// A list of the usual bound.
    pub fn list(of: Self) -> Self {
        Self::List { of: of.into(), max: MAX_READ_ITEMS }
    }

    /// Reads a scalar kind as it is declared: `string`, `string(200)` (at most so many bytes), `int`, `number`, `bool`,
    /// `timestamp`. A last `?` (the field may be missing) is taken off before.
    ///
    /// # Errors
    /// A sentence that says what the words are.
    pub fn word(word: &str) -> Result<Self, String> {
        const LARGEST: u32 = 4 << 20;
        if let Some(bound) = word.strip_prefix("string(").and_then(|rest| rest.strip_suffix(')')) {
            return match bound.parse::<u32>() {
                Ok(max) if (1..=LARGEST).contains(&max) => Ok(Self::Text { max }),
                Ok(_) | Err(_) => Err(format!("`{bound}` is not a number of bytes from 1 to {LARGEST}")),
            };
        }
        match word {
            "string" => Ok(Self::TEXT),
            "int" => Ok(Self::Int),
            "number" => Ok(Self::Number),
            "bool" => Ok(Self::Bool),
            "timestamp" => Ok(Self::Time),
            _ => Err(format!("`{word}` is not one of string, string(BYTES), int, number, bool, timestamp")),
        }
    }

    /// The larger bound of two kinds that are otherwise the same; `None` when they are not.
    fn join(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Text { max: a }, Self::Text { max: b }) => Self::Text { max: *a.max(b) },
            (Self::List { of: a, max: most }, Self::List { of: b, max }) => {
                Self::List { of: a.join(b)?.into(), max: *most.max(max) }
            }
            (Self::Map(a), Self::Map(b)) => Self::Map(a.join(b)?.into()),
            (Self::Record(a), Self::Record(b)) => Self::Record(Fields::common(&[a, b]).into()),
            (a, b) if a == b => a.clone(),
            _ => return None,
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Number => f.write_str("number"),
            Self::Text { .. } => f.write_str("string"),
            Self::Time => f.write_str("timestamp"),
            Self::List { of, .. } => write!(f, "list of {of}"),
            Self::Record(_) => f.write_str("object"),
            Self::Map(of) => write!(f, "map to {of}"),
        }
    }
}

/// The declared fields of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    known: BTreeMap<Box<str>, Kind>,
    /// Declared, but not by all schemas or not with one kind, and why.
    unusable: BTreeMap<Box<str>, Box<str>>,
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a field.
    pub fn declare(&mut self, name: &str, kind: Kind) {
        self.known.insert(name.into(), kind);
    }

    /// What can be said of a payload that fits one of several schemas: the fields all of them declare with one kind.
    pub fn common(schemas: &[&Self]) -> Self {
        let mut common = Self::default();
        let names: BTreeSet<&str> = schemas.iter().flat_map(|fields| fields.known.keys()).map(|name| &**name).collect();
        for fields in schemas {
            common.unusable.extend(fields.unusable.iter().map(|(name, why)| (name.clone(), why.clone())));
        }
        for name in names {
            let mut kinds = schemas.iter().map(|fields| fields.known.get(name));
            let first = kinds.next().flatten().cloned();
            let joined = kinds.fold(first.ok_or("is not declared for all topics of the rule"), |joined, kind| {
                let kind = kind.ok_or("is not declared for all topics of the rule")?;
                joined?.join(kind).ok_or("is declared with different kinds for the topics of the rule")
            });
            match joined {
                Ok(kind) => drop(common.known.insert(name.into(), kind)),
                Err(why) => drop(common.unusable.insert(name.into(), why.into())),
            }
        }
        common
    }

    pub(super) fn kind(&self, name: &str) -> Option<&Kind> {
        self.known.get(name).filter(|_| !self.unusable.contains_key(name))
    }

    pub(super) fn why_not(&self, name: &str) -> Option<&str> {
        self.unusable.get(name).map(|why| &**why)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(|name| &**name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Kind)> {
        self.known.iter().map(|(name, kind)| (&**name, kind))
    }
}

/// A parameter's value. It is part of the condition: parameters are fixed when a bundle loads.
#[derive(Clone, Debug)]
pub enum Param {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(Box<str>),
    /// A list of texts.
    Texts(Vec<Box<str>>),
    /// A list of numbers.
    Numbers(Vec<Number>),
}

/// Everything a condition may name.
#[derive(Clone, Debug, Default)]
pub struct Types {
    /// The payload's fields, by all schemas that can apply.
    pub fields: Fields,
    /// Of the bundle.
    pub params: BTreeMap<Box<str>, Param>,
    /// Every tag that can be derived; `None` when that is not known here, and then tags are not checked.
    pub tags: Option<BTreeSet<Box<str>>>,
}
