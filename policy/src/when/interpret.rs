//! What the compiled operations do not do, done by the `cel` crate: lists and texts that a condition makes.
//!
//! One environment for all. A program runs its condition's canonical text; what the text names was read before, by the
//! same code the compiled operations use, and is handed over by a resolver. A value of another kind than declared goes in
//! as bytes, which every reader function refuses, so it fails where it is read and not before; a key that comes twice goes
//! in as `null`, which fails in `has` too.

use super::canon::{Canon, Source};
use super::facts::Facts;
use super::kind::Kind;
use super::pattern::Pattern;
use super::place::{Found, elements_of, find, keys_of, member, members};
use super::program::{Names, Test};
use super::time::{Part, timestamp};
use super::{Truth, cost, eval};
use crate::number::Number;
use cel::common::types::{
    self, CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt, Type,
};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, Program, Value};
use simd_json::{Node, StaticNode};
use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock};

type Boxed<'a> = Box<dyn Val + 'a>;
type Answer<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

static ENVIRONMENT: LazyLock<Option<Arc<Env>>> = LazyLock::new(|| environment().map(Arc::new));

/// A part of a condition that the interpreter runs.
pub(super) struct Interpreted {
    canon: Canon,
    program: Program,
    cost: u64,
}

impl Interpreted {
    /// Hands a test over. It must not depend on a loop around it. `None` when the crate refuses the text.
    pub(super) fn new(test: &Test) -> Option<Self> {
        let canon = Canon::of(test);
        let program = ENVIRONMENT.as_ref()?.compile(&canon.text).ok()?;
        let cost = cost::interpreted(test, &canon);
        Some(Self { canon, program, cost })
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn text(&self) -> String {
        self.canon.whole()
    }

    pub(super) fn holds(&self, facts: &Facts<'_>) -> Truth {
        let Some(environment) = &*ENVIRONMENT else { return Truth::Error };
        let values =
            Values(self.canon.sources.iter().map(|(_, source)| value(source, facts, &self.canon.fields)).collect());
        let mut context = Context::with_env(Arc::clone(environment));
        context.set_variable_resolver(&values);
        match Value::resolve_val(self.program.expression(), &context) {
            Ok(result) => Truth::of(result.downcast_ref::<CelBool>().map(|value| *value.inner())),
            Err(_) => Truth::Error,
        }
    }
}

impl fmt::Debug for Interpreted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interpreted").field(&self.canon.text).finish()
    }
}

/// What `p0`, `p1`, … stand for in one evaluation; what could not be read has no value, so naming it fails.
struct Values<'a>(Vec<Option<Boxed<'a>>>);

impl VariableResolver for Values<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let place: usize = variable.strip_prefix('p')?.parse().ok()?;
        self.0.get(place)?.as_deref().map(CowVal::Borrowed)
    }
}

fn value<'a>(source: &'a Source, facts: &'a Facts<'a>, named: &BTreeSet<Box<str>>) -> Option<Boxed<'a>> {
    let sight = eval::Sight::new(facts);
    let text = |text: &'a str| -> Boxed<'a> { Box::new(CelString::from(text)) };
    let flag = |value: bool| -> Option<Boxed<'a>> { Some(Box::new(CelBool::from(value))) };
    let truth = |truth: Truth| match truth {
        Truth::True => flag(true),
        Truth::False => flag(false),
        Truth::Error => None,
    };
    let texts = |texts: &mut dyn Iterator<Item = &'a str>| -> Option<Boxed<'a>> {
        Some(Box::new(CelList::from(texts.map(text).collect::<Vec<_>>())))
    };
    match source {
        Source::Value(place) => match find(facts, &[], place) {
            Found::Value(node) => Some(convert(node, &place.kind, named)),
            Found::Missing | Found::Unsound => None,
        },
        Source::Has(place) => truth(sight.has(place)),
        Source::Keys(place) => match find(facts, &[], place) {
            Found::Value(object) => keys(object),
            Found::Missing | Found::Unsound => None,
        },
        Source::Attribute(attribute) => sight.attribute(*attribute).and_then(eval::short).map(text),
        Source::HasAttribute(attribute) => flag(sight.attribute(*attribute).is_some()),
        Source::Known(known) => sight.known(*known).map(|value| number(eval::int(value))),
        Source::HasKnown(known) => flag(sight.known(*known).is_some()),
        Source::Label(key) => sight.label(key)?.and_then(eval::short).map(text),
        Source::HasLabel(key) => flag(sight.label(key)?.is_some()),
        Source::LabelCount => {
            let mut count = 0_i64;
            facts.subject.labels.each(&mut |_, _| count += 1);
            Some(number(eval::int(count)))
        }
        Source::Names(names) => {
            let mut found = Vec::new();
            match names {
                Names::Requires => facts.subject.requires.each(&mut |name| found.push(name)),
                Names::ClaimedTags => facts.subject.risk_tags.each(&mut |name| found.push(name)),
                Names::LabelKeys => facts.subject.labels.each(&mut |key, _| found.push(key)),
                Names::RiskTags => found.extend(facts.tags.present()?),
            }
            let names = found.into_iter().map(|name| bounded(name, super::kind::MAX_NAME_BYTES));
            Some(Box::new(CelList::from(names.collect::<Vec<_>>())))
        }
        Source::Tagged(tag) => truth(facts.tags.outcome(tag).into()),
        Source::Pattern(pattern) => Some(Box::new(Shared(Arc::clone(pattern)))),
        Source::Set(set) => texts(&mut set.iter().map(|text| &**text)),
        Source::Texts(list) => texts(&mut list.iter().map(|text| &**text)),
        Source::Numbers(list) => Some(Box::new(CelList::from(list.iter().map(|&one| number(one)).collect::<Vec<_>>()))),
        Source::Number(one) => Some(number(*one)),
    }
}

