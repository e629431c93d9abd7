//! One blow after the other; the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;

use super::bounds::Peaks;
use super::config::SEEN;
use super::fleet::{Fleet, Member, WINDOW};
use super::load::{Load, RATE};
use super::plan::{Blow, ENDED, HANGS, PAUSED, Plan, RESTARTED, Scenario};
use super::watch::Watch;
use crate::broker::Broker;
use crate::home::own_prefix;
use crate::ledger::judge::{Violation, judge};
use crate::ledger::position::{Position, SOURCE};
use crate::ledger::story::story;
use crate::ledger::{Ledger, Totals};
use crate::say;

/// The load is spread over steps of this length.
const STEP: Duration = Duration::from_millis(5);
/// So much unfinished work counts as none: what is on its way at any moment.
const ON_ITS_WAY: u64 = RATE;
/// Longest wait for the last jobs to end.
const DRAIN: Duration = Duration::from_secs(120);
/// Least time between two blows.
const BREATH: Duration = Duration::from_secs(3);
/// Offending jobs whose story is told.
const STORIES: usize = 3;
/// Snapshots of each shard that has facts by which replay is judged, at least.
const SNAPSHOTS: u32 = 2;
/// Longest wait for a long job to begin.
const BEGINS: Duration = Duration::from_secs(60);

struct Run {
    began: Instant,
    plan: Plan,
    scenario: Scenario,
    broker: Broker,
    prefix: String,
    fleet: Fleet,
    watch: Watch,
    load: Load,
    dropped: f64,
    peaks: Peaks,
}

/// Runs it; the last line said is the ledger's verdict.
///
/// # Errors
/// When a promise is broken or the run could not be carried out.
pub fn run(broker: &Broker, plan: Plan) -> anyhow::Result<()> {
    let (began, scenario) = (Instant::now(), plan.scenario);
    let prefix = own_prefix("faults");
    let mut fleet = Fleet::prepare(broker, &prefix, plan.long())?;
    let watch = Watch::begin(broker, &prefix)?;
    fleet.start()?;
    let load = Load::begin(broker.writer()?, &format!("{prefix}{SOURCE}"), plan.long().is_some());
    let mut run = Run {
        began,
        plan,
        scenario,
        broker: broker.clone(),
        prefix,
        fleet,
        watch,
        load,
        dropped: 0.0,
        peaks: Peaks::new(WINDOW, SEEN),
    };
    run.note(&format!("{}: two processes a role are ready; jobs begin", scenario.word()));
    match run.blows() {
        Ok(()) => run.verdict(),
        Err(error) => {
            run.unfinished();
            Err(error)
        }
    }
}

