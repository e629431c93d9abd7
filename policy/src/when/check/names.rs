//! Names, members, indexes and literal lists.

use super::{Checker, variable, wrong};
use crate::number::Number;
use crate::when::kind::{Fields, Kind, MAX_NAME_BYTES, MAX_READ_ITEMS, Param};
use crate::when::problem::{Fault, nearest};
use crate::when::program::{Attribute, Built, Item, Known, Names, Num, Place, Root, Seq, Test, Text};
use crate::when::syntax::{Shape, Syntax};
use crate::when::typed::{List, Typed};

/// The names below `job` that are not the payload's.
const JOB: &[&str] = &[
    "tenant",
    "topic",
    "capability",
    "actor",
    "requires",
    "risk_tags",
    "claimed_tags",
    "labels",
    "priority",
    "deadline",
    "payload",
];

/// How many names a set of the job is counted with.
pub(in crate::when) const NAMES: u64 = 256;

impl Checker<'_> {
    pub(super) fn name(&self, at: usize, name: &str) -> Result<Typed, Fault> {
        if let Some(level) = self.scopes.iter().position(|(known, _)| known == name) {
            return self.scopes.get(level).map(|(_, kind)| variable(level, kind)).ok_or_else(|| unknown(at, name, []));
        }
        match name {
            "job" => Ok(Typed::Job),
            "params" => Ok(Typed::Params),
            "now" => Ok(Typed::Time(Num::Known(Known::Now))),
            _ => {
                let known = self.scopes.iter().map(|(name, _)| name.as_str()).chain(["job", "params", "now"]);
                Err(unknown(at, name, known))
            }
        }
    }

    pub(super) fn member(&self, at: usize, of: Typed, name: &str) -> Result<Typed, Fault> {
        let payload = Place { root: Root::Payload, steps: Vec::new(), kind: Kind::Bool };
        let set = |names: Names| {
            Typed::Seq(List { seq: Seq::Names(names), of: Kind::Text { max: MAX_NAME_BYTES }, max: NAMES })
        };
        let attribute = |attribute| Typed::Text(Text::Attribute(attribute), MAX_NAME_BYTES.into());
        Ok(match (of, name) {
            (Typed::Job, "tenant") => attribute(Attribute::Tenant),
            (Typed::Job, "topic") => attribute(Attribute::Topic),
            (Typed::Job, "capability") => attribute(Attribute::Capability),
            (Typed::Job, "actor") => Typed::Actor,
            (Typed::Job, "requires") => set(Names::Requires),
            (Typed::Job, "risk_tags") => set(Names::RiskTags),
            (Typed::Job, "claimed_tags") => set(Names::ClaimedTags),
            (Typed::Job, "labels") => Typed::Labels,
            (Typed::Job, "priority") => Typed::Num(Num::Known(Known::Priority), true),
            (Typed::Job, "deadline") => Typed::Time(Num::Known(Known::Deadline)),
            (Typed::Job, "payload") => Typed::Payload,
            (Typed::Job, name) => Typed::at(field(at, &payload, &self.types.fields, name, JOB)?),
            (Typed::Payload, name) => Typed::at(field(at, &payload, &self.types.fields, name, &[])?),
            (Typed::Record(place, fields), name) => Typed::at(field(at, &place, &fields, name, &[])?),
            (Typed::Map(place, kind), name) => Typed::at(place.key(name, &kind)),
            (Typed::Labels, name) => Typed::Text(Text::Label(name.into()), MAX_NAME_BYTES.into()),
            (Typed::Actor, "id") => attribute(Attribute::ActorId),
            (Typed::Actor, "type") => attribute(Attribute::ActorType),
            (Typed::Actor, name) => return Err(unknown(at, name, ["id", "type"])),
            (Typed::Params, name) => self.param(at, name)?,
            (other, name) => {
                return Err(Fault::new(
                    at,
                    format!("`.{name}` is asked of {}, which has no fields", other.kind()),
                    "leave it out, or declare the field as an object",
                ));
            }
        })
    }

    fn param(&self, at: usize, name: &str) -> Result<Typed, Fault> {
        let Some(param) = self.types.params.get(name) else {
            return Err(unknown(at, name, self.types.params.keys().map(|name| &**name)));
        };
        Ok(match param {
            Param::Bool(value) => Typed::Test(Test::Const(*value)),
            Param::Number(number) => constant(*number),
            Param::Text(text) => Typed::Text(Text::Const(text.clone()), text.len() as u64),
            Param::Texts(texts) => Typed::Seq(texts_of(texts.clone())),
            Param::Numbers(numbers) => Typed::Seq(numbers_of(numbers.clone())),
        })
    }

    pub(super) fn index(&mut self, at: usize, of: Typed, index: &Syntax) -> Result<Typed, Fault> {
        let given = self.check(index)?;
        match (of, given) {
            (
                of @ (Typed::Map(..) | Typed::Labels | Typed::Record(..) | Typed::Payload),
                Typed::Text(Text::Const(name), _),
            ) => self.member(index.at, of, &name),
            (
                Typed::Seq(List { seq: Seq::Read(place, max), of, .. }),
                Typed::Num(Num::Const(Number::Int(number)), _),
            ) => match u32::try_from(number) {
                Ok(number) if number < MAX_READ_ITEMS => Ok(Typed::at(place.index(number, max, &of))),
                Ok(_) | Err(_) => Err(Fault::new(
                    index.at,
                    format!("the index {number} is not from 0 to {}", MAX_READ_ITEMS - 1),
                    "count elements from 0",
                )),
            },
            (Typed::Seq(_), Typed::Num(..)) => Err(Fault::new(
                index.at,
                "only lists of the payload have an index, and it must be a number written out",
                "write the number, or use `exists`",
            )),
            (Typed::Map(..) | Typed::Labels | Typed::Record(..) | Typed::Payload, _) => Err(Fault::new(
                index.at,
                "a key must be a text written out",
                "write the key between quotes, or use `in`",
            )),
            (of, _) => Err(wrong(at, &of, "a list or a map", "what has an index")),
        }
    }

    pub(super) fn list(&mut self, at: usize, items: &[Syntax]) -> Result<Typed, Fault> {
        let mut texts = Vec::new();
        let mut numbers = Vec::new();
        let mut built = Vec::new();
        let mut longest = 0;
        let mut whole = true;
        for item in items {
            match self.check(item)? {
                Typed::Text(Text::Const(text), bytes) => {
                    longest = longest.max(bytes);
                    texts.push(text.clone());
                    built.push(Item::Text(Text::Const(text)));
                }
                Typed::Text(text, bytes) => {
                    longest = longest.max(bytes);
                    built.push(Item::Text(text));
                }
                Typed::Num(Num::Const(number), integer) => {
                    whole &= integer;
                    numbers.push(number);
                    built.push(Item::Num(Num::Const(number)));
                }
                Typed::Num(number, integer) => {
                    whole &= integer;
                    built.push(Item::Num(number));
                }
                other => return Err(wrong(item.at, &other, "a text or a number", "what a list holds")),
            }
        }
        let words = built.iter().filter(|item| matches!(item, Item::Text(_))).count();
        if words != 0 && words != built.len() {
            return Err(Fault::new(at, "the list mixes texts and numbers", "list texts only or numbers only"));
        }
        Ok(Typed::Seq(if texts.len() == built.len() {
            texts_of(texts)
        } else if numbers.len() == built.len() {
            numbers_of(numbers)
        } else {
            let of = match (words, whole) {
                (0, true) => Kind::Int,
                (0, false) => Kind::Number,
                _ => Kind::Text { max: u32::try_from(longest).unwrap_or(u32::MAX) },
            };
            let max = built.len() as u64;
            List { seq: Seq::Built(Built::List(built).into()), of, max }
        }))
    }
}

