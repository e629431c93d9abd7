//! The processes of a run: two of each role, workers that run a command, and where the plan wants them workers of long jobs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::config::{Config, SEEN, SESSION, make_topics, pool};
use super::notes::{self, Notes};
use crate::broker::Broker;
use crate::home::Home;
use crate::http::{Http, free_port};
use crate::process::{Process, Start, until};
use crate::replay::{self, Replayed};

/// A process that stops in order is gone by then.
const STOP: Duration = Duration::from_secs(60);

/// Most jobs that wait in memory, a shard of a pool: fewer than come while its scheduler is away.
pub(super) const WINDOW: u32 = 4_000;
/// A shard with new facts writes its state after so long.
const SNAPSHOTS: Duration = Duration::from_secs(5);

/// Where long jobs note when they begin and end.
const LONG_LOG: &str = "long.log";

/// What is allowed and denied in a run.
const POLICY: &str = "\
id: faults
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>, job.audit.>, job.long.>] }, decision: allow, reason: it may run }
  - { id: forbidden, match: { topics: [job.forbidden.>] }, decision: deny, reason: it may not run }
";

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `serve --roles kernel`.
    Kernel,
    /// `serve --roles limits`; [`Fleet`] has it beside the kernel.
    Limits,
    /// `serve --roles scheduler`.
    Scheduler,
    /// `worker --builtin noop`.
    Worker,
    /// `worker -- COMMAND`.
    Auditor,
    /// The same; its jobs take long and note when they begin and end ([`super::notes`]).
    Long,
}

/// The workers of long jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Long {
    /// How long each job takes.
    pub takes: Duration,
    /// `--when-unproven` of their workers, where it is not the default.
    pub when_unproven: Option<&'static str>,
}

impl Role {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Limits => "limits",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Auditor => "auditor",
            Self::Long => "long",
        }
    }
}

/// One process of the fleet.
pub struct Member {
    /// Which.
    pub role: Role,
    start: Start,
    http: Option<Http>,
    process: Option<Process>,
}

/// All of them.
pub struct Fleet {
    /// The processes, two of each role in the order of [`Role`].
    pub members: Vec<Member>,
    home: Home,
    long: Option<Long>,
}

impl Fleet {
    /// Makes the topics and the processes' configurations; starts nothing that stays.
    ///
    /// # Errors
    /// When `topics apply` fails.
    pub fn prepare(broker: &Broker, prefix: &str, long: Option<Long>) -> anyhow::Result<Self> {
        let home = Home::new(POLICY)?;
        let mut fleet = Self { members: Vec::new(), home, long };
        // A paused worker sleeps longer than its lease, so that it wakes with results nobody waits for any more.
        let scheduling = format!("lease_ms: {}, max_attempts: 20, window_jobs: {WINDOW}", SESSION.as_millis());
        let pools = ["work", "audit"].into_iter().chain(long.map(|_| "long"));
        let pools = pools.map(|name| pool(name, &[name], 1, &scheduling)).collect();
        let config = Config { broker, prefix, pools, snapshots: SNAPSHOTS, seen: SEEN };
        let roles = [Role::Kernel, Role::Scheduler, Role::Worker, Role::Auditor];
        for role in roles.into_iter().chain(long.map(|_| Role::Long)) {
            for number in 1..=2 {
                let name = format!("{}-{number}", role.word());
                let port = free_port()?;
                config.write(&fleet.home, &name, port)?;
                let start = fleet.start_of(role, &name);
                let serves = matches!(role, Role::Kernel | Role::Scheduler);
                let http = serves.then(|| Http::new(&format!("http://127.0.0.1:{port}"), None));
                fleet.members.push(Member::new(role, start, http));
            }
        }
        make_topics(&fleet.home, "kernel-1.yaml")?;
        Ok(fleet)
    }

    fn start_of(&self, role: Role, name: &str) -> Start {
        let config = format!("{name}.yaml");
        let serves = |roles: &str| ["serve", "--config", &config, "--roles", roles].map(str::to_owned).to_vec();
        let works = |pool: &str, slots: &str, runs: &[&str]| -> Vec<String> {
            let who = ["worker", "--config", &config, "--pool", pool, "--capability", pool, "--concurrency", slots];
            who.iter().chain(&["--id", name]).chain(runs).map(|word| (*word).to_owned()).collect()
        };
        let arguments = match role {
            Role::Kernel => serves("kernel,limits"),
            Role::Limits | Role::Scheduler => serves(role.word()),
            Role::Worker => works("work", "64", &["--builtin", "noop"]),
            // One short append is one line, whoever else writes.
            Role::Auditor => works("audit", "4", &["--", "sh", "-c", "echo $TIDEGATE_SOURCE >> audit.log"]),
            Role::Long => {
                let takes = self.long.map_or(0, |long| long.takes.as_secs());
                let command = notes::noting(LONG_LOG, &format!("sleep {takes}"));
                let option = self.long.and_then(|long| long.when_unproven).map(|what| ["--when-unproven", what]);
                let runs = ["--", "sh", "-c", &command, name];
                let all: Vec<&str> = option.iter().flatten().copied().chain(runs).collect();
                works("long", "32", &all)
            }
        };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.home.tidegate(name, &arguments)
    }