impl Run {
    fn note(&self, what: &str) {
        say(&format!("[{:6.1} s] {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Lets time pass under load.
    fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.load.send_due()?;
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn unfinished_jobs(&mut self) -> anyhow::Result<u64> {
        let done = self.watch.look()?.done();
        Ok(self.load.accepted().saturating_sub(done))
    }

    /// Until everything is as before a blow, at most as long as the plan allows: then the next blow falls all the same.
    fn settle(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.pass(BREATH)?;
        while began.elapsed() < self.scenario.settling() {
            self.pass(STEP * 20)?;
            let calm = self.unfinished_jobs()? <= ON_ITS_WAY;
            if calm && self.fleet.members.iter().all(Member::is_ready) {
                break;
            }
        }
        self.fleet.check()?;
        self.peaks.weigh(&self.fleet.members)?;
        let dropped: f64 = self.fleet.members.iter().map(Member::dropped).sum();
        self.dropped = self.dropped.max(dropped);
        let unfinished = self.unfinished_jobs()?;
        let totals = self.watch.look()?.totals();
        self.note(&format!(
            "        {} jobs accepted, {unfinished} on their way; {} takeovers, {} zombie records",
            self.load.accepted(),
            totals.takeovers,
            totals.zombies
        ));
        Ok(())
    }

    /// To the broker. Jobs that are sent meanwhile land when it is back.
    fn broker_blow(&mut self, blow: Blow) -> anyhow::Result<()> {
        if blow == Blow::Bounce {
            self.note("the broker is taken down");
            self.broker.control("down")?;
            self.broker.control("up")?;
            self.note("        it is up again");
        } else {
            self.long_jobs_run()?;
            self.broker.control("stop")?;
            let before = self.fleet.long_runs()?.open();
            self.note("SIGSTOP for the broker");
            self.pass(HANGS)?;
            let over = self.fleet.long_runs()?.open().intersection(&before).count();
            self.broker.control("cont")?;
            self.note(&format!(
                "        SIGCONT for the broker; {over} long jobs had begun before it hung and not ended"
            ));
            ensure!(self.plan.long().is_none() || over > 0, "no long job outlived the broker's stop");
        }
        self.settle()
    }

    /// Where there are long jobs, waits until one runs.
    fn long_jobs_run(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.plan.long().is_some() && self.fleet.long_runs()?.open().is_empty() {
            ensure!(began.elapsed() < BEGINS, "no long job has begun within {BEGINS:?}");
            self.pass(STEP * 20)?;
        }
        Ok(())
    }

    fn blow(&mut self, blow: Blow, name: &str) -> anyhow::Result<()> {
        if matches!(blow, Blow::Bounce | Blow::Hang) {
            return self.broker_blow(blow);
        }
        let number = self.fleet.members.iter().position(|member| member.name() == name);
        let number = number.with_context(|| format!("there is no process `{name}`"))?;
        let mut member = |act: &dyn Fn(&mut Member) -> anyhow::Result<()>| {
            self.fleet.members.get_mut(number).context("it is gone").and_then(act)
        };
        match blow {
            Blow::Kill => {
                member(&Member::kill)?;
                self.note(&format!("kill -9 {name}"));
                self.pass(RESTARTED)?;
                let member = self.fleet.members.get_mut(number).context("it is gone")?;
                member.start()?;
                self.note(&format!("        {name} started again"));
            }
            Blow::Term => {
                self.note(&format!("SIGTERM {name}"));
                let began = Instant::now();
                let member = self.fleet.members.get_mut(number).context("it is gone")?;
                member.signal(Signal::TERM)?;
                while !self.fleet.members.get_mut(number).context("it is gone")?.has_ended()? {
                    ensure!(began.elapsed() < ENDED, "{name} has not ended {ENDED:?} after SIGTERM");
                    self.pass(STEP * 4)?;
                }
                self.note(&format!("        {name} ended after {:.1} s", began.elapsed().as_secs_f64()));
                self.fleet.members.get_mut(number).context("it is gone")?.start()?;
            }
            Blow::Bounce | Blow::Hang => {}
            Blow::Pause => {
                member(&|member| member.signal(Signal::STOP))?;
                self.note(&format!("SIGSTOP {name}"));
                self.pass(PAUSED)?;
                let member = self.fleet.members.get_mut(number).context("it is gone")?;
                member.signal(Signal::CONT)?;
                self.note(&format!("        SIGCONT {name}"));
            }
        }
        self.settle()
    }

    fn blows(&mut self) -> anyhow::Result<()> {
        self.settle()?;
        ensure!(self.watch.look()?.done() > 0, "no job ended although everything is ready");
        let (blows, begins) = (self.scenario.blows(), Instant::now());
        for (number, (blow, name)) in blows.iter().cycle().enumerate() {
            if number >= blows.len() && begins.elapsed() >= self.plan.lasts {
                break;
            }
            self.blow(*blow, name)?;
        }
        for more in 0..self.scenario.more_pauses() {
            let totals = self.watch.look()?.totals();
            if totals.zombies >= self.scenario.least_zombies() && totals.takeovers >= self.scenario.least_takeovers() {
                break;
            }
            self.blow(Blow::Pause, if more % 2 == 0 { "kernel-1" } else { "kernel-2" })?;
        }
        self.load.finish()?;
        self.note(&format!("no more jobs; {} were accepted", self.load.accepted()));
        let last = Instant::now();
        while self.unfinished_jobs()? > 0 && last.elapsed() < DRAIN {
            self.fleet.check()?;
            std::thread::sleep(STEP);
        }
        let left = self.unfinished_jobs()?;
        self.note(&format!("drained in {:.1} s, {left} left", last.elapsed().as_secs_f64()));
        self.peaks.weigh(&self.fleet.members)?;
        self.note(&self.peaks.told()?);
        let mut counters = Vec::new();
        for member in &self.fleet.members {
            counters.extend(member.violations()?);
        }
        ensure!(!counters.is_empty(), "no process has a counter of broken invariants");
        counters.retain(|(_, count)| *count > 0.5);
        ensure!(counters.is_empty(), "the processes count broken invariants themselves: {counters:?}");
        self.fleet.stop()?;
        self.note("everything stopped in order");
        self.fleet.verify()?;
        self.note("`audit verify`: all decisions verify");
        Ok(())
    }

    fn verdict(self) -> anyhow::Result<()> {
        let began = self.began;
        let expected = self.load.expected()?;
        let ledger = self.watch.close()?;
        let totals = ledger.totals();
        let mut broken = judge(&ledger, &expected);
        broken.extend(audit(&ledger, &self.fleet, &self.load)?);
        let long: BTreeSet<Position> = self.load.long().into_iter().collect();
        broken.extend(self.fleet.long_runs()?.judge(&ledger, &long, self.scenario.runs_once()));
        if self.scenario.runs_once() {
            broken.extend(ran_again(&ledger));
        }
        let replayed = self.fleet.replayed(&self.broker)?;
        say(&summary(&ledger, &totals, self.dropped));
        say(&format!("  replay: snapshots compared by shard {:?}", replayed.shards));
        if !broken.is_empty() {
            say(&format!("[{:6.1} s] {} promises broken", began.elapsed().as_secs_f64(), broken.len()));
            tell(&self.broker, &self.prefix, &broken);
            bail!("verdict: BROKEN, {} violations in {} records", broken.len(), expected.len());
        }
        let replayed = replayed.verdict(SNAPSHOTS)?;
        let scenario = self.scenario;
        ensure!(
            totals.takeovers >= scenario.least_takeovers(),
            "verdict: nothing broken, but only {} takeovers happened, {} are wanted",
            totals.takeovers,
            scenario.least_takeovers()
        );
        ensure!(
            totals.zombies >= scenario.least_zombies(),
            "verdict: nothing broken, but no former owner wrote anything that had to be dropped"
        );
        ensure!(
            totals.expired >= scenario.least_expired(),
            "verdict: nothing broken, but no lease ended without a result"
        );
        ensure!(
            totals.stale_fences >= scenario.least_stale_fences(),
            "verdict: nothing broken, but nobody was refused with `stale_fence`"
        );
        say(&format!(
            "[{:6.1} s] verdict: every job ended exactly once, no denied job ran, no job ran without a decision record, \
             one verdict a record, {replayed} ({} records, {} takeovers, {} zombie records dropped)",
            began.elapsed().as_secs_f64(),
            expected.len(),
            totals.takeovers,
            totals.zombies
        ));
        Ok(())
    }

    /// What the ledger knows of a run that could not go on.
    fn unfinished(&mut self) {
        let Ok(ledger) = self.watch.look() else { return };
        let odd = ledger.odd().to_vec();
        let totals = ledger.totals();
        drop(ledger);
        for odd in odd.iter().take(10) {
            say(&format!("  {odd}"));
        }
        say(&format!("  accepted {}, {totals:?}", self.load.accepted()));
    }
}

/// What the commands wrote against what they should have.
fn audit(ledger: &Ledger, fleet: &Fleet, load: &Load) -> anyhow::Result<Vec<Violation>> {
    let should: BTreeSet<Position> = load.audited().into_iter().collect();
    let text = match std::fs::read_to_string(fleet.audit_log()) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("read what the commands wrote"),
    };
    let mut ran: BTreeMap<Position, usize> = BTreeMap::new();
    for line in text.lines() {
        let position = Position::read(line).with_context(|| format!("a command wrote `{line}`"))?;
        *ran.entry(position).or_default() += 1;
    }
    let mut broken = Vec::new();
    let mut say = |of: Position, what: String| broken.push(Violation { of: Some(of), what });
    for position in should.iter().filter(|position| !ran.contains_key(position)) {
        say(*position, "it succeeded although its command never ran".into());
    }
    for (position, times) in ran {
        let leases = ledger.account(position).map_or(0, |account| account.tokens.len());
        if !should.contains(&position) {
            say(position, "a command ran for it, which nobody asked for".into());
        } else if times > leases {
            say(position, format!("its command ran {times} times under {leases} leases"));
        }
    }
    Ok(broken)
}

/// Jobs that were reported under more than one token: they ran again although nobody who had them died.
fn ran_again(ledger: &Ledger) -> Vec<Violation> {
    let mut broken = Vec::new();
    for (position, account) in ledger.accounts() {
        let tokens: BTreeSet<_> = account.reported.iter().map(|token| format!("{token:?}")).collect();
        if tokens.len() > 1 {
            broken.push(Violation {
                of: Some(*position),
                what: format!("it ran under {} tokens: {tokens:?}", tokens.len()),
            });
        }
    }
    broken
}

fn summary(ledger: &Ledger, totals: &Totals, dropped: f64) -> String {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for (_, account) in ledger.accounts() {
        let end = account.outcome.as_deref().or(account.rejected.as_deref());
        let end = end.or(account.repeats.map(|_| "repeated")).unwrap_or("not ended");
        *ends.entry(end).or_default() += 1;
    }
    let ends: Vec<String> = ends.into_iter().map(|(end, times)| format!("{times} {end}")).collect();
    format!(
        "  {}\n  {} leases, {} of them ended without a result, {} late results refused ({} as `stale_fence`); {} messages said again and believed once; {} behind a gap; \
         {} records read; the processes' own count of dropped messages of former owners: {dropped}",
        ends.join(", "),
        totals.leases,
        totals.expired,
        totals.refused,
        totals.stale_fences,
        totals.repeated,
        totals.gaps,
        totals.records
    )
}

fn tell(broker: &Broker, prefix: &str, broken: &[Violation]) {
    for violation in broken.iter().take(40) {
        let of = violation.of.map_or_else(|| "a topic".to_owned(), |of| of.to_string());
        say(&format!("  {of}: {}", violation.what));
    }
    let mut whose: Vec<Position> = broken.iter().filter_map(|violation| violation.of).collect();
    whose.dedup();
    for position in whose.into_iter().take(STORIES) {
        say(&format!("the story of {position}:"));
        match story(broker, prefix, position) {
            Ok(story) => say(&story),
            Err(error) => say(&format!("  cannot be told: {error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_of_every_role_is_killed_and_paused() {
        let blows = Scenario::Full.blows();
        for role in ["kernel", "scheduler", "worker"] {
            for number in 1..=2 {
                let name = format!("{role}-{number}");
                for blow in [Blow::Kill, Blow::Pause] {
                    assert!(blows.iter().any(|(b, n)| *b == blow && *n == name), "{blow:?} {name}");
                }
            }
        }
    }

    #[test]
    fn names_are_those_of_the_scenarios_and_every_blow_has_somebody_to_fall_on() {
        let names: BTreeSet<&str> = Scenario::ALL.into_iter().map(Scenario::word).collect();
        assert_eq!(names.len(), Scenario::ALL.len());
        for scenario in Scenario::ALL {
            for (blow, name) in scenario.blows() {
                let broker = matches!(blow, Blow::Bounce | Blow::Hang);
                assert_eq!(broker, name == "broker", "{scenario:?} {blow:?} {name}");
            }
        }
    }
}
