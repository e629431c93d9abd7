//! The table of the crate's documentation, row by row: what cannot be told counts towards restriction.

use tidegate_policy::{Effect, Scratch, Subject, load};

/// A set whose only rule restricts, and one whose only rule permits, both on the same thing.
fn matches(matching: &str, derivers: &str, subject: &Subject<'_>) -> (bool, bool) {
    let of = |decision: &str, default: &str| {
        let text = format!(
            "id: b\nrevision: 1\ntenants: {{ acme: {{ default: {default} }} }}\nderivers: {derivers}\nrules:\n  \
             - {{ id: r, match: {matching}, decision: {decision} }}\n"
        );
        let snapshot = load([("b.yaml", text)], None).unwrap_or_else(|refused| panic!("{refused}"));
        snapshot.evaluate(subject, &mut Scratch::new())
    };
    (of("deny", "allow").rule_ids.len() == 1, of("allow", "deny").effect == Effect::Allow)
}

fn job() -> Subject<'static> {
    let mut job = Subject::new("acme", "job.pay.wire", "pay");
    job.actor_id = Some("a1");
    job.actor_type = Some("agent");
    job
}

#[test]
fn a_missing_attribute_switches_no_restriction_off() {
    let bare = Subject::new("acme", "job.pay.wire", "pay");
    let rows: [(&str, &str, Subject<'_>, (bool, bool)); 15] = [
        ("tenant there", "{ tenants: [acme] }", job(), (true, true)),
        ("tenant missing", "{ tenants: [acme] }", Subject { tenant: "", ..job() }, (true, false)),
        ("topic there", "{ topics: [job.pay.>] }", job(), (true, true)),
        ("topic other", "{ topics: [job.mail.>] }", job(), (false, false)),
        ("topic missing", "{ topics: [job.mail.>] }", Subject { topic: "", ..job() }, (true, false)),
        ("capability missing", "{ capabilities: [pay] }", Subject { capability: "", ..job() }, (true, false)),
        ("actor id there", "{ actor_ids: [a1] }", job(), (true, true)),
        ("actor id missing", "{ actor_ids: [a1] }", bare, (true, false)),
        ("actor id empty", "{ actor_ids: [a1] }", Subject { actor_id: Some(""), ..job() }, (true, false)),
        ("actor type missing", "{ actor_types: [agent] }", bare, (true, false)),
        ("label missing", "{ labels: { env: prod } }", job(), (true, false)),
        ("label other", "{ labels: { env: prod } }", Subject { labels: &[("env", "dev")], ..job() }, (false, false)),
        (
            "one label of two",
            "{ labels: { env: prod, zone: [x, y] } }",
            Subject { labels: &[("env", "prod")], ..job() },
            (true, false),
        ),
        (
            "two labels",
            "{ labels: { env: prod, zone: { in: [x, y] } } }",
            Subject { labels: &[("env", "prod"), ("zone", "y")], ..job() },
            (true, true),
        ),
        ("requires missing", "{ requires: [net, gpu] }", Subject { requires: &["net"], ..job() }, (false, false)),
    ];
    for (name, matching, subject, expected) in rows {
        // A missing tenant has no default, so its permission cannot be told by the effect alone.
        assert_eq!(matches(matching, "[]", &subject), expected, "{name}");
    }
}

#[test]
fn beside_rules_that_are_only_unsure_the_default_is_heard_and_the_most_restrictive_holds() {
    type Row<'t> = (&'t str, &'t str, &'t [(&'t str, &'t str)], Effect, bool);
    let rows: [Row<'_>; 9] = [
        ("require_approval", "deny", &[], Effect::Deny, true),
        ("throttle", "deny", &[], Effect::Deny, true),
        ("deny", "deny", &[], Effect::Deny, false),
        ("require_approval", "allow", &[], Effect::RequireApproval, false),
        ("throttle", "allow", &[], Effect::Throttle, false),
        // Certain: no default is heard.
        ("require_approval", "deny", &[("env", "prod")], Effect::RequireApproval, false),
        ("throttle", "deny", &[("env", "prod")], Effect::Throttle, false),
        ("require_approval", "deny", &[("env", "dev")], Effect::Deny, true),
        ("require_approval", "allow", &[("env", "dev")], Effect::Allow, true),
    ];
    for (decision, default, labels, effect, by_default) in rows {
        for combine in ["first_match", "most_restrictive"] {
            let text = format!(
                "id: b\nrevision: 1\ncombine: {combine}\ntenants: {{ acme: {{ default: {default} }} }}\nrules:\n  \
                 - {{ id: r, match: {{ labels: {{ env: prod }} }}, decision: {decision} }}\n"
            );
            let snapshot = load([("b.yaml", text)], None).unwrap_or_else(|refused| panic!("{refused}"));
            let verdict = snapshot.evaluate(&Subject { labels: &labels, ..job() }, &mut Scratch::new());
            let named = verdict.rule_ids.len() == usize::from(!by_default);
            let found = (verdict.effect, verdict.default_used, named);
            assert_eq!(found, (effect, by_default, true), "{combine}: {decision}, {default}, {labels:?}");
        }
    }
}

