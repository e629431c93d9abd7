//! The indexed evaluator against the naive one, on random policies and jobs.

use crate::model::{Bundle, Deriver, Job, Rule, Test, evaluate, files, judge, subject};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use tidegate_policy::{NoLimits, Scratch, load};

const TAGS: [&str; 4] = ["t0", "t1", "t2", "t3"];
const TENANTS: [&str; 3] = ["a", "b", "c"];
const CAPABILITIES: [&str; 3] = ["c0", "c1", "c2"];
const REQUIRES: [&str; 3] = ["r0", "r1", "r2"];
const IDS: [&str; 2] = ["i0", "i1"];
const TYPES: [&str; 2] = ["agent", "person"];
const KEYS: [&str; 3] = ["k0", "k1", "k2"];
const VALUES: [&str; 3] = ["v0", "v1", "v2"];

/// Nothing in half the cases, so that random rules match now and then.
fn some_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
    prop_oneof![
        2 => Just(Vec::new()),
        1 => subsequence(names, 1..=names.len()).prop_map(owned),
    ]
}

fn any_of(names: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(names, 0..=names.len()).prop_map(|list| list.into_iter().map(str::to_owned).collect())
}

fn glob() -> impl Strategy<Value = String> {
    (vec(select(&["job", "pay", "mail", "*"][..]), 1..4), any::<bool>())
        .prop_map(|(segments, rest)| segments.join(".") + if rest { ".>" } else { "" })
}

fn globs() -> impl Strategy<Value = Vec<String>> {
    btree_set(glob(), 1..3).prop_map(|set| set.into_iter().collect())
}

fn rule() -> impl Strategy<Value = Rule> {
    let topics = prop_oneof![Just(Vec::new()), globs()];
    let labels = prop_oneof![
        2 => Just(Vec::new()),
        1 => btree_map(select(&KEYS[..]), subsequence(&VALUES[..], 1..=2), 1..3).prop_map(|map| {
            let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
            map.into_iter().map(|(key, values)| (key.to_owned(), owned(values))).collect()
        }),
    ];
    let kind = (0..3_usize, prop::bool::weighted(0.1), any::<bool>(), any::<bool>());
    let names = (some_of(&TENANTS), topics, some_of(&CAPABILITIES), some_of(&TAGS), some_of(&REQUIRES));
    (kind, names, some_of(&IDS), some_of(&TYPES), labels).prop_map(|(kind, names, actor_ids, actor_types, labels)| {
        let (tier, invariant, deny, claimed) = kind;
        let (tenants, topics, capabilities, tags, requires) = names;
        let invariant = invariant && deny;
        Rule {
            id: String::new(),
            tier,
            invariant,
            deny,
            claimed,
            tenants,
            topics,
            capabilities,
            tags,
            requires,
            actor_ids,
            actor_types,
            labels,
        }
    })
}

fn test() -> impl Strategy<Value = Test> {
    prop_oneof![
        Just(Test::Missing),
        Just(Test::Eq(json!("v0"))),
        Just(Test::Eq(json!(5))),
        Just(Test::Eq(json!(true))),
        Just(Test::In(vec![json!("v0"), json!("a@x.example")])),
        Just(Test::In(vec![json!(1), json!(5.0)])),
        Just(Test::NotIn(vec![json!("v0"), json!("v1")])),
        Just(Test::Prefix("v".into())),
        Just(Test::Gt(4.5)),
        Just(Test::Lt(3.0)),
        Just(Test::AddressNotIn(vec!["@x.example".into(), "b@y.example".into()])),
    ]
}

fn deriver(tag: &'static str) -> impl Strategy<Value = Deriver> {
    let field = select(&["/n", "/s", "/list/*", "/deep/x", "/deep/list/*"][..]);
    (globs(), field, test(), any::<bool>()).prop_map(move |(topics, field, test, optional)| Deriver {
        tag: tag.into(),
        topics,
        field: field.into(),
        test,
        optional,
    })
}

