//! The whole story of a verdict.

use tidegate_policy::{NoLimits, Subject, load};

const BANK: &str = "
id: bank
revision: 1
params: { payees: [alice] }
derivers:
  - { tag: stranger, topics: [job.pay.>], field: /to, test: not_in, value: params.payees }
  - { tag: large, topics: [job.pay.>], field: /amount, test: gt, value: 100 }
  - { tag: elsewhere, topics: [job.mail.>], field: /to, test: missing }
rules:
  - { id: pay, match: { topics: [job.pay.>], tenants: [acme] }, decision: allow }
  - { id: strangers, match: { risk_tags: [stranger] }, decision: deny }
  - { id: large-ok, match: { risk_tags: [large] }, decision: allow }
  - { id: mail, match: { topics: [job.mail.>] }, decision: allow }
  - { id: people, match: { actor_types: [person] }, decision: allow }
  - { id: gpu, match: { requires: [gpu] }, decision: allow }
  - { id: prod, match: { labels: { env: prod } }, decision: deny }
  - { id: read, match: { capabilities: [read] }, decision: allow }
";

#[test]
fn every_rule_says_whether_it_matches_or_what_failed_first() {
    let snapshot = load([("bank.yaml", BANK)], None).unwrap();
    let mut job = Subject::new("acme", "job.pay.wire", "wire");
    job.payload = br#"{"to": "eve", "amount": "5"}"#;
    job.labels = &[("env", "dev")];
    let story = snapshot.explain(&job, 0, &mut NoLimits);

    let fails = |id: &str| story.rules.iter().find(|rule| &*rule.id == id).unwrap().fails();
    assert_eq!(story.rules.len(), 8);
    assert_eq!(fails("pay"), None);
    assert_eq!(fails("strangers"), None);
    assert_eq!(
        fails("large-ok"),
        Some(
            "the job has none of the tags `large`; one could not be told, which is not enough for a rule that permits"
        )
    );
    assert_eq!(fails("mail"), Some("the topic `job.pay.wire` matches none of `job.mail.>`"));
    assert_eq!(fails("people"), Some("the actor type is missing, and the rule permits only `person`"));
    assert_eq!(fails("gpu"), Some("the job does not require all of `gpu`"));
    assert_eq!(fails("prod"), Some("the label `env` is none of `prod`"));
    assert_eq!(fails("read"), Some("the capability `wire` is none of `read`"));

    let tags: Vec<_> = story.tags.iter().map(|tag| (&*tag.tag, tag.holds)).collect();
    assert_eq!(tags, [("stranger", Some(true)), ("large", None)]);
    assert_eq!(&*story.verdict.rule_ids[0], "strangers");
}
