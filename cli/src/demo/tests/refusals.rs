//! What the demo does not begin with, and what it does not leave unsaid.

use std::time::Instant;

use bytes::Bytes;
use tidegate_protocol::facts::KernelFact;

use super::*;
use crate::demo::board::Board;
use crate::demo::input::{Label, Names, Submission};
use crate::demo::submit::Sent;
use crate::demo::world::World;
use crate::demo::{data_folder, shipped};
use crate::exit::Exit;

async fn refused(args: DemoArgs) -> (Exit, String) {
    match run(&args).await {
        Ok(_) => panic!("it began"),
        Err(failure) => (failure.exit, format!("{:#}", failure.error)),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let args = |input: &[PathBuf], policy: Option<PathBuf>, data: &str| DemoArgs {
        input: input.to_vec(),
        policy,
        data: Some(at(data)),
        rate: 100.0,
        answer: false,
        keep: false,
        listen: None,
    };
    std::fs::write(at("empty.jsonl"), "\n \n").unwrap();
    std::fs::create_dir(at("bad-policy")).unwrap();
    std::fs::write(at("bad-policy/x.yaml"), "id: x\nrevision: 1\nrules: [{ id: r, decision: perhaps }]\n").unwrap();
    for (args, exit, reason) in [
        (args(&[at("none.jsonl")], None, "a"), Exit::Data, "none.jsonl` cannot be read"),
        (args(&[at("empty.jsonl")], None, "b"), Exit::Data, "the input has no lines"),
        (args(&[], Some(at("bad-policy")), "c"), Exit::Config, "perhaps"),
        (args(&[], Some(at("no-policy")), "d"), Exit::Config, "no-policy` cannot be read"),
        (args(&[], None, "."), Exit::Config, "is not empty"),
    ] {
        let (code, said) = refused(args).await;
        assert!(said.contains(reason), "{said}");
        assert_eq!(code, exit, "{said}");
    }
}

#[test]
fn two_demos_have_two_folders() {
    // Many of them in one millisecond.
    let folders: Vec<PathBuf> = (0..50).map(|_| data_folder(None).unwrap()).collect();
    let different: std::collections::BTreeSet<&PathBuf> = folders.iter().collect();
    assert_eq!(different.len(), folders.len());
    for folder in folders {
        std::fs::remove_dir(folder).unwrap();
    }
}

#[test]
fn what_has_no_outcome_is_named_with_how_far_it_came() {
    let (board, now) = (Board::default(), Instant::now());
    let sent = |offset: u64, landed: bool| Sent {
        submission: Submission {
            place: format!("x.jsonl:{offset}"),
            value: Bytes::new(),
            label: Label::default(),
            names: Names::default(),
        },
        at: now,
        landed: if landed { Ok(position(offset)) } else { Err("too large".into()) },
    };
    let allowed = |offset: u64| -> KernelFact {
        let text = format!(
            r#"{{"job_decided":{{"job":{{"id":"j{offset}","tenant":"t","topic":"x","capability":"c","source":"jobs.raw/0@{offset}","input_hash":"{:064}","submitted_ms":1}},"decision":{{"verdict":"allow","reason":"r","rule_ids":["r"],"snapshot":"s"}},"pool":"p","payload":"none"}}}}"#,
            0
        );
        serde_json::from_str(&text).unwrap()
    };
    board.decided(now, allowed(1));
    board.decided(now, allowed(2));
    board.released(now, &position(2));
    assert_eq!(*board.settled().borrow(), 0);
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path(), shipped::BANK, shipped::OFFICE).unwrap();
    let all = [sent(0, true), sent(1, true), sent(2, true), sent(3, false)];
    let report = Report::of(&all, &board, &world, folder.path().to_owned());
    assert!(!report.is_complete());
    assert_eq!(
        report.missing,
        [
            "x.jsonl:0 at jobs.raw/0@0: not decided",
            "x.jsonl:1 at jobs.raw/0@1: decided, not released",
            "x.jsonl:2 at jobs.raw/0@2: released, not ended",
            "x.jsonl:3 was not taken: too large",
        ]
    );
    assert!(report.to_string().contains("4 without an outcome"), "{report}");
    let end = r#"{"v":1,"job_id":"j2","tenant":"t","source":"jobs.raw/0@2","outcome":"succeeded","at":1}"#;
    board.finished(now, serde_json::from_str(end).unwrap());
    board.finished(now, serde_json::from_str(end).unwrap());
    assert_eq!(*board.settled().borrow(), 1, "a repeat says nothing new");
    assert_eq!(Report::of(&all, &board, &world, folder.path().to_owned()).finished, 1);
}

fn position(offset: u64) -> tidegate_protocol::job::SourcePosition {
    format!("jobs.raw/0@{offset}").parse().unwrap()
}
