//! Keys and policy: what a process needs before it reads anything.

use crate::config::{Config, Keys};
use crate::policy_folder;
use crate::policy_signature::Demand;

use super::{Level, Report, now_ms, with_causes};

/// A key that ends sooner is worth a word.
const SOON_MS: u64 = 14 * 86_400_000;

pub(super) fn keys(report: &mut Report, config: &Config) -> Option<Keys> {
    let keys = match config.keys.read() {
        Ok(keys) => keys,
        Err(error) => {
            let remedy = "`tidegate keys create` makes one and prints what to write; see `keys` in the configuration";
            report.add("keys", Level::Bad, with_causes(&error), remedy);
            return None;
        }
    };
    if keys.signer().is_err() {
        let remedy = "`keys.signing`, wherever kernels, schedulers or limits run";
        report.add("keys", Level::Note, "there is no signing key: stages cannot run with this configuration", remedy);
    }
    if !keys.knows_stages() {
        let remedy = "`keys.trusted` with role `stage`, wherever workers and gateways run";
        report.add("keys", Level::Bad, "no stage is trusted: nothing that is released would run", remedy);
    }
    for key in &config.keys.trusted {
        let Some(until) = key.until_ms else { continue };
        let now = now_ms();
        if until <= now {
            let what = format!("key `{}` has ended: what it says counts no longer", key.id);
            report.add("keys", Level::Note, what, "take it off `keys.trusted`, once nothing it signed is still needed");
        } else if until - now < SOON_MS {
            let what = format!("key `{}` ends in {} h", key.id, (until - now) / 3_600_000);
            report.add("keys", Level::Note, what, "trust its successor before (`tidegate keys create`)");
        }
    }
    report.ok_unless_found("keys", format!("{} keys are trusted", config.keys.trusted.len()));
    Some(keys)
}

pub(super) fn policy(report: &mut Report, config: &Config, keys: Option<&Keys>) {
    let Some(keys) = keys else {
        return report.add("policy", Level::Note, "not looked at: without keys no signature can be checked", "");
    };
    let demand = Demand { trust: keys.trust(), required: config.require_signed_policy };
    match policy_folder::load_signed(&config.policy, &demand) {
        Ok((snapshot, signed_by)) => {
            let by =
                signed_by.map_or_else(|| "by nobody, which is not asked for".to_owned(), |key| format!("by `{key}`"));
            let what = format!("{} rules of revision {}, signed {by}", snapshot.rules().len(), snapshot.revision());
            report.ok("policy", what);
        }
        Err(error) => {
            let remedy = format!("mend `{}` (`tidegate policy check`); until then jobs wait", config.policy.display());
            report.add("policy", Level::Bad, with_causes(&error), remedy);
        }
    }
}
