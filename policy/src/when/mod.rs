//! Conditions of rules (`when`): a pinned, type-checked subset of CEL with a cost that is bounded before it runs.
//!
//! The way of a condition: [`token`] and [`syntax`] (bounds on length, tokens, parts and nesting hold from the first
//! byte), [`check`] (names and kinds, against the declared fields and parameters; the result is a [`program`] in which
//! nothing of a wrong kind can stand), [`settle`] (what the compiled operations do not do goes to the [`interpret`]er),
//! [`cost`] (refused above [`MAX_COST`]). Evaluation is [`eval`], over the borrowed job and the payload's tape.
//!
//! # What cannot be told
//! A test is [`Truth::True`], [`Truth::False`] or [`Truth::Error`]. An error is a missing field, a value of another kind
//! than declared, a key that comes twice, a text or list beyond its bound, an unreadable payload, an overflow. The caller
//! counts an error as the rule's own decision. `&&`, `||`, `all` and `exists` absorb an error, as in CEL, exactly when the
//! result is the same whatever the missing part would have been (Kleene's logic): so absorbing cannot switch a
//! restriction off that any value of the missing part would have switched on.
//!
//! # Departures from CEL, all towards errors
//! A value of another kind than declared is an error in `==` and `in` too, where CEL says false. `null` is a missing
//! field. Numbers compare exactly whatever their kinds; arithmetic stays in 64-bit integers between integers, and is done
//! in 64-bit floats otherwise, where an operand that is no float exactly and a result that is not finite are errors.
//! `docs/policy-conditions.md` is the reference.

mod canon;
#[expect(clippy::wildcard_enum_match_arm, reason = "a checker names what it takes and refuses everything else")]
mod check;
mod cost;
mod eval;
mod facts;
mod interpret;
mod kind;
mod pattern;
mod place;
mod problem;
mod program;
mod settle;
mod syntax;
mod text;
mod time;
mod token;
mod typed;

pub use crate::evaluate::Outcome;
pub use crate::number::Number;
pub use cost::MAX_COST;
pub use facts::{Facts, Tags};
pub use kind::{
    Fields, Kind, MAX_FIELD_DEPTH, MAX_NAME_BYTES, MAX_OBJECT_KEYS, MAX_READ_BYTES, MAX_READ_ITEMS, Param, Types,
};
pub use pattern::MAX_PATTERN_BYTES;
pub use problem::ConditionProblem;
pub use syntax::{MAX_DEPTH, MAX_NODES};
pub use token::{MAX_TEXT_BYTES, MAX_TOKENS};

use canon::Canon;
use problem::Fault;
pub(crate) use program::Relation;
use program::{Num, Test};
use sha2::{Digest, Sha256};

/// What a condition says of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It cannot be told; the rule's own decision counts.
    Error,
}

impl Truth {
    fn of(known: Option<bool>) -> Self {
        known.map_or(Self::Error, Self::from)
    }

    fn negated(self) -> Self {
        match self {
            Self::True => Self::False,
            Self::False => Self::True,
            Self::Error => Self::Error,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl From<Outcome> for Truth {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Present => Self::True,
            Outcome::Absent => Self::False,
            Outcome::Uncertain => Self::Error,
        }
    }
}

/// A checked and compiled condition.
#[derive(Debug)]
pub struct Condition {
    canonical: Box<str>,
    cost: u64,
    test: Test,
}

/// Checks and compiles a condition.
///
/// # Errors
/// The first thing that is wrong: syntax, a name or kind, a bound, or a cost above [`MAX_COST`].
pub fn compile(text: &str, types: &Types) -> Result<Condition, ConditionProblem> {
    let compiled = || {
        let syntax = syntax::parse(text)?;
        let test = check::condition(&syntax, types)?;
        let canonical = Canon::of(&test).whole().into();
        let test = settle::settle(test).map_err(|settle::Refused| refused_by_interpreter())?;
        let cost = cost::test(&test);
        bounded(cost)?;
        Ok(Condition { canonical, cost, test })
    };
    compiled().map_err(|fault: Fault| fault.place(text))
}

fn bounded(cost: u64) -> Result<(), Fault> {
    if cost <= MAX_COST {
        return Ok(());
    }
    Err(Fault::new(
        0,
        format!("the condition can cost {cost} units at worst, more than {MAX_COST}"),
        "declare how long its texts (`string(200)`) and lists can be, or loop over fewer lists at once",
    ))
}

impl Condition {
    /// Evaluates the condition. Nothing is allocated unless a part needs the interpreter ([`Self::is_compiled`]).
    pub fn holds(&self, facts: &Facts<'_>) -> Truth {
        eval::Sight::new(facts).test(&self.test)
    }