#[test]
fn the_mcp_lists_of_a_tenant_are_about_jobs_that_call_an_mcp_server() {
    let text = "id: b\nrevision: 1\ntenants: { acme: { default: allow, mcp: { allow_servers: [files], deny_tools: [drop] } } }\n\
                rules:\n  - { id: r, match: { topics: [job.x] }, decision: deny }\n";
    let snapshot = load([("b.yaml", text)], None).unwrap_or_else(|refused| panic!("{refused}"));
    let rows: [(&[(&str, &str)], Effect); 7] = [
        (&[], Effect::Allow),
        (&[("env", "prod"), ("mcpserver", "x")], Effect::Allow),
        (&[("mcp.server", "files"), ("mcp.tool", "read")], Effect::Allow),
        (&[("mcp.server", "mail"), ("mcp.tool", "read")], Effect::Deny),
        (&[("mcp.server", "files"), ("mcp.tool", "drop")], Effect::Deny),
        // A part of a call: what is not said cannot be told.
        (&[("mcp.server", "files")], Effect::Deny),
        (&[("mcp.tool", "read")], Effect::Deny),
    ];
    for (labels, effect) in rows {
        let verdict = snapshot.evaluate(&Subject { labels: &labels, ..job() }, &mut Scratch::new());
        assert_eq!(verdict.effect, effect, "{labels:?}");
    }
}

