//! kill -9 of schedulers, limits stage and workers while the limits of a pool are shared by its shards, on a real Kafka: never
//! more leased than a limit says, and no less than can be used.
//!
//! | module | what it is |
//! |---|---|
//! | [`ground`] | the processes: a kernel, a limits stage, two schedulers with a shard each, two workers with many slots |
//! | [`jobs`] | more jobs of the limited tenant, and of the limited capability, than may run |
//! | [`places`] | the ledger of leases: what counts from when to when |
//! | [`runs`] | what the jobs themselves wrote |
//!
//! Judged: by the facts of both shards never more of a limit leased at once than it says ([`places`] says by which order); the
//! same by the clock of the jobs, of those runs whose results counted; every job ended once (the ledger of every run). *Quiet* is
//! from when after a blow every process is ready, each scheduler has a shard and has granted a lease, until the next blow: in each
//! such time both limits must have been reached, and in the long run half of the time at least [`USED`] of them be in use.

mod ground;
mod jobs;
mod places;
mod runs;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use self::ground::Ground;
use self::jobs::Jobs;
use self::places::{Counts, Places};
use super::fleet::Member;
use super::plan::RESTARTED;
use super::watch::Watch;
use crate::broker::{Broker, Tail};
use crate::home::own_prefix;
use crate::ledger::judge::judge;
use crate::ledger::position::Position;
use crate::say;

/// The tenant that is limited.
const TENANT: &str = "acme";
/// The capability that is.
const CAPABILITY: &str = "rare";
/// Shards of the pool: one for each scheduler.
const SHARDS: usize = 2;
/// Of a limit, in hundredths: for half of the quiet time as much is in use.
const USED: u64 = 75;
/// Looks at facts and load.
const STEP: Duration = Duration::from_millis(10);
/// Longest wait for limits to be in full use after a blow, and for the last jobs to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A limit of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Tenant,
    Capability,
}

impl Limit {
    const ALL: [Self; 2] = [Self::Tenant, Self::Capability];

    /// Leases at once, over all shards.
    const fn most(self) -> u64 {
        match self {
            Self::Tenant => 8,
            Self::Capability => 5,
        }
    }
}

/// A defect that is put in on purpose, to see it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// None.
    Nothing,
    /// The pool is told limits that are one more than those that the ledger knows.
    OneMore,
}

/// A run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedLimits {
    /// Blows fall for so long, and each once at least.
    pub lasts: Duration,
    /// Quiet time between two blows, at least. None: it is not judged how much of the limits is in use, but that all of it was.
    pub quiet: Duration,
    /// See there.
    pub planted: Planted,
}

impl SharedLimits {
    /// The run of `make faults`.
    pub const LONG: Self =
        Self { lasts: Duration::from_secs(120), quiet: Duration::from_secs(6), planted: Planted::Nothing };
    /// Three blows, and no figures.
    pub const SHORT: Self = Self { lasts: Duration::ZERO, quiet: Duration::ZERO, planted: Planted::Nothing };

    const fn blows(self) -> &'static [&'static str] {
        if self.lasts.is_zero() {
            &["scheduler-1", "limits", "runner"]
        } else {
            &["scheduler-1", "limits", "runner", "scheduler-2", "sleeper"]
        }
    }
}

struct Run {
    began: Instant,
    plan: SharedLimits,
    ground: Ground,
    watch: Watch,
    tail: Tail,
    places: Places,
    jobs: Jobs,
    /// From when to when all was quiet, by the broker's clock.
    quiet: Vec<(i64, i64)>,
}

/// Runs it; the last line said is the verdict.
///
/// # Errors
/// When a promise is broken or the run could not be carried out.
pub fn run(broker: &Broker, plan: SharedLimits) -> anyhow::Result<()> {
    let (began, prefix) = (Instant::now(), own_prefix("shared-limits"));
    let ground = Ground::prepare(broker, &prefix, plan.planted)?;
    let watch = Watch::begin(broker, &prefix)?;
    let mut topics = broker.topics(&prefix)?;
    topics.retain(|topic, _| *topic == format!("{prefix}leases.work"));
    ensure!(topics.values().copied().eq([u32::try_from(SHARDS)?]), "the facts of the pool are not there: {topics:?}");
    let (tail, jobs) = (broker.tail(&topics)?, Jobs::new(broker.writer()?, &prefix));
    let mut run = Run { began, plan, ground, watch, tail, places: Places::default(), jobs, quiet: Vec::new() };
    run.ground.start()?;
    run.note("a kernel, a limits stage, two schedulers and two workers are ready; jobs begin");
    run.blows()?;
    run.end()?;
    run.verdict(broker)
}

