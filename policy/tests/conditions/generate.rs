//! Random conditions that are well typed, and random payloads that may not be.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use tidegate_policy::Subject;
use tidegate_policy::when::{Facts, Fields, Kind, Number, Outcome, Param, Tags, Types};

/// Draws by a linear congruential generator (Knuth's MMIX constants); the high bits are used.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed ^ 0x9E37_79B9_7F4A_7C15);
        dice.below(2);
        dice
    }

    pub(crate) fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % sides as u64).unwrap_or(0)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.get(self.below(of.len())).copied().unwrap_or_default()
    }
}

/// Small bounds, so that loops within loops cost little and bounds are met often.
pub(crate) fn types() -> Types {
    let short = || Kind::Text { max: 12 };
    let list = |of: Kind| Kind::List { of: of.into(), max: 4 };
    let mut item = Fields::new();
    item.declare("sku", short());
    item.declare("qty", Kind::Int);
    item.declare("price", Kind::Number);
    item.declare("on", Kind::Bool);
    item.declare("at", Kind::Time);
    item.declare("tags", list(short()));
    item.declare("extra", Kind::Map(Kind::Number.into()));
    let mut to = Fields::new();
    to.declare("iban", short());
    to.declare("rank", Kind::Int);
    let mut fields = Fields::new();
    fields.declare("amount", Kind::Number);
    fields.declare("fee", Kind::Number);
    fields.declare("count", Kind::Int);
    fields.declare("name", short());
    fields.declare("note", short());
    fields.declare("urgent", Kind::Bool);
    fields.declare("due", Kind::Time);
    fields.declare("to", Kind::Record(Arc::new(to)));
    fields.declare("items", list(Kind::Record(Arc::new(item))));
    fields.declare("codes", list(Kind::Int));
    fields.declare("sums", list(Kind::Number));
    fields.declare("words", list(short()));
    fields.declare("rates", Kind::Map(Kind::Number.into()));
    let params = BTreeMap::from([
        ("limit".into(), Param::Number(Number::Int(3))),
        ("rate".into(), Param::Number(Number::Float(1.5))),
        ("home".into(), Param::Text("ab".into())),
        ("strict".into(), Param::Bool(true)),
        ("known".into(), Param::Texts(vec!["a".into(), "Ab".into(), "bc".into()])),
        ("none".into(), Param::Texts(Vec::new())),
        ("steps".into(), Param::Numbers(vec![Number::Int(1), Number::Float(2.5), Number::Int(4)])),
    ]);
    Types { fields, params, tags: Some(["pii", "risky", "unsure"].map(Into::into).into()) }
}

/// What kind of element a variable in scope is.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Item,
    Whole,
    Number,
    Word,
}

/// Writes one condition.
pub(crate) struct Writer<'d> {
    dice: &'d mut Dice,
    scope: Vec<Of>,
    /// Leave out what CEL itself does otherwise or this build of the crate does not have.
    plain: bool,
}

impl<'d> Writer<'d> {
    pub(crate) fn new(dice: &'d mut Dice, plain: bool) -> Self {
        Self { dice, scope: Vec::new(), plain }
    }

    fn variable(&mut self, wanted: Of) -> Option<String> {
        let fitting: Vec<usize> = (0..self.scope.len()).filter(|&at| self.scope.get(at) == Some(&wanted)).collect();
        let at = *fitting.get(self.dice.below(fitting.len().max(1)))?;
        (self.dice.below(3) > 0).then(|| format!("x{at}"))
    }

