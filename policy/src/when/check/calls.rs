//! Functions and loops.

use super::{Checker, wrong};
use crate::number::Number;
use crate::when::kind::{Kind, MAX_NAME_BYTES, MAX_READ_BYTES};
use crate::when::pattern::Pattern;
use crate::when::problem::{Fault, nearest};
use crate::when::program::{Built, Each, Item, Names, Num, Quantity, Seq, Test, Text};
use crate::when::syntax::Syntax;
use crate::when::time::{Part, duration, timestamp};
use crate::when::typed::{List, Typed};
use std::sync::Arc;

/// Every function, by how it is called.
const GLOBAL: &[&str] = &["has", "size", "timestamp", "duration"];
const OF_A_VALUE: &[&str] = &[
    "all",
    "exists",
    "exists_one",
    "filter",
    "map",
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "lowerAscii",
];

impl Checker<'_> {
    pub(super) fn call(
        &mut self,
        at: usize,
        target: Option<&Syntax>,
        name: &str,
        args: &[Syntax],
    ) -> Result<Typed, Fault> {
        let Some(target) = target else { return self.global(at, name, args) };
        let part = Part::ALL.iter().find(|(known, _)| *known == name);
        Ok(match (name, args) {
            ("all", [variable, body]) => Typed::Test(self.each(target, Quantity::All, variable, body)?),
            ("exists", [variable, body]) => Typed::Test(self.each(target, Quantity::Exists, variable, body)?),
            ("exists_one", [variable, body]) => Typed::Test(self.each(target, Quantity::ExistsOne, variable, body)?),
            ("filter", [variable, body]) => self.filter(target, variable, body)?,
            ("map", [variable, body]) => self.map(target, variable, body)?,
            ("size", []) => self.size(target)?,
            ("startsWith", [start]) => Typed::Test(Test::Starts(self.text(target, name)?, self.text(start, name)?)),
            ("endsWith", [end]) => Typed::Test(Test::Ends(self.text(target, name)?, self.text(end, name)?)),
            ("contains", [part]) => Typed::Test(Test::Contains(self.text(target, name)?, self.text(part, name)?)),
            ("matches", [pattern]) => Typed::Test(Test::Matches(self.text(target, name)?, self.pattern(pattern)?)),
            ("lowerAscii", []) => match self.check(target)? {
                Typed::Text(text, max) => Typed::Text(Text::Lower(text.into()), max),
                other => return Err(wrong(target.at, &other, "a text", "what `lowerAscii` is asked of")),
            },
            _ if part.is_some() => {
                let (Some((_, part)), []) = (part, args) else {
                    return Err(Fault::new(
                        at,
                        format!("`{name}` takes no time zone here"),
                        "use a rule's `window` for zones; this is UTC",
                    ));
                };
                match self.check(target)? {
                    Typed::Time(time) => Typed::Num(Num::Part(*part, time.into()), true),
                    other => {
                        return Err(wrong(target.at, &other, "a timestamp", &format!("what `{name}` is asked of")));
                    }
                }
            }
            _ if OF_A_VALUE.contains(&name) => return Err(arity(at, name, args)),
            _ => return Err(unknown_function(at, name, true)),
        })
    }

    fn global(&mut self, at: usize, name: &str, args: &[Syntax]) -> Result<Typed, Fault> {
        Ok(match (name, args) {
            ("has", args) => Typed::Test(self.has(at, args)?),
            ("size", [of]) => self.size(of)?,
            ("timestamp", [of]) => match self.check(of)? {
                Typed::Text(Text::Const(text), _) => match timestamp(&text) {
                    Some(micros) => Typed::Time(Num::Const(Number::Int(micros.into()))),
                    None => {
                        return Err(Fault::new(
                            of.at,
                            format!("`{text}` is not a timestamp"),
                            "write it as `2026-01-31T12:00:00Z`",
                        ));
                    }
                },
                Typed::Text(text, _) => Typed::Time(Num::Timestamp(text)),
                other => return Err(wrong(of.at, &other, "a text", "what `timestamp` takes")),
            },
            ("duration", [of]) => match self.check(of)? {
                Typed::Text(Text::Const(text), _) => match duration(&text) {
                    Some(micros) => Typed::Span(Num::Const(Number::Int(micros.into()))),
                    None => {
                        return Err(Fault::new(
                            of.at,
                            format!("`{text}` is not a duration"),
                            "write it as `1h30m` or `1.5s`, in whole microseconds",
                        ));
                    }
                },
                Typed::Text(..) => {
                    return Err(Fault::new(
                        of.at,
                        "`duration` takes a text written out",
                        "write it as `1h30m` or `1.5s`",
                    ));
                }
                other => return Err(wrong(of.at, &other, "a text", "what `duration` takes")),
            },
            _ if GLOBAL.contains(&name) => return Err(arity(at, name, args)),
            _ => return Err(unknown_function(at, name, false)),
        })
    }

    fn text(&mut self, syntax: &Syntax, function: &str) -> Result<Text, Fault> {
        match self.check(syntax)? {
            Typed::Text(text, _) => Ok(text),
            other => Err(wrong(syntax.at, &other, "a text", &format!("what `{function}` works on"))),
        }
    }

    fn pattern(&mut self, syntax: &Syntax) -> Result<Arc<Pattern>, Fault> {
        match self.check(syntax)? {
            Typed::Text(Text::Const(pattern), _) => match Pattern::new(&pattern) {
                Ok(pattern) => Ok(Arc::new(pattern)),
                Err(why) => Err(Fault::new(syntax.at, why, "write a smaller pattern of the `regex` crate's syntax")),
            },
            _ => Err(Fault::new(
                syntax.at,
                "a pattern must be a text written out, or a parameter",
                "write the pattern between quotes",
            )),
        }
    }

    fn size(&mut self, of: &Syntax) -> Result<Typed, Fault> {
        let number = match self.check(of)? {
            Typed::Text(text, _) => Num::TextSize(text),
            Typed::Seq(list) => Num::SeqSize(list.seq.into()),
            Typed::Map(place, _) => Num::MapSize(place),
            Typed::Labels => Num::LabelCount,
            other => return Err(wrong(of.at, &other, "a text, a list or a map", "what has a size")),
        };
        Ok(Typed::Num(number, true))
    }

    fn over(&mut self, target: &Syntax) -> Result<List, Fault> {
        let keys = Kind::Text { max: MAX_READ_BYTES };
        match self.check(target)? {
            Typed::Seq(list) => Ok(list),
            // As in CEL, a map is its keys.
            Typed::Map(place, _) => {
                let max = crate::when::kind::MAX_OBJECT_KEYS as u64;
                Ok(List { seq: Seq::Keys(place), of: keys, max })
            }
            Typed::Labels => Ok(List {
                seq: Seq::Names(Names::LabelKeys),
                of: Kind::Text { max: MAX_NAME_BYTES },
                max: super::names::NAMES,
            }),
            other => Err(wrong(target.at, &other, "a list or a map", "what a loop goes over")),
        }
    }

    fn each(&mut self, target: &Syntax, how: Quantity, variable: &Syntax, body: &Syntax) -> Result<Test, Fault> {
        let list = self.over(target)?;
        let (level, body) = self.within_loop(variable, &list.of, |checker, level| {
            Ok((level, checker.test(body, "what is asked of each element")?))
        })?;
        Ok(Test::Each(Each { how, over: list.seq, level, body }.into()))
    }

    fn filter(&mut self, target: &Syntax, variable: &Syntax, body: &Syntax) -> Result<Typed, Fault> {
        let List { seq, of, max } = self.over(target)?;
        let (level, body) = self.within_loop(variable, &of, |checker, level| {
            Ok((level, checker.test(body, "what is asked of each element")?))
        })?;
        let built = Built::Filter { over: seq, level, body };
        Ok(Typed::Seq(List { seq: Seq::Built(built.into()), of, max }))
    }

    fn map(&mut self, target: &Syntax, variable: &Syntax, body: &Syntax) -> Result<Typed, Fault> {
        let List { seq, of, max } = self.over(target)?;
        let (level, item, made) = self.within_loop(variable, &of, |checker, level| {
            Ok(match checker.check(body)? {
                Typed::Num(number, whole) => (level, Item::Num(number), if whole { Kind::Int } else { Kind::Number }),
                Typed::Text(text, max) => {
                    (level, Item::Text(text), Kind::Text { max: u32::try_from(max).unwrap_or(u32::MAX) })
                }
                other => return Err(wrong(body.at, &other, "a text or a number", "what `map` makes of each element")),
            })
        })?;
        let built = Built::Map { over: seq, level, body: item };
        Ok(Typed::Seq(List { seq: Seq::Built(built.into()), of: made, max }))
    }
}

fn arity(at: usize, name: &str, args: &[Syntax]) -> Fault {
    let remedy = match name {
        "all" | "exists" | "exists_one" | "filter" | "map" => format!("write `LIST.{name}(x, ...)`"),
        "size" => "write `size(LIST)` or `LIST.size()`".to_owned(),
        "timestamp" | "duration" => format!("write `{name}(\"...\")`"),
        "lowerAscii" => "write `TEXT.lowerAscii()`".to_owned(),
        _ => format!("write `TEXT.{name}(\"...\")`"),
    };
    Fault::new(at, format!("`{name}` does not take {} arguments", args.len()), remedy)
}

fn unknown_function(at: usize, name: &str, of_a_value: bool) -> Fault {
    let parts = Part::ALL.iter().map(|(name, _)| *name);
    let known = GLOBAL.iter().chain(OF_A_VALUE).copied().chain(parts);
    let remedy = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if of_a_value => format!("use one of {}", OF_A_VALUE.join(", ")),
        None => format!("use one of {}", GLOBAL.join(", ")),
    };
    Fault::new(at, format!("`{name}` is not a function of the language"), remedy)
}