fn constant(number: Number) -> Typed {
    let whole = matches!(number, Number::Int(value) if i64::try_from(value).is_ok());
    Typed::Num(Num::Const(number), whole)
}

fn texts_of(texts: Vec<Box<str>>) -> List {
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
    let of = Kind::Text { max: u32::try_from(longest).unwrap_or(u32::MAX) };
    List { max: texts.len() as u64, seq: Seq::Texts(texts.into()), of }
}

fn numbers_of(numbers: Vec<Number>) -> List {
    let whole = numbers.iter().all(|number| crate::when::eval::whole(*number).is_some());
    let of = if whole { Kind::Int } else { Kind::Number };
    List { max: numbers.len() as u64, seq: Seq::Numbers(numbers.into()), of }
}

/// A declared field of an object.
pub(super) fn field(at: usize, of: &Place, fields: &Fields, name: &str, also: &[&str]) -> Result<Place, Fault> {
    if let Some(kind) = fields.kind(name) {
        return Ok(of.member(name, kind));
    }
    if let Some(why) = fields.why_not(name) {
        return Err(Fault::new(
            at,
            format!("`{name}` {why}"),
            "narrow the rule's `topics`, or declare the field for all of them",
        ));
    }
    let mut fault = unknown(at, name, fields.names().chain(also.iter().copied()));
    if fields.names().next().is_none() {
        "declare the payload's fields for the rule's topics under `schemas`".clone_into(&mut fault.remedy);
    }
    Err(fault)
}

