//! Handing to the interpreter what the compiled operations do not do, and only that.

use super::interpret::Interpreted;
use super::program::{Num, Seq, Test, Text};

/// The parts that can be told apart stay compiled; `Err` when the interpreter refuses one.
#[expect(clippy::wildcard_enum_match_arm, reason = "only what joins conditions is looked into")]
pub(super) fn settle(test: Test) -> Result<Test, Refused> {
    if !needs_interpreter(&test) {
        return Ok(test);
    }
    let all = |parts: Box<[Test]>| parts.into_iter().map(settle).collect::<Result<Box<[Test]>, Refused>>();
    Ok(match test {
        Test::Not(inner) => Test::Not(settle(*inner)?.into()),
        Test::All(parts) => Test::All(all(parts)?),
        Test::Any(parts) => Test::Any(all(parts)?),
        Test::If(parts) => {
            let (condition, then, otherwise) = *parts;
            Test::If((settle(condition)?, settle(then)?, settle(otherwise)?).into())
        }
        Test::Same(pair) => Test::Same((settle(pair.0)?, settle(pair.1)?).into()),
        other => Test::Interpreted(Interpreted::new(&other).ok_or(Refused)?.into()),
    })
}

/// The interpreter does not take what was given to it.
#[derive(Debug)]
pub(super) struct Refused;

fn needs_interpreter(test: &Test) -> bool {
    match test {
        Test::Const(_)
        | Test::Read(_)
        | Test::Has(_)
        | Test::HasAttribute(_)
        | Test::HasNumber(_)
        | Test::HasLabel(_)
        | Test::Tagged(_) => false,
        Test::Not(inner) => needs_interpreter(inner),
        Test::All(parts) | Test::Any(parts) => parts.iter().any(needs_interpreter),
        Test::If(parts) => needs_interpreter(&parts.0) || needs_interpreter(&parts.1) || needs_interpreter(&parts.2),
        Test::Same(pair) => needs_interpreter(&pair.0) || needs_interpreter(&pair.1),
        Test::Numbers(_, a, b) => number(a) || number(b),
        Test::Texts(_, a, b) | Test::Starts(a, b) | Test::Ends(a, b) => text(a) || text(b),
        // Without a copy these would take the product of the lengths.
        Test::Contains(a, b) => text(a) || text(b) || folded(a) || folded(b),
        Test::Matches(of, _) => text(of) || folded(of),
        Test::OneOfTexts(of, _) | Test::HasKey(of, _) => text(of),
        Test::OneOfNumbers(of, _) => number(of),
        Test::InTexts(of, over, _) => text(of) || seq(over),
        Test::InNumbers(of, over, _) => number(of) || seq(over),
        Test::Each(each) => seq(&each.over) || needs_interpreter(&each.body),
        Test::Interpreted(_) => true,
    }
}

pub(super) fn number(number: &Num) -> bool {
    match number {
        Num::Const(_)
        | Num::Int(_)
        | Num::Number(_)
        | Num::Time(_)
        | Num::Known(_)
        | Num::MapSize(_)
        | Num::LabelCount => false,
        Num::Timestamp(of) | Num::TextSize(of) => text(of),
        Num::Whole(_, pair) | Num::Float(_, pair) => self::number(&pair.0) || self::number(&pair.1),
        Num::If(parts) => needs_interpreter(&parts.0) || self::number(&parts.1) || self::number(&parts.2),
        Num::SeqSize(over) => seq(over),
        Num::Part(_, of) => self::number(of),
    }
}

fn text(text: &Text) -> bool {
    match text {
        Text::Const(_) | Text::Attribute(_) | Text::Label(_) | Text::Read(..) => false,
        Text::If(parts) => needs_interpreter(&parts.0) || self::text(&parts.1) || self::text(&parts.2),
        Text::Lower(of) => self::text(of),
        Text::Joined(_) => true,
    }
}

fn folded(text: &Text) -> bool {
    match text {
        Text::Lower(_) => true,
        Text::If(parts) => folded(&parts.1) || folded(&parts.2),
        Text::Const(_) | Text::Attribute(_) | Text::Label(_) | Text::Read(..) | Text::Joined(_) => false,
    }
}

fn seq(seq: &Seq) -> bool {
    match seq {
        Seq::Read(..) | Seq::Names(_) | Seq::Keys(_) | Seq::Texts(_) | Seq::Numbers(_) => false,
        Seq::Built(_) => true,
    }
}
