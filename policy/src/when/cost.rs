//! The most a condition can cost, told before it runs.
//!
//! A unit is about a nanosecond of one core. Every bound is the worst the limits allow: all keys of an object looked
//! through, every list as long as declared, every text as long as declared, no branch left out. Loops multiply; only the
//! texts of a list's elements share what a payload can hold.

use super::canon::Canon;
use super::check::NAMES;
use super::kind::{Kind, MAX_NAME_BYTES, MAX_OBJECT_KEYS, MAX_READ_BYTES};
use super::program::{Built, Each, Item, MAX_LOOPS, Num, Place, Root, Seq, Step, Test, Text};
use crate::evaluate::MAX_PAYLOAD_BYTES;
use std::collections::BTreeSet;

/// The most units a condition may cost.
pub const MAX_COST: u64 = 5_000_000;

const KEYS: u64 = MAX_OBJECT_KEYS as u64;
/// Looking at a name among those of the job.
const NAME: u64 = 5;
/// Reading an RFC 3339 timestamp.
const TIMESTAMP: u64 = 60;
/// Setting the interpreter up.
const INTERPRETER: u64 = 2_000;
/// Making or copying one value for the interpreter.
const VALUE: u64 = 150;

/// What a compiled test costs.
pub(super) fn test(test: &Test) -> u64 {
    Pricing::COMPILED.test(test)
}

/// What a compiled number costs.
pub(super) fn number(number: &Num) -> u64 {
    Pricing::COMPILED.number(number)
}

/// What a test costs in the interpreter, which is handed the values of its canonical text first.
pub(super) fn interpreted(whole: &Test, canon: &Canon) -> u64 {
    let places = canon.sources.iter().filter_map(|(_, source)| source.place());
    let made =
        places.map(|at| sum([Pricing::COMPILED.place(at), values(&at.kind, &canon.fields).saturating_mul(VALUE)]));
    sum([INTERPRETER, sum(made), Pricing { step: 250, fields: Some(&canon.fields), loops: [1; MAX_LOOPS] }.test(whole)])
}

#[derive(Clone, Copy)]
struct Pricing<'c> {
    /// What an operation costs beside the bytes and keys it works on.
    step: u64,
    /// The fields below elements that the interpreter is given: it looks members up in maps made before, and copies
    /// elements. `None` where the test is compiled.
    fields: Option<&'c BTreeSet<Box<str>>>,
    /// How many elements each loop around goes over.
    loops: [u64; MAX_LOOPS],
}