impl Run {
    fn note(&self, what: &str) {
        say(&format!("[{:6.1} s] {what}", self.began.elapsed().as_secs_f64()));
    }

    fn counts(&self, limit: Limit) -> Counts {
        self.places.counted(|job| self.jobs.kind(job).is_some_and(|kind| kind.is_under(limit)))
    }

    fn step(&mut self) -> anyhow::Result<()> {
        step(&mut self.tail, &mut self.places, &mut self.jobs)
    }

    /// Until things are as they were: quiet begins. Then until all of each limit was in use, and for as long as the plan says.
    fn quiet(&mut self) -> anyhow::Result<()> {
        let begins = Instant::now();
        let Self { ground, tail, places, jobs, .. } = self;
        // Processes are asked now and then; facts and load are looked at always.
        ground.settle(|| (0..10).try_for_each(|_| step(tail, places, jobs)))?;
        let ready = now_ms();
        while self.places.shards_since(ready) < SHARDS {
            self.waits_no_longer(begins, "a lease of each shard")?;
            self.step()?;
        }
        let (from, since) = (now_ms(), Instant::now());
        loop {
            self.step()?;
            let until = self.places.known_until(SHARDS);
            let reached = |limit: Limit| self.counts(limit).most(from, until) >= limit.most();
            if since.elapsed() >= self.plan.quiet && Limit::ALL.into_iter().all(reached) {
                break;
            }
            self.waits_no_longer(since, "all of each limit in use")?;
        }
        self.quiet.push((from, now_ms()));
        let leases = self.places.leases().len();
        self.note(&format!("        all of both limits is in use; {} jobs sent, {leases} leases", self.jobs.sent()));
        Ok(())
    }

    fn waits_no_longer(&mut self, since: Instant, what: &str) -> anyhow::Result<()> {
        if since.elapsed() < PATIENCE {
            return self.ground.check();
        }
        let now = Limit::ALL.map(|limit| (limit, self.counts(limit).most(now_ms() - 5_000, i64::MAX)));
        anyhow::bail!("not within {} s: {what}; most at once in the last 5 s: {now:?}", PATIENCE.as_secs());
    }

    fn blows(&mut self) -> anyhow::Result<()> {
        self.quiet()?;
        let (blows, begins) = (self.plan.blows(), Instant::now());
        for (number, name) in blows.iter().cycle().enumerate() {
            if number >= blows.len() && begins.elapsed() >= self.plan.lasts {
                break;
            }
            self.ground.member(name)?.kill()?;
            self.note(&format!("kill -9 {name}"));
            let killed = Instant::now();
            while killed.elapsed() < RESTARTED {
                self.step()?;
            }
            self.ground.member(name).and_then(Member::start)?;
            self.quiet()?;
        }
        Ok(())
    }

    /// No more jobs; those that there are end, then everything.
    fn end(&mut self) -> anyhow::Result<()> {
        self.jobs.finish()?;
        let last = Instant::now();
        while self.watch.look()?.done() < self.jobs.sent() {
            ensure!(last.elapsed() < PATIENCE, "{} of {} jobs ended", self.watch.look()?.done(), self.jobs.sent());
            self.ground.check()?;
            read(&mut self.tail, &mut self.places)?;
            std::thread::sleep(STEP);
        }
        let peaks = self.ground.weigh()?;
        self.note(&peaks.told()?);
        self.ground.stop()?;
        self.note("every job has ended, everything stopped in order");
        let mut met = Vec::new();
        self.tail.to_the_ends(&mut |record| met.push(record))?;
        met.iter().try_for_each(|record| self.places.meet(record))
    }

