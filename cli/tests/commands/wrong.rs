//! What was typed wrong, or asked of nobody: the exit code, what is said to do, and nothing made on the way.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::dev::{Dev, ask, home, tidegate, until};
use crate::{POLICY, document, run};

/// A process that ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs what is to end by itself, and at once: its exit code and standard error. One that goes on fails the test.
fn refused(home: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut process = tidegate(home);
    let mut process = Ends(process.args(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let status = until("it ends by itself", || process.0.try_wait().unwrap());
    let mut said = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), said)
}

/// With a configuration of its own, by which a worker believes somebody.
fn configured(home: &tempfile::TempDir) {
    assert_eq!(run(home.path(), &["keys", "create", "--role", "stage", "--id", "k", "--file", "k.key"]).0, Some(0));
    let yaml = "spine: { url: \"embedded:spine\" }\npools: [{ name: p, capabilities: [pay] }]\n\
                keys: { signing: { id: k, file: k.key } }\n";
    std::fs::write(home.path().join("tidegate.yaml"), yaml).unwrap();
}

#[test]
fn a_wrong_command_line_is_a_document_too_where_that_is_asked_for() {
    let home = home(POLICY);
    for words in [&["jobs", "get"][..], &["nonsense"], &["top", "--interval", "5"], &["dev", "--listen", "localhost"]] {
        let (code, said) = document(home.path(), words);
        assert_eq!((code, &said["exit"]), (Some(2), &json!(2)), "{said}");
        assert!(!said["error"].as_str().unwrap().starts_with("error"), "{said}");
        let (code, out, err) = run(home.path(), words);
        assert!(code == Some(2) && out.is_empty() && err.starts_with("error: "), "{out}{err}");
    }
    // Behind `--` stand the words of somebody else.
    let (code, out, _) = run(home.path(), &["worker", "--nonsense", "--", "run", "--output", "json"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    let (code, out, _) = run(home.path(), &["--version", "--output", "json"]);
    assert!(code == Some(0) && out.starts_with("tidegate "), "{out}");
}

#[test]
fn a_doctor_without_anybody_to_look_at_says_so_and_makes_nothing() {
    let home = home(POLICY);
    let (code, said) = document(home.path(), &["doctor"]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said["error"].as_str().unwrap().contains("no `tidegate dev` runs in `data`"), "{said}");
    assert!(!home.path().join(".tidegate").exists() && !home.path().join("data").exists());
}

#[test]
fn a_key_is_never_written_over_and_what_to_do_is_said() {
    let home = home(POLICY);
    for role in ["operator", "worker"] {
        let create = ["keys", "create", "--role", role, "--id", "k", "--file", role];
        assert_eq!(run(home.path(), &create).0, Some(0));
        let before = std::fs::read(home.path().join(role)).unwrap();
        let (code, _, err) = run(home.path(), &create);
        assert!(code == Some(78) && err.contains("name another file"), "{err}");
        assert_eq!(std::fs::read(home.path().join(role)).unwrap(), before);
    }
}

#[test]
fn what_is_not_there_ends_with_1_and_names_what_can_be_done() {
    let dev = Dev::start(home(POLICY), &[], &[]);
    let here = dev.home.path();
    let (code, said) = document(here, &["limits", "show", "none"]);
    assert!(code == Some(1) && said["error"].as_str().unwrap().contains("tidegate limits list"), "{said}");
    let (code, said) = document(here, &["pools", "show", "none"]);
    assert!(code == Some(1) && said["error"].as_str().unwrap().contains("tidegate pools list"), "{said}");
    let (code, said) = document(here, &["jobs", "get", "none"]);
    assert!(code == Some(1) && said["error"].as_str().unwrap().contains("--wait"), "{said}");
    // An option that this command does not have.
    let (code, said) = document(here, &["jobs", "cancel", "none"]);
    assert!(code == Some(1) && !said["error"].as_str().unwrap().contains("--wait"), "{said}");
}

#[test]
fn a_dev_without_policy_does_not_begin_and_one_with_a_bad_policy_says_what_it_waits_for() {
    let home = home("id: [");
    let (code, err) = refused(home.path(), &["dev", "--listen", "127.0.0.1:0", "--policy", "polcy"]);
    assert!(code == Some(78) && err.contains("no folder `polcy`"), "{err}");
    let mut dev = tidegate(home.path());
    dev.args(["dev", "--listen", "127.0.0.1:0", "--policy", "policy"]);
    let log = home.path().join("dev.log");
    let _dev = Ends(dev.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    let said = until("it says what it waits for", || {
        let said = std::fs::read_to_string(&log).unwrap();
        // A line may be half written.
        said.split_inclusive('\n')
            .find(|line| line.starts_with("not ready yet") && line.ends_with('\n'))
            .map(str::to_owned)
    });
    assert!(said.contains("no policy is loaded"), "{said}");
}

#[test]
fn a_worker_whose_command_is_not_there_takes_no_jobs() {
    let home = home(POLICY);
    std::fs::write(home.path().join("plain"), "#!/bin/sh\n").unwrap();
    for (spec, why) in [("pay=./nowhere.sh", "there is no such file"), ("pay=loop:./plain --fast", "`chmod +x`")] {
        let (code, err) = refused(home.path(), &["dev", "--listen", "127.0.0.1:0", "--worker", spec]);
        assert!(code == Some(78) && err.contains("capability `pay`") && err.contains(why), "{err}");
    }
    configured(&home);
    let words = ["worker", "--capability", "pay", "--", "no-such-program-anywhere"];
    let (code, err) = refused(home.path(), &words);
    assert!(code == Some(78) && err.contains("no folder of `PATH`"), "{err}");
    let (code, err) = refused(home.path(), &["worker", "--mcp-stdio", "--", "./nowhere.py"]);
    assert!(code == Some(78) && err.contains("MCP server `./nowhere.py`"), "{err}");
}

#[test]
fn a_worker_serves_its_metrics_where_it_is_told_to_and_warns_of_a_capability_that_its_pool_does_not_take() {
    let home = home(POLICY);
    configured(&home);
    assert_eq!(run(home.path(), &["topics", "apply"]).0, Some(0));
    let mut worker = tidegate(home.path());
    worker.args(["worker", "--pool", "p", "--capability", "pya", "--builtin", "echo", "--listen", "127.0.0.1:0"]);
    let log = home.path().join("worker.log");
    let _worker = Ends(worker.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    let line = |message: &str| {
        let said = std::fs::read_to_string(&log).unwrap();
        let documents = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        documents.into_iter().find(|line| line["message"].as_str().is_some_and(|text| text.contains(message)))
    };
    let served = until("it says where", || line("metrics and health are served"));
    let url = format!("http://{}", served["address"].as_str().unwrap());
    until("it is ready", || (ask(&url, "GET", "/readyz", "", None)?.0 == 200).then_some(()));
    until("it counts", || {
        let (status, text) = ask(&url, "GET", "/metrics", "", None)?;
        let counted = |line: &&str| line.starts_with("tidegate_worker_incarnations_total") && line.ends_with(" 1");
        (status == 200 && text.as_str()?.lines().any(|line| counted(&line))).then_some(())
    });
    let warned = line("does not take this capability").unwrap();
    assert_eq!((&warned["level"], &warned["capability"]), (&json!("WARN"), &json!("pya")));
}
