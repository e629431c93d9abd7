//! From syntax to a program: names, kinds, and what each operator and function takes.

mod calls;
mod names;

pub(super) use names::NAMES;

use super::kind::{Kind, MAX_NAME_BYTES, Types};
use super::problem::{Fault, nearest};
use super::program::{Arithmetic, MAX_LOOPS, Num, Place, Relation, Root, Seq, Test, Text};
use super::syntax::{Binary, Shape, Syntax};
use super::typed::{List, Typed, arithmetic};
use crate::language::TextSet;
use crate::number::Number;
use std::sync::Arc;

/// Checks a condition: it must be a boolean.
pub(super) fn condition(syntax: &Syntax, types: &Types) -> Result<Test, Fault> {
    let mut checker = Checker { types, scopes: Vec::new() };
    checker.test(syntax, "a condition")
}

/// Checks an expression that gives a number.
pub(super) fn quantity(syntax: &Syntax, types: &Types) -> Result<Num, Fault> {
    let mut checker = Checker { types, scopes: Vec::new() };
    match checker.check(syntax)? {
        Typed::Num(number, _) => Ok(number),
        other => Err(wrong(syntax.at, &other, "a number", "an amount")),
    }
}

struct Checker<'t> {
    types: &'t Types,
    /// Variables of the loops around, outermost first.
    scopes: Vec<(String, Kind)>,
}

fn wrong(at: usize, given: &Typed, wanted: &str, what: &str) -> Fault {
    Fault::new(at, format!("{what} must be {wanted}, and this is {}", given.kind()), format!("give {wanted}"))
}

impl Checker<'_> {
    fn test(&mut self, syntax: &Syntax, what: &str) -> Result<Test, Fault> {
        match self.check(syntax)? {
            Typed::Test(test) => Ok(test),
            other => Err(wrong(syntax.at, &other, "true or false", what)),
        }
    }

    fn check(&mut self, syntax: &Syntax) -> Result<Typed, Fault> {
        let at = syntax.at;
        Ok(match &syntax.shape {
            Shape::Null => {
                return Err(Fault::new(
                    at,
                    "`null` is not part of the language: a field that is null counts as missing",
                    "write `has(job.FIELD)` or `!has(job.FIELD)`",
                ));
            }
            Shape::Bool(value) => Typed::Test(Test::Const(*value)),
            Shape::Int(value) => Typed::Num(Num::Const(Number::Int((*value).into())), true),
            Shape::Float(value) => Typed::Num(Num::Const(Number::Float(*value)), false),
            Shape::Text(text) => Typed::Text(Text::Const(text.as_str().into()), text.len() as u64),
            Shape::Name(name) => self.name(at, name)?,
            Shape::Member(of, name) => {
                let of = self.check(of)?;
                self.member(at, of, name)?
            }
            Shape::Index(of, index) => {
                let of = self.check(of)?;
                self.index(at, of, index)?
            }
            Shape::Call { target, name, args } => self.call(at, target.as_deref(), name, args)?,
            Shape::List(items) => self.list(at, items)?,
            Shape::Not(of) => match self.test(of, "what `!` turns round")? {
                Test::Const(value) => Typed::Test(Test::Const(!value)),
                test => Typed::Test(Test::Not(test.into())),
            },
            Shape::Negative(of) => {
                let operand = self.check(of)?;
                self.negative(at, operand)?
            }
            Shape::All(parts) => Typed::Test(Test::All(self.tests(parts, "&&")?)),
            Shape::Any(parts) => Typed::Test(Test::Any(self.tests(parts, "||")?)),
            Shape::If(condition, then, otherwise) => {
                let condition = self.test(condition, "what stands before `?`")?;
                let (then, otherwise) = (self.check(then)?, self.check(otherwise)?);
                branch(at, condition, then, otherwise)?
            }
            Shape::Binary(Binary::In, item, list) => {
                let place = item.at;
                let item = self.check(item)?;
                let list = self.check(list)?;
                let test = within(at, item, list)?;
                if let Test::Tagged(tag) = &test {
                    self.tag(place, tag)?;
                }
                Typed::Test(test)
            }
            Shape::Binary(operator, a, b) => {
                let (a, b) = (self.check(a)?, self.check(b)?);
                match relation(*operator) {
                    Some(relation) => Typed::Test(compare(at, relation, a, b)?),
                    None => compute(at, *operator, a, b)?,
                }
            }
        })
    }

    fn tests(&mut self, parts: &[Syntax], operator: &str) -> Result<Box<[Test]>, Fault> {
        parts.iter().map(|part| self.test(part, &format!("what `{operator}` joins"))).collect()
    }

    /// A tag nothing derives is never there: a wrong name.
    fn tag(&self, at: usize, tag: &str) -> Result<(), Fault> {
        let Some(known) = self.types.tags.as_ref().filter(|known| !known.contains(tag)) else { return Ok(()) };
        let remedy = match nearest(tag, known.iter().map(|tag| &**tag)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add a deriver, or look in `job.claimed_tags`".to_owned(),
        };
        Err(Fault::new(at, format!("`{tag}` is not derived by any deriver"), remedy))
    }

    fn negative(&mut self, at: usize, operand: Typed) -> Result<Typed, Fault> {
        let zero = || Num::Const(Number::Int(0));
        let negated = |number: Num, whole: bool| {
            arithmetic(Arithmetic::Minus, zero(), number, whole)
                .ok_or_else(|| Fault::new(at, "the negative is beyond 64 bits", "write a smaller number"))
        };
        Ok(match operand {
            Typed::Num(number, whole) => Typed::Num(negated(number, whole)?, whole),
            Typed::Span(number) => Typed::Span(negated(number, true)?),
            other => return Err(wrong(at, &other, "a number or a duration", "what `-` turns round")),
        })
    }

    /// Binds a loop's variable for as long as `inside` runs.
    fn within_loop<R>(
        &mut self,
        variable: &Syntax,
        of: &Kind,
        inside: impl FnOnce(&mut Self, usize) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let Shape::Name(name) = &variable.shape else {
            return Err(Fault::new(
                variable.at,
                "the first argument must be a name for the element",
                "write `LIST.all(x, ...)`",
            ));
        };
        if matches!(name.as_str(), "job" | "params" | "now") || self.scopes.iter().any(|(known, _)| known == name) {
            return Err(Fault::new(
                variable.at,
                format!("`{name}` is already something else here"),
                "use another name",
            ));
        }
        let level = self.scopes.len();
        if level == MAX_LOOPS {
            return Err(Fault::new(
                variable.at,
                format!("loops nest deeper than {MAX_LOOPS}"),
                "split the condition into several rules",
            ));
        }
        self.scopes.push((name.clone(), of.clone()));
        let result = inside(self, level);
        self.scopes.pop();
        result
    }
}