/// A name nobody declared.
pub(super) fn unknown<'n>(at: usize, name: &str, known: impl IntoIterator<Item = &'n str>) -> Fault {
    let remedy = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "correct the name, or declare it".to_owned(),
    };
    Fault::new(at, format!("`{name}` is not declared"), remedy)
}

/// The place a `has` asks about.
impl Checker<'_> {
    pub(super) fn has(&mut self, at: usize, args: &[Syntax]) -> Result<Test, Fault> {
        let not_a_field = || Fault::new(at, "`has` takes a field", "write `has(job.FIELD)`");
        let [Syntax { at: name_at, shape: Shape::Member(of, name), .. }] = args else { return Err(not_a_field()) };
        let of = self.check(of)?;
        let payload = Place { root: Root::Payload, steps: Vec::new(), kind: Kind::Bool };
        Ok(match (of, name.as_str()) {
            (Typed::Job, "actor" | "requires" | "risk_tags" | "claimed_tags" | "labels" | "payload") => {
                return Err(not_a_field());
            }
            (Typed::Job, "priority") => Test::HasNumber(Known::Priority),
            (Typed::Job, "deadline") => Test::HasNumber(Known::Deadline),
            (Typed::Job, "tenant") => Test::HasAttribute(Attribute::Tenant),
            (Typed::Job, "topic") => Test::HasAttribute(Attribute::Topic),
            (Typed::Job, "capability") => Test::HasAttribute(Attribute::Capability),
            (Typed::Job, name) => Test::Has(field(*name_at, &payload, &self.types.fields, name, JOB)?),
            (Typed::Payload, name) => Test::Has(field(*name_at, &payload, &self.types.fields, name, &[])?),
            (Typed::Record(place, fields), name) => Test::Has(field(*name_at, &place, &fields, name, &[])?),
            (Typed::Map(place, kind), name) => Test::Has(place.key(name, &kind)),
            (Typed::Labels, name) => Test::HasLabel(name.into()),
            (Typed::Actor, "id") => Test::HasAttribute(Attribute::ActorId),
            (Typed::Actor, "type") => Test::HasAttribute(Attribute::ActorType),
            (Typed::Actor, name) => return Err(unknown(*name_at, name, ["id", "type"])),
            (Typed::Params, _) => return Err(Fault::new(at, "parameters are always there", "leave out `has`")),
            _ => return Err(not_a_field()),
        })
    }
}