    pub(crate) fn test(&mut self, depth: usize) -> String {
        let deep = depth > 0;
        match self.dice.below(if deep { 22 } else { 9 }) {
            0 | 1 => format!("{} {} {}", self.number(depth), self.relation(), self.number(depth)),
            2 => format!("{} {} {}", self.text(depth), self.relation(), self.text(depth)),
            3 => self.flag(),
            4 => self.has(),
            5 => {
                let list = self.dice.one(&[
                    "params.known",
                    "params.none",
                    "['a', 'b']",
                    "job.words",
                    "job.requires",
                    "job.labels",
                ]);
                format!("{} in {list}", self.text(depth))
            }
            6 => {
                let list = self.dice.one(&["params.steps", "[1, 2, 3]", "job.codes", "job.sums"]);
                format!("{} in {list}", self.number(depth))
            }
            7 => {
                let method = self.dice.one(&["startsWith", "endsWith", "contains"]);
                format!("{}.{method}({})", self.text(depth), self.text(depth))
            }
            8 if self.plain => self.flag(),
            8 => match self.dice.below(5) {
                0 => format!("{} {} {}", self.time(), self.relation(), self.time()),
                1 => format!(
                    "{} - {} {} duration('{}')",
                    self.time(),
                    self.time(),
                    self.relation(),
                    self.dice.one(&["1h", "-2s", "0"])
                ),
                2 => format!("'{}' in job.risk_tags", self.dice.one(&["pii", "risky", "unsure"])),
                3 => format!("{}.matches('{}')", self.text(depth), self.dice.one(&["^a", "b+c?$", "[A-Z]", ""])),
                _ => format!("{} in job.rates", self.text(depth)),
            },
            9..=11 => format!("({} && {})", self.test(depth - 1), self.test(depth - 1)),
            12..=14 => format!("({} || {})", self.test(depth - 1), self.test(depth - 1)),
            15 => format!("!({})", self.test(depth - 1)),
            16 => format!("({} ? {} : {})", self.test(depth - 1), self.test(depth - 1), self.test(depth - 1)),
            17 => {
                let sign = self.dice.one(&["==", "!="]);
                format!("(({}) {sign} ({}))", self.test(depth - 1), self.test(depth - 1))
            }
            _ => self.each(depth - 1),
        }
    }

