//! `submit` and `jobs` with `--spine`: no gateway, the logs themselves.

use serde_json::json;

use crate::dev::{Dev, home};
use crate::{POLICY, document, line, run};

const SPINE: [&str; 2] = ["--spine", "embedded:data/spine"];

#[test]
fn jobs_are_submitted_and_told_of_straight_on_a_spine_that_nobody_has_open() {
    let mut dev = Dev::start(home(POLICY), &["--worker", "echo=builtin:echo"], &[]);
    let here = dev.home.path().to_owned();
    std::fs::write(here.join("jobs.jsonl"), line("one", "job.ok.x", "echo") + &line("two", "job.no", "echo")).unwrap();
    // Whose facts are believed.
    std::fs::write(here.join("reader.yaml"), "keys: { signing: { id: dev, file: data/stage.key } }\n").unwrap();
    let on_spine = |arguments: &[&str]| document(&here, &[arguments, &SPINE, &["--config", "reader.yaml"]].concat());
    let (code, refused) = on_spine(&["jobs", "list"]);
    assert_eq!(code, Some(69), "another process has it open: {refused}");
    dev.hang_up();
    assert!(dev.ended().success());

    let (code, summary) = on_spine(&["submit", "jobs.jsonl"]);
    assert_eq!((code, &summary["submitted"]), (Some(0), &json!(2)), "{summary}");
    let one = summary["jobs"][0]["source"].as_str().unwrap().to_owned();
    assert_eq!(summary["states"], json!({"submitted": 2}));
    let (code, out, err) = run(&here, &[&["submit", "jobs.jsonl", "--source", "other"][..], &SPINE].concat());
    assert_eq!(code, Some(78), "{out}{err}");

    dev.again();
    for (id, state) in [("one", "succeeded"), ("two", "denied")] {
        let (_, story) = document(&here, &["jobs", "get", id, "--wait", "60s"]);
        assert_eq!(story["state"], state, "{story}");
    }
    dev.hang_up();
    assert!(dev.ended().success());
    let (code, story) = on_spine(&["jobs", "get", &one]);
    assert_eq!((code, &story["state"], &story["id"]), (Some(0), &json!("succeeded"), &json!("one")), "{story}");
    assert_eq!(story["decision"]["reason"], "it may run");
    let (code, list) = on_spine(&["jobs", "list", "--state", "denied"]);
    assert_eq!((code, &list["jobs"][0]["id"]), (Some(0), &json!("two")), "{list}");
    let (code, list) = on_spine(&["dead", "list"]);
    assert_eq!((code, &list["dead"]), (Some(0), &json!([])));
    assert_eq!(on_spine(&["jobs", "get", "three"]).0, Some(1));
}
