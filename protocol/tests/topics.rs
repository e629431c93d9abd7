//! The topic table as people and tools see it.

#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect must fail")]
#![expect(clippy::disallowed_methods, reason = "the crate has no IO; its golden files are files")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tidegate_protocol::ids::{PoolName, SourceName};
use tidegate_protocol::topics::{TABLE, Topic};

fn all() -> [Topic; 22] {
    let source = || SourceName::new("SOURCE").unwrap();
    let pool = || PoolName::new("POOL").unwrap();
    [
        Topic::Raw(source()),
        Topic::Decisions(source()),
        Topic::Commands(source()),
        Topic::Outcomes(source()),
        Topic::Grants(source()),
        Topic::Approved(pool()),
        Topic::Withdrawals(pool()),
        Topic::Denied,
        Topic::Held,
        Topic::Work(pool()),
        Topic::Reports(pool()),
        Topic::Leases(pool()),
        Topic::PoolCommands(pool()),
        Topic::PoolGrants(pool()),
        Topic::Overflow(pool()),
        Topic::LimitRequests,
        Topic::LimitFacts,
        Topic::Finished,
        Topic::Dead,
        Topic::Snapshots,
        Topic::Shards,
        Topic::AuditCheckpoints,
    ]
}

#[test]
fn every_topic_is_named_as_its_row_says() {
    for (topic, row) in all().iter().zip(&TABLE) {
        let pattern = row.name.replace("<source>", "SOURCE").replace("<pool>", "POOL");
        assert_eq!(topic.name("tidegate.").unwrap().as_str(), format!("tidegate.{pattern}"));
        assert_eq!(topic.row().name, row.name, "{topic:?} has another row");
    }
    assert!(Topic::Denied.name("a b.").is_err(), "a prefix with a space is no topic name");
}

#[test]
fn the_table_is_as_published() {
    let mut out = String::from(
        "| topic | partition by | kind | stages alone write | written by | read by |\n|---|---|---|---|---|---|\n",
    );
    for row in &TABLE {
        let sealed = if row.sealed { "yes" } else { "no" };
        writeln!(
            out,
            "| `{}` | {} | {:?} | {sealed} | {} | {} |",
            row.name, row.partition_by, row.kind, row.writers, row.readers
        )
        .unwrap();
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/topics.md");
    if std::env::var_os("TIDEGATE_REWRITE").is_some() {
        fs::write(&golden, &out).unwrap();
    }
    assert_eq!(out, fs::read_to_string(golden).unwrap());
}

#[test]
fn the_table_of_the_architecture_is_this_one() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, behind) = page.split_once("| topic | partition by | kind | sealed | written by | read by |\n").unwrap();
    let rows: Vec<&str> = behind.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    let wanted: Vec<String> = TABLE
        .iter()
        .map(|row| {
            let (kind, sealed) = (format!("{:?}", row.kind).to_lowercase(), if row.sealed { "yes" } else { "no" });
            format!("| `{}` | {} | {kind} | {sealed} | {} | {} |", row.name, row.partition_by, row.writers, row.readers)
        })
        .collect();
    assert_eq!(rows, wanted, "ARCHITECTURE.md says otherwise than `protocol::topics::TABLE`");
}
