//! On the stream that comes with the binary.

use serde_json::Value;

use super::*;
use crate::demo::world::money::Money;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_day_of_the_fleet_ends_as_its_policies_say() {
    let folder = tempfile::tempdir().unwrap();
    let report = played(folder.path(), Vec::new(), None).await;
    assert_eq!((report.submitted, report.approved, report.denied, report.held), (206, 143, 15, 43));
    assert_eq!(report.repeated, 1);
    let dead: Vec<_> = report.dead_by_reason.iter().map(|(reason, count)| (*reason, *count)).collect();
    assert_eq!(dead, [("id_conflict", 1), ("invalid_field", 2), ("unparsable", 2)]);
    let score = report.score;
    assert_eq!((score.user.passed, score.user.held, score.user.total), (155, 14, 156));
    assert_eq!((score.injection.stopped, score.injection.held, score.injection.total), (44, 29, 46));
    assert_eq!((report.asked.get("customer"), report.asked.get("owner")), (Some(&24), Some(&19)));
    assert_eq!(report.wants_approval.len(), 43);
    // A dentist cancelled: no rule is about it.
    assert_eq!(names(&report.refused), ["calendar-1605-1"]);
    // Reading is not where the harm is; what would have carried it out is stopped.
    assert_eq!(names(&report.let_through), ["household-0942-1", "support-1056-2"]);
    let unmatched: Vec<&String> = report.unmatched.keys().collect();
    assert_eq!(
        unmatched,
        ["add_known_payee", "cancel_calendar_event", "create_forwarding_rule", "send_money as job.banking.read_file"]
    );
    assert_eq!((report.finished, report.outcomes.get("failed")), (report.approved, Some(&1)));
    assert_eq!(names(&report.failures), ["bakery-0635-1"]);
    // Every payment that was allowed was made once, the one that was sent twice included.
    let after: Vec<Money> = report.balances.iter().map(|balance| balance.after).collect();
    assert_eq!(after, [294_956, 844_605, 1_893_015, 172_500].map(Money::cents));
    assert_eq!(report.would_have_moved.money, Money::cents(6_840_000));
    assert_eq!(report.would_move.money, Money::cents(4_962_281));
    assert_eq!((report.would_have_moved.mails_deleted, report.would_move.files_deleted), (8, 7));
    let [office] = report.offices.as_slice() else { panic!("{:?}", report.offices) };
    assert_eq!((office.before.mails, office.after.mails), (32, 32), "nothing was deleted");
    assert_eq!((office.after.sent - office.before.sent, office.after.files - office.before.files), (11, 3));
    document(&report);
    for shown in ["Balances", "bank-unknown-payee", "injections stopped     44 of 46", "68,400.00 in 4 payments"] {
        assert!(report.to_string().contains(shown), "`{shown}` is not in:\n{report}");
    }
}

/// The document's promised fields, in their order, with their kinds.
fn document(report: &Report) {
    let text = serde_json::to_string(report).unwrap();
    assert!(!text.contains('\n'), "one line");
    let document: Value = serde_json::from_str(&text).unwrap();
    let promised = [
        "submitted",
        "approved",
        "denied",
        "held",
        "dead",
        "finished",
        "by_rule",
        "score",
        "decided_ms",
        "released_ms",
        "finished_ms",
        "data",
    ];
    let places: Vec<usize> = promised.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(document["by_rule"]["bank-credentials"], 2);
    assert_eq!(document["score"]["user"]["total"], 156);
    assert_eq!(document["score"]["injection"]["stopped"], 44);
    for latency in ["decided_ms", "released_ms", "finished_ms"] {
        let of = |name: &str| document[latency][name].as_f64().unwrap();
        assert!(0.0 < of("p50") && of("p50") <= of("p99") && of("p99") <= of("max"), "{document}");
    }
    assert!(document["data"].as_str().unwrap().ends_with("data"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_ones_own_under_a_policy_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let (policy, input) = (folder.path().join("policy"), folder.path().join("mine.jsonl"));
    std::fs::create_dir(&policy).unwrap();
    let rules = "id: mine\nrevision: 1\nrules:\n  - { id: all-of-acme, match: { tenants: [acme] }, decision: allow }\n";
    std::fs::write(policy.join("mine.yaml"), rules).unwrap();
    let job = |id: &str, tenant: &str, capability: &str| {
        format!(r#"{{"id":"{id}","tenant":"{tenant}","topic":"job.x","capability":"{capability}","payload":{{}}}}"#)
    };
    let lines = [
        job("balance", "acme", "get_balance"),
        job("other", "globex", "get_balance"),
        job("nobody", "acme", "book_hotel"),
        job("wrong", "acme", "read_file"),
    ];
    std::fs::write(&input, lines.join("\n")).unwrap();
    let report = played(folder.path(), vec![input], Some(policy)).await;
    assert_eq!((report.approved, report.denied, report.dead, report.finished), (2, 1, 1, 2));
    assert_eq!(report.by_rule.get("all-of-acme"), Some(&2));
    // No pool takes a function that no worker has.
    assert_eq!(report.dead_by_reason.get("unroutable"), Some(&1));
    assert!(report.failures[0].reason.contains("missing field `file_path`"), "{:?}", report.failures);
    assert_eq!(report.score.user.total + report.score.injection.total, 0, "nothing is labelled");
    assert!(report.balances.iter().all(|balance| balance.tenant.as_str() == "acme"), "globex has no bank here");
}
