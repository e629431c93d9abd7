//! `submit`, `jobs list` and `jobs watch` beside a running `tidegate dev`.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::dev::{Dev, home, tidegate, until};
use crate::{POLICY, document, last, line, run};

fn dev() -> Dev {
    Dev::start(home(POLICY), &["--worker", "echo=builtin:echo", "--worker", "fail=false"], &[])
}

#[test]
fn submit_waits_tells_each_line_in_a_table_and_ends_with_1_when_one_did_not_succeed() {
    let dev = dev();
    let here = dev.home.path();
    let mixed = [line("good", "job.ok.x", "echo"), line("bad", "job.ok.x", "fail"), line("no", "job.no", "echo")];
    std::fs::write(here.join("mixed.jsonl"), mixed.concat() + "{\"id\":\n").unwrap();
    let (code, out, err) = run(here, &["submit", "--wait", "mixed.jsonl"]);
    assert_eq!(code, Some(1), "{out}{err}");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["line", "id", "record", "state", "why"], "{out}");
    for (row, id, state) in [(1, "good", "succeeded"), (2, "bad", "failed"), (3, "no", "denied")] {
        assert_eq!((rows[row][0], rows[row][1], rows[row][3]), (row.to_string().as_str(), id, state), "{out}");
        assert!(rows[row][2].starts_with("jobs.raw/"), "{out}");
    }
    assert!(rows[4][0] == "4" && rows[4].contains(&"refused"), "{out}");
    assert_eq!(out.lines().last(), Some("1 denied, 1 failed, 1 refused, 1 succeeded"));

    let (code, summary) = document(here, &["submit", "--wait", "mixed.jsonl"]);
    assert_eq!((code, &summary["submitted"], &summary["refused"]), (Some(1), &json!(3), &json!(1)), "{summary}");
    assert_eq!(summary["jobs"].as_array().map(Vec::len), Some(4));
    std::fs::write(here.join("good.jsonl"), line("better", "job.ok.x", "echo")).unwrap();
    let (code, out, err) = run(here, &["submit", "--wait", "good.jsonl"]);
    assert_eq!((code, out.lines().last()), (Some(0), Some("1 succeeded")), "{out}{err}");
}

#[test]
fn jobs_are_listed_in_a_table_by_state_and_tenant() {
    let dev = dev();
    let here = dev.home.path();
    for (id, topic, capability) in [("a", "job.ok.x", "echo"), ("b", "job.ok.x", "fail"), ("c", "job.no", "echo")] {
        std::fs::write(here.join("one.jsonl"), line(id, topic, capability)).unwrap();
        run(here, &["submit", "--wait", "one.jsonl"]);
    }
    let (code, out, err) = run(here, &["jobs", "list"]);
    assert_eq!(code, Some(0), "{err}");
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["when", "id", "tenant", "topic", "state", "took", "why"], "{out}");
    // The last that changed first; what is read of one job twice may change it once more.
    let shown: BTreeMap<&str, &str> = rows[1..].iter().map(|row| (row[1], row[4])).collect();
    assert_eq!(shown, BTreeMap::from([("a", "succeeded"), ("b", "failed"), ("c", "denied")]), "{out}");
    assert_eq!(rows.len(), 4, "{out}");
    let ids = |arguments: &[&str]| -> Vec<String> {
        let (code, list) = document(here, &[&["jobs", "list"], arguments].concat());
        assert_eq!(code, Some(0), "{list}");
        list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["--state", "failed"]), ["b"]);
    assert_eq!(ids(&["--limit", "2"]).len(), 2);
    assert_eq!(ids(&["--tenant", "acme"]).len(), 3);
    assert_eq!(run(here, &["jobs", "list", "--tenant", "globex"]).1, "no jobs\n");
    assert_ne!(run(here, &["jobs", "list", "--state", "perhaps"]).0, Some(0));
}

/// Submits job after job until the watch has seen enough.
fn watched(dev: &Dev, arguments: &[&str]) -> String {
    let here = dev.home.path();
    let mut watch: Child =
        tidegate(here).args(arguments).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut number = 0;
    let status = until("the watch has seen enough", || {
        number += 1;
        std::fs::write(here.join("next.jsonl"), line(&format!("w{number}"), "job.ok.x", "echo")).unwrap();
        run(here, &["submit", "--wait", "next.jsonl"]);
        watch.try_wait().unwrap()
    });
    assert!(status.success(), "{status}");
    let mut out = String::new();
    std::io::Read::read_to_string(&mut watch.stdout.take().unwrap(), &mut out).unwrap();
    out
}

#[test]
fn jobs_are_watched_as_they_change_one_a_line() {
    let dev = dev();
    let out = watched(&dev, &["jobs", "watch", "--changes", "3"]);
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows.len(), 3, "{out}");
    assert!(rows.iter().all(|row| row.contains("acme") && row.contains("job.ok.x")), "{out}");
    let out = watched(&dev, &["jobs", "watch", "--changes", "2", "--output", "json"]);
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(out.lines().all(|line| last(line)["tenant"] == "acme" && last(line)["state"].is_string()), "{out}");
}
