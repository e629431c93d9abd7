//! The processes of a run: two of each role, and workers that run a command.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::load::PARTITIONS;
use crate::broker::Broker;
use crate::home::{Home, KEYS};
use crate::http::{Http, free_port};
use crate::process::{Process, Start, until};

/// Silence after which a process's shards go to others.
pub const SESSION: Duration = Duration::from_secs(6);
/// A process that stops in order is gone by then.
const STOP: Duration = Duration::from_secs(60);

/// What is allowed and denied in a run.
const POLICY: &str = "\
id: faults
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>, job.audit.>] }, decision: allow, reason: it may run }
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
}

impl Role {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Limits => "limits",
            Self::Scheduler => "scheduler",
            Self::Worker => "worker",
            Self::Auditor => "auditor",
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
    prefix: String,
}

impl Fleet {
    /// Makes the topics and the processes' configurations; starts nothing that stays.
    ///
    /// # Errors
    /// When `topics apply` fails.
    pub fn prepare(broker: &Broker, prefix: &str) -> anyhow::Result<Self> {
        let home = Home::new(POLICY)?;
        let mut fleet = Self { members: Vec::new(), home, prefix: prefix.to_owned() };
        for role in [Role::Kernel, Role::Scheduler, Role::Worker, Role::Auditor] {
            for number in 1..=2 {
                let name = format!("{}-{number}", role.word());
                let port = free_port()?;
                fleet.home.write(&format!("{name}.yaml"), &fleet.config(broker, &name, port))?;
                let start = fleet.start_of(role, &name);
                let serves = matches!(role, Role::Kernel | Role::Scheduler);
                let http = serves.then(|| Http::new(&format!("http://127.0.0.1:{port}"), None));
                fleet.members.push(Member::new(role, start, http));
            }
        }
        let made = fleet.home.run(&["topics", "apply", "--config", "kernel-1.yaml"])?;
        anyhow::ensure!(made.code == Some(0), "`topics apply` ended with {:?}:\n{}{}", made.code, made.out, made.err);
        Ok(fleet)
    }

    fn config(&self, broker: &Broker, name: &str, port: u16) -> String {
        format!(
            "\
spine: {{ url: \"{url}\" }}
prefix: \"{prefix}\"
sources:
  - {{ name: jobs.raw, tenants: any }}
pools:
  - {{ name: work, capabilities: [work], lanes: 8, scheduling: {{ lease_ms: {lease}, max_attempts: 20 }} }}
  - {{ name: audit, capabilities: [audit], lanes: 8, scheduling: {{ lease_ms: {lease}, max_attempts: 20 }} }}
policy: policy
listen: 127.0.0.1:{port}
data: data-{name}
topics: {{ source_partitions: {PARTITIONS} }}
membership: {{ session_timeout_ms: {session} }}
{KEYS}",
            url = broker.url(),
            prefix = self.prefix,
            session = SESSION.as_millis(),
            // A paused worker sleeps longer, so that it wakes with results nobody waits for any more.
            lease = SESSION.as_millis(),
        )
    }

    fn start_of(&self, role: Role, name: &str) -> Start {
        let config = format!("{name}.yaml");
        let arguments: Vec<&str> = match role {
            Role::Kernel => vec!["serve", "--config", &config, "--roles", "kernel,limits"],
            Role::Limits | Role::Scheduler => vec!["serve", "--config", &config, "--roles", role.word()],
            Role::Worker => vec![
                "worker",
                "--config",
                &config,
                "--pool",
                "work",
                "--capability",
                "work",
                "--concurrency",
                "64",
                "--id",
                name,
                "--builtin",
                "noop",
            ],
            // One short append is one line, whoever else writes.
            Role::Auditor => vec![
                "worker",
                "--config",
                &config,
                "--pool",
                "audit",
                "--capability",
                "audit",
                "--concurrency",
                "4",
                "--id",
                name,
                "--",
                "sh",
                "-c",
                "echo $TIDEGATE_SOURCE >> audit.log",
            ],
        };
        self.home.tidegate(name, &arguments)
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

    /// Messages it dropped as of a former owner.
    #[must_use]
    pub fn dropped(&self) -> f64 {
        let asked = self.http.as_ref().map(|http| http.metric("tidegate_stage_dropped_total", &["below_fence"]));
        asked.and_then(Result::ok).unwrap_or(0.0)
    }

    /// Promises it found broken.
    #[must_use]
    pub fn violations(&self) -> f64 {
        let names =
            ["stage", "kernel", "limits", "scheduler"].map(|of| format!("tidegate_{of}_invariant_violations_total"));
        let asked = self.http.as_ref().map(|http| names.iter().filter_map(|name| http.metric(name, &[]).ok()).sum());
        asked.unwrap_or(0.0)
    }
}
