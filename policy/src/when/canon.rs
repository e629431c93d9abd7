//! A checked condition as one text: equal texts mean equal conditions.
//!
//! The text is CEL over the names of a table of [`Source`]s (`p0`, `p1`, …), with the functions of
//! [`interpret`](super::interpret) for what CEL's own would do otherwise. So it is what conditions are told apart by, what
//! the interpreter runs, and what the tests compare the compiled operations with.

use super::kind::Kind;
use super::pattern::Pattern;
use super::program::{
    Arithmetic, Attribute, Built, Each, Item, Known, Names, Num, Place, Quantity, Root, Seq, Step, Test, Text,
};
use super::time::Part;
use crate::language::TextSet;
use crate::number::Number;
use std::collections::BTreeSet;
use std::fmt::{self, Display, Write};
use std::sync::Arc;

/// What a name of the table stands for.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The value at a place of the payload.
    Value(Place),
    /// Whether something is there.
    Has(Place),
    Keys(Place),
    Attribute(Attribute),
    HasAttribute(Attribute),
    Known(Known),
    HasKnown(Known),
    Label(Box<str>),
    HasLabel(Box<str>),
    LabelCount,
    Names(Names),
    Tagged(Box<str>),
    Pattern(Arc<Pattern>),
    Set(Arc<TextSet>),
    Texts(Arc<[Box<str>]>),
    Numbers(Arc<[Number]>),
    Number(Number),
}

impl Source {
    /// The place of the payload it is about.
    pub(super) fn place(&self) -> Option<&Place> {
        match self {
            Self::Value(place) | Self::Has(place) | Self::Keys(place) => Some(place),
            Self::Attribute(_)
            | Self::HasAttribute(_)
            | Self::Known(_)
            | Self::HasKnown(_)
            | Self::Label(_)
            | Self::HasLabel(_)
            | Self::LabelCount
            | Self::Names(_)
            | Self::Tagged(_)
            | Self::Pattern(_)
            | Self::Set(_)
            | Self::Texts(_)
            | Self::Numbers(_)
            | Self::Number(_) => None,
        }
    }
}

/// The text and its table.
#[derive(Debug, Default)]
pub(super) struct Canon {
    pub(super) text: String,
    pub(super) sources: Vec<(String, Source)>,
    /// Every field that is named below an element of a loop.
    pub(super) fields: BTreeSet<Box<str>>,
}

impl Canon {
    pub(super) fn of(test: &Test) -> Self {
        let mut canon = Self::default();
        canon.test(test);
        canon
    }

    pub(super) fn of_number(number: &Num) -> Self {
        let mut canon = Self::default();
        canon.number(number);
        canon
    }

    /// The text with what its names stand for.
    pub(super) fn whole(&self) -> String {
        let mut whole = String::new();
        for (at, (what, _)) in self.sources.iter().enumerate() {
            let _ = writeln!(whole, "p{at} = {what}");
        }
        whole.push_str(&self.text);
        whole
    }