    fn verdict(self, broker: &Broker) -> anyhow::Result<()> {
        let used: Vec<(Limit, Counts)> = Limit::ALL.into_iter().map(|limit| (limit, self.counts(limit))).collect();
        let Self { began, plan, ground, watch, places, jobs, quiet, .. } = self;
        let ledger = watch.close()?;
        let mut broken: Vec<String> = judge(&ledger, &jobs.expected())
            .into_iter()
            .map(|violation| format!("{:?}: {}", violation.of, violation.what))
            .collect();
        let runs = runs::read(ground.folder())?;
        let under = |job: Position, limit: Limit| jobs.kind(job).is_some_and(|kind| kind.is_under(limit));
        let settled: BTreeSet<_> =
            places.leases().iter().filter(|lease| lease.settled).map(|lease| (lease.of, lease.token)).collect();
        let granted: BTreeSet<_> = places.leases().iter().map(|lease| (lease.of, lease.token)).collect();
        for (of, token) in runs.keys().filter(|run| !granted.contains(*run)) {
            broken.push(format!("{of} ran under {token:?}, which no valid group granted"));
        }
        for (limit, counts) in &used {
            let most = limit.most();
            let mut ran = Vec::new();
            for ((of, token), (from, until)) in &runs {
                if let Some(until) = until.filter(|_| under(*of, *limit) && settled.contains(&(*of, *token))) {
                    ran.extend([(*from, 1), (until, -1)]);
                }
            }
            let all = counts.most(i64::MIN, i64::MAX);
            let of_one = places.most_of_a_shard(|job| under(job, *limit));
            let ran = Counts::of(ran).most(i64::MIN, i64::MAX);
            let median = counts.median(&quiet);
            say(&format!(
                "  {limit:?}: the limit is {most}; most leased at once {all} by the facts of both shards ({of_one} of one), {ran} running at \
                 once as their jobs say; for half of the quiet time {median} or more"
            ));
            for (seen, by) in
                [(all, "the facts of both shards"), (of_one, "those of one"), (ran, "the jobs themselves")]
            {
                if seen > most {
                    broken.push(format!("{limit:?}: {seen} at once by {by}, {most} may be"));
                }
            }
            if median * 100 < most * USED && !plan.quiet.is_zero() {
                broken
                    .push(format!("{limit:?}: of {most} for half of the quiet time no more than {median} are in use"));
            }
        }
        broken.iter().take(20).for_each(|what| say(&format!("  {what}")));
        ensure!(broken.is_empty(), "verdict: BROKEN, {} violations in {} records", broken.len(), jobs.sent());
        let (totals, replayed) = (ledger.totals(), ground.replayed(broker)?.verdict(1)?);
        ensure!(
            totals.takeovers > 0 && totals.expired > 0,
            "verdict: nothing broken, but nothing was lost: {totals:?}"
        );
        let ended = runs.values().filter(|(_, until)| until.is_some()).count();
        say(&format!(
            "[{:6.1} s] verdict: every job ended exactly once, never more leased at once than a limit says, {replayed} ({} jobs, {} leases, {} of them without a \
             result, {ended} runs that wrote their own times, {} takeovers, {} zombie records dropped, {:.0} s of quiet)",
            began.elapsed().as_secs_f64(),
            jobs.sent(),
            places.leases().len(),
            totals.expired,
            totals.takeovers,
            totals.zombies,
            seconds(&quiet),
        ));
        Ok(())
    }
}

/// Reads what is there, and sends as many jobs as have ended.
fn step(tail: &mut Tail, places: &mut Places, jobs: &mut Jobs) -> anyhow::Result<()> {
    read(tail, places)?;
    jobs.renew(places.take_ended())?;
    std::thread::sleep(STEP);
    Ok(())
}

/// Reads what is there.
fn read(tail: &mut Tail, places: &mut Places) -> anyhow::Result<()> {
    while let Some(met) = tail.next(Duration::ZERO)? {
        places.meet(&met)?;
    }
    Ok(())
}

fn seconds(spans: &[(i64, i64)]) -> f64 {
    let millis: i64 = spans.iter().map(|(from, until)| until - from).sum();
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).as_secs_f64()
}

/// By the clock that the broker on this machine stamps with.
fn now_ms() -> i64 {
    super::backlog::now_ms()
}

/// The command line behind the scenario's name: nothing, `--seconds N`, `--planted`.
///
/// # Errors
/// When it says something else.
pub fn plan(words: &[String]) -> anyhow::Result<SharedLimits> {
    let (mut plan, mut words) = (SharedLimits::LONG, words.iter().map(String::as_str));
    while let Some(word) = words.next() {
        match word {
            "--planted" => plan.planted = Planted::OneMore,
            "--seconds" => {
                let number = words.next().context("`--seconds` wants a number")?;
                let seconds = number.parse().with_context(|| format!("`{number}` is no number of seconds"))?;
                ensure!(seconds > 0, "blows fall for one second at least");
                plan.lasts = Duration::from_secs(seconds);
            }
            other => anyhow::bail!(
                "`{other}` is not understood; `--seconds N` says for how long blows fall, `--planted` gives the pool limits that are one too high"
            ),
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_how_long_and_whether_a_defect_is_planted() {
        let read = |words: &[&str]| plan(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]).unwrap(), SharedLimits::LONG);
        let planted = read(&["--planted", "--seconds", "7"]).unwrap();
        assert_eq!((planted.planted, planted.lasts.as_secs()), (Planted::OneMore, 7));
        for wrong in [&["--seconds"][..], &["--seconds", "x"], &["--seconds", "0"], &["--much"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
