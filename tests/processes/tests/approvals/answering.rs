//! People look at what waits for them, and answer.

use serde_json::{Value, json};
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;
use tidegate_processes::process::until;
use tidegate_protocol::command::Action;

use crate::desk::{Desk, POLICY, SOON, became, last_line, refused};

#[test]
fn what_waits_is_listed_and_shown_and_runs_when_it_is_approved() {
    let desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.large");
    let list = desk.cli(&["approvals", "list"]);
    for shown in [at.as_str(), "pay-1", "acme", "job.pay.large", "1 of finance"] {
        assert!(list.out.contains(shown), "`{shown}` is not in {}", list.out);
    }
    // Everything a person must know: who asks, which rule stopped it, what would run, whose word it takes.
    let show = desk.cli(&["approvals", "show", "pay-1"]);
    for shown in [
        "actor      agent agent-7",
        "rules      large",
        "require_approval: large payments are looked at",
        r#"would run  {"amount":20000,"to":"Globex"}"#,
        "would run  pay in pool default",
        "would run  a payload of 30 bytes, sha-256 ",
        "asked      1 of finance",
        "policy     ",
        "until      ",
    ] {
        assert!(show.out.contains(shown), "`{shown}` is not in {}", show.out);
    }
    assert_eq!(desk.cli(&["approvals", "show", "pay-9"]).code, Some(1));
    let (code, answer) =
        desk.json(&["approvals", "approve", "pay-1", "--signing-key", "alice.key", "--reason", "I asked for it"]);
    assert_eq!((code, &answer["became"]), (Some(0), &json!("given")), "{answer}");
    let story = desk.dev.story(&at).unwrap();
    assert_eq!(story["state"], "succeeded", "{story}");
    assert_eq!(story["output"], json!({"amount": 20_000, "to": "Globex"}), "what was shown is what ran");
    assert_eq!(story["decision"]["approved_by"], json!(["alice"]), "{story}");
    assert_eq!(story["hold"]["given"][0]["reason"], "I asked for it", "{story}");
    assert_eq!(desk.cli(&["approvals", "list"]).out.trim(), "nothing waits for approval");
    // Somebody comes late.
    let (code, late) = desk.json(&["approvals", "approve", &at, "--signing-key", "bob.key"]);
    assert_eq!((code, &late["became"], &late["why"]), (Some(1), &json!("refused"), &json!("not_held")), "{late}");
    assert_eq!(desk.story(&at)["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_rejection_ends_the_job_and_says_whose_it_was() {
    let desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.two");
    assert_eq!(desk.say(Action::Approve, "alice", &at), became("given"));
    let (code, answer) =
        desk.json(&["approvals", "reject", "pay-1", "--signing-key", "bob.key", "--reason", "wrong account"]);
    assert_eq!((code, &answer["became"]), (Some(0), &json!("ended")), "{answer}");
    let story = desk.story(&at);
    assert_eq!((&story["state"], &story["reason"]), (&json!("denied"), &json!("rejected by bob: wrong account")));
    assert_eq!(story["attempts"], Value::Null, "{story}");
    for key in ["alice", "bob"] {
        assert_eq!(desk.say(Action::Approve, key, &at), refused("not_held"), "{key}");
    }
}

#[test]
fn a_quorum_is_of_people_and_each_counts_once() {
    let desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.two");
    let alice = desk.command(Action::Approve, "alice", &at);
    let alice = desk.sign("alice", &alice);
    assert_eq!(desk.became(Action::Approve, &at, &alice), became("given"));
    assert_eq!(desk.say(Action::Approve, "alice", &at), refused("already_given"));
    assert_eq!(desk.say(Action::Approve, "alice-phone", &at), refused("already_given"), "another key, the same person");
    let story = desk.story(&at);
    assert_eq!((&story["state"], story["hold"]["given"].as_array().unwrap().len()), (&json!("held"), 1), "{story}");
    assert_eq!(desk.say(Action::Approve, "bob", &at), became("given"));
    assert_eq!(desk.dev.story(&at).unwrap()["state"], "succeeded");
    // The very same record once more: its answer tells what it did, and it does nothing.
    assert_eq!(desk.send(Action::Approve, &at, &alice).0, 200);
    until(SOON, "the repeat is refused", || Ok((desk.refused("not_held") >= 1).then_some(()))).unwrap();
    assert_eq!(desk.story(&at)["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn what_nobody_could_approve_is_denied_at_once() {
    let desk = Desk::open();
    let at = desk.submit("pay-1", "job.pay.board", "pay", "denied");
    let reason = desk.story(&at)["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("nobody who could approve it is known here"), "{reason}");
}

#[test]
fn the_first_start_of_dev_makes_a_key_that_answers_for_everybody() {
    let home = Home::new(POLICY).unwrap();
    let dev = Dev::ready(&home, "dev", &["--policy", "policy", "--worker", "pay=builtin:echo"]).unwrap();
    let say = |arguments: &[&str]| {
        let ended = home.run(&[arguments, &["--data", "data", "--output", "json"]].concat()).unwrap();
        (ended.code, last_line(&ended))
    };
    for (id, verb, state) in [
        ("a", ["approvals", "approve"], "succeeded"),
        ("b", ["approvals", "reject"], "denied"),
        ("c", ["jobs", "cancel"], "cancelled"),
    ] {
        let job = json!({"id": id, "tenant": "acme", "topic": "job.pay.large", "capability": "pay", "payload": 1});
        let (_, taken) = dev.submit(job.to_string().as_bytes()).unwrap();
        let at = taken["source"].as_str().unwrap();
        until(SOON, "it is held", || Ok((say(&["jobs", "get", at]).1["state"] == "held").then_some(()))).unwrap();
        let (code, answer) = say(&[verb[0], verb[1], id]);
        assert_eq!(code, Some(0), "{verb:?}: {answer}");
        assert_eq!(dev.story(at).unwrap()["state"], state, "{verb:?}");
    }
}
