//! `tidegate keys create --role worker`: a bearer key, of which the configuration holds the digest.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use serde_json::json;
use tidegate_keys::BearerKey;
use tidegate_node::Config;
use tidegate_node::Written;
use tidegate_node::config::{KeysWritten, PoolWritten, WorkerKeyWritten, worker_key_line};

use super::CreateArgs;
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn create(global: &Global, args: &CreateArgs) -> Result<Exit, Failure> {
    let random = |error| Failure::say(Exit::Software, format!("no randomness: {error}"));
    let key = BearerKey::generate().map_err(random)?;
    let sha256 = key.digest().to_string();
    let some = |all: &[String]| (!all.is_empty()).then(|| all.to_vec());
    let usual = || format!("worker-{}", sha256.chars().take(8).collect::<String>());
    let written = WorkerKeyWritten {
        id: args.id.clone().unwrap_or_else(usual),
        tenants: some(&args.tenants),
        pools: some(&args.pools),
        capabilities: some(&args.capabilities),
        labels: labels(&args.labels),
        enforces: args.enforces.iter().map(|one| one.word().to_owned()).collect(),
        sha256,
        ..WorkerKeyWritten::default()
    };
    check(&written).map_err(|error| Failure::new(Exit::Usage, error))?;
    if let Some(file) = &args.file {
        let failed = |error: std::io::Error| {
            let text = format!(
                "`{}` cannot be written: {error}; a key is never written over: name another file",
                file.display()
            );
            Failure::say(Exit::Config, text)
        };
        let mut made =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
        writeln!(made, "{}", key.reveal()).and_then(|()| made.sync_all()).map_err(failed)?;
    }
    match global.output {
        Output::Json => {
            let mut document = json!({ "id": written.id, "sha256": written.sha256, "roles": ["worker"] });
            let fields = document.as_object_mut().into_iter();
            for fields in fields {
                fields.insert("tenants".into(), json!(written.tenants));
                fields.insert("pools".into(), json!(written.pools));
                fields.insert("capabilities".into(), json!(written.capabilities));
                fields.insert("labels".into(), json!(written.labels));
                if args.file.is_none() {
                    fields.insert("secret".into(), key.reveal().into());
                }
            }
            output::json(&document);
        }
        Output::Text => {
            match &args.file {
                None => {
                    output::text_line("# The key, shown this once; workers send it as `Authorization: Bearer KEY`:");
                    output::text_line(key.reveal());
                }
                Some(file) => output::text_line(&format!("# The key is in {}.", file.display())),
            }
            output::text_line("# For `keys.workers` in the configuration of every gateway:");
            output::text_line(&worker_key_line(&written));
        }
    }
    Ok(Exit::Done)
}

/// By name; none told means any.
fn labels(told: &[(String, String)]) -> Option<BTreeMap<String, Vec<String>>> {
    let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in told {
        labels.entry(name.clone()).or_default().push(value.clone());
    }
    (!labels.is_empty()).then_some(labels)
}

/// Whether a configuration that has these pools would take it.
fn check(written: &WorkerKeyWritten) -> Result<(), tidegate_node::ConfigRefused> {
    let pools = written.pools.iter().flatten();
    let mut pools: Vec<_> = pools.map(|name| PoolWritten { name: name.clone(), ..PoolWritten::default() }).collect();
    pools.dedup_by(|a, b| a.name == b.name);
    if pools.is_empty() {
        pools.push(PoolWritten::default());
    }
    let keys = KeysWritten { workers: vec![written.clone()], ..KeysWritten::default() };
    Config::of(&Written { keys, pools, ..Written::default() }).map(|_| ())
}