fn number<'a>(number: Number) -> Boxed<'a> {
    match number {
        Number::Float(value) => Box::new(CelDouble::from(value)),
        Number::Int(value) => match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Box::new(CelInt::from(value)),
            (Err(_), Ok(value)) => Box::new(CelUInt::from(value)),
            (Err(_), Err(_)) => Box::new(CelNull),
        },
    }
}

fn keys<'a>(object: &'a [Node<'a>]) -> Option<Boxed<'a>> {
    let text = |key: Option<&'a str>| key.map(|key| bounded(key, super::kind::MAX_READ_BYTES));
    let keys = keys_of(object)?.map(text).collect::<Option<Vec<_>>>()?;
    Some(Box::new(CelList::from(keys)))
}

/// A text, or bytes when it is too long.
fn bounded<'a>(text: &'a str, max: u32) -> Boxed<'a> {
    if text.len() > max as usize {
        return Box::new(CelBytes::from(Vec::new()));
    }
    Box::new(CelString::from(text))
}

/// A value of the declared kind, or bytes; of an object the fields that are named.
fn convert<'a>(tape: &'a [Node<'a>], kind: &Kind, named: &BTreeSet<Box<str>>) -> Boxed<'a> {
    let wrong = || -> Boxed<'a> { Box::new(CelBytes::from(Vec::new())) };
    match (kind, tape.first()) {
        (Kind::Bool, Some(Node::Static(StaticNode::Bool(value)))) => Box::new(CelBool::from(*value)),
        (Kind::Int | Kind::Number, Some(_)) => super::place::Slot::Node(tape).number().map_or_else(wrong, number),
        (Kind::Text { max }, Some(Node::String(text))) => bounded(text, *max),
        (Kind::Time, Some(Node::String(text))) => Box::new(CelString::from(*text)),
        (Kind::List { of, max }, Some(_)) => match elements_of(tape, *max) {
            Some(elements) => {
                Box::new(CelList::from(elements.map(|element| convert(element, of, named)).collect::<Vec<_>>()))
            }
            None => wrong(),
        },
        (Kind::Record(fields), Some(Node::Object { len, .. })) if *len <= super::kind::MAX_OBJECT_KEYS => {
            let mut map: HashMap<CelMapKey<'a>, Boxed<'a>> = HashMap::new();
            for (name, kind) in fields.iter().filter(|(name, _)| named.contains(*name)) {
                match member(tape, name) {
                    Found::Value(value) => drop(map.insert(key(name), convert(value, kind, named))),
                    Found::Unsound => drop(map.insert(key(name), Box::new(CelNull))),
                    Found::Missing => {}
                }
            }
            Box::new(CelMap::from(map))
        }
        (Kind::Map(of), Some(Node::Object { len, .. })) if *len <= super::kind::MAX_OBJECT_KEYS => {
            let mut values: HashMap<CelMapKey<'a>, Boxed<'a>> = HashMap::new();
            for (name, _) in members(tape, *len) {
                match member(tape, name) {
                    Found::Value(value) => drop(values.insert(key(name), convert(value, of, named))),
                    Found::Unsound => drop(values.insert(key(name), Box::new(CelNull))),
                    Found::Missing => {}
                }
            }
            let both: [(CelMapKey<'a>, Boxed<'a>); 2] =
                [(key("values"), Box::new(CelMap::from(values))), (key("keys"), keys(tape).unwrap_or_else(wrong))];
            Box::new(CelMap::from(HashMap::from(both)))
        }
        _ => wrong(),
    }
}

fn key<'a>(name: &str) -> CelMapKey<'a> {
    CelMapKey::from(name.to_owned())
}

/// The functions of a canonical text. Each takes one kind; another is an error of its caller.
fn environment() -> Option<Env> {
    let mut env = Env::stdlib().with_optional_support(false);
    let same: &[(&str, &Type)] = &[
        ("read_bool", &types::BOOL_TYPE),
        ("read_int", &types::INT_TYPE),
        ("read_text", &types::STRING_TYPE),
        ("read_list", &types::LIST_TYPE),
        ("read_map", &types::MAP_TYPE),
    ];
    for &(name, kind) in same {
        env.add_overload(name, name, vec![kind.to_owned()], first).ok()?;
    }
    let numbers: &[(&str, &Type)] =
        &[("int", &types::INT_TYPE), ("uint", &types::UINT_TYPE), ("double", &types::DOUBLE_TYPE)];
    for &(a, kind) in numbers {
        env.add_overload("read_number", &format!("read_number_{a}"), vec![kind.to_owned()], first).ok()?;
        env.add_overload("exact", &format!("exact_{a}"), vec![kind.to_owned()], exact).ok()?;
        for &(b, other) in numbers {
            let id = format!("order_{a}_{b}");
            env.add_overload("order", &id, vec![kind.to_owned(), other.to_owned()], order).ok()?;
        }
    }
    env.add_overload("read_time", "read_time", vec![types::STRING_TYPE.to_owned()], read_time).ok()?;
    env.add_overload("known", "known", vec![types::DYN_TYPE.to_owned()], known).ok()?;
    env.add_overload("finite", "finite", vec![types::DOUBLE_TYPE.to_owned()], finite).ok()?;
    env.add_overload("lower_ascii", "lower_ascii", vec![types::STRING_TYPE.to_owned()], lower_ascii).ok()?;
    env.add_overload("calendar", "calendar", vec![types::INT_TYPE.to_owned(), types::INT_TYPE.to_owned()], calendar)
        .ok()?;
    env.add_overload("search", "search", vec![types::STRING_TYPE.to_owned(), PATTERN.to_owned()], search).ok()?;
    Some(env)
}

fn refused<'b, 'v>(function: &str) -> Answer<'b, 'v> {
    Err(ExecutionError::function_error(function, "it cannot be told"))
}

fn first<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    arguments.into_iter().next().map_or_else(|| refused("read"), Ok)
}