    /// The condition as one number compared with a constant, where it is that: many rules ask the same of one field.
    pub(crate) fn comparison(&self) -> Option<Comparison<'_>> {
        if let Test::Numbers(relation, number @ (Num::Int(_) | Num::Number(_)), Num::Const(limit)) = &self.test {
            return Some(Comparison { number, relation: *relation, limit: *limit });
        }
        None
    }

    /// The canonical text: two conditions with the same text always give the same result.
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The most it can cost, in units of about a nanosecond.
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

/// A number of the payload compared with a constant.
#[derive(Clone, Copy)]
pub(crate) struct Comparison<'c> {
    number: &'c Num,
    pub(crate) relation: Relation,
    pub(crate) limit: Number,
}

impl Comparison<'_> {
    /// The number's canonical text: equal ones read the same.
    pub(crate) fn field(self) -> String {
        Canon::of_number(self.number).whole()
    }

    /// The number; `None` when it cannot be told.
    pub(crate) fn read(self, facts: &Facts<'_>) -> Option<Number> {
        eval::Sight::new(facts).number(self.number)
    }
}

/// A checked condition that only the `cel` crate evaluates: what compiled ones are compared with, in tests and benches.
#[derive(Debug)]
pub struct Reference(interpret::Interpreted);

/// Checks a condition and hands all of it to the interpreter. Its cost is not bounded: use [`compile`] to judge by.
///
/// # Errors
/// As [`compile`], without the bound on cost.
pub fn interpret(text: &str, types: &Types) -> Result<Reference, ConditionProblem> {
    let checked = || {
        let test = check::condition(&syntax::parse(text)?, types)?;
        interpret::Interpreted::new(&test).map(Reference).ok_or_else(refused_by_interpreter)
    };
    checked().map_err(|fault: Fault| fault.place(text))
}

fn refused_by_interpreter() -> Fault {
    Fault::new(0, "the interpreter refuses the condition", "write it without `+` on texts, `map` and `filter`")
}

impl Reference {
    /// As [`Condition::holds`].
    pub fn holds(&self, facts: &Facts<'_>) -> Truth {
        self.0.holds(facts)
    }
}

/// A checked expression that gives a number, for the amounts of limits.
#[derive(Debug)]
pub struct Quantity {
    canonical: Box<str>,
    cost: u64,
    number: Num,
}

/// Checks and compiles an expression that gives a number.
///
/// # Errors
/// As [`compile`]; also what only the interpreter does is refused.
pub fn compile_quantity(text: &str, types: &Types) -> Result<Quantity, ConditionProblem> {
    let compiled = || {
        let syntax = syntax::parse(text)?;
        let number = check::quantity(&syntax, types)?;
        if settle::number(&number) {
            return Err(Fault::new(
                0,
                "`map`, `filter` and `+` on texts cannot stand in an amount",
                "name a field instead",
            ));
        }
        let cost = cost::number(&number);
        bounded(cost)?;
        Ok(Quantity { canonical: Canon::of_number(&number).whole().into(), cost, number })
    };
    compiled().map_err(|fault: Fault| fault.place(text))
}

impl Quantity {
    /// The number; `None` when it cannot be told. Nothing is allocated.
    pub fn value(&self, facts: &Facts<'_>) -> Option<Number> {
        eval::Sight::new(facts).number(&self.number)
    }

    /// As [`Condition::canonical`].
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// As [`Condition::cost`].
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

/// What a condition or quantity is told apart by: SHA-256 of its canonical text.
pub fn digest(canonical: &str) -> [u8; 32] {
    Sha256::digest(canonical.as_bytes()).into()
}
