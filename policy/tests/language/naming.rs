//! The name of a snapshot changes with everything that can change a verdict, and with nothing else.

use tidegate_policy::{InUse, Supported, load, load_for};

const BASE: &str = "
id: bank
revision: 7
params: { limit: 1000, payees: [alice, bob] }
combine: first_match
tenants: { acme: { default: deny } }
derivers:
  - { tag: large, topics: [job.pay.>], field: /amount, test: gt, value: params.limit }
  - { tag: stranger, topics: [job.pay.>], field: /to, test: not_in, value: params.payees, optional: true }
rules:
  - id: no-strangers
    invariant: true
    match: { risk_tags: [stranger], labels: { env: [prod, test] } }
    decision: deny
    reason: not a payee
  - id: pay
    match: { tenants: [acme, beta], topics: [job.pay.>], actor_types: [agent] }
    decision: allow
";

fn name(text: &str) -> String {
    load_for([("bank.yaml", text)], None, Supported::EVERYTHING)
        .unwrap_or_else(|refused| panic!("{refused}\n{text}"))
        .name()
        .to_owned()
}

fn edited(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    BASE.replacen(from, to, 1)
}

/// The base with one more field in its first rule.
fn with(field: &str) -> String {
    edited("reason: not a payee", &format!("{field}\n    reason: not a payee"))
}

#[test]
fn the_name_is_stable() {
    // Golden: decisions in logs name snapshots, so a change of meaning needs a new MEANING in `compile/name.rs`.
    assert_eq!(name(BASE), "cfd4f9fd243e896e48e08b09b67b6bde3f0935ebe2cd95ff6e87828a051e0055");
    let snapshot = load([("bank.yaml", BASE)], None).unwrap();
    assert_eq!(snapshot.short_name(), &snapshot.name()[..12]);
    assert_eq!(snapshot.revision(), 7);
}

#[test]
fn form_does_not_change_the_name() {
    let rows = [
        edited("id: bank", "# a comment\nid:   'bank'   # another"),
        edited("tenants: [acme, beta]", "tenants: ['beta', \"acme\"]"),
        edited("labels: { env: [prod, test] }", "labels: { env: { in: [test, prod] } }"),
        edited("limit: 1000", "limit: 1000.0"),
        edited("value: params.limit", "value: 1000"),
        edited("    decision: allow", "    mode: enforce\n    tier: global\n    decision: allow"),
        edited("revision: 7", "revision: 8"),
    ];
    for text in rows {
        assert_eq!(name(&text), name(BASE), "{text}");
    }
    let other_file = load([("renamed.yaml", BASE)], None).unwrap();
    assert_eq!(other_file.name(), name(BASE));
}

