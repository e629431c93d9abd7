//! `tidegate policy check`.

use tidegate_policy::{Finding, Snapshot};

use super::args::CheckArgs;
use super::{folder_of, load};
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: CheckArgs) -> Result<Exit, Failure> {
    let folder = folder_of(global, args.folder)?;
    let policy = load(&folder)?;
    let findings = policy.findings();
    match global.output {
        Output::Json => output::json(&document(&policy, &findings)),
        Output::Text => {
            for finding in &findings {
                output::text_line(&finding.to_string());
            }
            let found = match findings.len() {
                0 => "is right".to_owned(),
                1 => "loads, with 1 finding".to_owned(),
                many => format!("loads, with {many} findings"),
            };
            output::text_line(&format!(
                "{} {found}: {} bundles, {} rules, revision {}, snapshot {}",
                folder.display(),
                policy.bundles().len(),
                policy.rules().len(),
                policy.revision(),
                policy.short_name()
            ));
        }
    }
    Ok(if findings.is_empty() || args.warn_only { Exit::Done } else { Exit::Unsuccessful })
}

fn document(policy: &Snapshot, findings: &[Finding]) -> serde_json::Value {
    let bundles: Vec<_> = policy
        .bundles()
        .iter()
        .map(|b| serde_json::json!({ "id": &*b.id, "revision": b.revision, "file": &*b.file, "rules": b.rules }))
        .collect();
    serde_json::json!({
        "snapshot": policy.name(), "revision": policy.revision(), "bundles": bundles, "findings": findings,
    })
}
