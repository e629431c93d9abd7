//! kill -9 of a scheduler that owns a pool with a great backlog, on a real Kafka: how long until the next dispatch, and nothing
//! lost or doubled.
//!
//! | module | what it is |
//! |---|---|
//! | [`ground`] | the processes: a kernel, two schedulers, a worker whose jobs do not end, a worker whose jobs end at once |
//! | [`jobs`] | what they are given |
//! | [`next`] | what the log says of the time after the kill |
//!
//! The kernel judges every job first. When all of them wait and the jobs that do not end run, the other worker begins, and at its
//! first results a scheduler that owns a shard gets SIGKILL. What remains is worked off by the scheduler that is left; the jobs that
//! ran then are let go when it has dispatched, and must have run once, under one token. The ledger judges the rest.

mod ground;
mod jobs;
mod next;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};

use self::ground::Ground;
use self::jobs::{Jobs, Kind};
use super::bounds::Peaks;
use super::config::{SEEN, SESSION};
use super::load::PARTITIONS;
use super::watch::Watch;
use crate::broker::Broker;
use crate::home::own_prefix;
use crate::ledger::Ledger;
use crate::ledger::judge::judge;
use crate::process::until;
use crate::say;

/// How long nothing may move before the run counts as stuck.
const STUCK: Duration = Duration::from_secs(120);
/// How often the run says how far it is.
const SAID: Duration = Duration::from_secs(20);
/// Jobs that are sent after the kill: for tenants of every shard, so that each has something to dispatch.
const AFTER: u64 = 200;

/// A run.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    /// Jobs that wait when the scheduler is killed, about.
    pub waiting: u64,
    /// Jobs that run then, and until after the takeover.
    pub running: u32,
    /// Shards of the pool.
    pub shards: u32,
    /// What the other jobs run as.
    pub builtin: &'static str,
    /// How many of them run at once.
    pub concurrency: u32,
    /// Most jobs that wait in memory, a shard.
    pub window: u32,
    /// Most job ids that count as seen, a kernel's shard.
    pub seen: u32,
}

impl Backlog {
    /// A shard with new facts writes its state after so long. A million jobs take a while, and their window is large.
    const fn snapshots(self) -> Duration {
        // While kernels still judge: afterwards they write nothing.
        if self.waiting < 100_000 { Duration::from_secs(2) } else { Duration::from_secs(5) }
    }

    /// One shard, 1,000 running jobs, and a worker that does its best.
    #[must_use]
    pub const fn of(waiting: u64) -> Self {
        Self { waiting, running: 1_000, shards: 1, builtin: "noop", concurrency: 256, window: 10_000, seen: SEEN }
    }

    /// Whether so many jobs are more than some shard may have in memory, and more than any kernel may know.
    const fn is_bounded(self) -> bool {
        let (window, seen) = (self.window as u64 * self.shards as u64, self.seen as u64 * PARTITIONS as u64);
        self.waiting > window && self.waiting > seen
    }
}

struct Run {
    began: Instant,
    plan: Backlog,
    ground: Ground,
    watch: Watch,
    jobs: Jobs,
    peaks: Peaks,
}

/// Runs it; the last line said is the verdict.
///
/// # Errors
/// When a promise is broken or the run could not be carried out.
pub fn run(broker: &Broker, plan: Backlog) -> anyhow::Result<()> {
    let (began, prefix) = (Instant::now(), own_prefix("backlog"));
    let mut ground = Ground::prepare(broker, &prefix, plan)?;
    let watch = Watch::begin(broker, &prefix)?;
    ground.start()?;
    let jobs = Jobs::new(broker.writer()?, &prefix);
    let mut run = Run { began, plan, ground, watch, jobs, peaks: Peaks::new(plan.window, plan.seen) };
    run.note(&format!("a kernel and two schedulers are ready; shards of the pool: {}", plan.shards));
    run.fill()?;
    run.kill(broker, &prefix)?;
    run.work_off()?;
    run.verdict(broker)
}

