//! `kafka_topic` resources of the Terraform provider `Mongey/kafka`.

use std::fmt::Write;

use super::Row;

pub(super) fn resources(rows: &[Row<'_>]) -> String {
    let mut out = String::from(
        "terraform {\n  required_providers {\n    kafka = {\n      source = \"Mongey/kafka\"\n    }\n  }\n}\n",
    );
    if rows.iter().any(|row| row.replication.is_none()) {
        out.push_str("\nvariable \"replication_factor\" {\n  type    = number\n  default = 3\n}\n");
    }
    for row in rows {
        let label: String = row.topic.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let replication = row.replication.map_or_else(|| "var.replication_factor".to_owned(), |n| n.to_string());
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "\nresource \"kafka_topic\" \"t_{label}\" {{\n  name               = \"{}\"\n  partitions         = {}\n  \
             replication_factor = {replication}\n  config = {{\n",
            row.topic, row.partitions,
        );
        for (name, value) in row.settings() {
            let _ = writeln!(out, "    \"{name}\" = \"{value}\"");
        }
        out.push_str("  }\n}\n");
    }
    out
}
