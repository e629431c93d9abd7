//! What time and another policy do to jobs that wait for people.

use serde_json::{Value, json};
use tidegate_protocol::command::Action;

use crate::desk::{Desk, POLICY, became, refused};

#[test]
fn silence_is_a_denial_and_an_answer_after_it_is_late() {
    let desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.soon");
    let story = desk.dev.story(&at).unwrap();
    assert_eq!((&story["state"], &story["attempts"]), (&json!("denied"), &Value::Null), "{story}");
    assert_eq!(story["reason"], "not approved in time: it cannot wait");
    assert_eq!(desk.say(Action::Approve, "alice", &at), refused("not_held"));
}

#[test]
fn a_further_role_may_approve_when_its_turn_has_come() {
    let desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.upwards");
    assert_eq!(desk.say(Action::Approve, "carol", &at), refused("not_an_approver"));
    desk.until(&at, "it has gone to the cfo", |story| story["hold"]["escalated"] == json!(["cfo"]));
    assert_eq!(desk.say(Action::Approve, "carol", &at), became("given"));
    assert_eq!(desk.dev.story(&at).unwrap()["decision"]["approved_by"], json!(["carol"]));
}

#[test]
fn another_policy_judges_again_what_waits() {
    let desk = Desk::open();
    let denied = desk.held("pay-1", "job.pay.large");
    let (kept, raised) = (desk.held("pay-2", "job.pay.two"), desk.held("pay-3", "job.pay.upwards"));
    for at in [&kept, &raised] {
        assert_eq!(desk.say(Action::Approve, "alice", at), became("given"), "{at}");
    }
    // `upwards` takes one person's word: it runs, so a fresh one is held for the change.
    assert_eq!(desk.dev.story(&raised).unwrap()["state"], "succeeded");
    let raised = desk.held("pay-4", "job.pay.upwards");
    let early = desk.command(Action::Approve, "alice", &raised);
    let on_its_way = desk.command(Action::Approve, "bob", &kept);
    let second = POLICY
        .replace("revision: 1", "revision: 2")
        .replace("decision: require_approval\n    reason: large payments are looked at\n    approval: { approvers: [finance], ttl: 1h }", "decision: deny\n    reason: not any more")
        .replace("escalate: [{ after: 2s, to: cfo }]", "quorum: 2");
    assert!(second.contains("not any more") && second.matches("quorum: 2").count() == 2);
    desk.home.write("policy/p.yaml", &second).unwrap();

    // Denied by then: people are no longer asked.
    let story = desk.until(&denied, "it is denied", |story| story["state"] == "denied");
    assert_eq!((&story["reason"], &story["attempts"]), (&json!("not any more"), &Value::Null), "{story}");
    // It asks for the same: what was approved counts, and so does an answer to the earlier verdict.
    let story = desk.until(&kept, "it is judged again", |s| s["decision"]["snapshot"] != json!(on_its_way.snapshot));
    assert_eq!(story["hold"]["given"].as_array().unwrap().len(), 1, "{story}");
    assert_eq!(desk.became(Action::Approve, &kept, &desk.sign("bob", &on_its_way)), became("given"));
    assert_eq!(desk.dev.story(&kept).unwrap()["decision"]["approved_by"], json!(["alice", "bob"]));
    // It asks for more: an answer to the earlier verdict is worth nothing.
    desk.until(&raised, "it is judged again", |s| s["decision"]["snapshot"] != json!(early.snapshot));
    assert_eq!(desk.became(Action::Approve, &raised, &desk.sign("alice", &early)), refused("other_snapshot"));
    assert_eq!(desk.say(Action::Approve, "alice", &raised), became("given"));
    assert_eq!(desk.story(&raised)["state"], "held");
    assert_eq!(desk.say(Action::Approve, "bob", &raised), became("given"));
    assert_eq!(desk.dev.story(&raised).unwrap()["state"], "succeeded");
}
