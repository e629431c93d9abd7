//! A shell script of `kafka-topics.sh` commands.

use std::fmt::Write;

use super::Row;

pub(super) fn script(rows: &[Row<'_>]) -> String {
    let mut out = String::from("#!/bin/sh\n# Set BOOTSTRAP, e.g. BOOTSTRAP=localhost:9092\nset -e\n");
    for row in rows {
        let replication = row.replication.map_or_else(String::new, |n| format!(" --replication-factor {n}"));
        let settings: String = row.settings().iter().map(|(name, value)| format!(" --config {name}={value}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "kafka-topics.sh --bootstrap-server \"$BOOTSTRAP\" --create --topic {} --partitions {}{replication}{settings}",
            row.topic, row.partitions,
        );
    }
    out
}
