//! Genuine commands that have no effect: each is refused with its word, and the job waits on untouched.

use serde_json::json;
use tidegate_processes::http::in_path;
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::InputHash;

use crate::desk::{Desk, became, refused};

type Change = fn(&mut Command);

#[test]
fn what_is_signed_and_wrong_changes_nothing() {
    let desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.large");
    let rows: [(&str, &str, Change, &str); 8] = [
        ("one's own job", "agent-7", |_| {}, "own_job"),
        ("another role", "carol", |_| {}, "not_an_approver"),
        ("no role", "dave", |_| {}, "not_an_approver"),
        ("another input", "alice", |c| c.input_hash = InputHash::of(b"other", std::iter::empty()), "other_input"),
        ("another job", "alice", |c| c.job_id = JobId::new("pay-2").unwrap(), "other_input"),
        ("another tenant", "erin", |c| c.tenant = TenantId::new("globex").unwrap(), "other_tenant"),
        ("another verdict", "alice", |c| c.snapshot = "some other policy".into(), "other_snapshot"),
        ("no verdict", "alice", |c| c.snapshot = String::new(), "other_snapshot"),
    ];
    for (what, key, how, why) in rows {
        let mut command = desk.command(Action::Approve, key, &at);
        how(&mut command);
        assert_eq!(desk.became(Action::Approve, &at, &desk.sign(key, &command)), refused(why), "{what}");
        desk.is_untouched(&at);
    }
    for key in ["carol", "dave"] {
        assert_eq!(
            desk.say(Action::Reject, key, &at),
            refused("not_an_approver"),
            "who may not approve may not reject"
        );
    }
    assert_eq!(desk.story(&at)["refused"].as_array().unwrap().len(), rows.len() + 2, "people can see who tried");
    assert_eq!(desk.say(Action::Approve, "alice", &at), became("given"), "and then the right person says yes");
    assert_eq!(desk.dev.story(&at).unwrap()["state"], "succeeded");
}

#[test]
fn what_is_sent_to_the_wrong_place_is_not_passed_on() {
    let desk = Desk::open();
    let (at, other) = (desk.held("pay-1", "job.pay.large"), desk.held("pay-2", "job.pay.large"));
    let command = desk.command(Action::Approve, "alice", &at);
    let genuine = desk.sign("alice", &command);
    let rows = [
        (format!("/v1/approvals/{}/approve", in_path(&other)), 400, "other_command"),
        (format!("/v1/approvals/{}/reject", in_path(&at)), 400, "other_command"),
        (format!("/v1/jobs/{}/cancel", in_path(&at)), 400, "other_command"),
        ("/v1/approvals/nowhere/approve".to_owned(), 400, "bad_position"),
        (format!("/v1/dead/{}/redrive", in_path(&at)), 400, "other_command"),
    ];
    for (path, status, word) in rows {
        let answer = desk.dev.http.post(&path, "application/json", &genuine).unwrap();
        assert_eq!((answer.status, &answer.json()["error"]), (status, &json!(word)), "{path}: {}", answer.text);
    }
    let approve = format!("/v1/approvals/{}/approve", in_path(&at));
    for body in [&b""[..], b"yes", b"{}", &[b'x'; 9_000]] {
        let answer = desk.dev.http.post(&approve, "application/json", body).unwrap();
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("no_command")), "{}", answer.text);
    }
    let mut elsewhere = command;
    elsewhere.source = "no.such.source/0@1".parse().unwrap();
    let path = format!("/v1/approvals/{}/approve", in_path("no.such.source/0@1"));
    let answer = desk.dev.http.post(&path, "application/json", &desk.sign("alice", &elsewhere)).unwrap();
    assert_eq!((answer.status, &answer.json()["error"]), (404, &json!("no_such_source")), "{}", answer.text);
    let approvals = desk.dev.http.get(&format!("/v1/approvals/{}", in_path("jobs.raw/0@999"))).unwrap();
    assert_eq!((approvals.status, &approvals.json()["error"]), (404, &json!("never_held")));
    desk.is_untouched(&at);
    desk.is_untouched(&other);
}

/// The gateway passes on whatever reads as a command; the kernel believes none of it, so there is nothing to tell.
#[test]
fn what_nobody_trusted_has_signed_gets_no_answer_but_that() {
    let desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.large");
    let command = desk.command(Action::Approve, "alice", &at);
    let unsigned = serde_json::to_vec(&command).unwrap();
    let mut forged = desk.sign("alice", &command);
    let digit = forged.len() - 3;
    forged[digit] = if forged[digit] == b'0' { b'1' } else { b'0' };
    std::thread::scope(|scope| {
        for body in [&unsigned, &forged] {
            scope.spawn(|| assert_eq!(desk.became(Action::Approve, &at, body), became("pending")));
        }
        scope.spawn(|| {
            let said = desk.cli(&["approvals", "approve", &at, "--signing-key", "will.key"]);
            assert_eq!(said.code, Some(69), "{said:?}");
            assert!(said.out.contains("does not trust this key"), "{said:?}");
        });
    });
    for why in ["unsigned", "forged", "wrong_role"] {
        assert_eq!(desk.refused(why), 1, "{why}");
    }
    desk.is_untouched(&at);
}
