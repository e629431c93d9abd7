//! The processes of a run about two workers: one that has every other role, and the two.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::bounds::Peaks;
use super::config::{Config, SEEN, make_topics, pool};
use super::fleet::{Member, Role, WINDOW};
use super::notes::Notes;
use crate::broker::Broker;
use crate::home::Home;
use crate::http::{Http, free_port};
use crate::replay::{self, Replayed};

const POLICY: &str = "\
id: pair
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
";

/// Where commands note when they begin and end.
pub(super) const LOG: &str = "runs.log";

/// A shard with new facts writes its state after so long.
const SNAPSHOTS: Duration = Duration::from_secs(1);

/// What the two workers are.
pub(super) struct Of<'a> {
    /// The lease of their pool.
    pub(super) lease: Duration,
    /// Jobs each of them runs at once.
    pub(super) slots: u32,
    /// What they run, as on the command line. The name of the worker follows it.
    pub(super) runs: &'a [&'a str],
}

pub(super) struct Pair {
    serve: Member,
    /// `worker-1` and `worker-2`.
    workers: Vec<Member>,
    home: Home,
}

impl Pair {
    /// Makes the topics; starts nothing that stays.
    pub(super) fn prepare(broker: &Broker, prefix: &str, of: &Of<'_>) -> anyhow::Result<Self> {
        let (home, port) = (Home::new(POLICY)?, free_port()?);
        let scheduling = format!("lease_ms: {}, max_attempts: 20, window_jobs: {WINDOW}", of.lease.as_millis());
        let pools = vec![pool("work", &["work"], 1, &scheduling)];
        Config { broker, prefix, pools, snapshots: SNAPSHOTS, seen: SEEN }.write(&home, "pair", port)?;
        let roles = ["serve", "--config", "pair.yaml", "--roles", "kernel,limits,scheduler"];
        let http = Http::new(&format!("http://127.0.0.1:{port}"), None);
        let serve = Member::new(Role::Scheduler, home.tidegate("serve", &roles), Some(http));
        let slots = of.slots.to_string();
        let worker = |name: &str| {
            let who = ["worker", "--config", "pair.yaml", "--pool", "work", "--capability", "work", "--id", name];
            let command: &[&str] = if of.runs.contains(&"--") { &[name] } else { &[] };
            let all = [&who[..], &["--concurrency", &slots], of.runs, command].concat();
            Member::new(Role::Worker, home.tidegate(name, &all), None)
        };
        let workers = vec![worker("worker-1"), worker("worker-2")];
        make_topics(&home, "pair.yaml")?;
        Ok(Self { serve, workers, home })
    }

    /// Starts everything and waits until it is ready.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.serve.start()?;
        self.workers.iter_mut().try_for_each(Member::start)?;
        self.serve.wait_ready()
    }

    /// Everything that was started and not killed still runs.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.serve.check()?;
        self.workers.iter_mut().try_for_each(Member::check)
    }

    fn worker(&mut self, name: &str) -> anyhow::Result<&mut Member> {
        let found = self.workers.iter_mut().find(|worker| worker.name() == name);
        found.with_context(|| format!("there is no worker `{name}`"))
    }

    /// SIGKILL to a worker; it stays away.
    pub(super) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.worker(name)?.kill()
    }

    /// SIGSTOP or SIGCONT to a worker; what it started goes on.
    pub(super) fn signal(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        self.worker(name)?.signal(signal)
    }

    /// What the commands noted so far.
    pub(super) fn runs(&self) -> anyhow::Result<Notes> {
        Notes::read(&self.home.path().join(LOG))
    }

    /// A file in the folder of the workers.
    pub(super) fn file(&self, name: &str) -> anyhow::Result<std::fs::File> {
        std::fs::File::create(self.home.path().join(name)).with_context(|| format!("make `{name}`"))
    }

    /// Whether replay rebuilds the state of every shard, once everything has stopped.
    pub(super) fn replayed(&self, broker: &Broker) -> anyhow::Result<Replayed> {
        replay::judge(broker, self.home.path(), "pair.yaml")
    }

    /// Stops everything in order, workers first; no process may have found a promise broken, or have more than it may.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let mut counters = self.serve.violations()?;
        anyhow::ensure!(!counters.is_empty(), "the process has no counter of broken invariants");
        counters.retain(|(_, count)| *count > 0.5);
        anyhow::ensure!(counters.is_empty(), "it counts broken invariants itself: {counters:?}");
        let mut peaks = Peaks::new(WINDOW, SEEN);
        peaks.weigh(self.workers.iter().chain([&self.serve]))?;
        peaks.told()?;
        self.workers.iter_mut().try_for_each(Member::stop)?;
        self.serve.stop()
    }
}
