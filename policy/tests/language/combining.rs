//! How matches become one verdict.

use tidegate_policy::{Effect, MAX_WINNERS, Scratch, Subject, Verdict, load};

fn judge(files: &[(&str, String)], tenant: &str) -> Verdict {
    let snapshot =
        load(files.iter().map(|(file, text)| (file, text)), None).unwrap_or_else(|refused| panic!("{refused}"));
    snapshot.evaluate(&Subject::new(tenant, "job.x", "x"), &mut Scratch::new())
}

fn bundle(id: &str, head: &str, rules: &[&str]) -> String {
    let rules: String = rules.iter().map(|rule| format!("  - {{ {rule} }}\n")).collect();
    format!("id: {id}\nrevision: 1\n{head}\nrules:\n{rules}")
}

/// What it shows, the head of the bundle, its rules, and which effect holds by which rules.
type Row = (&'static str, &'static str, Vec<String>, Effect, Vec<&'static str>);

#[test]
fn the_table_of_combining() {
    let allow = |id: &str, more: &str| format!("id: {id}, match: {{}}, decision: allow{more}");
    let deny = |id: &str, more: &str| format!("id: {id}, match: {{}}, decision: deny{more}");
    let (first, most) = ("combine: first_match", "combine: most_restrictive");
    let (job, flow, floor) = (", tier: job", ", tier: workflow", ", invariant: true");
    let rows: Vec<Row> = vec![
        ("first of two", first, vec![allow("a", ""), deny("d", "")], Effect::Allow, vec!["a"]),
        ("first of two, turned", first, vec![deny("d", ""), allow("a", "")], Effect::Deny, vec!["d"]),
        ("strictest of two", most, vec![allow("a", ""), deny("d", "")], Effect::Deny, vec!["d"]),
        (
            "strictest is what a bundle does unless told",
            "",
            vec![allow("a", ""), deny("d", "")],
            Effect::Deny,
            vec!["d"],
        ),
        (
            "all who say the same",
            most,
            vec![deny("d", ""), allow("a", ""), deny("e", "")],
            Effect::Deny,
            vec!["d", "e"],
        ),
        ("job over global", most, vec![deny("d", ""), allow("a", job)], Effect::Allow, vec!["a"]),
        ("workflow over global", most, vec![deny("d", ""), allow("a", flow)], Effect::Allow, vec!["a"]),
        ("job over workflow", first, vec![deny("d", flow), allow("a", job)], Effect::Allow, vec!["a"]),
        ("a floor under a job rule", first, vec![allow("a", job), deny("d", floor)], Effect::Deny, vec!["d"]),
        ("floors never take turns", first, vec![deny("d", floor), deny("e", floor)], Effect::Deny, vec!["d", "e"]),
        (
            "a floor of any tier",
            first,
            vec![allow("a", job), deny("d", ", invariant: true, tier: global")],
            Effect::Deny,
            vec!["d"],
        ),
    ];
    for (name, head, rules, effect, ids) in rows {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let verdict = judge(&[("b.yaml", bundle("b", head, &rules))], "acme");
        assert_eq!(verdict.effect, effect, "{name}");
        assert_eq!(verdict.rule_ids.iter().map(|id| &**id).collect::<Vec<_>>(), ids, "{name}");
        assert!(!verdict.default_used, "{name}");
    }
}

#[test]
fn among_bundles_the_most_restrictive_holds() {
    let a = bundle("a", "combine: first_match", &["id: yes, match: {}, decision: allow"]);
    let b = bundle("b", "combine: first_match", &["id: no, match: {}, decision: deny, reason: not here"]);
    for files in [[("1", a.clone()), ("2", b.clone())], [("1", b), ("2", a)]] {
        let verdict = judge(&files, "acme");
        assert_eq!((verdict.effect, &*verdict.reason), (Effect::Deny, "not here"));
        assert_eq!(verdict.rule_ids.len(), 1);
    }
}

#[test]
fn without_a_match_the_default_of_the_tenant_holds_and_then_deny() {
    let head = "tenants: { open: { default: allow }, shut: { default: deny } }";
    let text = bundle("b", head, &["id: other, match: { topics: [job.y] }, decision: allow"]);
    let rows = [
        ("open", Effect::Allow, "no rule matches this job: the default of tenant `open` is allow"),
        ("shut", Effect::Deny, "no rule matches this job: the default of tenant `shut` is deny"),
        ("unknown", Effect::Deny, "no rule matches this job and its tenant has no default: denied by default"),
    ];
    for (tenant, effect, reason) in rows {
        let verdict = judge(&[("b.yaml", text.clone())], tenant);
        assert_eq!((verdict.effect, &*verdict.reason), (effect, reason));
        assert!(verdict.default_used && verdict.rule_ids.is_empty());
    }
}

#[test]
fn a_verdict_names_a_bounded_number_of_rules_and_the_first_reason() {
    let rules: Vec<String> =
        (0..100).map(|at| format!("id: r{at}, match: {{}}, decision: deny, reason: why {at}")).collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let verdict = judge(&[("b.yaml", bundle("b", "", &rules))], "acme");
    assert_eq!(verdict.rule_ids.len(), MAX_WINNERS);
    assert_eq!(&*verdict.rule_ids[0], "r0");
    assert_eq!(&*verdict.reason, "why 0");
}

#[test]
fn a_rule_is_found_by_id_with_what_a_person_needs() {
    let rule = "id: d, match: {}, decision: deny, controls: [ASI02], \
                remediations: [{ id: draft, title: Draft it, replacement_topic: job.draft }]";
    let snapshot = load([("b.yaml", bundle("b", "", &[rule]))], None).unwrap();
    let rule = snapshot.rule("d").unwrap();
    assert_eq!((&**rule.id(), &**rule.reason(), rule.line()), ("d", "rule d: deny", 5));
    assert_eq!(&*rule.controls()[0], "ASI02");
    assert_eq!(rule.remediations()[0].replacement_topic.as_deref(), Some("job.draft"));
    assert!(snapshot.rule("e").is_none());
}
