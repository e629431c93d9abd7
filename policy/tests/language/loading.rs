//! What is refused, and the words in which it is.

use tidegate_policy::load;

/// The problems of one file, a line each.
fn problems(text: &str) -> Vec<String> {
    match load([("p.yaml", text)], None) {
        Ok(_) => Vec::new(),
        Err(refused) => refused.problems.iter().map(ToString::to_string).collect(),
    }
}

fn with_rule(rule: &str) -> String {
    format!("id: b\nrevision: 1\nrules:\n  - {{ id: r, {rule} }}\n")
}

fn with_deriver(deriver: &str) -> String {
    format!(
        "id: b\nrevision: 1\nparams: {{ n: 5, list: [a] }}\nderivers:\n  - {{ tag: t, {deriver} }}\n\
         rules:\n  - {{ id: r, match: {{ risk_tags: [t] }}, decision: deny }}\n"
    )
}

#[test]
fn a_wrong_rule_is_refused_with_line_reason_and_remedy() {
    const GLOB: &str = "write dotted segments, `*` for one segment, `>` for the rest";
    let rows: &[(&str, String)] = &[
        (
            "match: {}, decision: allow, color: red",
            "unknown field `color` in rule `r`; remove or correct it; known here: \
          id, tier, invariant, mode, canary, controls, reason, match, trust, when, window, state, \
          decision, approval, throttle, constraints, remediations"
                .into(),
        ),
        (
            "match: { topics: [job.pay*] }, decision: allow",
            format!("bad glob `job.pay*` in `topics` of rule `r`: a wildcard must be a whole segment; {GLOB}"),
        ),
        (
            "match: { topics: [job.>.x] }, decision: allow",
            format!("bad glob `job.>.x` in `topics` of rule `r`: `>` may only be the last segment; {GLOB}"),
        ),
        (
            "match: {}, decision: maybe",
            "unknown decision `maybe`; use one of: allow, allow_with_constraints, throttle, \
          require_approval, deny"
                .into(),
        ),
        (
            "match: {}, decision: allow_with_constraints, constraints: { budgets: { max_concurrent_jobs: 2 } }, \
             canary: { percent: 5, by: tenant }",
            "rule `r` has `max_concurrent_jobs` and a `canary`: which of its jobs would count?; remove one of them, or \
             write a limit of its own (`state: [{ concurrency: jobs, key: [], gt: N }]`)"
                .into(),
        ),
        (
            "match: {}, decision: allow_with_constraints, constraints: { budgets: { max_concurrent_jobs: 2 } }, \
             state: [{ count_within: jobs, window: 1m, key: [], gt: 9 }]",
            "rule `r` has `max_concurrent_jobs` and a `state`: which of its jobs would count?; remove one of them, or \
             write a limit of its own (`state: [{ concurrency: jobs, key: [], gt: N }]`)"
                .into(),
        ),
        (
            "match: { pack_ids: [x] }, decision: deny",
            "`pack_ids` in rule `r` is not supported yet by this version; remove it, and match `topics` or \
             `capabilities`: jobs know no pack before packs can be installed"
                .into(),
        ),
        (
            "match: {}, decision: allow_with_constraints",
            "rule `r` allows with constraints and has none; add `constraints`, or write `decision: allow`".into(),
        ),
        (
            "match: {}, decision: deny, approval: {}",
            "`approval` of rule `r` has no meaning with `decision: deny`; remove it, or write \
          `decision: require_approval`"
                .into(),
        ),
        (
            "match: {}, decision: throttle, throttle: { retry_after: 5m, give_up_after: 1m }",
            "`throttle` of rule `r` gives up before it tries again; make `give_up_after` at least `retry_after`".into(),
        ),
        (
            "match: {}, decision: throttle, throttle: { retry_after: 5 }",
            "`retry_after` of `throttle` of rule `r` must be a time up to 400 days, not a number; write a whole number \
          and its unit: `500ms`, `30s`, `5m`, `4h` or `2d`"
                .into(),
        ),
        (
            "match: {}, decision: deny, window: { tz: Mars/Base, days: mon }",
            "`Mars/Base` in `window` of rule `r` is no time zone; write an IANA name, as `Europe/Berlin` or `UTC`".into(),
        ),
        (
            "match: {}, decision: deny, window: { tz: UTC, days: monday }",
            "`monday` in `days` of `window` of rule `r` is no day; write `mon`, `mon-fri` or a list of them".into(),
        ),
        (
            "match: {}, decision: deny, window: { tz: UTC, hours: '8-18' }",
            "`8-18` in `hours` of `window` of rule `r` is no span of hours; write `\"08:00-18:00\"`; \
          `\"22:00-06:00\"` ends on the next day"
                .into(),
        ),
        (
            "match: {}, decision: deny, canary: { percent: 101, by: tenant }",
            "`percent` of `canary` of rule `r` must be a number from 0.01 to 100; correct it".into(),
        ),
        (
            "match: {}, decision: deny, canary: { percent: 5, by: hour }",
            "unknown `by` `hour` of `canary` of rule `r`; use one of: tenant, actor_id, topic, capability, job_id, \
          labels.NAME"
                .into(),
        ),
        (
            "match: { labels: { risk: { gt: high } } }, decision: deny",
            "`gt` of label `risk` in `labels` of rule `r` must be a number, not text; write a number; the label's value is \
          read as one"
                .into(),
        ),
        (
            "match: { mcp: {} }, decision: deny",
            "`mcp` of rule `r` is empty; list servers, tools, resources or actions, or remove it".into(),
        ),
        (
            "match: { delegation: {} }, decision: deny",
            "`delegation` of rule `r` is empty; write `max_depth`, `min_depth` or `required_scope`".into(),
        ),
        (
            "match: { topics: {} }, decision: deny",
            "`topics` of rule `r` is empty; write a list, or `in` and `not_in`".into(),
        ),
        ("match: {}, decision: deny, mode: off", "unknown mode `off`; use one of: enforce, shadow, warn".into()),
        ("decision: deny", "rule `r` has no `match`; say what it is about, or write `match: {}` for every job".into()),
        ("match: {}", "rule `r` has no `decision`; add `decision`".into()),
        (
            "match: { tenants: acme }, decision: deny",
            "`tenants` of rule `r` must be a list, not the text `acme`; write a list".into(),
        ),
        (
            "match: { tenants: [] }, decision: deny",
            "`tenants` of rule `r` is empty; leave it out to mean any, or list what is meant".into(),
        ),
        (
            "match: { tenants: [1] }, decision: deny",
            "an entry of `tenants` of rule `r` must be text, not the number `1`; put it in quotes".into(),
        ),
        ("match: { tenants: [a, a] }, decision: deny", "`a` stands twice in `tenants` of rule `r`; remove one".into()),
        (
            "match: { labels: { env: true } }, decision: deny",
            "label `env` in `labels` of rule `r` must be text, not the boolean `true`; put it in quotes".into(),
        ),
        ("match: [], decision: deny", "`match` of rule `r` must be a map, not a list; write a map".into()),
        (
            "match: { tenant: [a] }, decision: deny",
            "unknown field `tenant` in `match` of rule `r`; remove or correct it; known here: \
          tenants, topics, capabilities, risk_tags, requires, actor_ids, actor_types, pack_ids, labels, mcp, delegation, \
          secrets_present"
                .into(),
        ),
        ("match: {}, decision: deny, tier: team", "unknown tier `team`; use one of: global, workflow, job".into()),
        (
            "match: {}, decision: deny, invariant: yes",
            "`invariant` of rule `r` must be true or false, not the text `yes`; write true or false".into(),
        ),
        (
            "match: {}, decision: allow, invariant: true",
            "rule `r` is an invariant that allows, and a floor that restricts nothing \
          has no meaning; remove `invariant`, or state what must never happen as a deny"
                .into(),
        ),
        (
            "match: {}, decision: deny, trust: claimed",
            "`trust` of rule `r` is about `risk_tags`, which it does not match; \
          remove `trust`, or add `risk_tags` to its `match`"
                .into(),
        ),
        (
            "match: { risk_tags: [x] }, decision: deny",
            "rule `r` matches the tag `x`, which no deriver sets; correct the tag, \
          add a deriver, or say `trust: claimed` if the submitter's word is enough"
                .into(),
        ),
        (
            "match: {}, decision: deny, controls: ['a b']",
            "a control of rule `r` `a b` is not a name; use up to 128 letters, digits and any of `. _ - : /`".into(),
        ),
        (
            "match: {}, decision: deny, remediations: [{ id: x }, { id: x }]",
            "`x` names a remediation of rule `r` twice; give each its own id".into(),
        ),
    ];
    for (rule, expected) in rows {
        assert_eq!(problems(&with_rule(rule)), [format!("p.yaml:4: {expected}")], "{rule}");
    }
}

