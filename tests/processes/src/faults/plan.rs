//! What is done to whom, in turn.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::config::SESSION;
use super::fleet::Long;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL, and a start 1 s later.
    Kill,
    /// SIGSTOP for longer than the session lasts, then SIGCONT: it wakes as a former owner.
    Pause,
    /// SIGTERM, and a start when it has ended, in order and within [`ENDED`].
    Term,
    /// The broker is taken down in order and started again.
    Bounce,
    /// SIGSTOP for the broker for twice the lease, then SIGCONT.
    Hang,
}

/// Whom the blows to the broker name.
pub const BROKER: &str = "broker";
/// A paused process sleeps this long.
pub const PAUSED: Duration = SESSION.saturating_add(Duration::from_secs(3));
/// A killed one is started again after this.
pub const RESTARTED: Duration = Duration::from_secs(1);
/// One that is told to stop has ended by then.
pub const ENDED: Duration = Duration::from_secs(25);
/// A broker that hangs does so for this long: twice the lease, which is as long as the session.
pub const HANGS: Duration = SESSION.saturating_mul(2);

/// A run as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Which blows.
    pub scenario: Scenario,
    /// The load lasts so long at least.
    pub lasts: Duration,
    /// Workers of long jobs stop them when they cannot prove their leases: then jobs run twice, and the run must find it.
    pub planted: bool,
}

impl Plan {
    /// As the scenario is, without a planted defect.
    #[must_use]
    pub const fn of(scenario: Scenario) -> Self {
        Self { scenario, lasts: scenario.lasts(), planted: false }
    }

    /// The command line behind the scenario's name: nothing, `--seconds N`, `--planted`.
    ///
    /// # Errors
    /// When it says something else.
    pub fn read(scenario: Scenario, words: &[String]) -> anyhow::Result<Self> {
        let (mut plan, mut words) = (Self::of(scenario), words.iter().map(String::as_str));
        while let Some(word) = words.next() {
            match word {
                "--planted" if scenario == Scenario::BrokerStop => plan.planted = true,
                "--seconds" => {
                    let number = words.next().context("`--seconds` wants a number")?;
                    let seconds = number.parse().with_context(|| format!("`{number}` is no number of seconds"))?;
                    ensure!(seconds > 0, "blows fall for one second at least");
                    plan.lasts = Duration::from_secs(seconds);
                }
                other => bail!(
                    "`{other}` is not understood; `--seconds N` says for how long blows fall, `--planted` (of `{}`) lets workers stop what they cannot prove to be theirs",
                    Scenario::BrokerStop.word()
                ),
            }
        }
        Ok(plan)
    }

    /// The workers of long jobs.
    #[must_use]
    pub fn long(&self) -> Option<Long> {
        let when_unproven = self.planted.then_some("stop");
        self.scenario.long_jobs().map(|takes| Long { takes, when_unproven })
    }
}