    fn put(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn show(&mut self, shown: impl Display) {
        let _ = write!(self.text, "{shown}");
    }

    fn source(&mut self, source: Source) {
        let what = source.to_string();
        let known = self.sources.iter().position(|(known, _)| *known == what);
        let at = known.unwrap_or_else(|| {
            self.sources.push((what, source));
            self.sources.len() - 1
        });
        self.show(format_args!("p{at}"));
    }

    fn call(&mut self, function: &str, inner: impl FnOnce(&mut Self)) {
        self.put(function);
        self.put("(");
        inner(self);
        self.put(")");
    }

    fn pair<T>(&mut self, sign: &str, a: &T, b: &T, put: impl Fn(&mut Self, &T)) {
        self.put("(");
        put(self, a);
        self.put(" ");
        self.put(sign);
        self.put(" ");
        put(self, b);
        self.put(")");
    }

    fn joined(&mut self, sign: &str, parts: &[Test]) {
        self.put("(");
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.put(sign);
            }
            self.test(part);
        }
        self.put(")");
    }

    fn branch<T>(&mut self, parts: &(Test, T, T), put: impl Fn(&mut Self, &T)) {
        self.put("(");
        self.test(&parts.0);
        self.put(" ? ");
        put(self, &parts.1);
        self.put(" : ");
        put(self, &parts.2);
        self.put(")");
    }

    fn test(&mut self, test: &Test) {
        match test {
            Test::Const(value) => self.show(value),
            Test::Not(inner) => self.call("!", |canon| canon.test(inner)),
            Test::All(parts) => self.joined(" && ", parts),
            Test::Any(parts) => self.joined(" || ", parts),
            Test::If(parts) => self.branch(parts, Self::test),
            Test::Read(place) => self.read(place),
            Test::Has(place) => self.has(place),
            Test::HasAttribute(attribute) => self.source(Source::HasAttribute(*attribute)),
            Test::HasNumber(known) => self.source(Source::HasKnown(*known)),
            Test::HasLabel(key) => self.source(Source::HasLabel(key.clone())),
            Test::Same(pair) => self.pair("==", &pair.0, &pair.1, Self::test),
            Test::Numbers(relation, a, b) => {
                self.put("(");
                self.order(a, |canon| canon.number(b));
                self.show(format_args!(" {} 0)", relation.sign()));
            }
            Test::Texts(relation, a, b) => self.pair(relation.sign(), a, b, Self::word),
            Test::Starts(a, b) => self.method("startsWith", a, b),
            Test::Ends(a, b) => self.method("endsWith", a, b),
            Test::Contains(a, b) => self.method("contains", a, b),
            Test::Matches(text, pattern) => self.call("search", |canon| {
                canon.word(text);
                canon.put(", ");
                canon.source(Source::Pattern(Arc::clone(pattern)));
            }),
            Test::OneOfTexts(text, set) => {
                self.put("(");
                self.word(text);
                self.put(" in ");
                self.source(Source::Set(Arc::clone(set)));
                self.put(")");
            }
            Test::OneOfNumbers(number, list) => {
                self.any_number(number, &Seq::Numbers(Arc::clone(list)), "read_number");
            }
            Test::InTexts(text, over, _) => {
                self.put("((");
                self.word(text);
                self.put(" == ");
                self.word(text);
                self.put(") ? ");
                self.seq(over);
                self.put(".exists(w, read_text(w) == ");
                self.word(text);
                self.put(") : false)");
            }
            Test::InNumbers(number, over, integers) => {
                self.any_number(number, over, if *integers { "read_int" } else { "read_number" });
            }
            Test::HasKey(text, place) => {
                self.put("(");
                self.word(text);
                self.put(" in ");
                self.keys(place);
                self.put(")");
            }
            Test::Tagged(tag) => self.source(Source::Tagged(tag.clone())),
            Test::Each(each) => {
                let Each { how, over, level, body } = &**each;
                self.seq(over);
                let how = match how {
                    Quantity::All => "all",
                    Quantity::Exists => "exists",
                    Quantity::ExistsOne => "exists_one",
                };
                self.show(format_args!(".{how}(v{level}, "));
                self.test(body);
                self.put(")");
            }
            Test::Interpreted(interpreted) => self.show(format_args!("interpreted({})", interpreted.text())),
        }
    }

    fn order(&mut self, a: &Num, b: impl FnOnce(&mut Self)) {
        self.put("order(");
        self.number(a);
        self.put(", ");
        b(self);
        self.put(")");
    }

    fn any_number(&mut self, number: &Num, over: &Seq, read: &str) {
        // The condition of `?` fails with the number, and an empty list does not hide that.
        self.put("((");
        self.order(number, |canon| canon.number(number));
        self.put(" == 0) ? ");
        self.seq(over);
        self.put(".exists(w, ");
        self.order(number, |canon| canon.call(read, |canon| canon.put("w")));
        self.put(" == 0) : false)");
    }

    fn method(&mut self, name: &str, a: &Text, b: &Text) {
        self.word(a);
        self.show(format_args!(".{name}("));
        self.word(b);
        self.put(")");
    }

    fn number(&mut self, number: &Num) {
        match number {
            Num::Const(Number::Int(value)) if i64::try_from(*value).is_ok() => self.show(value),
            Num::Const(number) => self.source(Source::Number(*number)),
            Num::Int(place) | Num::Number(place) | Num::Time(place) => self.read(place),
            Num::Known(known) => self.source(Source::Known(*known)),
            Num::Timestamp(text) => self.call("read_time", |canon| canon.word(text)),
            Num::Whole(arithmetic, pair) => self.pair(arithmetic.sign(), &pair.0, &pair.1, Self::number),
            Num::Float(arithmetic, pair) => self.float(*arithmetic, &pair.0, &pair.1),
            Num::If(parts) => self.branch(parts, Self::number),
            Num::TextSize(text) => self.call("size", |canon| canon.word(text)),
            Num::SeqSize(over) => self.call("size", |canon| canon.seq(over)),
            Num::MapSize(place) => self.call("size", |canon| canon.keys(place)),
            Num::LabelCount => self.source(Source::LabelCount),
            Num::Part(part, of) => {
                let at = Part::ALL.iter().position(|(_, known)| known == part).unwrap_or_default();
                self.call("calendar", |canon| {
                    canon.number(of);
                    canon.show(format_args!(", {at}"));
                });
            }
        }
    }

    fn float(&mut self, arithmetic: Arithmetic, a: &Num, b: &Num) {
        self.call("finite", |canon| {
            canon.call("exact", |canon| canon.number(a));
            canon.show(format_args!(" {} ", arithmetic.sign()));
            canon.call("exact", |canon| canon.number(b));
        });
    }

    fn word(&mut self, text: &Text) {
        match text {
            Text::Const(text) => self.show(Quoted(text)),
            Text::Attribute(attribute) => self.source(Source::Attribute(*attribute)),
            Text::Label(key) => self.source(Source::Label(key.clone())),
            Text::Read(place, _) => self.read(place),
            Text::If(parts) => self.branch(parts, Self::word),
            Text::Lower(of) => self.call("lower_ascii", |canon| canon.word(of)),
            Text::Joined(pair) => self.pair("+", &pair.0, &pair.1, Self::word),
        }
    }

    fn seq(&mut self, seq: &Seq) {
        match seq {
            Seq::Read(place, _) => self.read(place),
            Seq::Names(names) => self.source(Source::Names(*names)),
            Seq::Keys(place) => self.keys(place),
            Seq::Texts(texts) => self.source(Source::Texts(Arc::clone(texts))),
            Seq::Numbers(numbers) => self.source(Source::Numbers(Arc::clone(numbers))),
            Seq::Built(built) => match &**built {
                Built::Filter { over, level, body } => {
                    self.seq(over);
                    self.show(format_args!(".filter(v{level}, "));
                    self.test(body);
                    self.put(")");
                }
                Built::Map { over, level, body } => {
                    self.seq(over);
                    self.show(format_args!(".map(v{level}, "));
                    self.item(body);
                    self.put(")");
                }
                Built::List(items) => {
                    self.put("[");
                    for (at, item) in items.iter().enumerate() {
                        if at > 0 {
                            self.put(", ");
                        }
                        self.item(item);
                    }
                    self.put("]");
                }
            },
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Num(number) => self.number(number),
            Item::Text(text) => self.word(text),
        }
    }

    fn read(&mut self, place: &Place) {
        self.call(reader(&place.kind), |canon| match place.root {
            Root::Payload => canon.source(Source::Value(place.clone())),
            Root::Loop(level) => canon.path(level, &place.steps),
        });
    }

    fn has(&mut self, place: &Place) {
        let Root::Loop(level) = place.root else {
            self.source(Source::Has(place.clone()));
            return;
        };
        let (Some(Step::Member(name) | Step::Key(name)), before) = place.steps.split_last().unzip() else { return };
        let map = matches!(place.steps.last(), Some(Step::Key(_)));
        self.fields.insert(name.clone());
        let before = before.unwrap_or_default();
        let within = |canon: &mut Self| canon.object(map, |canon| canon.path(level, before));
        self.show(format_args!("(({} in ", Quoted(name)));
        within(self);
        self.put(") ? known(");
        within(self);
        self.show(format_args!("[{}]) : false)", Quoted(name)));
    }

    fn keys(&mut self, place: &Place) {
        match place.root {
            Root::Payload => self.source(Source::Keys(place.clone())),
            Root::Loop(level) => self.call("read_list", |canon| {
                canon.call("read_map", |canon| canon.path(level, &place.steps));
                canon.put("[\"keys\"]");
            }),
        }
    }

    fn path(&mut self, level: usize, steps: &[Step]) {
        let Some((last, before)) = steps.split_last() else {
            self.show(format_args!("v{level}"));
            return;
        };
        match last {
            Step::Member(name) | Step::Key(name) => {
                let map = matches!(last, Step::Key(_));
                self.fields.insert(name.clone());
                self.object(map, |canon| canon.path(level, before));
                self.show(format_args!("[{}]", Quoted(name)));
            }
            Step::Index { at, .. } => {
                self.call("read_list", |canon| canon.path(level, before));
                self.show(format_args!("[{at}]"));
            }
        }
    }

    fn object(&mut self, map: bool, inner: impl FnOnce(&mut Self)) {
        self.call("read_map", |canon| {
            if map {
                canon.call("read_map", inner);
                canon.put("[\"values\"]");
            } else {
                inner(canon);
            }
        });
    }
}

