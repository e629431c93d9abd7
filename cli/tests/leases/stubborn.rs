//! Workers that go on with a job that they were told to stop, and what is worth what they say of it afterwards.

use serde_json::{Value, json};

use super::dev::until;
use super::{Dev, word};

const SHORT_GRACE: &str = "lease_ms: 2000, cancel_grace_ms: 500";

#[test]
fn a_worker_that_beats_for_ever_and_does_not_stop_loses_its_job_to_the_clock_and_its_result_counts_for_nothing() {
    let dev = Dev::scheduled(SHORT_GRACE, 1, 1);
    let acme = dev.acme.as_str();
    let source = dev.submit("acme", "job.short", "endless");
    let lease = dev.next(acme, "endless");
    let beat = || dev.of(acme, &lease, "heartbeat", json!({}));
    until("it is told to stop", || (beat() == word(200, "cancel")).then_some(()));
    // It beats, tells of its progress, and does not stop.
    let story = until("the job has ended without it", || {
        let said = [beat(), dev.of(acme, &lease, "progress", json!({"fraction": 0.1}))];
        assert!(said.iter().all(|(status, _)| [200, 409].contains(status)), "{said:?}");
        let story = dev.story_after(&source, "0ms");
        (story["state"] != "running" && story["state"] != "approved").then_some(story)
    });
    assert_eq!((&story["state"], &story["output"]), (&json!("timed_out"), &Value::Null), "{story}");
    // However long it goes on.
    until("it hears so", || (beat() == word(200, "lost")).then_some(()));
    for verb in ["complete", "fail"] {
        let body = if verb == "fail" { json!({"error": "late"}) } else { json!({"result": "late"}) };
        assert_eq!(dev.of(acme, &lease, verb, body), word(409, "stale_fence"), "{verb}");
    }
    let after = dev.story(&source);
    assert_eq!((&after["state"], &after["output"]), (&json!("timed_out"), &Value::Null), "{after}");
    // The one place its key has is free for the next.
    let next = dev.submit("acme", "job.dig", "next");
    let lease = dev.next(acme, "next");
    assert_eq!(dev.of(acme, &lease, "complete", json!({"result": 1})), word(200, "accepted"));
    assert_eq!(dev.story(&next)["output"], 1);
}

#[test]
fn what_a_worker_reports_after_its_job_was_called_off_and_ended_is_told_to_be_finished() {
    // The gateway hears of the end with its next restatement, seconds later: what is reported before meets the scheduler.
    let dev = Dev::scheduled("lease_ms: 12000, heartbeat_ms: 4000, cancel_grace_ms: 500", 1, 100);
    let acme = dev.acme.as_str();
    let mut number = 0;
    until("a report comes in between", || {
        number += 1;
        let id = format!("off-{number}");
        let source = dev.submit("acme", "job.dig", &id);
        let lease = dev.next(acme, &id);
        let (said, code) = dev.run(&["jobs", "cancel", &id, "--reason", "no longer wanted"]);
        assert_eq!(code, 0, "{said}");
        let story = dev.story(&source);
        assert_eq!(story["state"], "cancelled", "{story}");
        let (status, refused) = dev.of(acme, &lease, "complete", json!({"result": "late"}));
        assert!(status == 409 && ["finished", "stale_fence"].contains(&refused.as_str()), "{status} {refused}");
        assert_eq!(dev.story(&source)["output"], Value::Null);
        // Said again it has the same answer.
        let again = dev.of(acme, &lease, "complete", json!({"result": "late"}));
        assert_eq!(again, (status, refused.clone()));
        (refused == "finished").then_some(())
    });
}