    fn relation(&mut self) -> &'static str {
        self.dice.one(&["==", "!=", "<", "<=", ">", ">="])
    }

    fn flag(&mut self) -> String {
        if let Some(item) = self.variable(Of::Item) {
            return format!("{item}.on");
        }
        self.dice.one(&["job.urgent", "params.strict", "job.payload.urgent"]).to_owned()
    }

    fn has(&mut self) -> String {
        if let Some(item) = self.variable(Of::Item) {
            let field = self.dice.one(&["sku", "qty", "price", "on", "at", "tags", "extra", "extra.a"]);
            return format!("has({item}.{field})");
        }
        let plain = ["job.amount", "job.name", "job.to", "job.to.iban", "job.items", "job.rates", "job.rates.a"];
        let more = ["job.labels.env", "job.labels.none", "job.actor.id", "job.actor.type"];
        let field = if !self.plain && self.dice.below(3) == 0 { self.dice.one(&more) } else { self.dice.one(&plain) };
        format!("has({field})")
    }

    /// A list and what its elements are.
    fn list(&mut self, depth: usize) -> (String, Of) {
        if let Some(item) = self.variable(Of::Item).filter(|_| self.dice.below(2) == 0) {
            return match self.dice.below(2) {
                0 => (format!("{item}.tags"), Of::Word),
                _ => (format!("{item}.extra"), Of::Word),
            };
        }
        match self.dice.below(if depth > 0 { 12 } else { 9 }) {
            0 | 1 => ("job.items".to_owned(), Of::Item),
            2 => ("job.codes".to_owned(), Of::Whole),
            3 => ("job.sums".to_owned(), Of::Number),
            4 => ("job.words".to_owned(), Of::Word),
            5 => ("params.known".to_owned(), Of::Word),
            6 => ("params.steps".to_owned(), Of::Number),
            7 if !self.plain => (
                self.dice.one(&["job.labels", "job.requires", "job.risk_tags", "job.claimed_tags"]).to_owned(),
                Of::Word,
            ),
            7 => ("job.requires".to_owned(), Of::Word),
            8 => ("job.rates".to_owned(), Of::Word),
            9 => {
                let (list, of) = self.list(depth - 1);
                let body = self.within(of, |writer| writer.test(depth - 1));
                (format!("{list}.filter(x{}, {body})", self.scope.len()), of)
            }
            10 => {
                let (list, of) = self.list(depth - 1);
                let body = self.within(of, |writer| writer.text(depth - 1));
                (format!("{list}.map(x{}, {body})", self.scope.len()), Of::Word)
            }
            _ => (format!("[{}, {}]", self.text(depth - 1), self.text(depth - 1)), Of::Word),
        }
    }

    fn within(&mut self, of: Of, write: impl FnOnce(&mut Self) -> String) -> String {
        self.scope.push(of);
        let text = write(self);
        self.scope.pop();
        text
    }

    fn each(&mut self, depth: usize) -> String {
        if self.scope.len() >= 3 {
            return self.flag();
        }
        let (list, of) = self.list(if self.scope.len() < 2 { depth } else { 0 });
        if self.dice.below(6) == 0 {
            return format!("size({list}) {} {}", self.relation(), self.dice.below(4));
        }
        let how = self.dice.one(&["all", "exists", "exists", "exists_one"]);
        let body = self.within(of, |writer| writer.test(depth));
        format!("{list}.{how}(x{}, {body})", self.scope.len())
    }

    fn number(&mut self, depth: usize) -> String {
        let whole = self.variable(Of::Whole);
        if let Some(variable) = whole.or_else(|| self.variable(Of::Number)) {
            return variable;
        }
        if let Some(item) = self.variable(Of::Item) {
            return format!("{item}.{}", self.dice.one(&["qty", "price", "extra.a", "extra['b c']"]));
        }
        match self.dice.below(if depth > 0 { 12 } else { 7 }) {
            0 => self.dice.one(&["0", "1", "2.5", "-3", "4"]).to_owned(),
            1 => "job.amount".to_owned(),
            2 => "job.count".to_owned(),
            3 => self.dice.one(&["params.limit", "params.rate"]).to_owned(),
            4 => self
                .dice
                .one(&["job.codes[0]", "job.sums[1]", "job.items[0].qty", "job.rates.a", "job.to.rank"])
                .to_owned(),
            5 => format!("size({})", self.text(0)),
            6 if self.plain => "job.fee".to_owned(),
            6 => self
                .dice
                .one(&[
                    "job.priority",
                    "now.getHours()",
                    "job.due.getDayOfWeek()",
                    "size(job.rates)",
                    "size(job.labels)",
                ])
                .to_owned(),
            7 | 8 => {
                let sign = self.dice.one(&["+", "-", "*", "/", "%"]);
                format!("({} {sign} {})", self.whole(), self.whole())
            }
            9 => format!("(-{})", self.whole()),
            10 if !self.plain => {
                let sign = self.dice.one(&["+", "-", "*", "/"]);
                format!("({} {sign} {})", self.number(depth - 1), self.number(depth - 1))
            }
            _ => format!("({} ? {} : {})", self.test(depth - 1), self.number(depth - 1), self.number(depth - 1)),
        }
    }

    fn whole(&mut self) -> String {
        match self.variable(Of::Whole) {
            Some(variable) => variable,
            None => self.dice.one(&["job.count", "7", "2", "0", "params.limit", "job.codes[1]"]).to_owned(),
        }
    }

    fn text(&mut self, depth: usize) -> String {
        if let Some(variable) = self.variable(Of::Word) {
            return variable;
        }
        if let Some(item) = self.variable(Of::Item) {
            return format!("{item}.{}", self.dice.one(&["sku", "tags[0]"]));
        }
        match self.dice.below(if depth > 0 { 8 } else { 5 }) {
            0 => format!("'{}'", self.dice.one(&["", "a", "Ab", "bc", "ä"])),
            1 => self.dice.one(&["job.name", "job.note", "job.to.iban"]).to_owned(),
            2 => self.dice.one(&["params.home", "job.tenant", "job.topic"]).to_owned(),
            3 => self.dice.one(&["job.words[0]", "job.items[1].sku"]).to_owned(),
            4 if self.plain => "job.name".to_owned(),
            4 => self
                .dice
                .one(&["job.labels.env", "job.labels['none']", "job.labels.twice", "job.actor.id", "job.actor.type"])
                .to_owned(),
            5 => format!("({} + {})", self.text(depth - 1), self.text(depth - 1)),
            6 if !self.plain => format!("{}.lowerAscii()", self.text(depth - 1)),
            _ => format!("({} ? {} : {})", self.test(depth - 1), self.text(depth - 1), self.text(depth - 1)),
        }
    }

    fn time(&mut self) -> String {
        if let Some(item) = self.variable(Of::Item) {
            return format!("{item}.at");
        }
        self.dice
            .one(&[
                "now",
                "job.due",
                "job.deadline",
                "timestamp('2026-01-01T00:00:00Z')",
                "timestamp(job.note)",
                "(now + duration('90m'))",
            ])
            .to_owned()
    }
}

/// Writes a payload; `sound` ones have every value of its declared kind, and may leave fields out.
pub(crate) fn payload(dice: &mut Dice, sound: bool) -> String {
    if !sound && dice.below(60) == 0 {
        return dice.one(&["null", "[]", "3", "{", "\"x\""]).to_owned();
    }
    let fields: &[(&str, Make)] = &[
        ("amount", number),
        ("fee", number),
        ("count", whole),
        ("name", word),
        ("note", word),
        ("urgent", flag),
        ("due", time),
        ("to", |dice, sound| object(dice, sound, &[("iban", word), ("rank", whole)])),
        ("items", |dice, sound| array(dice, sound, item)),
        ("codes", |dice, sound| array(dice, sound, whole)),
        ("sums", |dice, sound| array(dice, sound, number)),
        ("words", |dice, sound| array(dice, sound, word)),
        ("rates", rates),
    ];
    object(dice, sound, fields)
}

