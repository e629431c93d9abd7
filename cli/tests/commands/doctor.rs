//! `tidegate doctor`: a process that has the spine open looks at itself; else the command looks from where it runs.

use serde_json::{Value, json};

use crate::dev::{Dev, home};
use crate::{POLICY, document, run};

/// Each check with the worst that it found.
fn checks(report: &Value) -> Vec<(String, String)> {
    let mut checks: Vec<(String, String)> = Vec::new();
    for finding in report["findings"].as_array().unwrap() {
        let [check, level] = ["check", "level"].map(|field| finding[field].as_str().unwrap().to_owned());
        match checks.iter_mut().find(|(known, _)| *known == check) {
            // In the order of the alphabet: bad, note, ok.
            Some((_, worst)) if *worst > level => *worst = level,
            Some(_) => {}
            None => checks.push((check, level)),
        }
    }
    checks
}

fn named<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected.map(|(check, level)| (check.to_owned(), level.to_owned())).into()
}

#[test]
fn a_running_dev_looks_at_itself_and_what_is_broken_meanwhile_is_found() {
    let mut dev = Dev::start(home(POLICY), &["--worker", "echo=builtin:echo"], &[]);
    let here = dev.home.path().to_owned();
    let well = ["keys", "policy", "spine", "topics", "rights", "clock", "shards", "lanes"].map(|check| (check, "ok"));
    for arguments in [&["doctor"][..], &["doctor", "--write"], &["doctor", "--url", &dev.url, "--key", &dev.key]] {
        let (code, report) = document(&here, arguments);
        assert_eq!((code, &report["reached"], checks(&report)), (Some(0), &json!(true), named(well)), "{report}");
    }
    let (code, out, err) = run(&here, &["doctor"]);
    assert!(code == Some(0) && out.ends_with("nothing is wrong\n"), "{out}{err}");

    std::fs::write(here.join("policy/test.yaml"), "id: [").unwrap();
    let (code, report) = document(&here, &["doctor"]);
    assert_eq!((code, &checks(&report)[1]), (Some(1), &named([("policy", "bad")])[0]), "{report}");
    std::fs::write(here.join("policy/test.yaml"), POLICY).unwrap();

    // From here the folder is not to be had, and what to do is said.
    let spine = ["doctor", "--spine", "embedded:data/spine"];
    let (code, report) = document(&here, &spine);
    let found = report["findings"].as_array().unwrap().iter().find(|finding| finding["check"] == "spine").unwrap();
    assert_eq!((code, &found["level"]), (Some(69), &json!("bad")), "{report}");
    assert!(found["remedy"].as_str().unwrap().contains("doctor --url"), "{found}");

    dev.hang_up();
    assert!(dev.ended().success());
    let (_, report) = document(&here, &spine);
    assert_eq!(report["reached"], json!(true), "nobody has it open: {report}");
}
