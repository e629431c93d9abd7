//! `tidegate bench`, as short as it goes: that it ends well, and what its document promises. Figures are no matter of tests.

use serde_json::{Value, json};

use crate::dev::home;
use crate::{POLICY, document, run};

/// Everything, short.
fn bench(home: &std::path::Path, scenario: &str, further: &[&str]) -> (Option<i32>, Value) {
    let fixed = ["bench", scenario, "--spine", "embedded:.", "--rate", "200", "--duration", "0.5s", "--size", "300"];
    let short = ["--flat-out", "0.1s", "--warm-up", "0.5s", "--in-flight", "100", "--rules", "3"];
    document(home, &[&fixed[..], &short, further].concat())
}

fn latency(of: &Value) {
    let value = |name: &str| of[name].as_f64().unwrap_or_else(|| panic!("`{name}` is not in {of}"));
    let all = ["p50", "p90", "p99", "p999", "max"].map(value);
    assert!(all[0] > 0.0 && all.is_sorted(), "{of}");
}

fn side(of: &Value, latencies: &[&str]) {
    for name in ["decided_ms", "released_ms", "finished_ms"] {
        assert_eq!(of[name].is_null(), !latencies.contains(&name), "{name} in {of}");
    }
    latencies.iter().for_each(|name| latency(&of[*name]));
    assert!(of["per_s"].as_f64() > Some(0.0) && of["cpu_s_per_1000"].as_f64() > Some(0.0), "{of}");
}

#[test]
fn decisions_beside_the_floor_end_with_0_and_the_promised_document() {
    let home = home(POLICY);
    let (code, report) = bench(home.path(), "decisions", &["--floor"]);
    assert_eq!(code, Some(0), "{report}");
    let (scenario, rate, size) = (&report["scenario"], report["rate"].as_f64(), &report["size"]);
    assert_eq!((scenario, rate, size), (&json!("decisions"), Some(200.0), &json!(300)));
    assert!(report["spine"].as_str().unwrap().starts_with("embedded:"), "{report}");
    assert_eq!((&report["lost"], &report["doubled"]), (&json!(0), &json!(0)));
    assert!(report["sent"].as_u64() >= Some(200), "{report}");
    side(&report["tidegate"], &["decided_ms", "released_ms"]);
    side(&report["floor"], &["decided_ms", "released_ms"]);
    let ratio = &report["ratio"];
    for name in ["released_p50", "released_p99", "per_s"] {
        assert!(ratio[name].as_f64() > Some(0.0), "{name} in {ratio}");
    }
    assert!(ratio["finished_p50"].is_null() && ratio["finished_p99"].is_null(), "{ratio}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["policy"], "what it made is removed");
}

#[test]
fn whole_jobs_without_a_floor_end_with_0_and_a_table_for_people_says_the_same() {
    let home = home(POLICY);
    let (code, report) = bench(home.path(), "jobs", &["--slots", "10"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["scenario"], "jobs");
    // What is released goes to our own scheduler here; when its jobs start is told instead.
    side(&report["tidegate"], &["decided_ms", "finished_ms"]);
    latency(&report["tidegate"]["started_ms"]);
    assert!(report["floor"].is_null() && report["ratio"].is_null(), "{report}");
    let short = ["--rate", "max", "--duration", "0.2s", "--flat-out", "0.1s", "--warm-up", "0.2s", "--in-flight", "50"];
    let (code, out, err) = run(home.path(), &[&["bench", "jobs", "--spine", "embedded:."][..], &short].concat());
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.starts_with("Jobs on embedded:") && out.contains("lost 0, doubled 0"), "{out}");
    assert!(out.contains("finished") && out.contains("CPU s per 1,000 jobs"), "{out}");
    // What cannot be is said before anything is made.
    for (arguments, code) in [(["--rate", "0"], 2), (["--duration", "0s"], 2), (["--spine", "rabbit://h"], 78)] {
        let fixed = ["bench", "decisions"];
        let spine = if code == 2 { &["--spine", "embedded:."][..] } else { &[] };
        assert_eq!(run(home.path(), &[&fixed[..], spine, &arguments].concat()).0, Some(code), "{arguments:?}");
    }
}

#[test]
fn a_noisy_neighbour_leaves_a_backlog_of_its_own_and_every_job_of_the_others_ends() {
    let home = home(POLICY);
    let fixed = ["bench", "jobs", "--spine", "embedded:.", "--size", "300", "--rules", "3", "--warm-up", "0.5s"];
    let noisy = ["--overload", "5", "--slots", "4", "--work", "20ms", "--duration", "2s"];
    let (code, report) = document(home.path(), &[&fixed[..], &noisy].concat());
    assert_eq!(code, Some(0), "{report}");
    for (name, value) in [
        ("capacity_per_s", 200.0),
        ("offered_per_s", 1_000.0),
        ("quiet_per_s", 50.0),
        ("tenants", 4.0),
        ("work_ms", 20.0),
    ] {
        assert_eq!(report[name].as_f64(), Some(value), "{name} in {report}");
    }
    assert_eq!((&report["lost"], &report["doubled"]), (&json!(0), &json!(0)), "{report}");
    for part in ["alone", "beside"] {
        side(&report[part], &["decided_ms", "finished_ms"]);
        latency(&report[part]["started_ms"]);
        // The shortest job takes half the mean.
        assert!(report[part]["finished_ms"]["max"].as_f64() > Some(10.0), "{report}");
    }
    assert!(report["ratio_p50"].as_f64() > Some(0.0) && report["ratio_p99"].as_f64() > Some(0.0), "{report}");
    // 2,500 were offered, and four slots cannot do more than 400 a second.
    assert!(report["waiting"].as_u64() > Some(500), "{report}");
    assert!(report["ended_per_s"].as_f64().is_some_and(|ended| ended > 20.0 && ended < 400.0), "{report}");
    // What it cannot be beside, or without.
    for (further, code) in [(["--rate", "100"], 2), (["--max-leased", "4"], 2), (["--work", "0ms"], 70)] {
        let noisy = ["bench", "jobs", "--spine", "embedded:.", "--overload", "5", "--work", "20ms"];
        let noisy = if further[0] == "--work" { &noisy[..6] } else { &noisy[..] };
        let (told, out, err) = run(home.path(), &[noisy, &further].concat());
        assert_eq!(told, Some(code), "{further:?}: {out}{err}");
    }
}
