//! Calling jobs off.

use serde_json::{Value, json};
use tidegate_processes::http::in_path;
use tidegate_protocol::command::Action;

use crate::desk::{Desk, refused};

#[test]
fn a_job_that_waits_is_called_off_by_who_operates_or_submits_for_its_tenant() {
    let desk = Desk::open();
    let (held, deferred) =
        (desk.held("pay-1", "job.pay.large"), desk.submit("pay-2", "job.pay.slow", "pay", "deferred"));
    let (code, answer) =
        desk.json(&["jobs", "cancel", "pay-1", "--signing-key", "olga.key", "--reason", "ordered twice"]);
    assert_eq!((code, &answer["became"]), (Some(0), &json!("ended")), "{answer}");
    let story = desk.story(&held);
    assert_eq!((&story["state"], &story["outcome"]), (&json!("cancelled"), &json!("cancelled")), "{story}");
    assert_eq!(story["reason"], "cancelled by olga: ordered twice");
    assert_eq!(desk.cli(&["approvals", "list"]).out.trim(), "nothing waits for approval");
    assert_eq!(desk.say(Action::Approve, "alice", &held), refused("not_held"));
    // By its id, over HTTP.
    let command = desk.command(Action::Cancel, "sam", &deferred);
    let path = "/v1/jobs/pay-2/cancel";
    let answer = desk.dev.http.post(path, "application/json", &desk.sign("sam", &command)).unwrap();
    assert_eq!((answer.status, &answer.json()["became"]), (200, &json!("ended")), "{}", answer.text);
    assert_eq!(desk.story(&deferred)["state"], "cancelled");
    assert_eq!(desk.say(Action::Cancel, "sam", &deferred), refused("not_kept"), "once");
    for at in [&held, &deferred] {
        assert_eq!(desk.story(at)["attempts"], Value::Null);
    }
}

#[test]
fn of_a_released_job_the_pool_is_told_once_and_nothing_is_said_of_one_that_has_ended() {
    let desk = Desk::open();
    let at = desk.submit("pay-1", "job.pay.small", "sit", "running");
    let mut without = desk.command(Action::Cancel, "olga", &at);
    without.pool = None;
    let (_, answer) = desk.send(Action::Cancel, &at, &desk.sign("olga", &without));
    assert_eq!((&answer["became"], &answer["why"]), (&json!("refused"), &json!("not_kept")), "{answer}");
    let said = desk.cli(&["jobs", "cancel", "pay-1", "--signing-key", "olga.key", "--reason", "ordered twice"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let story = desk.story(&at);
    let told = &story["withdrawn"];
    let pool = story["pool"].as_str().unwrap();
    assert!(said.out.contains(&format!("pool `{pool}` is told to end it")), "{said:?}");
    assert_eq!((&told["pool"], &told["by"], &told["reason"]), (&json!(pool), &json!("olga"), &json!("ordered twice")));
    assert_eq!(story["hold"], Value::Null, "it never waited for people: {story}");
    let again = desk.say(Action::Cancel, "sam", &at);
    assert!(again == refused("already_withdrawn") || again == refused("not_kept"), "{again:?}");
    assert_eq!(desk.cli(&["jobs", "cancel", "pay-9", "--signing-key", "olga.key"]).code, Some(1), "not known");
    let approvals = desk.dev.http.get(&format!("/v1/approvals/{}", in_path(&at))).unwrap();
    assert_eq!(approvals.status, 404);
    let done = desk.submit("pay-2", "job.pay.small", "pay", "succeeded");
    assert_eq!(desk.say(Action::Cancel, "olga", &done), refused("not_kept"), "it has ended");
}