fn bundles(rules: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Bundle>> {
    // Every tag has a deriver, in the first bundle; some have a second one elsewhere.
    let first = TAGS.map(deriver);
    let bundle = (any::<bool>(), vec(rule(), rules), vec(select(&TAGS[..]).prop_flat_map(deriver), 0..2));
    let defaults = btree_map(select(&TENANTS[..]), any::<bool>(), 0..3);
    (first, vec(bundle, 1..4), defaults).prop_map(|(first, parts, defaults)| {
        let mut bundles: Vec<Bundle> = Vec::new();
        for (at, (first_match, mut rules, derivers)) in parts.into_iter().enumerate() {
            for (number, rule) in rules.iter_mut().enumerate() {
                rule.id = format!("r{at}-{number}");
            }
            bundles.push(Bundle { first_match, defaults: Vec::new(), derivers, rules });
        }
        bundles[0].derivers.extend(first);
        bundles[0].defaults = defaults.into_iter().map(|(tenant, allow)| (tenant.to_owned(), allow)).collect();
        bundles
    })
}

fn scalar() -> impl Strategy<Value = Value> {
    select(vec![
        json!(null),
        json!(true),
        json!(1),
        json!(5),
        json!(5.0),
        json!(-7.25),
        json!("v0"),
        json!("other"),
        json!("a@x.example"),
        json!("b@y.example"),
        json!("c@y.example"),
        json!({}),
        json!([]),
    ])
}

fn payload() -> impl Strategy<Value = String> {
    let list = prop_oneof![1 => scalar(), 3 => vec(scalar(), 0..4).prop_map(Value::from)];
    let field = |strategy: BoxedStrategy<Value>| prop::option::weighted(0.8, strategy);
    let object = move || {
        (field(scalar().boxed()), field(scalar().boxed()), field(list.clone().boxed()), field(scalar().boxed()))
            .prop_map(|(n, s, list, x)| {
                let fields = [("n", n), ("s", s), ("list", list), ("x", x)];
                fields
                    .into_iter()
                    .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                    .collect::<serde_json::Map<_, _>>()
            })
    };
    let whole = (object(), prop::option::of(object())).prop_map(|(mut object, deep)| {
        if let Some(deep) = deep {
            object.insert("deep".into(), deep.into());
        }
        Value::from(object).to_string()
    });
    prop_oneof![8 => whole, 1 => Just("not json".to_owned()), 1 => Just("null".to_owned()), 1 => Just(String::new())]
}

fn job() -> impl Strategy<Value = Job> {
    let one = |names: &'static [&'static str]| prop_oneof![1 => Just(String::new()), 6 => select(names).prop_map(str::to_owned)];
    let topic = prop_oneof![
        1 => Just(String::new()),
        12 => vec(select(&["job", "pay", "mail", "x"][..]), 1..5).prop_map(|segments| segments.join(".")),
    ];
    let labels = btree_map(select(&KEYS[..]), select(&VALUES[..]), 0..3)
        .prop_map(|map| map.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    let names = (one(&TENANTS), topic, one(&CAPABILITIES), prop::option::of(one(&IDS)), prop::option::of(one(&TYPES)));
    (names, any_of(&REQUIRES), any_of(&TAGS), labels, payload()).prop_map(
        |(names, requires, claims, labels, payload)| {
            let (tenant, topic, capability, actor_id, actor_type) = names;
            Job { tenant, topic, capability, actor_id, actor_type, requires, claims, labels, payload }
        },
    )
}

fn agree(bundles: &[Bundle], jobs: &[Job]) -> Result<(), TestCaseError> {
    let snapshot = load(files(bundles), None).map_err(|refused| TestCaseError::fail(refused.to_string()))?;
    // One scratch for all, so that anything left over from another job would show.
    let mut scratch = Scratch::new();
    for job in jobs {
        let expected = judge(bundles, job);
        prop_assert_eq!(&evaluate(&snapshot, job, &mut scratch), &expected, "for {:?}", job);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_index_and_the_naive_evaluator_agree_on_small_policies(
        bundles in bundles(1..12), jobs in vec(job(), 1..12),
    ) {
        agree(&bundles, &jobs)?;
    }

    #[test]
    fn an_explanation_names_exactly_the_rules_that_match(bundles in bundles(1..12), job in job()) {
        let snapshot = load(files(&bundles), None).map_err(|refused| TestCaseError::fail(refused.to_string()))?;
        let explanation = snapshot.explain(&subject(&job), 0, &mut NoLimits);
        // A rule alone in a most-restrictive set without defaults wins exactly when it matches.
        for trace in &explanation.rules {
            let mut alone = bundles.clone();
            for bundle in &mut alone {
                bundle.rules.retain(|rule| rule.id == *trace.id);
            }
            let matches = !judge(&alone, &job).default_used;
            prop_assert_eq!(trace.matches(), matches, "{:?} for {:?}", trace, job);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn they_agree_on_policies_of_several_words(bundles in bundles(100..400), jobs in vec(job(), 20..40)) {
        agree(&bundles, &jobs)?;
    }
}

#[test]
fn they_agree_on_ten_thousand_rules() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut bundles = bundles(1..2).new_tree(&mut runner).unwrap().current();
    let pool = vec(rule(), 400).new_tree(&mut runner).unwrap().current();
    // Rare tenants make most rules miss, so that whole words and summary words are skipped.
    bundles[0].rules = (0..10_000)
        .map(|at| {
            let mut rule = pool[at % pool.len()].clone();
            rule.id = format!("many-{at}");
            if at % 97 != 0 {
                rule.tenants = vec![format!("tenant-{}", at / 10)];
            }
            rule
        })
        .collect();
    let mut jobs = vec(job(), 60).new_tree(&mut runner).unwrap().current();
    for (at, job) in jobs.iter_mut().enumerate().filter(|(at, _)| at % 2 == 0) {
        job.tenant = format!("tenant-{}", at * 16);
    }
    agree(&bundles, &jobs).unwrap();
}
