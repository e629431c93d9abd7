//! The processes of a run.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use super::{CAPABILITY, Limit, Planted, SHARDS, TENANT, runs};
use crate::broker::Broker;
use crate::faults::bounds::Peaks;
use crate::faults::config::{Config, SEEN, SESSION, make_topics, pool};
use crate::faults::fleet::{Member, Role, WINDOW};
use crate::home::Home;
use crate::http::{Http, free_port};
use crate::process::until;
use crate::replay::{self, Replayed};

/// Longest wait for processes to be ready and to have their shards.
const PATIENCE: Duration = Duration::from_secs(120);
/// A shard with new facts writes its state after so long.
const SNAPSHOTS: Duration = Duration::from_secs(5);
/// Slots of each worker: several times what the limits let run.
const SLOTS: &str = "40";

const POLICY: &str = "\
id: shared-limits
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
";

pub(super) struct Ground {
    members: Vec<Member>,
    home: Home,
}

impl Ground {
    /// Makes the topics; starts nothing that stays.
    pub(super) fn prepare(broker: &Broker, prefix: &str, planted: Planted) -> anyhow::Result<Self> {
        let home = Home::new(POLICY)?;
        let pools = vec![pool("work", &["work", CAPABILITY], SHARDS, &scheduling(planted))];
        let config = Config { broker, prefix, pools, snapshots: SNAPSHOTS, seen: SEEN };
        let member = |role: Role, name: &str, arguments: &[&str]| -> anyhow::Result<Member> {
            let port = free_port()?;
            let config = config.write(&home, name, port)?;
            let serves = matches!(role, Role::Kernel | Role::Limits | Role::Scheduler);
            let http = serves.then(|| Http::new(&format!("http://127.0.0.1:{port}"), None));
            let command = if serves { "serve" } else { "worker" };
            let all = [&[command, "--config", &config][..], arguments].concat();
            Ok(Member::new(role, home.tidegate(name, &all), http))
        };
        let serves = |role: Role, name: &str| member(role, name, &["--roles", role.word()]);
        let works = |role: Role, name: &str, runs: &[&str]| {
            let both = ["--capability", "work", "--capability", CAPABILITY];
            let who = ["--pool", "work", "--id", name, "--concurrency", SLOTS];
            member(role, name, &[&who[..], &both, runs].concat())
        };
        let command = runs::command();
        let members = vec![
            serves(Role::Kernel, "kernel")?,
            serves(Role::Limits, "limits")?,
            serves(Role::Scheduler, "scheduler-1")?,
            serves(Role::Scheduler, "scheduler-2")?,
            // Jobs that say when they begin and end, and many that are short.
            works(Role::Auditor, "runner", &["--", "bash", "-c", &command])?,
            works(Role::Worker, "sleeper", &["--builtin", "sleep:20"])?,
        ];
        make_topics(&home, "kernel.yaml")?;
        Ok(Self { members, home })
    }

    /// Where the workers' jobs write.
    pub(super) fn folder(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::start)?;
        self.members.iter_mut().try_for_each(Member::wait_ready)
    }

    /// Waits until all are ready and each scheduler has a shard; `meanwhile` is done again and again.
    pub(super) fn settle(&mut self, mut meanwhile: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        until(PATIENCE, "every process is ready and each scheduler has a shard", || {
            meanwhile()?;
            self.check()?;
            let owns_its_part = |member: &Member| member.role != Role::Scheduler || (member.owns() - 1.0).abs() < 0.5;
            Ok(self.members.iter().all(|member| member.is_ready() && owns_its_part(member)).then_some(()))
        })
    }

    /// One of them.
    pub(super) fn member(&mut self, name: &str) -> anyhow::Result<&mut Member> {
        let found = self.members.iter_mut().find(|member| member.name() == name);
        found.with_context(|| format!("there is no process `{name}`"))
    }

    /// Everything that was started and not killed still runs.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::check)
    }

    /// Whether replay rebuilds the state of every shard, once everything has stopped.
    pub(super) fn replayed(&self, broker: &Broker) -> anyhow::Result<Replayed> {
        replay::judge(broker, self.home.path(), "kernel.yaml")
    }

    /// No process has more than it may; the most that was seen.
    pub(super) fn weigh(&self) -> anyhow::Result<Peaks> {
        let mut peaks = Peaks::new(WINDOW, SEEN);
        peaks.weigh(&self.members)?;
        Ok(peaks)
    }

    /// Stops everything in order: workers first, so that their results are still settled.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().rev().try_for_each(Member::stop)
    }
}

/// The limits of the pool.
fn scheduling(planted: Planted) -> String {
    let most = |limit: Limit| limit.most() + u64::from(planted == Planted::OneMore);
    format!(
        "lease_ms: {session}, max_attempts: 20, window_jobs: {WINDOW}, tenants: {{ {TENANT}: {{ max_leased: {tenant} }} }}, \
         capabilities: {{ {CAPABILITY}: {{ max_leased: {capability} }} }}",
        session = SESSION.as_millis(),
        tenant = most(Limit::Tenant),
        capability = most(Limit::Capability),
    )
}