#[test]
fn meaning_changes_the_name() {
    let (head, rules) = BASE.split_once("rules:\n").unwrap();
    let (first, second) = rules.split_at(rules.find("  - id: pay").unwrap());
    let rows = [
        format!("{head}rules:\n{second}{first}"),
        edited("id: bank", "id: bank2"),
        edited("limit: 1000", "limit: 1001"),
        edited("[alice, bob]", "[alice, bob, carol]"),
        edited("first_match", "most_restrictive"),
        edited("default: deny", "default: allow"),
        edited("tag: large", "tag: huge"),
        edited("field: /amount", "field: /sum"),
        edited("test: gt", "test: lt"),
        edited(", optional: true", ""),
        edited("topics: [job.pay.>], field: /to", "topics: [job.pay.*], field: /to"),
        edited("id: no-strangers", "id: no-stranger"),
        edited("    invariant: true\n", ""),
        edited("env: [prod, test]", "env: [prod]"),
        edited("labels: { env:", "labels: { zone:"),
        edited("reason: not a payee", "reason: no payee"),
        edited("tenants: [acme, beta]", "tenants: [acme]"),
        edited("actor_types: [agent]", "actor_ids: [agent]"),
        edited("match: { tenants", "tier: job\n    match: { tenants"),
        edited("reason: not a payee", "trust: claimed\n    reason: not a payee"),
        edited("reason: not a payee", "controls: [ASI02]\n    reason: not a payee"),
        edited("reason: not a payee", "remediations: [{ id: ask }]\n    reason: not a payee"),
        with("remediations: [{ id: ask, add_labels: { a: b } }]"),
        with("mode: shadow"),
        with("mode: warn"),
        with("canary: { percent: 10, by: tenant }"),
        with("canary: { percent: 11, by: tenant }"),
        with("canary: { percent: 10, by: labels.tenant }"),
        with("window: { tz: UTC, hours: '08:00-18:00' }"),
        with("window: { tz: UTC, hours: '08:00-18:01' }"),
        with("window: { tz: UTC, hours: '08:00-18:00', outside: true }"),
        with("window: { tz: Europe/Berlin, hours: '08:00-18:00' }"),
        with("when: job.capability == 'pay'"),
        with("when: job.capability == 'sum'"),
        with("state: [{ count_within: jobs, key: [tenant], window: 1m, gt: 5 }]"),
        with("state: [{ count_within: jobs, key: [tenant], window: 1m, gt: 6 }]"),
        with("state: [{ count_within: jobs, key: [actor_id], window: 1m, gt: 5 }]"),
        with("state: [{ count_within: jobs, key: [tenant], window: 1m, gt: 5, scope: global }]"),
        edited("decision: deny", "decision: throttle"),
        edited("decision: deny", "decision: throttle\n    throttle: { retry_after: 5s }"),
        edited("decision: deny", "decision: require_approval"),
        edited("decision: deny", "decision: require_approval\n    approval: { quorum: 2 }"),
        edited("decision: deny", "decision: require_approval\n    approval: { approvers: [cfo] }"),
        edited("decision: deny", "decision: allow_with_constraints\n    constraints: { redaction_level: low }"),
        edited("decision: deny", "decision: allow_with_constraints\n    constraints: { redaction_level: strict }"),
        edited("match: { tenants: [acme, beta]", "match: { tenants: { in: [acme, beta], not_in: [core] }"),
        edited("actor_types: [agent]", "actor_types: { not_in: [agent] }"),
        edited("actor_types: [agent]", "pack_ids: [agent]"),
        edited("actor_types: [agent]", "secrets_present: true"),
        edited("actor_types: [agent]", "secrets_present: false"),
        edited("actor_types: [agent]", "delegation: { max_depth: 1 }"),
        edited("actor_types: [agent]", "delegation: { min_depth: 1 }"),
        edited("actor_types: [agent]", "delegation: { required_scope: [pay] }"),
        edited("actor_types: [agent]", "labels: { risk: { gt: 5 } }"),
        edited("actor_types: [agent]", "labels: { risk: { gte: 5 } }"),
        edited("actor_types: [agent]", "labels: { risk: { not_in: ['5'] } }"),
        edited("actor_types: [agent]", "mcp: { allow_tools: [read] }"),
        edited("actor_types: [agent]", "mcp: { deny_tools: [read] }"),
        edited("rules:", "grants: [{ actor_ids: [a], capabilities: [pay] }]\nrules:"),
        edited("rules:", "grants: [{ actor_ids: [b], capabilities: [pay] }]\nrules:"),
        edited("{ default: deny }", "{ default: deny, deny_topics: [sys] }"),
        edited("{ default: deny }", "{ default: deny, allow_topics: [sys] }"),
        edited("{ default: deny }", "{ default: deny, mcp: { allow_tools: [read] } }"),
    ];
    let mut names: Vec<String> = rows.iter().map(|text| name(text)).collect();
    names.push(name(BASE));
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "two different policies have one name");
}

#[test]
fn an_older_set_or_another_one_of_the_same_revision_is_stale() {
    let in_use = InUse::of(&load([("bank.yaml", BASE)], None).unwrap());
    let again = load([("bank.yaml", BASE)], Some(&in_use)).unwrap();
    assert_eq!(again.name(), in_use.name.as_deref().unwrap());
    let newer = edited("limit: 1000", "limit: 2000").replacen("revision: 7", "revision: 8", 1);
    assert!(load([("bank.yaml", &newer)], Some(&in_use)).is_ok());

    let older = load([("bank.yaml", edited("revision: 7", "revision: 6"))], Some(&in_use)).unwrap_err();
    assert_eq!(
        older.problems[0].to_string(),
        "bank.yaml:2: stale: the highest revision here is 6, but 7 is in use; \
         raise the `revision` of a changed bundle to 8 or more; a rollback is a new revision too"
    );
    let changed = load([("bank.yaml", edited("limit: 1000", "limit: 2000"))], Some(&in_use)).unwrap_err();
    assert_eq!(
        changed.problems[0].to_string(),
        "bank.yaml:2: the set differs from the one in use under the same revision 7; \
         raise the `revision` of a changed bundle to 8 or more; a rollback is a new revision too"
    );
    let unknown = InUse { revision: 7, name: None };
    assert!(load([("bank.yaml", edited("limit: 1000", "limit: 2000"))], Some(&unknown)).is_ok());
}
