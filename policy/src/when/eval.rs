//! Evaluating a checked condition over the borrowed job, without allocation.
//!
//! `None` of a value and [`Truth::Error`] of a test mean: it cannot be told. `&&`, `||`, `all` and `exists` follow Kleene:
//! a result is given only when it is the same whatever the parts that cannot be told would have been.

use super::facts::Facts;
use super::kind::MAX_NAME_BYTES;
use super::place::{Found, Slot, elements_of, find, keys_of, member_count, parent};
use super::program::{Attribute, Each, Known, MAX_LOOPS, Names, Num, Place, Quantity, Relation, Seq, Test, Text};
use super::text::Glimpse;
use super::{Truth, time};
use crate::number::Number;
use crate::subject::present;
use simd_json::{Node, StaticNode};
use std::ops::ControlFlow;

/// One evaluation: what is looked at, and the elements of the loops it is within.
pub(super) struct Sight<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) slots: [Slot<'a>; MAX_LOOPS],
}

impl<'a> Sight<'a> {
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        Self { facts, slots: [Slot::Nothing; MAX_LOOPS] }
    }

    pub(super) fn test(&mut self, test: &'a Test) -> Truth {
        match test {
            Test::Const(value) => (*value).into(),
            Test::Not(inner) => self.test(inner).negated(),
            Test::All(parts) => {
                let mut all = Truth::True;
                for part in parts {
                    match self.test(part) {
                        Truth::False => return Truth::False,
                        Truth::Error => all = Truth::Error,
                        Truth::True => {}
                    }
                }
                all
            }
            Test::Any(parts) => {
                let mut any = Truth::False;
                for part in parts {
                    match self.test(part) {
                        Truth::True => return Truth::True,
                        Truth::Error => any = Truth::Error,
                        Truth::False => {}
                    }
                }
                any
            }
            Test::If(parts) => match self.test(&parts.0) {
                Truth::True => self.test(&parts.1),
                Truth::False => self.test(&parts.2),
                Truth::Error => Truth::Error,
            },
            Test::Read(place) => Truth::of(match self.find(place) {
                Found::Value([Node::Static(StaticNode::Bool(value)), ..]) => Some(*value),
                Found::Value(_) | Found::Missing | Found::Unsound => None,
            }),
            Test::Has(place) => self.has(place),
            Test::HasAttribute(attribute) => self.attribute(*attribute).is_some().into(),
            Test::HasNumber(known) => self.known(*known).is_some().into(),
            Test::HasLabel(key) => self.label(key).map_or(Truth::Error, |value| value.is_some().into()),
            Test::Same(pair) => match (self.test(&pair.0), self.test(&pair.1)) {
                (Truth::Error, _) | (_, Truth::Error) => Truth::Error,
                (a, b) => (a == b).into(),
            },
            Test::Numbers(relation, a, b) => {
                let order = self.number(a).zip(self.number(b)).and_then(|(a, b)| a.order(b));
                Truth::of(order.map(|order| relation.holds(order)))
            }
            Test::Texts(relation, a, b) => self.texts(a, b, |a, b| match relation {
                Relation::Equal => a.equals(b),
                Relation::NotEqual => !a.equals(b),
                Relation::Less | Relation::LessOrEqual | Relation::Greater | Relation::GreaterOrEqual => {
                    relation.holds(a.order(b))
                }
            }),
            Test::Starts(a, b) => self.texts(a, b, Glimpse::starts_with),
            Test::Ends(a, b) => self.texts(a, b, Glimpse::ends_with),
            Test::Contains(a, b) => self.texts(a, b, |a, b| a.text.contains(b.text)),
            Test::Matches(text, pattern) => Truth::of(self.text(text).map(|text| pattern.is_match(text.text))),
            Test::OneOfTexts(text, set) => Truth::of(self.text(text).map(|text| text.is_in(set))),
            Test::OneOfNumbers(number, list) => {
                Truth::of(self.number(number).map(|number| list.iter().any(|listed| listed.equals(number))))
            }
            Test::InTexts(text, over, max) => match self.text(text) {
                Some(text) => self.any(over, |slot| {
                    let element = slot.text().filter(|element| element.len() <= *max as usize)?;
                    Some(text.equals(Glimpse::plain(element)))
                }),
                None => Truth::Error,
            },
            Test::InNumbers(number, over, integers) => match self.number(number) {
                Some(number) => self.any(over, |slot| {
                    let element = slot.number().filter(|element| !integers || is_whole(element))?;
                    Some(element.equals(number))
                }),
                None => Truth::Error,
            },
            Test::HasKey(text, place) => match self.text(text) {
                Some(text) => match self.find(place) {
                    Found::Value(object) => has_key(object, text),
                    Found::Missing | Found::Unsound => Truth::Error,
                },
                None => Truth::Error,
            },
            Test::Tagged(tag) => self.facts.tags.outcome(tag).into(),
            Test::Each(each) => self.each(each),
            Test::Interpreted(interpreted) => interpreted.holds(self.facts),
        }
    }

    fn find(&self, place: &Place) -> Found<'a> {
        find(self.facts, &self.slots, place)
    }

    pub(super) fn has(&self, place: &Place) -> Truth {
        match parent(self.facts, &self.slots, place) {
            Found::Value(_) => match self.find(place) {
                Found::Value(_) => Truth::True,
                Found::Missing => Truth::False,
                Found::Unsound => Truth::Error,
            },
            Found::Missing | Found::Unsound => Truth::Error,
        }
    }

    fn texts(&mut self, a: &'a Text, b: &'a Text, holds: impl FnOnce(Glimpse<'a>, Glimpse<'a>) -> bool) -> Truth {
        let Some(a) = self.text(a) else { return Truth::Error };
        Truth::of(self.text(b).map(|b| holds(a, b)))
    }

    fn each(&mut self, each: &'a Each) -> Truth {
        let mut unsure = false;
        let mut found = 0_usize;
        let walked = self.walk(&each.over, &mut |sight, slot| {
            if let Some(place) = sight.slots.get_mut(each.level) {
                *place = slot;
            }
            match (sight.test(&each.body), each.how) {
                (Truth::Error, _) => unsure = true,
                (Truth::False, Quantity::All) | (Truth::True, Quantity::Exists) => {
                    found = 1;
                    return ControlFlow::Break(());
                }
                (Truth::True, Quantity::ExistsOne) => found += 1,
                (Truth::True, Quantity::All) | (Truth::False, Quantity::Exists | Quantity::ExistsOne) => {}
            }
            ControlFlow::Continue(())
        });
        match each.how {
            Quantity::All if found > 0 => Truth::False,
            Quantity::Exists if found > 0 => Truth::True,
            _ if unsure || walked.is_none() => Truth::Error,
            Quantity::All => Truth::True,
            Quantity::Exists => Truth::False,
            Quantity::ExistsOne => (found == 1).into(),
        }
    }

    /// Whether the test holds for any element.
    fn any(&mut self, over: &'a Seq, holds: impl Fn(Slot<'a>) -> Option<bool>) -> Truth {
        let mut any = Truth::False;
        let walked = self.walk(over, &mut |_, slot| match Truth::of(holds(slot)) {
            Truth::True => {
                any = Truth::True;
                ControlFlow::Break(())
            }
            Truth::Error => {
                any = Truth::Error;
                ControlFlow::Continue(())
            }
            Truth::False => ControlFlow::Continue(()),
        });
        if walked.is_none() { Truth::Error } else { any }
    }

    /// Visits the elements until told to stop; `None` when there is no list that can be told.
    fn walk(&mut self, over: &'a Seq, visit: &mut dyn FnMut(&mut Self, Slot<'a>) -> ControlFlow<()>) -> Option<()> {
        let subject = self.facts.subject;
        // Sets of names cannot be left half-way; what comes after the end is not looked at.
        let mut flow = ControlFlow::Continue(());
        let mut step = |sight: &mut Self, name: &'a str| {
            if flow.is_continue() {
                flow = visit(sight, Slot::Text(name));
            }
        };
        match over {
            Seq::Read(place, max) => {
                let Found::Value(array) = self.find(place) else { return None };
                for element in elements_of(array, *max)? {
                    if visit(self, Slot::Node(element)).is_break() {
                        break;
                    }
                }
            }
            Seq::Keys(place) => {
                let Found::Value(object) = self.find(place) else { return None };
                // A key that comes twice spoils the whole, wherever it stands.
                if keys_of(object)?.any(|key| key.is_none()) {
                    return None;
                }
                for key in keys_of(object)?.flatten() {
                    step(self, key);
                }
            }
            Seq::Texts(texts) => texts.iter().for_each(|text| step(self, text)),
            Seq::Numbers(numbers) => {
                for number in numbers.iter() {
                    if visit(self, Slot::Number(*number)).is_break() {
                        break;
                    }
                }
            }
            Seq::Names(Names::Requires) => subject.requires.each(&mut |name| step(self, name)),
            Seq::Names(Names::ClaimedTags) => subject.risk_tags.each(&mut |name| step(self, name)),
            Seq::Names(Names::LabelKeys) => subject.labels.each(&mut |key, _| step(self, key)),
            Seq::Names(Names::RiskTags) => self.facts.tags.present()?.for_each(|name| step(self, name)),
            Seq::Built(_) => return None,
        }
        Some(())
    }

    pub(super) fn number(&mut self, number: &'a Num) -> Option<Number> {
        match number {
            Num::Const(value) => Some(*value),
            Num::Int(place) => self.value(place)?.number().filter(is_whole),
            Num::Number(place) => self.value(place)?.number(),
            Num::Time(place) => time::timestamp(self.value(place)?.text()?).map(int),
            Num::Known(known) => self.known(*known).map(int),
            Num::Timestamp(text) => time::timestamp(self.text(text)?.text).map(int),
            Num::Whole(arithmetic, pair) => {
                let (a, b) = (whole(self.number(&pair.0)?)?, whole(self.number(&pair.1)?)?);
                arithmetic.whole(a, b).map(int)
            }
            Num::Float(arithmetic, pair) => {
                let (a, b) = (float(self.number(&pair.0)?)?, float(self.number(&pair.1)?)?);
                arithmetic.float(a, b).map(Number::Float)
            }
            Num::If(parts) => match self.test(&parts.0) {
                Truth::True => self.number(&parts.1),
                Truth::False => self.number(&parts.2),
                Truth::Error => None,
            },
            Num::TextSize(text) => count(self.text(text)?.text.chars().count()),
            Num::SeqSize(over) => {
                let mut elements = 0;
                self.walk(over, &mut |_, _| {
                    elements += 1;
                    ControlFlow::Continue(())
                })?;
                count(elements)
            }
            Num::MapSize(place) => match self.find(place) {
                Found::Value(object) => count(member_count(object)?),
                Found::Missing | Found::Unsound => None,
            },
            Num::LabelCount => {
                let mut labels = 0;
                self.facts.subject.labels.each(&mut |_, _| labels += 1);
                count(labels)
            }
            Num::Part(part, of) => whole(self.number(of)?).map(|micros| int(part.of(micros))),
        }
    }

    /// The value of a place that is no object and no array.
    fn value(&self, place: &Place) -> Option<Slot<'a>> {
        match (place.steps.is_empty(), place.root) {
            (true, super::program::Root::Loop(level)) => self.slots.get(level).copied(),
            _ => match self.find(place) {
                Found::Value(value) => Some(Slot::Node(value)),
                Found::Missing | Found::Unsound => None,
            },
        }
    }

    pub(super) fn known(&self, known: Known) -> Option<i64> {
        let micros = |ms: u64| i64::try_from(ms).ok()?.checked_mul(1_000);
        match known {
            Known::Now => micros(self.facts.at_ms),
            Known::Priority => Some(self.facts.subject.priority.into()),
            Known::Deadline => self.facts.subject.deadline_ms.and_then(micros),
        }
    }

    pub(super) fn text(&mut self, text: &'a Text) -> Option<Glimpse<'a>> {
        match text {
            Text::Const(text) => Some(Glimpse::plain(text)),
            Text::Attribute(attribute) => self.attribute(*attribute).and_then(short).map(Glimpse::plain),
            Text::Label(key) => self.label(key)?.and_then(short).map(Glimpse::plain),
            Text::Read(place, max) => {
                self.value(place)?.text().filter(|text| text.len() <= *max as usize).map(Glimpse::plain)
            }
            Text::If(parts) => match self.test(&parts.0) {
                Truth::True => self.text(&parts.1),
                Truth::False => self.text(&parts.2),
                Truth::Error => None,
            },
            Text::Lower(of) => self.text(of).map(Glimpse::lowered),
            Text::Joined(_) => None,
        }
    }

    pub(super) fn attribute(&self, attribute: Attribute) -> Option<&'a str> {
        let subject = self.facts.subject;
        let value = match attribute {
            Attribute::Tenant => Some(subject.tenant),
            Attribute::Topic => Some(subject.topic),
            Attribute::Capability => Some(subject.capability),
            Attribute::ActorId => subject.actor_id,
            Attribute::ActorType => subject.actor_type,
        };
        value.and_then(present)
    }

    /// The value of a label; `None` when the key comes with several values.
    pub(super) fn label(&self, key: &str) -> Option<Option<&'a str>> {
        let mut found = None;
        let mut sound = true;
        self.facts.subject.labels.each(&mut |name, value| {
            if name == key {
                sound &= found.is_none_or(|earlier| earlier == value);
                found = Some(value);
            }
        });
        sound.then_some(found)
    }
}

