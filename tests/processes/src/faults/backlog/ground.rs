//! The processes of a run.

use std::fs::File;

use anyhow::Context as _;

use super::Backlog;
use crate::broker::Broker;
use crate::faults::bounds::Peaks;
use crate::faults::config::{Config, make_topics, pool};
use crate::faults::fleet::{Member, Role};
use crate::home::Home;
use crate::http::{Http, free_port};
use crate::ledger::position::Position;
use crate::process::until;
use crate::replay::{self, Replayed};

const POLICY: &str = "\
id: backlog
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
";

/// Positions of the jobs that do not end, as their commands wrote them.
const HELD_LOG: &str = "held.log";
/// Locked as long as they are not to end.
const HELD: &str = "held";

pub(super) struct Ground {
    kernel: Member,
    schedulers: Vec<Member>,
    holder: Member,
    worker: Member,
    home: Home,
    plan: Backlog,
    held: Option<File>,
}

impl Ground {
    /// Makes the topics; starts nothing that stays.
    pub(super) fn prepare(broker: &Broker, prefix: &str, plan: Backlog) -> anyhow::Result<Self> {
        let home = Home::new(POLICY)?;
        let scheduling = format!("window_jobs: {}", plan.window);
        let pools = vec![pool("work", &["work", "hold"], usize::try_from(plan.shards)?, &scheduling)];
        let config = Config { broker, prefix, pools, snapshots: plan.snapshots(), seen: plan.seen };
        let member = |role: Role, name: &str, arguments: &[&str]| -> anyhow::Result<Member> {
            let port = free_port()?;
            let config = config.write(&home, name, port)?;
            let serves = matches!(role, Role::Kernel | Role::Scheduler);
            let http = serves.then(|| Http::new(&format!("http://127.0.0.1:{port}"), None));
            let (command, further) = arguments.split_first().context("a command")?;
            let all = [&[*command, "--config", &config][..], further].concat();
            Ok(Member::new(role, home.tidegate(name, &all), http))
        };
        let worker = |role: Role, name: &str, slots: u32, runs: &[&str]| {
            let slots = slots.to_string();
            let who = ["worker", "--pool", "work", "--id", name, "--capability", name, "--concurrency", &slots];
            member(role, name, &[&who[..], runs].concat())
        };
        let kernel = member(Role::Kernel, "kernel", &["serve", "--roles", "kernel,limits"])?;
        let scheduler = |name| member(Role::Scheduler, name, &["serve", "--roles", "scheduler"]);
        let schedulers = vec![scheduler("scheduler-1")?, scheduler("scheduler-2")?];
        // One short append is one line, whoever else writes.
        let command = format!("echo $TIDEGATE_SOURCE >> {HELD_LOG}; exec flock --shared {HELD} true");
        // A worker leaves each shard a slot to ask with, whatever waits elsewhere: enough for all of them in whichever shard.
        let holder = worker(Role::Auditor, "hold", plan.running * plan.shards, &["--", "sh", "-c", &command])?;
        let worker = worker(Role::Worker, "work", plan.concurrency, &["--builtin", plan.builtin])?;
        make_topics(&home, "kernel.yaml")?;
        let held = File::create(home.path().join(HELD)).context("make the file that is locked")?;
        held.lock().context("lock it")?;
        Ok(Self { kernel, schedulers, holder, worker, home, plan, held: Some(held) })
    }

    fn members(&mut self) -> impl Iterator<Item = &mut Member> {
        [&mut self.worker, &mut self.holder].into_iter().chain(&mut self.schedulers).chain([&mut self.kernel])
    }

    /// Starts kernel and schedulers, and waits until each shard has an owner and, where there are several, both own some.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        self.kernel.start()?;
        self.schedulers.iter_mut().try_for_each(Member::start)?;
        self.kernel.wait_ready()?;
        self.schedulers.iter_mut().try_for_each(Member::wait_ready)?;
        let (shards, patience) = (f64::from(self.plan.shards), std::time::Duration::from_secs(90));
        until(patience, "the shards are shared out", || {
            let owned: Vec<f64> = self.schedulers.iter().map(Member::owns).collect();
            let both = shards < 1.5 || owned.iter().all(|owned| *owned > 0.5);
            Ok((both && (owned.iter().sum::<f64>() - shards).abs() < 0.5).then_some(()))
        })
    }

    pub(super) fn start_holder(&mut self) -> anyhow::Result<()> {
        self.holder.start()
    }

    pub(super) fn start_worker(&mut self) -> anyhow::Result<()> {
        self.worker.start()
    }

    /// Everything that was started and not killed still runs.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        self.members().try_for_each(Member::check)
    }

    /// SIGKILL to a scheduler that owns a shard; its name.
    pub(super) fn kill_an_owner(&mut self) -> anyhow::Result<String> {
        let owner = self.schedulers.iter_mut().find(|scheduler| scheduler.owns() > 0.5);
        let owner = owner.context("no scheduler owns a shard")?;
        owner.kill()?;
        Ok(owner.name().to_owned())
    }

    /// The jobs that did not end may end.
    pub(super) fn let_go(&mut self) -> anyhow::Result<()> {
        self.held.take().context("they were let go")?.unlock().context("unlock what they wait for")
    }

    /// The jobs that do not end, as often as each was started.
    pub(super) fn held(&self) -> anyhow::Result<Vec<Position>> {
        let text = match std::fs::read_to_string(self.home.path().join(HELD_LOG)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).context("read what the commands wrote"),
        };
        // Each is written whole.
        let lines = text.lines();
        lines.map(|line| Position::read(line).with_context(|| format!("a command wrote `{line}`"))).collect()
    }

    /// Whether replay rebuilds the state of every shard, once everything has stopped.
    pub(super) fn replayed(&self, broker: &Broker) -> anyhow::Result<Replayed> {
        replay::judge(broker, self.home.path(), "kernel.yaml")
    }

    /// No process has more than it may; the most that was seen.
    pub(super) fn weigh(&mut self, peaks: &mut Peaks) -> anyhow::Result<()> {
        self.members().try_for_each(|member| peaks.weigh([&*member]))
    }

    /// Stops everything in order: workers first, so that their results are still settled.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        self.members().try_for_each(Member::stop)
    }
}
