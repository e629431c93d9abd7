//! Compiling `when`, once every bundle is read: a condition may name any tag that any bundle derives.
//!
//! Which fields a condition may name follows from the schemas of its bundle: for each topic of the rule the first schema
//! that covers it counts, and a field must be declared alike for all topics of the rule.

use crate::glob::{Glob, Syntax};
use crate::language::{Bundle, Schema};
use crate::problem::Problem;
use crate::when::{self, Condition, Fields, Types};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Compiles every condition; equal ones are shared.
pub(crate) fn compile(bundles: &mut [Bundle], problems: &mut Vec<Problem>) {
    let tags: BTreeSet<Box<str>> =
        bundles.iter().flat_map(|bundle| &bundle.derivers).map(|deriver| (&*deriver.tag).into()).collect();
    let mut shared: HashMap<Box<str>, Arc<Condition>, crate::compile::FixedState> = HashMap::default();
    for bundle in bundles {
        let Bundle { schemas, params, rules, .. } = bundle;
        let mut types: HashMap<BTreeSet<Glob>, Types, crate::compile::FixedState> = HashMap::default();
        for rule in rules.iter_mut() {
            let Some(when) = &mut rule.when else { continue };
            if !types.contains_key(&rule.matches.topics) {
                let fields = fields(schemas, &rule.matches.topics);
                let known = Types { fields, params: params.clone(), tags: Some(tags.clone()) };
                types.insert(rule.matches.topics.clone(), known);
            }
            let Some(known) = types.get(&rule.matches.topics) else { continue };
            match when::compile(&when.text, known) {
                Ok(condition) => {
                    let condition = shared.entry(condition.canonical().into()).or_insert_with(|| Arc::new(condition));
                    when.condition = Some(Arc::clone(condition));
                }
                Err(problem) => problems.push(Problem::new(
                    &rule.file,
                    when.line,
                    format!("`when` of rule `{}`, column {}: {}", rule.id, problem.column, problem.reason),
                    problem.remedy,
                )),
            }
        }
    }
}

/// What is known of the payloads of all these topics.
fn fields(schemas: &[Schema], topics: &BTreeSet<Glob>) -> Fields {
    let everything = BTreeSet::from_iter(Glob::parse(">", Syntax::Dots));
    let topics = if topics.is_empty() { &everything } else { topics };
    let nothing = Fields::new();
    let of_topic = |topic: &Glob| {
        let covers = |schema: &&Schema| schema.topics.iter().any(|glob| glob.covers(topic));
        schemas.iter().find(covers).map_or(&nothing, |schema| &schema.fields)
    };
    let found: Vec<&Fields> = topics.iter().map(of_topic).collect();
    Fields::common(&found)
}