impl Pricing<'_> {
    const COMPILED: Self = Self { step: 5, fields: None, loops: [1; MAX_LOOPS] };

    fn test(self, test: &Test) -> u64 {
        let inner = match test {
            Test::Const(_) | Test::HasAttribute(_) | Test::HasNumber(_) => 0,
            Test::Not(inner) => self.test(inner),
            Test::All(parts) | Test::Any(parts) => sum(parts.iter().map(|part| self.test(part))),
            Test::If(parts) => sum([self.test(&parts.0), self.test(&parts.1), self.test(&parts.2)]),
            Test::Read(at) => self.place(at),
            Test::Has(at) => self.place(at).saturating_mul(2),
            Test::HasLabel(_) => NAMES * NAME,
            Test::Same(pair) => sum([self.test(&pair.0), self.test(&pair.1)]),
            Test::Numbers(_, a, b) => sum([self.number(a), self.number(b)]),
            Test::Texts(_, a, b) | Test::Starts(a, b) | Test::Ends(a, b) => {
                sum([self.text(a), self.text(b), self.compared(a, b)])
            }
            Test::Contains(a, b) => sum([self.text(a), self.text(b), self.longest(a), self.longest(b)]),
            Test::Matches(of, pattern) => sum([self.text(of), pattern.cost(self.longest(of))]),
            Test::OneOfTexts(of, set) => {
                let all = set.len() as u64;
                let looks = if is_lower(of) { all } else { u64::from(all.checked_ilog2().unwrap_or(0)) + 1 };
                let listed = set.iter().map(|text| text.len() as u64).max().unwrap_or_default();
                sum([self.text(of), looks.saturating_mul(NAME + listed.min(self.longest(of)))])
            }
            Test::OneOfNumbers(of, list) => sum([self.number(of), self.step.saturating_mul(list.len() as u64)]),
            Test::InTexts(of, over, max) => {
                let bytes = self.longest(of).min(element_bytes(over)).min((*max).into());
                let each = if is_lower(of) { bytes } else { bytes / 16 };
                sum([self.text(of), self.seq(over), items(over).saturating_mul(each + self.step)])
            }
            Test::InNumbers(of, over, _) => {
                sum([self.number(of), self.seq(over), items(over).saturating_mul(self.step)])
            }
            Test::HasKey(of, at) => sum([self.text(of), self.keys(at), self.longest(of)]),
            Test::Tagged(_) => 100,
            Test::Each(each) => {
                let Each { over, body, level, .. } = &**each;
                self.repeated(over, *level, |inner| inner.test(body))
            }
            Test::Interpreted(interpreted) => interpreted.cost(),
        };
        inner.saturating_add(self.step)
    }

    fn number(self, number: &Num) -> u64 {
        let inner = match number {
            Num::Const(_) | Num::Known(_) => 0,
            Num::Int(at) | Num::Number(at) => self.place(at),
            Num::Time(at) => sum([self.place(at), TIMESTAMP]),
            Num::Timestamp(of) => sum([self.text(of), TIMESTAMP]),
            Num::Whole(_, pair) | Num::Float(_, pair) => sum([self.number(&pair.0), self.number(&pair.1)]),
            Num::If(parts) => sum([self.test(&parts.0), self.number(&parts.1), self.number(&parts.2)]),
            Num::TextSize(of) => sum([self.text(of), self.longest(of)]),
            Num::SeqSize(over) => sum([self.seq(over), items(over).saturating_mul(NAME)]),
            Num::MapSize(at) => self.keys(at),
            Num::LabelCount => NAMES * NAME,
            Num::Part(_, of) => sum([self.number(of), 20]),
        };
        inner.saturating_add(self.step)
    }

    fn text(self, text: &Text) -> u64 {
        let inner = match text {
            Text::Const(_) | Text::Attribute(_) => 0,
            Text::Label(_) => NAMES * NAME,
            Text::Read(at, _) => self.place(at),
            Text::If(parts) => sum([self.test(&parts.0), self.text(&parts.1), self.text(&parts.2)]),
            Text::Lower(of) => self.text(of).saturating_add(if self.fields.is_some() { self.longest(of) } else { 0 }),
            Text::Joined(pair) => sum([self.text(&pair.0), self.text(&pair.1), self.longest(text)]),
        };
        inner.saturating_add(self.step)
    }

    /// Finding a list, and making it where it is made; not walking it.
    fn seq(self, seq: &Seq) -> u64 {
        match seq {
            Seq::Read(at, _) => self.place(at),
            Seq::Keys(at) => self.keys(at).saturating_mul(2),
            Seq::Names(_) | Seq::Texts(_) | Seq::Numbers(_) => self.step,
            Seq::Built(built) => match &**built {
                Built::Filter { over, level, body } => self.repeated(over, *level, |inner| inner.test(body)),
                Built::Map { over, level, body } => self.repeated(over, *level, |inner| inner.item(body)),
                Built::List(items) => sum(items.iter().map(|item| self.item(item))),
            },
        }
    }

    /// A loop: finding the list, and the body for each element.
    fn repeated(mut self, over: &Seq, level: usize, body: impl FnOnce(Self) -> u64) -> u64 {
        let count = items(over);
        let found = self.seq(over);
        if let Some(loops) = self.loops.get_mut(level) {
            *loops = count.max(1);
        }
        let copied = self.fields.map_or(0, |fields| element_values(over, fields).saturating_mul(VALUE));
        found.saturating_add(count.saturating_mul(sum([body(self), copied, self.step])))
    }

    fn item(self, item: &Item) -> u64 {
        match item {
            Item::Num(of) => self.number(of),
            // Its bytes are copied.
            Item::Text(of) => sum([self.text(of), self.longest(of) / 16]),
        }
    }

    fn place(self, place: &Place) -> u64 {
        let steps = place.steps.iter().map(|step| match step {
            _ if self.fields.is_some() => self.step,
            Step::Member(_) | Step::Key(_) => 2 * KEYS,
            Step::Index { at, .. } => 2 * u64::from(*at),
        });
        sum(steps).saturating_add(self.step)
    }

    /// Finding an object and comparing each of its keys with the others.
    fn keys(self, place: &Place) -> u64 {
        self.place(place).saturating_add(KEYS * KEYS)
    }

    /// The most bytes a text can have. The elements of one list share what a payload can hold.
    fn longest(self, text: &Text) -> u64 {
        match text {
            Text::Const(text) => text.len() as u64,
            Text::Attribute(_) | Text::Label(_) => MAX_NAME_BYTES.into(),
            Text::Read(place, max) => match place.root {
                Root::Payload => (*max).into(),
                Root::Loop(level) => {
                    let share = self.loops.get(level).map_or(u64::MAX, |loops| MAX_PAYLOAD_BYTES as u64 / loops);
                    share.min((*max).into())
                }
            },
            Text::If(parts) => self.longest(&parts.1).max(self.longest(&parts.2)),
            Text::Lower(of) => self.longest(of),
            Text::Joined(pair) => self.longest(&pair.0).saturating_add(self.longest(&pair.1)),
        }
    }

    /// Comparing two texts: the bytes of the shorter, many at a time unless capitals are small letters.
    fn compared(self, a: &Text, b: &Text) -> u64 {
        let bytes = self.longest(a).min(self.longest(b));
        if is_lower(a) || is_lower(b) { bytes.saturating_mul(2) } else { bytes / 16 }
    }
}