    /// What long jobs noted so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn long_runs(&self) -> anyhow::Result<Notes> {
        Notes::read(&self.home.path().join(LONG_LOG))
    }

    /// Where the commands write the positions they ran.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.home.path().join("audit.log")
    }

    /// Starts everything and waits until the roles are ready.
    ///
    /// # Errors
    /// When one ends, or is not ready in time.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::start)?;
        self.members.iter_mut().try_for_each(Member::wait_ready)
    }

    /// `tidegate audit verify` of everything that was decided.
    ///
    /// # Errors
    /// When it does not verify.
    pub fn verify(&self) -> anyhow::Result<()> {
        let said = self.home.run(&["audit", "verify", "--config", "kernel-1.yaml"])?;
        anyhow::ensure!(said.code == Some(0), "`audit verify` ended with {:?}:\n{}{}", said.code, said.out, said.err);
        Ok(())
    }

    /// Whether replay rebuilds the state of every shard, once everything has stopped.
    ///
    /// # Errors
    /// When it cannot be judged.
    pub fn replayed(&self, broker: &Broker) -> anyhow::Result<Replayed> {
        replay::judge(broker, self.home.path(), "kernel-1.yaml")
    }

    /// Every member still runs.
    ///
    /// # Errors
    /// When one that should run has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().try_for_each(Member::check)
    }

    /// Stops everything in order: workers first, so that their results are still settled.
    ///
    /// # Errors
    /// When one does not stop or ends with an error.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.members.iter_mut().rev().try_for_each(Member::stop)
    }
}

impl Member {
    /// One that is to be started; `http` when it says whether it is ready.
    pub(super) fn new(role: Role, start: Start, http: Option<Http>) -> Self {
        Self { role, start, http, process: None }
    }

    /// Shards that it owns.
    pub(super) fn owns(&self) -> f64 {
        let asked = self.http.as_ref().map(|http| http.metric("tidegate_node_shards_owned", &["scheduler"]));
        asked.and_then(Result::ok).unwrap_or(0.0)
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it does not stop or ends with an error.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let status = process.terminate(STOP)?;
        anyhow::ensure!(status.success(), "{} ended with {status}:\n{}", process.name(), process.last_words());
        Ok(())
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.start.name
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.process = Some(self.start.start()?);
        Ok(())
    }

    /// Waits until it is ready; workers have no readiness of their own.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let Some(http) = self.http.clone() else { return Ok(()) };
        let ready = until(Duration::from_secs(90), "it is ready", || {
            self.check()?;
            Ok(http.is_ready().then_some(()))
        });
        ready.with_context(|| {
            let waits = http.get("/readyz").map(|answer| answer.text).unwrap_or_default();
            format!("{}: {waits}\n{}", self.name(), self.process.as_ref().map(Process::last_words).unwrap_or_default())
        })
    }

    /// Whether `/readyz` says ready (workers always).
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.http.as_ref().is_none_or(Http::is_ready)
    }

    /// Whether it has ended, which must have been in order; then it can be started again.
    ///
    /// # Errors
    /// When it ended with an error.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        let Some(process) = &mut self.process else { return Ok(true) };
        let Some(status) = process.ended()? else { return Ok(false) };
        anyhow::ensure!(status.success(), "{} ended with {status}:\n{}", process.name(), process.last_words());
        self.process = None;
        Ok(true)
    }

    fn running(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().context("it does not run")
    }

    /// It still runs, if it was started.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.ended()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended by itself ({status}):\n{}", process.name(), process.last_words()),
        }
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it did not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.running()?.kill()?;
        self.process = None;
        Ok(())
    }

    /// SIGSTOP or SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.running()?.signal(signal)
    }

    /// The most memory it has had resident since it was started, bytes; 0 when it does not run.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        self.process.as_ref().map_or(Ok(0), Process::peak_memory)
    }

    /// The samples of a gauge; none when it does not answer, or has no such gauge.
    pub(super) fn gauges(&self, name: &str) -> Vec<(String, f64)> {
        let asked = self.http.as_ref().map(|http| http.samples(|named| named == name));
        asked.and_then(Result::ok).unwrap_or_default()
    }

    /// Messages it dropped as of a former owner.
    #[must_use]
    pub fn dropped(&self) -> f64 {
        let asked = self.http.as_ref().map(|http| http.metric("tidegate_stage_dropped_total", &["below_fence"]));
        asked.and_then(Result::ok).unwrap_or(0.0)
    }

    /// The counters of promises that it found broken itself, of whichever stage; none of a worker.
    ///
    /// # Errors
    /// When it does not answer: that is not the same as 0.
    pub fn violations(&self) -> anyhow::Result<Vec<(String, f64)>> {
        let Some(http) = &self.http else { return Ok(Vec::new()) };
        let is = |name: &str| name.starts_with("tidegate_") && name.contains("_invariant_violations");
        http.samples(is).with_context(|| format!("ask {} whether it found promises broken", self.name()))
    }
}