#[test]
fn a_wrong_deriver_is_refused_with_line_reason_and_remedy() {
    const POINTER: &str = "write `/name/inner`, with `/*` at the end for each element of an array";
    let rows: &[(&str, String)] = &[
        ("topics: [job.>], field: amount, test: missing",
         format!("`field` of the deriver of `t` is not a JSON pointer: `amount` does not start with `/`; {POINTER}")),
        ("topics: [job.>], field: /a/*/b, test: missing",
         format!("`field` of the deriver of `t` is not a JSON pointer: `/a/*/b` has `*` before its end; {POINTER}")),
        ("topics: [job.>], field: /a~2, test: missing",
         format!("`field` of the deriver of `t` is not a JSON pointer: `/a~2` has a `~` that is neither `~0` nor `~1`; {POINTER}")),
        ("topics: [job.>], field: /a, test: regex, value: x",
         "unknown test `regex`; use one of: eq, in, not_in, prefix, gt, lt, missing, address_not_in".into()),
        ("topics: [job.>], field: /a, test: gt", "the deriver of `t` has no `value`; add `value`".into()),
        ("topics: [job.>], field: /a, test: gt, value: '5'",
         "`value` of the deriver of `t` must be a number, not text; write a number, `gt` compares numbers only".into()),
        ("topics: [job.>], field: /a, test: lt, value: params.list",
         "`value` of the deriver of `t` must be a number, not a list; write a number, `lt` compares numbers only".into()),
        ("topics: [job.>], field: /a, test: gt, value: params.limit", "the deriver of `t` names the parameter `limit`, which the \
          bundle does not have; add it under `params` or correct the name".into()),
        ("topics: [job.>], field: /a, test: in, value: params.n",
         "`value` of the deriver of `t` must be a list, not the number `5`; write a list".into()),
        ("topics: [job.>], field: /a, test: in, value: [1, a]", "`value` of the deriver of `t` mixes texts and numbers; \
          list texts only or numbers only, with quotes around texts that look like numbers".into()),
        ("topics: [job.>], field: /a, test: eq, value: params.list",
         "`value` of the deriver of `t` must be one value, not a list; use `in` for a list".into()),
        ("topics: [job.>], field: /a, test: missing, value: 1",
         "the deriver of `t` tests `missing`, which takes no `value`; remove `value`".into()),
        ("topics: [job.>], field: /a, test: missing, optional: true",
         "the deriver of `t` tests for a missing field that it also calls optional; remove `optional`".into()),
        ("topics: [job.>], field: /a, test: address_not_in, value: [x.example]",
         "`x.example` in `value` of the deriver of `t` is neither an address nor a domain; write `name@domain` or `@domain`".into()),
        ("field: /a, test: missing", "the deriver of `t` has no `topics`; add `topics`".into()),
        ("topics: [job.>], field: /a, test: missing, pointer: /b", "unknown field `pointer` in the deriver of `t`; \
          remove or correct it; known here: tag, topics, field, test, value, optional".into()),
    ];
    for (deriver, expected) in rows {
        // A parameter of the wrong kind is pointed at where it stands.
        let found = problems(&with_deriver(deriver));
        let line = if deriver.ends_with("params.list") || deriver.ends_with("params.n") { 3 } else { 5 };
        assert_eq!(found, [format!("p.yaml:{line}: {expected}")], "{deriver}");
    }
}