/// A name of the job, if it is not longer than one may be.
pub(super) fn short(name: &str) -> Option<&str> {
    (name.len() <= MAX_NAME_BYTES as usize).then_some(name)
}

/// Whether an object has the key; its value `null` is as if it had not.
fn has_key(object: &[Node<'_>], key: Glimpse<'_>) -> Truth {
    let Some(keys) = keys_of(object) else { return Truth::Error };
    let mut found = Truth::False;
    for known in keys {
        match known {
            None => return Truth::Error,
            Some(known) if key.equals(Glimpse::plain(known)) => found = Truth::True,
            Some(_) => {}
        }
    }
    found
}

pub(super) fn int(value: i64) -> Number {
    Number::Int(value.into())
}

fn count(count: usize) -> Option<Number> {
    i64::try_from(count).ok().map(int)
}

fn is_whole(number: &Number) -> bool {
    whole(*number).is_some()
}

pub(super) fn whole(number: Number) -> Option<i64> {
    match number {
        Number::Int(value) => i64::try_from(value).ok(),
        Number::Float(_) => None,
    }
}

/// The number as a float, if it is one exactly.
pub(super) fn float(number: Number) -> Option<f64> {
    match number {
        Number::Float(value) => Some(value),
        Number::Int(value) => {
            #[expect(clippy::cast_precision_loss, reason = "the next line sees a loss")]
            let float = value as f64;
            Number::Float(float).equals(number).then_some(float)
        }
    }
}