/// The function that takes a value of this kind and nothing else.
fn reader(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool => "read_bool",
        Kind::Int => "read_int",
        Kind::Number => "read_number",
        Kind::Text { .. } => "read_text",
        Kind::Time => "read_time",
        Kind::List { .. } => "read_list",
        Kind::Record(_) | Kind::Map(_) => "read_map",
    }
}

/// A text as CEL writes it.
struct Quoted<'t>(&'t str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\U{:08x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = |f: &mut fmt::Formatter<'_>, mut texts: &mut dyn Iterator<Item = &Box<str>>| {
            Iterator::try_for_each(&mut texts, |text| write!(f, " {}", Quoted(text)))
        };
        match self {
            Self::Value(place) => write!(f, "value{place}"),
            Self::Has(place) => write!(f, "has{place}"),
            Self::Keys(place) => write!(f, "keys{place}"),
            Self::Attribute(attribute) => write!(f, "job.{}", attribute.name()),
            Self::HasAttribute(attribute) => write!(f, "has(job.{})", attribute.name()),
            Self::Known(known) => write!(f, "{}", known.name()),
            Self::HasKnown(known) => write!(f, "has({})", known.name()),
            Self::Label(key) => write!(f, "label {}", Quoted(key)),
            Self::HasLabel(key) => write!(f, "has(label {})", Quoted(key)),
            Self::LabelCount => f.write_str("size(job.labels)"),
            Self::Names(names) => write!(f, "job.{}", names.name()),
            Self::Tagged(tag) => write!(f, "derived {}", Quoted(tag)),
            Self::Pattern(pattern) => write!(f, "pattern {}", Quoted(pattern.text())),
            Self::Set(set) => {
                f.write_str("set")?;
                texts(f, &mut set.iter())
            }
            Self::Texts(list) => {
                f.write_str("texts")?;
                texts(f, &mut list.iter())
            }
            Self::Numbers(numbers) => {
                f.write_str("numbers")?;
                numbers.iter().try_for_each(|number| write!(f, " {}", Exactly(*number)))
            }
            Self::Number(number) => write!(f, "number {}", Exactly(*number)),
        }
    }
}

/// A number whose text tells an integer from a float.
struct Exactly(Number);

impl Display for Exactly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Number::Int(value) => write!(f, "{value}"),
            Number::Float(value) => write!(f, "{value:?}"),
        }
    }
}

impl Known {
    fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Priority => "job.priority",
            Self::Deadline => "job.deadline",
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Member(name) => write!(f, ".{}", Quoted(name))?,
                Step::Key(key) => write!(f, "[{}]", Quoted(key))?,
                Step::Index { at, max } => write!(f, "[{at} of {max}]")?,
            }
        }
        write!(f, ": {:?}", self.kind)
    }
}