#[test]
fn a_wrong_bundle_is_refused_with_line_reason_and_remedy() {
    let rule = "rules: [{ id: r, match: {}, decision: deny }]";
    let rows: &[(String, &[&str])] = &[
        (String::new(), &["p.yaml: the file is empty; write a bundle (`id`, `revision`, `rules`) or remove the file"]),
        ("- a".into(), &["p.yaml:1: a bundle must be a map, not a list; write a map"]),
        (format!("revision: 1\n{rule}"), &["p.yaml:1: the bundle has no `id`; add `id`"]),
        (format!("id: b\n{rule}"), &["p.yaml:1: bundle `b` has no `revision`; add `revision`"]),
        (
            format!("id: b\nrevision: 0\n{rule}"),
            &["p.yaml:2: `revision` of bundle `b` must be a whole number from 1; count it up with every change"],
        ),
        (
            format!("id: b\nrevision: 1.5\n{rule}"),
            &["p.yaml:2: `revision` of bundle `b` must be a whole number from 1; count it up with every change"],
        ),
        ("id: b\nrevision: 1".into(), &["p.yaml:1: bundle `b` has no `rules`; add `rules`"]),
        (
            "id: b\nrevision: 1\nrules: []".into(),
            &["p.yaml:3: bundle `b` has no rules; write at least one rule or remove the file"],
        ),
        (
            format!("id: b\nrevision: 1\ncombine: vote\n{rule}"),
            &["p.yaml:3: unknown `combine` `vote`; use one of: first_match, most_restrictive"],
        ),
        (
            format!("id: b\nrevision: 1\ntenants: {{ a: {{ default: ask }} }}\n{rule}"),
            &["p.yaml:3: unknown default `ask`; use one of: allow, deny"],
        ),
        (
            format!("id: b\nrevision: 1\nparams: {{ a: {{ b: 1 }} }}\n{rule}"),
            &["p.yaml:3: parameter `a` is a map; give it a text, a number, a boolean or a list of texts or of numbers"],
        ),
        (
            format!("id: b\nrevision: 1\nsignature: x\n{rule}"),
            &[
                "p.yaml:3: bundle `b` cannot have `signature`; take it out and sign the folder (`tidegate policy sign`): \
                 signatures stand beside bundles",
            ],
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(problems(text), *expected, "{text}");
    }
}

#[test]
fn unreadable_yaml_is_refused_with_its_line() {
    let rows = [
        ("id: b\nid: c\n", "p.yaml:2: not readable as YAML: "),
        ("id: b\n  rules: [\n", "p.yaml:2: not readable as YAML: "),
        ("id: b\n---\nid: c\n", "p.yaml:"),
        ("a: &x 1\nb: { <<: *x }\n", "p.yaml:"),
    ];
    for (text, start) in rows {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(start) && found[0].ends_with("; correct the syntax"), "{text}: {found:?}");
    }
}