impl Run {
    fn note(&self, what: &str) {
        say(&format!("[{:6.1} s] {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Until the ledger has counted `all` of something; says so now and then.
    fn count(&mut self, what: &str, all: u64, counted: fn(&Ledger) -> u64) -> anyhow::Result<()> {
        let (mut last, mut moved, mut said) = (0, Instant::now(), Instant::now());
        loop {
            let now = counted(&*self.watch.look()?);
            if now >= all {
                return Ok(());
            }
            if now > last {
                (last, moved) = (now, Instant::now());
            }
            ensure!(moved.elapsed() < STUCK, "{now} of {all} {what}, and nothing moved for {} s", STUCK.as_secs());
            if said.elapsed() >= SAID {
                said = Instant::now();
                self.note(&format!("        {now} of {all} {what}"));
            }
            self.ground.check()?;
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Jobs that run until they are let go, then all that wait.
    fn fill(&mut self) -> anyhow::Result<()> {
        let (running, waiting) = (u64::from(self.plan.running), self.plan.waiting);
        self.jobs.send(Kind::Held, running)?;
        self.ground.start_holder()?;
        let ground = &self.ground;
        until(STUCK, "the jobs that do not end run", || Ok((ground.held()?.len() as u64 >= running).then_some(())))?;
        self.note(&format!("{running} jobs run and do not end"));
        let begin = Instant::now();
        self.jobs.send(Kind::Work, waiting)?;
        self.note(&format!("{waiting} more jobs are in the raw topic"));
        self.count("jobs are approved", running + waiting, Ledger::approved)?;
        let took = begin.elapsed().as_secs_f64();
        self.note(&format!("{waiting} jobs wait; writing, judging and reading them along took {took:.1} s"));
        // Nothing ends yet: what has a bound is as high as it gets.
        let (ground, peaks) = (&mut self.ground, &mut self.peaks);
        until(STUCK, "what waits and what is known come to what they may be", || {
            ground.weigh(peaks)?;
            Ok((!self.plan.is_bounded() || peaks.are_reached()).then_some(()))
        })
        .with_context(|| format!("{peaks:?}"))?;
        Ok(())
    }

    /// The kill, and what follows it.
    fn kill(&mut self, broker: &Broker, prefix: &str) -> anyhow::Result<()> {
        self.ground.start_worker()?;
        self.count("jobs ended", 1, Ledger::done)?;
        let mut tail = next::tail(broker, prefix)?;
        let (leases, ended) = {
            let ledger = self.watch.look()?;
            (ledger.totals().leases, ledger.done())
        };
        let killed_ms = now_ms();
        let name = self.ground.kill_an_owner()?;
        let all = u64::from(self.plan.running) + self.plan.waiting;
        self.note(&format!(
            "kill -9 {name}: {} jobs wait, {} are leased, {ended} have ended, as the ledger had read",
            all.saturating_sub(leases),
            leases.saturating_sub(ended)
        ));
        self.jobs.send(Kind::Work, AFTER)?;
        let found = next::find(&mut tail, killed_ms)?;
        self.note(&format!(
            "next dispatch {} ms after SIGKILL: {} ms until the other process had the shard and claimed it (the group's session timeout is {} ms), \
             {} ms from there to its barrier, {} ms from there to its first lease; first result under one after {} ms",
            found.leased_ms - killed_ms,
            found.claimed_ms - killed_ms,
            SESSION.as_millis(),
            found.owned_ms - found.claimed_ms,
            found.leased_ms - found.owned_ms,
            found.result_ms - killed_ms,
        ));
        Ok(())
    }

    fn work_off(&mut self) -> anyhow::Result<()> {
        self.ground.let_go()?;
        let (begin, before) = (Instant::now(), self.watch.look()?.done());
        self.count("jobs ended", self.jobs.sent(), Ledger::done)?;
        let (took, ended) = (begin.elapsed().as_secs_f64(), self.jobs.sent() - before);
        self.note(&format!("{ended} jobs ended in {took:.1} s"));
        self.ground.weigh(&mut self.peaks)?;
        self.note(&self.peaks.told()?);
        self.ground.stop()?;
        self.note("everything stopped in order");
        Ok(())
    }

    fn verdict(self, broker: &Broker) -> anyhow::Result<()> {
        let (began, plan) = (self.began, self.plan);
        let (expected, held) = (self.jobs.expected(), self.jobs.held());
        let ledger = self.watch.close()?;
        let broken = judge(&ledger, &expected);
        for violation in broken.iter().take(20) {
            say(&format!("  {:?}: {}", violation.of, violation.what));
        }
        ensure!(broken.is_empty(), "verdict: BROKEN, {} violations in {} records", broken.len(), expected.len());
        let mut ran: BTreeMap<_, u32> = BTreeMap::new();
        for position in self.ground.held()? {
            *ran.entry(position).or_default() += 1;
        }
        let once = ran.values().all(|times| *times == 1) && ran.keys().eq(held.iter());
        ensure!(once, "verdict: BROKEN, of {} jobs that ran at the kill not each ran once", held.len());
        let mut again = 0;
        for (position, account) in ledger.accounts() {
            let tokens: BTreeSet<_> = account.reported.iter().collect();
            again += u64::from(tokens.len() > 1);
            let one = account.tokens.iter().collect::<BTreeSet<_>>().len() == 1;
            ensure!(
                one || !held.contains(position),
                "verdict: BROKEN, {position} ran at the kill and was leased again"
            );
        }
        let (totals, replayed) = (ledger.totals(), self.ground.replayed(broker)?.verdict(1)?);
        ensure!(totals.takeovers > 0, "verdict: nothing broken, but nothing was taken over");
        say(&format!(
            "[{:6.1} s] verdict: every job ended exactly once, those {} that ran at the kill ran once and under one lease, {replayed} \
             ({} records, {} shards, {} takeovers, {} leases without a result, {again} jobs reported under two leases, {} zombie records dropped)",
            began.elapsed().as_secs_f64(),
            held.len(),
            expected.len(),
            plan.shards,
            totals.takeovers,
            totals.expired,
            totals.zombies
        ));
        Ok(())
    }
}

/// By the clock that the broker on this machine stamps with.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The command line behind the scenario's name: nothing, or `--waiting N`.
///
/// # Errors
/// When it says something else.
pub fn plan(words: &[String]) -> anyhow::Result<Backlog> {
    match words {
        [] => Ok(Backlog::of(1_000_000)),
        [name, number] if name == "--waiting" => {
            let waiting = number.parse().with_context(|| format!("`{number}` is no number of jobs"))?;
            ensure!(waiting > 0, "a backlog has at least one job");
            Ok(Backlog::of(waiting))
        }
        other => anyhow::bail!("`{}` is not understood; `--waiting N` says how many jobs wait", other.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_how_many_wait() {
        let read = |words: &[&str]| plan(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]).unwrap().waiting, 1_000_000);
        assert_eq!(read(&["--waiting", "7"]).unwrap().waiting, 7);
        for wrong in [&["--waiting"][..], &["--waiting", "x"], &["--waiting", "0"], &["--much", "7"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