fn relation(operator: Binary) -> Option<Relation> {
    Some(match operator {
        Binary::Equal => Relation::Equal,
        Binary::NotEqual => Relation::NotEqual,
        Binary::Less => Relation::Less,
        Binary::LessOrEqual => Relation::LessOrEqual,
        Binary::Greater => Relation::Greater,
        Binary::GreaterOrEqual => Relation::GreaterOrEqual,
        Binary::In | Binary::Plus | Binary::Minus | Binary::Times | Binary::Divided | Binary::Remainder => return None,
    })
}

fn compare(at: usize, relation: Relation, a: Typed, b: Typed) -> Result<Test, Fault> {
    let equality = matches!(relation, Relation::Equal | Relation::NotEqual);
    Ok(match (a, b) {
        (Typed::Num(a, _), Typed::Num(b, _)) | (Typed::Time(a), Typed::Time(b)) | (Typed::Span(a), Typed::Span(b)) => {
            Test::Numbers(relation, a, b)
        }
        (Typed::Text(a, _), Typed::Text(b, _)) => Test::Texts(relation, a, b),
        (Typed::Test(a), Typed::Test(b)) if equality => {
            let same = Test::Same((a, b).into());
            if relation == Relation::Equal { same } else { Test::Not(same.into()) }
        }
        (a, b) => {
            let sign = relation.sign();
            let remedy = match (&a, &b) {
                (Typed::Time(_), Typed::Text(..)) | (Typed::Text(..), Typed::Time(_)) => {
                    "write the text as `timestamp(\"2026-01-31T00:00:00Z\")`"
                }
                (Typed::Span(_), _) | (_, Typed::Span(_)) => "write the other side as `duration(\"1h\")`",
                (Typed::Seq(_), _) | (_, Typed::Seq(_)) => "use `in`, `size()`, `all` or `exists`",
                _ => "compare two values of one kind",
            };
            return Err(Fault::new(at, format!("`{sign}` cannot compare {} with {}", a.kind(), b.kind()), remedy));
        }
    })
}

