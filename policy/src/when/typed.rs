//! What a part of a condition stands for, once names and kinds are known.

use super::kind::{Fields, Kind};
use super::program::{Arithmetic, Num, Place, Seq, Test, Text};
use std::sync::Arc;

#[derive(Debug)]
pub(super) enum Typed {
    Test(Test),
    /// `true`: an integer for certain, so arithmetic stays in integers.
    Num(Num, bool),
    Time(Num),
    Span(Num),
    /// With the most bytes it can have.
    Text(Text, u64),
    Seq(List),
    Record(Place, Arc<Fields>),
    Map(Place, Kind),
    Labels,
    Job,
    Actor,
    Payload,
    Params,
}

/// A list, what its elements are, and how many there are at most.
#[derive(Debug)]
pub(super) struct List {
    pub(super) seq: Seq,
    pub(super) of: Kind,
    pub(super) max: u64,
}

impl Typed {
    /// What an author would call it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Test(_) => "a boolean",
            Self::Num(..) => "a number",
            Self::Time(_) => "a timestamp",
            Self::Span(_) => "a duration",
            Self::Text(..) => "a text",
            Self::Seq(_) => "a list",
            Self::Record(..) | Self::Payload => "an object",
            Self::Map(..) | Self::Labels => "a map",
            Self::Job => "the job",
            Self::Actor => "the actor",
            Self::Params => "the parameters",
        }
    }

    /// What stands at a place of a declared kind.
    pub(super) fn at(place: Place) -> Self {
        match place.kind.clone() {
            Kind::Bool => Self::Test(Test::Read(place)),
            Kind::Int => Self::Num(Num::Int(place), true),
            Kind::Number => Self::Num(Num::Number(place), false),
            Kind::Text { max } => Self::Text(Text::Read(place, max), max.into()),
            Kind::Time => Self::Time(Num::Time(place)),
            Kind::List { of, max } => Self::Seq(List { seq: Seq::Read(place, max), of: *of, max: max.into() }),
            Kind::Record(fields) => Self::Record(place, fields),
            Kind::Map(of) => Self::Map(place, *of),
        }
    }
}

/// Arithmetic, done at once where both sides are constants. `None`: it overflows or divides by zero.
pub(super) fn arithmetic(operation: Arithmetic, a: Num, b: Num, whole: bool) -> Option<Num> {
    use super::eval;
    use crate::number::Number;
    if let (Num::Const(a), Num::Const(b)) = (&a, &b) {
        let value = if whole {
            operation.whole(eval::whole(*a)?, eval::whole(*b)?).map(eval::int)
        } else {
            operation.float(eval::float(*a)?, eval::float(*b)?).map(Number::Float)
        };
        return value.map(Num::Const);
    }
    Some(if whole { Num::Whole(operation, (a, b).into()) } else { Num::Float(operation, (a, b).into()) })
}
