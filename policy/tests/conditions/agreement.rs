//! The compiled operations against the `cel` crate, twice: on the canonical text with any payload, and on the text as
//! written, parsed and evaluated by the crate alone, with payloads of the declared kinds.

use crate::generate::{Dice, Writer, payload, types, with_facts};
use cel::{Context, Env, Value};
use std::collections::HashMap;
use std::sync::Arc;
use tidegate_policy::when::{Truth, compile, interpret};

const CONDITIONS: u64 = 1_500;

/// What was compared.
#[derive(Default)]
struct Met {
    results: [u32; 3],
    differ: Vec<String>,
}

impl Met {
    fn count(&mut self, ours: Truth, theirs: Truth, what: impl FnOnce() -> String) {
        if let Some(count) = self.results.get_mut(ours as usize) {
            *count += 1;
        }
        if ours != theirs {
            self.differ.push(format!("{ours:?}, the crate says {theirs:?}: {}", what()));
        }
    }

    fn all_agree_and_each_result_is_met(&self, times: u32) {
        let some: Vec<&str> = self.differ.iter().take(4).map(String::as_str).collect();
        assert!(
            some.is_empty(),
            "{} differ, such as
{}",
            self.differ.len(),
            some.join(
                "

"
            )
        );
        assert!(self.results.iter().all(|&count| count > times), "{:?}", self.results);
    }
}

#[test]
fn compiled_operations_agree_with_the_interpreter_on_any_payload() {
    let types = types();
    let mut met = Met::default();
    for seed in 0..CONDITIONS {
        let mut dice = Dice::new(seed);
        let text = Writer::new(&mut dice, false).test(3);
        let Ok(compiled) = compile(&text, &types) else { continue };
        let reference = interpret(&text, &types).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        for _ in 0..8 {
            let payload = payload(&mut dice, false);
            let (ours, theirs) = with_facts(&payload, |facts| (compiled.holds(facts), reference.holds(facts)));
            met.count(ours, theirs, || format!("seed {seed}: {text}\non {payload}\n{}", compiled.canonical()));
        }
    }
    met.all_agree_and_each_result_is_met(1_000);
}

#[test]
fn nearly_every_condition_the_generator_writes_is_accepted() {
    let types = types();
    let refused: Vec<String> = (0..CONDITIONS)
        .map(|seed| Writer::new(&mut Dice::new(seed), false).test(3))
        .filter_map(|text| compile(&text, &types).err().map(|problem| format!("{text}: {problem}")))
        .filter(|problem| !problem.contains("can cost") && !problem.contains("divides by zero"))
        .collect();
    assert!(refused.is_empty(), "{} refused: {:#?}", refused.len(), refused.iter().take(5).collect::<Vec<_>>());
}

#[test]
fn the_subset_means_what_cel_means_where_kinds_are_as_declared() {
    let types = types();
    let env = Arc::new(Env::stdlib());
    let mut met = Met::default();
    for seed in 0..CONDITIONS {
        let mut dice = Dice::new(seed);
        let text = Writer::new(&mut dice, true).test(3);
        let Ok(compiled) = compile(&text, &types) else { continue };
        let program = env.compile(&text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
        for _ in 0..4 {
            let payload = payload(&mut dice, true);
            let ours = with_facts(&payload, |facts| compiled.holds(facts));
            let mut context = Context::with_env(Arc::clone(&env));
            context.add_variable_from_value("job", job(&payload));
            context.add_variable_from_value("params", params());
            let theirs = match program.execute(&context) {
                Ok(Value::Bool(value)) => Truth::from(value),
                Ok(_) | Err(_) => Truth::Error,
            };
            met.count(ours, theirs, || format!("seed {seed}: {text}\non {payload}\n{}", compiled.canonical()));
        }
    }
    met.all_agree_and_each_result_is_met(300);
}

/// The job as a CEL map, by way of serde_json and so of none of our code.
fn job(payload: &str) -> Value {
    let parsed: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
    let mut job: HashMap<String, Value> = HashMap::from([
        ("tenant".to_owned(), "ab".into()),
        ("topic".to_owned(), "job.a".into()),
        ("requires".to_owned(), vec!["a", "bc"].into()),
        ("labels".to_owned(), HashMap::from([("env".to_owned(), "a"), ("twice".to_owned(), "a")]).into()),
        ("payload".to_owned(), value(&parsed)),
    ]);
    for (name, field) in parsed.as_object().into_iter().flatten() {
        job.insert(name.clone(), value(field));
    }
    job.into()
}

fn params() -> Value {
    HashMap::<String, Value>::from([
        ("limit".to_owned(), 3_i64.into()),
        ("rate".to_owned(), 1.5.into()),
        ("home".to_owned(), "ab".into()),
        ("strict".to_owned(), true.into()),
        ("known".to_owned(), vec!["a", "Ab", "bc"].into()),
        ("none".to_owned(), Vec::<Value>::new().into()),
        ("steps".to_owned(), Vec::<Value>::from([1_i64.into(), 2.5.into(), 4_i64.into()]).into()),
    ])
    .into()
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(value) => value.into(),
            None => number.as_f64().unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => items.iter().map(value).collect::<Vec<_>>().into(),
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), value(field))).collect::<HashMap<_, _>>().into()
        }
    }
}