fn as_number(value: &dyn Val) -> Option<Number> {
    if let Some(int) = value.downcast_ref::<CelInt>() {
        return Some(eval::int(*int.inner()));
    }
    if let Some(unsigned) = value.downcast_ref::<CelUInt>() {
        return Some(Number::Int((*unsigned.inner()).into()));
    }
    value.downcast_ref::<CelDouble>().map(|double| Number::Float(*double.inner()))
}

fn order<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let [a, b] = arguments.as_slice() else { return refused("order") };
    let order = as_number(a.as_ref()).zip(as_number(b.as_ref())).and_then(|(a, b)| a.order(b));
    order.map_or_else(|| refused("order"), |order| Ok(CowVal::owned(CelInt::from(order as i64))))
}

fn exact<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let float = arguments.first().and_then(|value| as_number(value.as_ref())).and_then(eval::float);
    float.map_or_else(|| refused("exact"), |float| Ok(CowVal::owned(CelDouble::from(float))))
}

fn finite<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    match arguments.first().and_then(|value| value.downcast_ref::<CelDouble>()) {
        Some(double) if double.inner().is_finite() => first(arguments),
        Some(_) | None => refused("finite"),
    }
}

fn known<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    match arguments.first() {
        Some(value) if value.downcast_ref::<CelNull>().is_none() => Ok(CowVal::owned(CelBool::from(true))),
        Some(_) | None => refused("known"),
    }
}

fn read_time<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let text = arguments.first().and_then(|value| value.downcast_ref::<CelString<'_>>());
    let micros = text.and_then(|text| timestamp(text.inner()));
    micros.map_or_else(|| refused("read_time"), |micros| Ok(CowVal::owned(CelInt::from(micros))))
}

fn lower_ascii<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    match arguments.first().and_then(|value| value.downcast_ref::<CelString<'_>>()) {
        Some(text) => Ok(CowVal::owned(CelString::from(text.inner().to_ascii_lowercase()))),
        None => refused("lower_ascii"),
    }
}

fn calendar<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let int = |at: usize| arguments.get(at).and_then(|value| value.downcast_ref::<CelInt>()).map(|int| *int.inner());
    let part = int(1).and_then(|at| usize::try_from(at).ok()).and_then(|at| Part::ALL.get(at));
    match (int(0), part) {
        (Some(micros), Some((_, part))) => Ok(CowVal::owned(CelInt::from(part.of(micros)))),
        _ => refused("calendar"),
    }
}

fn search<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Answer<'b, 'v> {
    let [text, pattern] = arguments.as_slice() else { return refused("search") };
    match (text.downcast_ref::<CelString<'_>>(), pattern.downcast_ref::<Shared>()) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.0.is_match(text.inner())))),
        _ => refused("search"),
    }
}

static PATTERN: Type = Type::new_unspecified_type("tidegate.pattern");

/// A compiled pattern as a value.
#[derive(Debug)]
struct Shared(Arc<Pattern>);

impl Val for Shared {
    fn get_type(&self) -> &Type {
        &PATTERN
    }
    fn cel_type() -> &'static Type {
        &PATTERN
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(Self(Arc::clone(&self.0)))
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Shared {}
