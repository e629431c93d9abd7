//! A burst of jobs on two workers, one of which is killed (SIGKILL) and stays away: what share of the burst is still running, second by
//! second, and that nothing stays with the dead.
//!
//! Judged by the facts: [`share`]. Every lease of the dead worker has ended, and its job is leased again, a lease and a heartbeat after the
//! kill; then all of the burst succeeds, each job once.

mod share;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use self::share::{After, Share};
use super::backlog::now_ms;
use super::load::PARTITIONS;
use super::pair::{Of, Pair};
use super::watch::Watch;
use crate::broker::{Broker, Write};
use crate::home::own_prefix;
use crate::ledger::Ledger;
use crate::ledger::judge::{Expected, judge};
use crate::ledger::position::{Position, SOURCE};
use crate::process::until;
use crate::say;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(180);

/// A run.
#[derive(Debug, Clone, Copy)]
pub struct Burst {
    /// Jobs; each worker has a slot for half of them.
    pub jobs: u32,
    /// How long each takes, milliseconds.
    pub takes_ms: u32,
    /// The lease. Workers report four times in it.
    pub lease: Duration,
    /// What the machine may add to a lease and a heartbeat.
    pub leeway: Duration,
}

impl Burst {
    /// Of `make faults`: 200 jobs of 3 s, and not a moment more than is promised.
    pub const LONG: Self = Self { jobs: 200, takes_ms: 3_000, lease: Duration::from_secs(6), leeway: Duration::ZERO };
    /// Of the tests, where other tests want the machine too, and a scheduler that was held up for a third of a lease renews all of them.
    /// What would take three leases is over late all the same.
    pub const SHORT: Self =
        Self { jobs: 40, takes_ms: 5_000, lease: Duration::from_secs(12), leeway: Duration::from_secs(17) };
}

/// Runs it; the last line said is the verdict.
///
/// # Errors
/// When a promise is broken or the run could not be carried out.
pub fn run(broker: &Broker, burst: Burst) -> anyhow::Result<()> {
    let (began, prefix) = (Instant::now(), own_prefix("dies"));
    let note = |what: &str| say(&format!("[{:6.1} s] {what}", began.elapsed().as_secs_f64()));
    let builtin = format!("sleep:{}", burst.takes_ms);
    let of = Of { lease: burst.lease, slots: burst.jobs.div_ceil(2), runs: &["--builtin", &builtin] };
    let mut pair = Pair::prepare(broker, &prefix, &of)?;
    let mut watch = Watch::begin(broker, &prefix)?;
    pair.start()?;
    note("two workers are there");
    let expected = send(broker, &prefix, burst.jobs)?;
    let all = u64::from(burst.jobs);
    until(PATIENCE, "the burst is leased", || {
        pair.check()?;
        Ok((watch.look()?.totals().leases >= all).then_some(()))
    })?;
    let busiest = share::busiest(&*watch.look()?);
    let dead = busiest.context("nothing runs although all was leased")?;
    let killed_ms = now_ms();
    pair.kill(&dead)?;
    note(&format!("kill -9 {dead}; nobody starts it again"));
    until(PATIENCE, "the burst has ended", || {
        pair.check()?;
        Ok((watch.look()?.done() >= all).then_some(()))
    })?;
    note("the burst has ended");
    pair.stop()?;
    let ledger = watch.close()?;
    let broken = judge(&ledger, &expected);
    ensure!(
        broken.is_empty(),
        "verdict: BROKEN, {} violations: {:?}",
        broken.len(),
        broken.iter().take(10).collect::<Vec<_>>()
    );
    verdict(&ledger, &dead, killed_ms, burst, &pair.replayed(broker)?.verdict(0)?)
}

fn send(broker: &Broker, prefix: &str, jobs: u32) -> anyhow::Result<HashMap<Position, Expected>> {
    let (writer, topic) = (broker.writer()?, format!("{prefix}{SOURCE}"));
    for number in 0..jobs {
        let value = format!(
            r#"{{"id":"j{number}","tenant":"acme","topic":"job.work.do","capability":"work","payload":{{"number":{number}}}}}"#
        );
        let write = Write { key: None, value: Some(value.into_bytes()), headers: Vec::new() };
        writer.hand_over(u64::from(number), &topic, number % PARTITIONS, &write)?;
    }
    writer.flush(Duration::from_secs(60))?;
    let placed = writer.placed(&vec![(); usize::try_from(jobs)?])?;
    let placed =
        placed.into_iter().map(|((partition, offset), ())| (Position { partition, offset }, Expected::Succeeds));
    let placed: HashMap<_, _> = placed.collect();
    ensure!(placed.len() == usize::try_from(jobs)?, "{jobs} sent, {} landed", placed.len());
    Ok(placed)
}

fn verdict(ledger: &Ledger, dead: &str, killed_ms: i64, burst: Burst, replayed: &str) -> anyhow::Result<()> {
    let at = |second: i64| Share::at(ledger, dead, killed_ms + second * 1_000);
    for second in 0.. {
        let Share { running, of_the_dead } = at(second);
        let percent = |jobs: u32| f64::from(jobs) * 100.0 / f64::from(burst.jobs);
        say(&format!(
            "    {second:2} s after the kill: {:5.1} % of the burst running, {:5.1} % of it at the dead worker",
            percent(running),
            percent(of_the_dead)
        ));
        if running == 0 {
            break;
        }
    }
    let After { interrupted, lost_ms, leased_ms } = After::read(ledger, dead, killed_ms)?;
    ensure!(interrupted > 0, "nothing ran at the worker that was killed");
    let most = burst.lease + burst.lease / 4 + burst.leeway;
    let most_ms = i64::try_from(most.as_millis())?;
    ensure!(
        lost_ms <= most_ms && leased_ms <= most_ms,
        "verdict: BROKEN, the last lease of the dead worker ended {lost_ms} ms after the kill and its job was leased again after {leased_ms} ms; \
         a lease, a heartbeat and what is allowed for are {most_ms} ms"
    );
    say(&format!(
        "verdict: nothing stayed with the dead: {interrupted} of {} jobs were interrupted; the last of their leases ended {lost_ms} ms after the kill \
         and its job was leased again after {leased_ms} ms (lease {} ms, heartbeat {} ms); every job succeeded once; {replayed}",
        burst.jobs,
        burst.lease.as_millis(),
        burst.lease.as_millis() / 4
    ));
    Ok(())
}