#[test]
fn a_deriver_that_cannot_tell_counts_for_restrictions_only() {
    const YES: (bool, bool) = (true, true);
    const NO: (bool, bool) = (false, false);
    const UNSURE: (bool, bool) = (true, false);
    let deep = format!("{{\"amount\": 5, \"x\": {}{}}}", "[".repeat(200), "]".repeat(200));
    let large = format!("{{\"amount\": 5, \"x\": \"{}\"}}", "x".repeat(tidegate_policy::MAX_PAYLOAD_BYTES));
    let rows: &[(&str, &str, &str, (bool, bool))] = &[
        ("holds", "field: /amount, test: gt, value: 4", r#"{"amount": 5}"#, YES),
        ("does not hold", "field: /amount, test: gt, value: 5", r#"{"amount": 5}"#, NO),
        ("missing", "field: /amount, test: gt, value: 5", "{}", UNSURE),
        ("null", "field: /amount, test: gt, value: 5", r#"{"amount": null}"#, UNSURE),
        ("missing, optional", "field: /amount, test: gt, value: 5, optional: true", "{}", NO),
        ("null, optional", "field: /amount, test: gt, value: 5, optional: true", r#"{"amount": null}"#, NO),
        ("text for a number", "field: /amount, test: gt, value: 5", r#"{"amount": "1"}"#, UNSURE),
        (
            "optional does not excuse a type",
            "field: /amount, test: gt, value: 5, optional: true",
            r#"{"amount": "1"}"#,
            UNSURE,
        ),
        ("a huge integer", "field: /amount, test: gt, value: 5", r#"{"amount": 99999999999999999999999999}"#, UNSURE),
        ("a huge exponent", "field: /amount, test: lt, value: 5", r#"{"amount": 1e999}"#, UNSURE),
        ("number for a text", "field: /to, test: eq, value: bob", r#"{"to": 1}"#, UNSURE),
        ("case matters", "field: /to, test: in, value: [bob]", r#"{"to": "Bob"}"#, NO),
        ("not listed", "field: /to, test: not_in, value: [bob]", r#"{"to": "Bob"}"#, YES),
        ("nothing is listed", "field: /to, test: not_in, value: []", r#"{"to": "bob"}"#, YES),
        ("escapes are undone", r"field: /to, test: eq, value: bob", r#"{"to": "\u0062ob"}"#, YES),
        ("an escaped key is the key", r"field: /to, test: eq, value: bob", r#"{"\u0074o": "bob"}"#, YES),
        ("prefix", "field: /to, test: prefix, value: [x, bo]", r#"{"to": "bob"}"#, YES),
        ("eq bool", "field: /urgent, test: eq, value: true", r#"{"urgent": true}"#, YES),
        ("eq bool against text", "field: /urgent, test: eq, value: true", r#"{"urgent": "true"}"#, UNSURE),
        ("a key twice", "field: /to, test: eq, value: bob", r#"{"to": "bob", "to": "eve"}"#, UNSURE),
        (
            "a key twice through an escape",
            "field: /to, test: eq, value: eve",
            r#"{"to": "bob", "t\u006f": "bob"}"#,
            UNSURE,
        ),
        ("another key twice", "field: /to, test: eq, value: bob", r#"{"to": "bob", "x": 1, "x": 2}"#, YES),
        ("deep pointer", "field: /a~1b/0/c, test: eq, value: 1", r#"{"a/b": [{"c": 1}]}"#, YES),
        ("pointer through a scalar", "field: /a/b, test: eq, value: 1", r#"{"a": 1}"#, UNSURE),
        ("pointer through null", "field: /a/b, test: eq, value: 1, optional: true", r#"{"a": null}"#, NO),
        ("index beyond the end", "field: /a/3, test: eq, value: 1, optional: true", r#"{"a": [1]}"#, NO),
        ("not an index", "field: /a/x, test: eq, value: 1, optional: true", r#"{"a": [1]}"#, UNSURE),
        ("the whole payload", "field: '', test: eq, value: 1", "1", YES),
        ("missing, asked for", "field: /to, test: missing", "{}", YES),
        ("null, asked for", "field: /to, test: missing", r#"{"to": null}"#, YES),
        ("there, not missing", "field: /to, test: missing", r#"{"to": ""}"#, NO),
        ("each, one holds", "field: /to/*, test: not_in, value: [a, b]", r#"{"to": ["a", "z", "b"]}"#, YES),
        ("each, none holds", "field: /to/*, test: not_in, value: [a, b]", r#"{"to": ["a", "b"]}"#, NO),
        ("each, empty", "field: /to/*, test: not_in, value: [a, b]", r#"{"to": []}"#, NO),
        ("each, one of another type", "field: /to/*, test: not_in, value: [a, b]", r#"{"to": ["a", 1]}"#, UNSURE),
        ("each, one holds beside another type", "field: /to/*, test: not_in, value: [a]", r#"{"to": [1, "z"]}"#, YES),
        ("each, not an array", "field: /to/*, test: not_in, value: [a]", r#"{"to": "a"}"#, UNSURE),
        ("each, missing", "field: /to/*, test: not_in, value: [a]", "{}", UNSURE),
        ("each over nested values", "field: /to/*, test: in, value: [z]", r#"{"to": [["z"], "a", {"z": 1}]}"#, UNSURE),
        (
            "address in a domain",
            "field: /to, test: address_not_in, value: ['@x.example']",
            r#"{"to": "A@X.example"}"#,
            NO,
        ),
        ("address listed", "field: /to, test: address_not_in, value: [A@y.example]", r#"{"to": "a@y.example"}"#, NO),
        (
            "address elsewhere",
            "field: /to, test: address_not_in, value: ['@x.example']",
            r#"{"to": "a@sub.x.example"}"#,
            YES,
        ),
        (
            "two addresses in one",
            "field: /to, test: address_not_in, value: ['@x.example']",
            r#"{"to": "e@evil.example,a@x.example"}"#,
            YES,
        ),
        ("not json", "field: /to, test: missing", "{", UNSURE),
        ("no bytes", "field: /to, test: missing", "", UNSURE),
        ("two documents", "field: /to, test: missing", "{} {}", UNSURE),
        ("too deep", "field: /amount, test: eq, value: 5", &deep, UNSURE),
        ("too large", "field: /amount, test: eq, value: 5", &large, UNSURE),
    ];
    for (name, deriver, payload, expected) in rows {
        let derivers = format!("[{{ tag: t, topics: [job.>], {deriver} }}]");
        let subject = Subject { payload: payload.as_bytes(), ..job() };
        assert_eq!(matches("{ risk_tags: [t] }", &derivers, &subject), *expected, "{name}");
    }
    let derivers = "[{ tag: t, topics: [job.>], field: /to, test: missing }]";
    let invalid = Subject { payload: b"{\"to\": \"\xff\"}", ..job() };
    assert_eq!(matches("{ risk_tags: [t] }", derivers, &invalid), UNSURE, "not UTF-8");
    let elsewhere = Subject { topic: "mail.send", payload: b"{", ..job() };
    assert_eq!(matches("{ risk_tags: [t] }", derivers, &elsewhere), NO, "a deriver of another topic says nothing");
    let untold = Subject { topic: "", payload: b"{\"to\": 1}", ..job() };
    assert_eq!(matches("{ risk_tags: [t] }", derivers, &untold), UNSURE, "which derivers apply cannot be told");
}

#[test]
fn a_claim_counts_only_where_the_rule_says_so() {
    let derivers = "[{ tag: t, topics: [job.>], field: /to, test: missing }]";
    let subject = Subject { risk_tags: &["t"], payload: b"{\"to\": 1}", ..job() };
    assert_eq!(matches("{ risk_tags: [t] }", derivers, &subject), (false, false));
    assert_eq!(matches("{ risk_tags: [t] }, trust: derived", derivers, &subject), (false, false));
    assert_eq!(matches("{ risk_tags: [t] }, trust: claimed", derivers, &subject), (true, true));
    // Trusting claims is on top of what is derived.
    let derived = Subject { payload: b"{}", ..job() };
    assert_eq!(matches("{ risk_tags: [t] }, trust: claimed", derivers, &derived), (true, true));
}
