//! A checked condition: one enum per kind of value, so that nothing of another kind can stand anywhere.
//!
//! Evaluation walks this tree. It is at most [`MAX_DEPTH`](super::syntax::MAX_DEPTH) deep and some levels more.

use super::interpret::Interpreted;
use super::kind::Kind;
use super::pattern::Pattern;
use super::time::Part;
use crate::language::TextSet;
use crate::number::Number;
use std::cmp::Ordering;
use std::sync::Arc;

/// Loops within loops.
pub(super) const MAX_LOOPS: usize = 3;

/// Gives a [`Truth`](super::Truth).
#[derive(Debug)]
pub(super) enum Test {
    Const(bool),
    Not(Box<Test>),
    All(Box<[Test]>),
    Any(Box<[Test]>),
    If(Box<(Test, Test, Test)>),
    /// A boolean of the payload.
    Read(Place),
    /// Whether the last step leads to something.
    Has(Place),
    HasAttribute(Attribute),
    HasNumber(Known),
    HasLabel(Box<str>),
    Same(Box<(Test, Test)>),
    Numbers(Relation, Num, Num),
    Texts(Relation, Text, Text),
    Starts(Text, Text),
    Ends(Text, Text),
    Contains(Text, Text),
    Matches(Text, Arc<Pattern>),
    OneOfTexts(Text, Arc<TextSet>),
    OneOfNumbers(Num, Arc<[Number]>),
    /// With the most bytes an element can have.
    InTexts(Text, Seq, u32),
    /// With whether elements must be integers.
    InNumbers(Num, Seq, bool),
    HasKey(Text, Place),
    /// Whether a tag is derived.
    Tagged(Box<str>),
    Each(Box<Each>),
    /// What the operations above do not do: evaluated by the `cel` crate.
    Interpreted(Box<Interpreted>),
}

/// `all`, `exists` and `exists_one`.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) how: Quantity,
    pub(super) over: Seq,
    /// Which slot holds the element.
    pub(super) level: usize,
    pub(super) body: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    All,
    Exists,
    ExistsOne,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    #[inline]
    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// Gives a number; timestamps and durations are whole microseconds.
#[derive(Debug)]
pub(super) enum Num {
    Const(Number),
    /// A JSON number without fraction, within 64 bits with its sign.
    Int(Place),
    /// Any JSON number.
    Number(Place),
    /// A JSON text that is an RFC 3339 timestamp.
    Time(Place),
    Known(Known),
    /// The text as an RFC 3339 timestamp.
    Timestamp(Text),
    /// In 64-bit integers, checked.
    Whole(Arithmetic, Box<(Num, Num)>),
    /// In 64-bit floats; an operand that is no float exactly, and a result that is not finite, cannot be told.
    Float(Arithmetic, Box<(Num, Num)>),
    If(Box<(Test, Num, Num)>),
    /// In characters.
    TextSize(Text),
    SeqSize(Box<Seq>),
    MapSize(Place),
    LabelCount,
    Part(Part, Box<Num>),
}

/// Numbers the runner and the job's envelope give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Now,
    Priority,
    Deadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divided,
    Remainder,
}

impl Arithmetic {
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Divided => "/",
            Self::Remainder => "%",
        }
    }

    pub(super) fn whole(self, a: i64, b: i64) -> Option<i64> {
        match self {
            Self::Plus => a.checked_add(b),
            Self::Minus => a.checked_sub(b),
            Self::Times => a.checked_mul(b),
            Self::Divided => a.checked_div(b),
            Self::Remainder => a.checked_rem(b),
        }
    }

    pub(super) fn float(self, a: f64, b: f64) -> Option<f64> {
        let result = match self {
            Self::Plus => a + b,
            Self::Minus => a - b,
            Self::Times => a * b,
            Self::Divided => a / b,
            Self::Remainder => return None,
        };
        result.is_finite().then_some(result)
    }
}

/// Gives a text.
#[derive(Debug)]
pub(super) enum Text {
    Const(Box<str>),
    Attribute(Attribute),
    Label(Box<str>),
    Read(Place, u32),
    If(Box<(Test, Text, Text)>),
    /// ASCII capitals as small letters.
    Lower(Box<Text>),
    /// Only the interpreter does it.
    Joined(Box<(Text, Text)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Tenant,
    Topic,
    Capability,
    ActorId,
    ActorType,
}

impl Attribute {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Topic => "topic",
            Self::Capability => "capability",
            Self::ActorId => "actor.id",
            Self::ActorType => "actor.type",
        }
    }
}

/// Gives elements, one after the other.
#[derive(Debug)]
pub(super) enum Seq {
    /// A JSON array of at most so many elements.
    Read(Place, u32),
    Names(Names),
    /// The keys of a JSON object.
    Keys(Place),
    Texts(Arc<[Box<str>]>),
    Numbers(Arc<[Number]>),
    /// Only the interpreter does it.
    Built(Box<Built>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Requires,
    /// Derived tags.
    RiskTags,
    ClaimedTags,
    LabelKeys,
}

impl Names {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requires => "requires",
            Self::RiskTags => "risk_tags",
            Self::ClaimedTags => "claimed_tags",
            Self::LabelKeys => "labels",
        }
    }
}

/// A list the condition makes.
#[derive(Debug)]
pub(super) enum Built {
    Filter { over: Seq, level: usize, body: Test },
    Map { over: Seq, level: usize, body: Item },
    List(Vec<Item>),
}

/// An element of a list the condition makes.
#[derive(Debug)]
pub(super) enum Item {
    Num(Num),
    Text(Text),
}

/// A value of the payload, or below the element of a loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) root: Root,
    pub(super) steps: Vec<Step>,
    /// Its declared kind.
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Payload,
    /// The element of the loop of this level, counted from 0 for the outermost.
    Loop(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A declared field of an object.
    Member(Box<str>),
    /// A key of a map.
    Key(Box<str>),
    /// An element of a list of at most so many.
    Index { at: u32, max: u32 },
}

impl Place {
    pub(super) fn member(&self, name: &str, kind: &Kind) -> Self {
        self.then(Step::Member(name.into()), kind)
    }

    pub(super) fn key(&self, key: &str, kind: &Kind) -> Self {
        self.then(Step::Key(key.into()), kind)
    }

    pub(super) fn index(&self, at: u32, max: u32, kind: &Kind) -> Self {
        self.then(Step::Index { at, max }, kind)
    }

    fn then(&self, step: Step, kind: &Kind) -> Self {
        let steps = self.steps.iter().cloned().chain([step]).collect();
        Self { root: self.root, steps, kind: kind.clone() }
    }
}
