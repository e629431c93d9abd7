//! A worker is stopped (SIGSTOP) past the lease of a job, and wakes with its result: refused as `stale_fence`, one accepted completion.
//!
//! Nothing here depends on how long things take: the worker stands still until another has begun the job again, and that one's run ends
//! only when the first one's result has been refused.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::process::Signal;

use super::notes;
use super::pair::{LOG, Of, Pair};
use super::watch::Watch;
use crate::broker::{Broker, Write};
use crate::home::own_prefix;
use crate::ledger::judge::{Expected, judge};
use crate::ledger::position::{Position, SOURCE};
use crate::process::until;
use crate::say;

const LEASE: Duration = Duration::from_secs(4);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// Locked as long as a later attempt is not to end.
const HELD: &str = "held";

/// Runs it.
///
/// # Errors
/// When a promise is broken or the run could not be carried out.
pub fn run(broker: &Broker) -> anyhow::Result<()> {
    let prefix = own_prefix("wakes");
    let work = format!("if [ $TIDEGATE_ATTEMPT = 1 ]; then sleep 2; else flock --shared {HELD} true; fi");
    let command = notes::noting(LOG, &work);
    let of = Of { lease: LEASE, slots: 1, runs: &["--", "sh", "-c", &command] };
    let mut pair = Pair::prepare(broker, &prefix, &of)?;
    let held = pair.file(HELD)?;
    held.lock().context("lock it")?;
    let mut watch = Watch::begin(broker, &prefix)?;
    pair.start()?;
    let job = br#"{"id":"j","tenant":"acme","topic":"job.work.do","capability":"work","payload":{}}"#;
    let write = Write { key: None, value: Some(job.to_vec()), headers: Vec::new() };
    let offset = broker.writer()?.write(&format!("{prefix}{SOURCE}"), 0, &write)?;
    let at = Position { partition: 0, offset };

    let first = until(PATIENCE, "the job runs", || {
        pair.check()?;
        Ok(pair.runs()?.of(at).first().cloned())
    })?;
    ensure!(first.token.attempt == 1, "its first run was noted as {first:?}");
    pair.signal(&first.by, Signal::STOP)?;
    say(&format!("SIGSTOP {} with {at}", first.by));
    until(PATIENCE, "its command has ended, and another worker has begun the job again", || {
        let runs = pair.runs()?;
        let ended = runs.of(at).iter().any(|run| run.token == first.token && run.ended);
        let other = runs.of(at).iter().any(|run| run.by != first.by);
        Ok((ended && other).then_some(()))
    })?;
    pair.signal(&first.by, Signal::CONT)?;
    say(&format!("SIGCONT {}", first.by));
    // Its heartbeat lists the job as well, and may be answered before: that is not what is asked here.
    let why = until(PATIENCE, "its result is refused", || {
        let ledger = watch.look()?;
        let Some(account) = ledger.account(at) else { return Ok(None) };
        ensure!(account.ended == 0, "the job ended by {:?} before its result was refused", account.ended_by);
        Ok(account.result_refused(first.token).map(str::to_owned))
    })?;
    ensure!(why == "stale_fence", "its result was refused as `{why}`");
    held.unlock().context("unlock it")?;
    until(PATIENCE, "the job ends", || Ok((watch.look()?.done() == 1).then_some(())))?;
    pair.stop()?;

    let ledger = watch.close()?;
    let mut broken = judge(&ledger, &HashMap::from([(at, Expected::Succeeds)]));
    broken.extend(pair.runs()?.judge(&ledger, &BTreeSet::from([at]), false));
    ensure!(broken.is_empty(), "broken: {broken:?}");
    let account = ledger.account(at).context("nothing is known of the job")?;
    ensure!(account.ended_by.is_some_and(|token| token > first.token), "ended by {:?}", account.ended_by);
    say("the result of the worker that woke was refused as `stale_fence`; one completion was accepted");
    Ok(())
}
