//! `tidegate keys`.

mod worker;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate_keys::{SecretKey, Trusted};
use tidegate_node::StartError;
use tidegate_node::config::Keys;
use tidegate_node::config::trusted_line;
use tidegate_protocol::ids::{KeyId, TenantId};
use tidegate_protocol::signature::Role;
use tidegate_worker::constraints::Enforces;

use super::config_of;
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key: print its secret once (or write it to a file), and what to write into the configuration
    Create(CreateArgs),
    /// List the keys of the configuration, without secrets
    List,
    /// Show one key of the configuration, without its secret; the signing key unless told
    Show {
        /// Its name
        id: Option<String>,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CreateArgs {
    /// What it is to be trusted for: stage, stage:kernel, …, approver, approver:finance, …, submitter, operator; may be
    /// given several times. `worker` alone makes the key of workers that pull jobs over HTTP
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// A tenant it approves or submits for, or whose jobs its workers see; may be given several times; all unless told
    #[arg(long = "tenant", value_name = "TENANT")]
    tenants: Vec<String>,
    /// With `--role worker`: a pool its workers pull from; may be given several times; all unless told
    #[arg(long = "pool", value_name = "POOL")]
    pools: Vec<String>,
    /// With `--role worker`: what its workers may offer; may be given several times; anything unless told
    #[arg(long = "capability", value_name = "CAPABILITY")]
    capabilities: Vec<String>,
    /// With `--role worker`: a label its workers may say they have; may be given several times; any unless told
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = super::worker::label)]
    labels: Vec<(String, String)>,
    /// With `--role worker`: what its workers' surroundings enforce, as for `tidegate worker`
    #[arg(long, value_name = "CONSTRAINT", value_delimiter = ',')]
    enforces: Vec<Enforces>,
    /// Its name in records; role and public key unless told
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// Write the secret to this new file (its owner alone may read it) instead of printing it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, command: KeysCommand) -> Result<Exit, Failure> {
    match command {
        KeysCommand::Create(args) if args.roles == [Role::Worker] => worker::create(global, &args),
        KeysCommand::Create(args) if args.roles.contains(&Role::Worker) => {
            Err(Failure::say(Exit::Usage, "a worker's key signs nothing and has no other role; make two keys"))
        }
        KeysCommand::Create(args) => {
            if !(args.pools.is_empty()
                && args.capabilities.is_empty()
                && args.labels.is_empty()
                && args.enforces.is_empty())
            {
                let detail = "only workers' keys are for pools, capabilities, labels and surroundings; leave these out";
                return Err(Failure::say(Exit::Usage, detail));
            }
            create(global, args.roles, &args.tenants, args.id.as_deref(), args.file.as_deref())
        }
        KeysCommand::List => list(global),
        KeysCommand::Show { id } => show(global, id.as_deref()),
    }
}

fn create(
    global: &Global,
    roles: Vec<Role>,
    tenants: &[String],
    id: Option<&str>,
    file: Option<&Path>,
) -> Result<Exit, Failure> {
    let usage = |error| Failure::new(Exit::Usage, error);
    let all: Vec<TenantId> = tenants.iter().map(TenantId::new).collect::<Result<_, _>>().map_err(usage)?;
    if !all.is_empty()
        && !roles.iter().all(|role| matches!(role, Role::Approver | Role::ApproverAs(_) | Role::Submitter))
    {
        return Err(Failure::say(Exit::Usage, "only approvers and submitters are for tenants; leave `--tenant` out"));
    }
    let random = |error: &dyn std::fmt::Display| Failure::say(Exit::Software, format!("no randomness: {error}"));
    let provisional = KeyId::new("new").map_err(usage)?;
    let made = SecretKey::generate(provisional).map_err(|error| random(&error))?;
    let public = made.public().to_string();
    let usual = || {
        let role = roles.first().map(ToString::to_string).unwrap_or_default().replace(':', "-");
        format!("{role}-{}", public.chars().take(8).collect::<String>())
    };
    let id = KeyId::new(id.map_or_else(usual, str::to_owned)).map_err(usage)?;
    let secret = SecretKey::parse(id.clone(), &made.reveal()).map_err(|error| Failure::new(Exit::Software, error))?;
    if let Some(file) = file {
        tidegate_keys::create(&secret, file).map_err(|error| Failure::new(Exit::Config, error))?;
    }
    let tenants = (!all.is_empty()).then_some(all);
    let trusted = Trusted { id, public: secret.public(), person: None, roles, tenants, until_ms: None };
    let revealed = file.is_none().then(|| secret.reveal());
    match global.output {
        Output::Json => {
            let mut document = described(&trusted);
            if let (Some(fields), Some(secret)) = (document.as_object_mut(), revealed) {
                fields.insert("secret".into(), secret.into());
            }
            output::json(&document);
        }
        Output::Text => {
            match (revealed, file) {
                (Some(secret), _) => {
                    output::text_line(
                        "# The secret, shown this once. Keep it in a file that its owner alone may read:",
                    );
                    output::text_line(&secret);
                }
                (None, Some(file)) => output::text_line(&format!("# The secret is in {}.", file.display())),
                (None, None) => {}
            }
            output::text_line("# For `keys.trusted` in the configuration of every process:");
            output::text_line(&trusted_line(&trusted));
        }
    }
    Ok(Exit::Done)
}

fn described(key: &Trusted) -> Value {
    json!({
        "id": key.id,
        "public": key.public.to_string(),
        "roles": key.roles.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "tenants": key.tenants,
        "until_ms": key.until_ms,
    })
}

fn keys(global: &Global) -> Result<Keys, Failure> {
    config_of(global)?.keys.read().map_err(|error| StartError::Keys(error).into())
}

fn list(global: &Global) -> Result<Exit, Failure> {
    let keys = keys(global)?;
    let signing = keys.signer.as_ref().map(|signer| signer.key().clone());
    match global.output {
        Output::Json => {
            let all: Vec<Value> = keys.trust.iter().map(described).collect();
            output::json(&json!({ "signing": signing, "trusted": all }));
        }
        Output::Text => {
            for key in keys.trust.iter() {
                let signs = if Some(&key.id) == signing.as_ref() { "  # signs here" } else { "" };
                output::text_line(&format!("{}{signs}", trusted_line(key)));
            }
        }
    }
    Ok(Exit::Done)
}

fn show(global: &Global, id: Option<&str>) -> Result<Exit, Failure> {
    let keys = keys(global)?;
    let id = match (id, &keys.signer) {
        (Some(id), _) => id.to_owned(),
        (None, Some(signer)) => signer.key().to_string(),
        (None, None) => return Err(Failure::say(Exit::Unsuccessful, "there is no `keys.signing`; name a key")),
    };
    let Some(key) = keys.trust.iter().find(|key| key.id.as_str() == id) else {
        return Err(Failure::say(Exit::Unsuccessful, format!("the configuration has no key `{id}`")));
    };
    match global.output {
        Output::Json => output::json(&described(key)),
        Output::Text => output::text_line(&trusted_line(key)),
    }
    Ok(Exit::Done)
}