fn compute(at: usize, operator: Binary, a: Typed, b: Typed) -> Result<Typed, Fault> {
    let operation = match operator {
        Binary::Minus => Arithmetic::Minus,
        Binary::Times => Arithmetic::Times,
        Binary::Divided => Arithmetic::Divided,
        Binary::Remainder => Arithmetic::Remainder,
        Binary::Plus
        | Binary::Equal
        | Binary::NotEqual
        | Binary::Less
        | Binary::LessOrEqual
        | Binary::Greater
        | Binary::GreaterOrEqual
        | Binary::In => Arithmetic::Plus,
    };
    let done = |a: Num, b: Num, whole: bool| {
        arithmetic(operation, a, b, whole).ok_or_else(|| {
            Fault::new(at, "this overflows, divides by zero, or needs a float that cannot be exact", "write the result")
        })
    };
    Ok(match (a, b, operation) {
        (Typed::Num(a, true), Typed::Num(b, true), _) => Typed::Num(done(a, b, true)?, true),
        (Typed::Num(..), Typed::Num(..), Arithmetic::Remainder) => {
            return Err(Fault::new(at, "`%` takes integers", "declare the fields as `int`"));
        }
        (Typed::Num(a, _), Typed::Num(b, _), _) => Typed::Num(done(a, b, false)?, false),
        (Typed::Time(a), Typed::Time(b), Arithmetic::Minus) => Typed::Span(done(a, b, true)?),
        (Typed::Time(a), Typed::Span(b), Arithmetic::Plus | Arithmetic::Minus)
        | (Typed::Span(a), Typed::Time(b), Arithmetic::Plus) => Typed::Time(done(a, b, true)?),
        (Typed::Span(a), Typed::Span(b), Arithmetic::Plus | Arithmetic::Minus) => Typed::Span(done(a, b, true)?),
        (Typed::Text(a, most), Typed::Text(b, more), Arithmetic::Plus) => {
            Typed::Text(Text::Joined((a, b).into()), most.saturating_add(more))
        }
        (a, b, _) => {
            return Err(Fault::new(
                at,
                format!("`{}` does not take {} and {}", operator.text(), a.kind(), b.kind()),
                "give two numbers, or timestamps and durations",
            ));
        }
    })
}

fn branch(at: usize, condition: Test, then: Typed, otherwise: Typed) -> Result<Typed, Fault> {
    Ok(match (then, otherwise) {
        (Typed::Test(a), Typed::Test(b)) => Typed::Test(Test::If((condition, a, b).into())),
        (Typed::Num(a, whole), Typed::Num(b, too)) => Typed::Num(Num::If((condition, a, b).into()), whole && too),
        (Typed::Time(a), Typed::Time(b)) => Typed::Time(Num::If((condition, a, b).into())),
        (Typed::Span(a), Typed::Span(b)) => Typed::Span(Num::If((condition, a, b).into())),
        (Typed::Text(a, most), Typed::Text(b, max)) => Typed::Text(Text::If((condition, a, b).into()), most.max(max)),
        (a, b) => {
            return Err(Fault::new(
                at,
                format!("`?` gives {} or {}", a.kind(), b.kind()),
                "give two booleans, numbers, texts, timestamps or durations",
            ));
        }
    })
}

fn within(at: usize, item: Typed, list: Typed) -> Result<Test, Fault> {
    let mixed = |item: &Typed, of: &str| {
        Fault::new(
            at,
            format!("`in` looks for {} in a list of {of}", item.kind()),
            "look for a value of the list's kind",
        )
    };
    Ok(match (item, list) {
        (
            Typed::Text(Text::Const(tag), _),
            Typed::Seq(List { seq: Seq::Names(super::program::Names::RiskTags), .. }),
        ) => Test::Tagged(tag),
        (Typed::Text(Text::Const(key), _), Typed::Labels) => Test::HasLabel(key),
        (Typed::Text(Text::Const(key), _), Typed::Map(place, of)) => Test::Has(place.key(&key, &of)),
        (Typed::Text(text, _), Typed::Map(place, _)) => Test::HasKey(text, place),
        (Typed::Text(text, _), Typed::Labels) => {
            Test::InTexts(text, Seq::Names(super::program::Names::LabelKeys), MAX_NAME_BYTES)
        }
        (Typed::Text(text, _), Typed::Seq(List { seq, of: Kind::Text { max }, .. })) => match seq {
            Seq::Texts(texts) => Test::OneOfTexts(text, Arc::new(texts.iter().cloned().collect::<TextSet>())),
            seq => Test::InTexts(text, seq, max),
        },
        (Typed::Num(number, _), Typed::Seq(List { seq, of: of @ (Kind::Number | Kind::Int), .. })) => match seq {
            Seq::Numbers(numbers) => Test::OneOfNumbers(number, numbers),
            seq => Test::InNumbers(number, seq, of == Kind::Int),
        },
        (item, Typed::Seq(list)) => return Err(mixed(&item, &list.of.to_string())),
        (item @ Typed::Num(..), Typed::Map(..) | Typed::Labels) => return Err(mixed(&item, "texts")),
        (_, other) => return Err(wrong(at, &other, "a list or a map", "what stands after `in`")),
    })
}

/// The element of a loop.
fn variable(level: usize, kind: &Kind) -> Typed {
    Typed::at(Place { root: Root::Loop(level), steps: Vec::new(), kind: kind.clone() })
}
