//! `topics export` for people and for programs.

use serde_json::json;

use crate::dev::home;
use crate::{POLICY, document, run};

#[test]
fn exported_topics_are_one_document_on_the_last_line_where_that_is_asked_for() {
    let home = home(POLICY);
    let export = ["topics", "export", "--spine", "embedded:spine"];
    let (code, out, err) = run(home.path(), &export);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("topic ") && out.contains("tidegate.decisions.jobs.raw"), "{out}");
    let (code, all) = document(home.path(), &export);
    assert_eq!((code, &all["format"]), (Some(0), &json!("json")));
    let topics = all["topics"].as_array().unwrap();
    assert_eq!(topics.len(), out.lines().count() - 1);
    let decisions = topics.iter().find(|topic| topic["topic"] == "tidegate.decisions.jobs.raw").unwrap();
    assert_eq!((&decisions["partitions"], &decisions["stages_only"]), (&json!(4), &json!(true)));
    for format in ["kafka-topics", "strimzi", "terraform", "acls"] {
        let form = [&export[..], &["--format", format]].concat();
        let (code, said) = document(home.path(), &form);
        assert_eq!((code, &said["format"]), (Some(0), &json!(format)));
        let text = run(home.path(), &form).1;
        assert_eq!(said["text"].as_str().unwrap().trim_end(), text.trim_end());
        assert!(text.contains("decisions.jobs.raw"), "{text}");
    }
    // As an array, where it is asked for as a format.
    let (_, out, _) = run(home.path(), &[&export[..], &["--format", "json"]].concat());
    let array: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(array, all["topics"]);
}

#[test]
fn topics_are_exported_without_a_broker_unless_an_adopted_one_has_to_be_asked() {
    let home = home(POLICY);
    let write = |sources: &str| {
        let yaml = format!(
            "spine: {{ url: \"kafka://127.0.0.1:1\" }}\nsources: [{{ name: jobs.raw, tenants: any{sources} }}]\n"
        );
        std::fs::write(home.path().join("tidegate.yaml"), yaml).unwrap();
    };
    write("");
    for format in ["text", "json", "kafka-topics", "strimzi", "terraform", "acls"] {
        let (code, out, err) = run(home.path(), &["topics", "export", "--format", format]);
        assert!(code == Some(0) && out.contains("decisions.jobs.raw") && err.is_empty(), "{format}: {err}");
    }
    write(", topic: theirs");
    let (code, said) = document(home.path(), &["topics", "export"]);
    assert_eq!(code, Some(69), "{said}");
    // Nor is the folder of the default configuration made.
    std::fs::remove_file(home.path().join("tidegate.yaml")).unwrap();
    assert_eq!(run(home.path(), &["topics", "export"]).0, Some(0));
    assert!(!home.path().join(".tidegate").exists());
}