#[test]
fn all_problems_of_all_files_come_at_once_in_order() {
    let a = "id: a\nrevision: 1\nrules:\n  - id: x\n    match: { topics: ['job..y'] }\n    decision: allow\n\
             \x20 - id: y\n    match: {}\n    decision: nope\n    colour: red\n";
    let refused = load([("z.yaml", "id: z\n"), ("a.yaml", a)], None).unwrap_err();
    let places: Vec<_> = refused.problems.iter().map(|problem| (problem.file.as_str(), problem.line)).collect();
    assert_eq!(
        places,
        [("a.yaml", Some(5)), ("a.yaml", Some(9)), ("a.yaml", Some(10)), ("z.yaml", Some(1)), ("z.yaml", Some(1))]
    );
    assert!(refused.to_string().starts_with("policy refused, 5 problems\n  a.yaml:5: bad glob `job..y`"), "{refused}");
}

#[test]
fn what_only_the_set_as_a_whole_shows_is_refused() {
    let bundle = |id: &str, rule: &str, default: &str| {
        format!(
            "id: {id}\nrevision: 1\ntenants:\n  acme: {{ default: {default} }}\nrules:\n  - {{ id: {rule}, match: {{}}, decision: deny }}\n"
        )
    };
    let set = |files: &[(&str, String)]| match load(files.iter().map(|(file, text)| (file, text)), None) {
        Ok(_) => Vec::new(),
        Err(refused) => refused.problems.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        set(&[("1.yaml", bundle("a", "r", "deny")), ("2.yaml", bundle("b", "s", "deny"))]),
        Vec::<String>::new()
    );
    assert_eq!(
        set(&[("1.yaml", bundle("a", "r", "deny")), ("2.yaml", bundle("b", "r", "allow"))]),
        [
            "2.yaml:4: the default of tenant `acme` is allow here and deny at 1.yaml:4; state a tenant's default once",
            "2.yaml:6: rule `r` is already defined at 1.yaml:6; give each rule an id of its own across all bundles",
        ]
    );
    assert_eq!(
        set(&[("1.yaml", bundle("a", "r", "deny")), ("2.yaml", bundle("a", "s", "deny"))]),
        ["2.yaml:1: bundle `a` is already defined at 1.yaml:1; give each bundle its own id"]
    );
    let empty =
        "policy: there is no bundle, and an empty policy is refused; add a YAML file with `id`, `revision` and `rules`";
    assert_eq!(set(&[]), [empty]);
    assert_eq!(set(&[("x.test.yaml", "anything".into())]), [empty]);
}

#[test]
fn anchors_work_and_problems_stand_where_they_are_used() {
    let text = "id: b\nrevision: 1\nrules:\n  - { id: r, match: { tenants: &who [a, b] }, decision: deny }\n  \
                - { id: s, match: { actor_ids: *who }, decision: deny }\n";
    assert_eq!(problems(text), Vec::<String>::new());
}

#[test]
fn a_file_of_ten_thousand_rules_loads() {
    let mut text = "id: b\nrevision: 1\nrules:\n".to_owned();
    for at in 0..10_000 {
        text.push_str(&format!(
            "  - {{ id: r{at}, tier: job, match: {{ tenants: [t{}], topics: [job.a.{at}, job.b.>], capabilities: [c{at}] }}, \
             decision: deny, reason: because }}\n",
            at % 100
        ));
    }
    assert_eq!(load([("p.yaml", text)], None).unwrap().rules().len(), 10_000);
}
