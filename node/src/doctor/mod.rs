//! What is wrong with an installation, seen from here, and what to do about it.
//!
//! | check | looks at | bad when |
//! |---|---|---|
//! | `keys` | the signing key, who is trusted ([`trust`]) | a key cannot be had, no stage is trusted |
//! | `policy` | the folder and its signature ([`trust`]) | it is refused |
//! | `spine` | whether the broker answers ([`broker`]) | it does not |
//! | `topics` | the plan ([`broker`]) | anything differs that the roles read or write |
//! | `rights` | what the broker says the roles may do with their topics ([`broker`]) | one may not do what it must |
//! | `clock` | this machine's clock and the broker's timestamps ([`broker`]) | more than [`CLOCK`] apart |
//! | `shards` | how far each input is read ([`shards`]) | records are gone unread, or will be soon |
//! | `lanes` | workers heard and lanes of their pool ([`lanes`]) | there are more workers than lanes |
//!
//! It changes nothing, unless it is told that it may write one record ([`Asked::write`]).
//!
//! [`examine`] looks from a process of its own; [`Running`] is a process that looks at itself, asked over HTTP: the only way
//! where one process alone can open the spine.

mod broker;
mod lanes;
mod running;
mod shards;
mod trust;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tidegate_gateway::fleet::Fleet;
use tidegate_gateway::view::View;
use tidegate_spine::Spine;

pub(crate) use running::Running;

use crate::config::{Config, Keys};
use crate::process::{fleet, follow_view, view_of};
use crate::roles::Roles;
use crate::topics::rights::of_roles;
use crate::topics::{Wanted, plan, wanted};

/// An owner whose clock is further from the broker's refuses its shards (DESIGN section 2).
pub const CLOCK: Duration = Duration::from_secs(2);

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// To be known; nothing is broken.
    Note,
    /// To be mended.
    Bad,
}

impl Level {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which check.
    pub check: Cow<'static, str>,
    /// How it is to be taken.
    pub level: Level,
    /// What was found.
    pub what: String,
    /// What to do; empty where nothing is to be done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whose rights and topics are looked at; what differs of other topics is only told.
    pub roles: Roles,
    /// Whether one empty record may be written, to compare clocks exactly and to see that writing works.
    pub write: bool,
    /// How long reading the logs may take.
    pub patience: Duration,
}

/// All that was found, in the order of the checks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
    /// Whether the spine was reached.
    pub reached: bool,
}

impl Report {
    /// The worst.
    #[must_use]
    pub fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    fn add(&mut self, check: &'static str, level: Level, what: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding { check: check.into(), level, what: what.into(), remedy: remedy.into() });
    }

    fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.add(check, Level::Ok, what, "");
    }

    /// Adds that all is well, unless the check has found something.
    fn ok_unless_found(&mut self, check: &'static str, what: impl Into<String>) {
        if !self.findings.iter().any(|finding| finding.check == check) {
            self.ok(check, what);
        }
    }
}

/// Looks at everything from here.
pub async fn examine(config: &Config, asked: &Asked) -> Report {
    let mut report = Report::default();
    let keys = trust::keys(&mut report, config);
    trust::policy(&mut report, config, keys.as_ref());
    match crate::spine::open(&config.spine).await {
        Ok(spine) => {
            report.reached = true;
            report.ok("spine", format!("`{}` answers", spine.url()));
            from_here(&mut report, config, asked, spine, keys.unwrap_or_default()).await;
        }
        Err(error) => {
            let told = with_causes(&error);
            let remedy = if config.spine.url.starts_with("embedded:") {
                "where a process of Tidegate has it open, that one can look: `tidegate doctor --url URL --key KEY`"
            } else {
                "check `spine` in the configuration: address, credentials, certificates; and whether it is up"
            };
            unreached(&mut report, told, remedy);
        }
    }
    report
}

fn unreached(report: &mut Report, told: String, remedy: &str) {
    report.reached = false;
    report.add("spine", Level::Bad, told, remedy);
    for check in ["topics", "rights", "clock", "shards", "lanes"] {
        report.add(check, Level::Note, "not looked at: the spine was not reached", "");
    }
}

async fn from_here(report: &mut Report, config: &Config, asked: &Asked, spine: Arc<dyn Spine>, keys: Keys) {
    let Some(wanted) = with_topics(report, config, asked, &*spine).await else { return };
    let view = view_of(config);
    let following = match follow_view(config, &spine, &keys, &view).await {
        Ok(following) => following,
        Err(error) => return report.add("shards", Level::Bad, with_causes(&error), "correct it, and ask again"),
    };
    match fleet(config, &spine, &view) {
        Ok(fleet) => {
            with_view(report, config, asked, &*spine, &wanted, (&view, &fleet)).await;
            fleet.stop().await;
        }
        Err(error) => report.add("lanes", Level::Bad, with_causes(&error), "correct it, and ask again"),
    }
    following.abort();
    // Aborted: nothing of it holds the spine any more.
    let _ = following.await;
}

/// Looks at topics, rights and clocks; all topics, when they are there.
async fn with_topics(report: &mut Report, config: &Config, asked: &Asked, spine: &dyn Spine) -> Option<Vec<Wanted>> {
    let wanted = match wanted(config, spine).await {
        Ok(wanted) => wanted,
        Err(error) => {
            report.add("topics", Level::Bad, with_causes(&error), "correct it, and ask again");
            return None;
        }
    };
    let missing: BTreeSet<String> = match plan(wanted.clone(), spine).await {
        Ok(plan) => broker::topics(report, &plan, &asked.roles),
        Err(error) => {
            report.add("topics", Level::Bad, with_causes(&error), "the topics cannot be described");
            return None;
        }
    };
    broker::rights(report, config, spine, &wanted, &missing, &asked.roles).await;
    let is_there = |one: &Wanted| !missing.contains(one.spec.name.as_str());
    let unlooked = |report: &mut Report, checks: &[&'static str]| {
        for check in checks {
            report.add(check, Level::Note, "not looked at: topics are missing", "");
        }
    };
    if of_roles(wanted.clone(), &asked.roles).iter().all(is_there) {
        let there: Vec<Wanted> = wanted.iter().filter(|one| is_there(one)).cloned().collect();
        broker::clock(report, config, spine, &there, asked.write).await;
    } else {
        unlooked(report, &["clock"]);
    }
    if missing.is_empty() {
        return Some(wanted);
    }
    unlooked(report, &["shards", "lanes"]);
    None
}

/// Looks at what a view of the logs, once it is read, says of shards and lanes.
async fn with_view(
    report: &mut Report,
    config: &Config,
    asked: &Asked,
    spine: &dyn Spine,
    wanted: &[Wanted],
    (view, fleet): (&Arc<View>, &Arc<Fleet>),
) {
    if tokio::time::timeout(asked.patience, view.caught_up()).await.is_err() {
        let what = format!("not looked at: the logs could not be read within {} s", asked.patience.as_secs());
        report.add("shards", Level::Note, what.clone(), "give it longer with `--within`");
        report.add("lanes", Level::Note, what, "give it longer with `--within`");
        return;
    }
    shards::examine(report, spine, wanted, view).await;
    lanes::examine(report, config, fleet).await;
}

/// An error and what it follows from.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !told.ends_with(&text) {
            told.push_str(": ");
            told.push_str(&text);
        }
        cause = next.source();
    }
    told
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