fn is_lower(text: &Text) -> bool {
    match text {
        Text::Lower(_) => true,
        Text::If(parts) => is_lower(&parts.1) || is_lower(&parts.2),
        Text::Const(_) | Text::Attribute(_) | Text::Label(_) | Text::Read(..) | Text::Joined(_) => false,
    }
}

/// How many values the interpreter is given for one of a kind; looking through keys counts as values.
fn values(kind: &Kind, named: &BTreeSet<Box<str>>) -> u64 {
    match kind {
        Kind::Bool | Kind::Int | Kind::Number | Kind::Time | Kind::Text { .. } => 1,
        Kind::List { of, max } => values(of, named).saturating_mul((*max).into()).saturating_add(1),
        Kind::Record(fields) => {
            let given = fields.iter().filter(|(name, _)| named.contains(*name));
            sum(given.map(|(_, kind)| values(kind, named).saturating_add(2 * KEYS / VALUE))).saturating_add(1)
        }
        Kind::Map(of) => {
            values(of, named).saturating_add(2).saturating_mul(KEYS).saturating_add(2 * KEYS * KEYS / VALUE)
        }
    }
}

/// How many values an element is.
fn element_values(seq: &Seq, named: &BTreeSet<Box<str>>) -> u64 {
    match seq {
        Seq::Read(Place { kind: Kind::List { of, .. }, .. }, _) => values(of, named),
        Seq::Built(built) => match &**built {
            Built::Filter { over, .. } => element_values(over, named),
            Built::Map { .. } | Built::List(_) => 1,
        },
        Seq::Read(..) | Seq::Names(_) | Seq::Keys(_) | Seq::Texts(_) | Seq::Numbers(_) => 1,
    }
}

/// The most bytes an element can have, on average over the list.
fn element_bytes(seq: &Seq) -> u64 {
    match seq {
        Seq::Texts(texts) => texts.iter().map(|text| text.len() as u64).max().unwrap_or_default(),
        Seq::Names(_) => MAX_NAME_BYTES.into(),
        Seq::Keys(_) => MAX_READ_BYTES.into(),
        Seq::Read(..) | Seq::Numbers(_) | Seq::Built(_) => MAX_PAYLOAD_BYTES as u64 / items(seq).max(1),
    }
}

/// The most elements a list can have.
fn items(seq: &Seq) -> u64 {
    match seq {
        Seq::Read(_, max) => (*max).into(),
        Seq::Keys(_) => KEYS,
        Seq::Names(_) => NAMES,
        Seq::Texts(texts) => texts.len() as u64,
        Seq::Numbers(numbers) => numbers.len() as u64,
        Seq::Built(built) => match &**built {
            Built::Filter { over, .. } | Built::Map { over, .. } => items(over),
            Built::List(items) => items.len() as u64,
        },
    }
}

fn sum(costs: impl IntoIterator<Item = u64>) -> u64 {
    costs.into_iter().fold(0, u64::saturating_add)
}