type Make = fn(&mut Dice, bool) -> String;

fn item(dice: &mut Dice, sound: bool) -> String {
    let fields: &[(&str, Make)] = &[
        ("sku", word),
        ("qty", whole),
        ("price", number),
        ("on", flag),
        ("at", time),
        ("tags", |dice, sound| array(dice, sound, word)),
        ("extra", rates),
    ];
    object(dice, sound, fields)
}

fn rates(dice: &mut Dice, sound: bool) -> String {
    object(dice, sound, &[("a", number), ("b c", number), ("ä", number)])
}

fn object(dice: &mut Dice, sound: bool, fields: &[(&str, Make)]) -> String {
    let mut text = String::from("{");
    for (name, make) in fields {
        let times = match dice.below(12) {
            0 => 0,
            1 if !sound && dice.below(4) == 0 => 2,
            _ => 1,
        };
        for _ in 0..times {
            let value = value(dice, sound, *make);
            let comma = if text.len() > 1 { "," } else { "" };
            let _ = write!(text, "{comma}\"{name}\":{value}");
        }
    }
    text.push('}');
    text
}

/// A value of the declared kind, or now and then of another.
fn value(dice: &mut Dice, sound: bool, make: Make) -> String {
    if sound || dice.below(12) > 0 {
        return make(dice, sound);
    }
    dice.one(&[
        "null",
        "null",
        "\"a\"",
        "5",
        "1.5",
        "true",
        "[]",
        "[1]",
        "{}",
        "{\"a\":1}",
        "\"a word of more than twelve\"",
    ])
    .to_owned()
}

fn array(dice: &mut Dice, sound: bool, make: Make) -> String {
    let most = if sound { 5 } else { 6 };
    let items: Vec<String> = (0..dice.below(most)).map(|_| value(dice, sound, make)).collect();
    format!("[{}]", items.join(","))
}

fn number(dice: &mut Dice, sound: bool) -> String {
    let odd = ["9007199254740993", "18446744073709551615", "-9223372036854775808", "1e300", "-0.0", "0.1"];
    if !sound && dice.below(5) == 0 {
        return dice.one(&odd).to_owned();
    }
    dice.one(&["0", "1", "2.5", "3", "-3", "4.0", "100"]).to_owned()
}

fn whole(dice: &mut Dice, sound: bool) -> String {
    if !sound && dice.below(6) == 0 {
        return dice.one(&["9223372036854775807", "-9223372036854775808", "9223372036854775808", "1.0"]).to_owned();
    }
    dice.one(&["0", "1", "2", "3", "-3", "7"]).to_owned()
}

fn word(dice: &mut Dice, _: bool) -> String {
    format!("\"{}\"", dice.one(&["", "a", "ab", "Ab", "bc", "ABC", "ä", "aÄ"]))
}

fn flag(dice: &mut Dice, _: bool) -> String {
    dice.one(&["true", "false"]).to_owned()
}

fn time(dice: &mut Dice, sound: bool) -> String {
    if !sound && dice.below(6) == 0 {
        return "\"today\"".to_owned();
    }
    format!("\"{}\"", dice.one(&["2026-03-04T05:06:07.890Z", "2026-03-04T06:06:07.89+01:00", "1999-12-31T23:59:59Z"]))
}

/// 2026-03-04T05:06:07.890Z.
pub(crate) const NOW: u64 = 1_772_600_767_890;

/// Hands over fixed attributes with a payload.
pub(crate) fn with_facts<R>(payload: &str, judge: impl FnOnce(&Facts<'_>) -> R) -> R {
    let mut text = payload.as_bytes().to_vec();
    let tape = simd_json::to_tape(&mut text).ok();
    let mut subject = Subject::new("ab", "job.a", "pay");
    subject.actor_id = Some("a");
    subject.priority = 3;
    subject.deadline_ms = Some(NOW + 60_000);
    subject.requires = &["a", "bc"];
    subject.risk_tags = &["Ab"];
    subject.labels = &[("env", "a"), ("twice", "a"), ("twice", "b")];
    let names: [Arc<str>; 3] = ["pii", "risky", "unsure"].map(Arc::from);
    let facts = Facts {
        subject: &subject,
        payload: tape.as_ref().map(|tape| tape.0.as_slice()),
        tags: Tags { names: &names, outcomes: &[Outcome::Present, Outcome::Absent, Outcome::Uncertain] },
        at_ms: NOW,
    };
    judge(&facts)
}