/// A run: which blows, and what they must have led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Every process of every role is killed and paused.
    Full,
    /// A kernel and a scheduler killed, a kernel paused.
    Short,
    /// Workers killed, one after the other, again and again.
    WorkerKills,
    /// Workers stopped past their leases, so that they wake with results nobody waits for any more.
    WorkerStops,
    /// The broker restarted in order, again and again.
    BrokerBounce,
    /// The broker stopped for twice the lease: no job of a worker that lives runs twice.
    BrokerStop,
    /// Schedulers killed, one after the other, again and again.
    SchedulerKills,
    /// Every process told to stop and started again, one after the other: it ends in time, and nothing runs twice.
    RollingTerm,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Full,
        Self::Short,
        Self::WorkerKills,
        Self::WorkerStops,
        Self::BrokerBounce,
        Self::BrokerStop,
        Self::SchedulerKills,
        Self::RollingTerm,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Short => "short",
            Self::WorkerKills => "worker-kills",
            Self::WorkerStops => "worker-stops",
            Self::BrokerBounce => "broker-bounce",
            Self::BrokerStop => "broker-stop",
            Self::SchedulerKills => "scheduler-kills",
            Self::RollingTerm => "rolling-term",
        }
    }

    /// The load lasts so long at least: the blows fall again and again until then.
    #[must_use]
    pub const fn lasts(self) -> Duration {
        match self {
            Self::Full | Self::Short => Duration::ZERO,
            Self::WorkerKills
            | Self::WorkerStops
            | Self::BrokerBounce
            | Self::BrokerStop
            | Self::SchedulerKills
            | Self::RollingTerm => Duration::from_secs(120),
        }
    }

    /// The blows of one round in turn, by the name of the process.
    #[must_use]
    pub fn blows(self) -> Vec<(Blow, &'static str)> {
        let on = |blow, names: &[&'static str]| names.iter().map(|name| (blow, *name)).collect();
        match self {
            Self::Full => {
                let all = ["kernel-1", "scheduler-1", "worker-1", "kernel-2", "scheduler-2", "worker-2", "auditor-1"];
                let paused = ["kernel-1", "scheduler-1", "worker-1", "kernel-2", "scheduler-2", "worker-2"];
                let kills = all.into_iter().map(|name| (Blow::Kill, name));
                kills.chain(paused.into_iter().map(|name| (Blow::Pause, name))).collect()
            }
            Self::Short => {
                vec![(Blow::Kill, "kernel-1"), (Blow::Kill, "scheduler-1"), (Blow::Pause, "kernel-2")]
            }
            Self::WorkerKills => on(Blow::Kill, &["worker-1", "auditor-1", "worker-2", "auditor-2"]),
            Self::WorkerStops => on(Blow::Pause, &["long-1", "worker-1", "long-2", "worker-2", "auditor-1"]),
            Self::BrokerBounce => on(Blow::Bounce, &[BROKER]),
            Self::BrokerStop => on(Blow::Hang, &[BROKER]),
            Self::SchedulerKills => on(Blow::Kill, &["scheduler-1", "scheduler-2"]),
            Self::RollingTerm => on(
                Blow::Term,
                &[
                    "worker-1",
                    "scheduler-1",
                    "kernel-1",
                    "auditor-1",
                    "worker-2",
                    "scheduler-2",
                    "kernel-2",
                    "auditor-2",
                ],
            ),
        }
    }

    /// Pauses of a kernel beyond that while takeovers or zombies are wanting: whether a process has anything in its hands
    /// when it is stopped is chance.
    #[must_use]
    pub const fn more_pauses(self) -> u32 {
        match self {
            Self::Full => 4,
            Self::Short
            | Self::WorkerKills
            | Self::WorkerStops
            | Self::BrokerBounce
            | Self::BrokerStop
            | Self::SchedulerKills
            | Self::RollingTerm => 0,
        }
    }

    /// Takeovers that the run must have seen.
    #[must_use]
    pub const fn least_takeovers(self) -> u32 {
        match self {
            Self::Full | Self::SchedulerKills => 10,
            Self::Short => 3,
            Self::RollingTerm => 4,
            Self::WorkerKills | Self::WorkerStops | Self::BrokerBounce | Self::BrokerStop => 0,
        }
    }

    /// Dropped records of former owners that it must have seen.
    #[must_use]
    pub const fn least_zombies(self) -> u64 {
        match self {
            Self::Full => 1,
            Self::Short
            | Self::WorkerKills
            | Self::WorkerStops
            | Self::BrokerBounce
            | Self::BrokerStop
            | Self::SchedulerKills
            | Self::RollingTerm => 0,
        }
    }

    /// Leases without a result that it must have seen: whoever holds one when it falls.
    #[must_use]
    pub const fn least_expired(self) -> u64 {
        match self {
            Self::WorkerKills | Self::WorkerStops => 1,
            Self::Full
            | Self::Short
            | Self::BrokerBounce
            | Self::BrokerStop
            | Self::SchedulerKills
            | Self::RollingTerm => 0,
        }
    }

    /// Results that it must have seen refused because the job was another's by then.
    #[must_use]
    pub const fn least_stale_fences(self) -> u64 {
        match self {
            Self::WorkerStops => 1,
            Self::Full
            | Self::Short
            | Self::WorkerKills
            | Self::BrokerBounce
            | Self::BrokerStop
            | Self::SchedulerKills
            | Self::RollingTerm => 0,
        }
    }

    /// How long the long jobs take, where there are some: so that some of them outlive a blow, or end during it while the one who has
    /// them next still runs them when it is over.
    #[must_use]
    pub const fn long_jobs(self) -> Option<Duration> {
        match self {
            Self::BrokerStop => Some(Duration::from_secs(20)),
            Self::WorkerStops => Some(Duration::from_secs(5)),
            Self::Full
            | Self::Short
            | Self::WorkerKills
            | Self::BrokerBounce
            | Self::SchedulerKills
            | Self::RollingTerm => None,
        }
    }

    /// Whether every worker lives or ends in order, so that no job may have run twice.
    #[must_use]
    pub const fn runs_once(self) -> bool {
        match self {
            Self::BrokerStop | Self::RollingTerm => true,
            Self::Full
            | Self::Short
            | Self::WorkerKills
            | Self::WorkerStops
            | Self::BrokerBounce
            | Self::SchedulerKills => false,
        }
    }

    /// Longest wait after a blow for things to be as before.
    #[must_use]
    pub const fn settling(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(12),
            Self::BrokerBounce | Self::BrokerStop => Duration::from_secs(40),
            Self::Full | Self::WorkerKills | Self::WorkerStops | Self::SchedulerKills | Self::RollingTerm => {
                Duration::from_secs(20)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_how_long_and_whether_a_defect_is_planted_where_one_can_be() {
        let read = |scenario, words: &[&str]| {
            Plan::read(scenario, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(read(Scenario::Full, &[]).unwrap(), Plan::of(Scenario::Full));
        let planted = read(Scenario::BrokerStop, &["--planted", "--seconds", "7"]).unwrap();
        assert_eq!((planted.planted, planted.lasts.as_secs()), (true, 7));
        assert_eq!(planted.long().unwrap().when_unproven, Some("stop"));
        for wrong in [&["--seconds"][..], &["--seconds", "x"], &["--seconds", "0"], &["--much"]] {
            assert!(read(Scenario::BrokerStop, wrong).is_err(), "{wrong:?}");
        }
        assert!(read(Scenario::Full, &["--planted"]).is_err());
    }
}
