//! What the binary brings along, so that it runs anywhere: the stream, the mapping, the policies, bank and office.

use std::fs;
use std::io;
use std::path::Path;

/// A day of a fleet of agents (`examples/demo/stream.jsonl`).
pub(crate) const STREAM: &str = include_str!("../../../examples/demo/stream.jsonl");
/// How a line of a trace becomes a job.
pub(crate) const MAPPING: &str = include_str!("../../../examples/agentdojo/mapping.yaml");
/// The bank every tenant begins with.
pub(crate) const BANK: &str = include_str!("../../../examples/demo/bank.json");
/// The office every tenant begins with.
pub(crate) const OFFICE: &str = include_str!("../../../examples/demo/office.json");

const POLICIES: [(&str, &str); 2] = [
    ("bank.yaml", include_str!("../../../examples/policies/bank/bank.yaml")),
    ("office.yaml", include_str!("../../../examples/policies/office/office.yaml")),
];

/// Writes the example policies into `folder`, where they may be changed while the demo is kept running.
///
/// # Errors
/// When the folder or a file cannot be written.
pub(crate) fn write_policies(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in POLICIES {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}
