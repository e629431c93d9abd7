//! A circuit breaker: closed until so many jobs failed within the window, open for a while, then half open: a number of
//! probes pass, and close it when all of them succeed or open it again when one fails.
//!
//! It is no capacity. While it is closed a shard has a holding that lets everything pass; when it trips, every holder is
//! told. A probe whose end is never told counts as nothing: after as long as it was open, probes are let through anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_protocol::limits::LimitDefinition;
use tidegate_protocol::time::Timestamp;

/// A breaker that was open and that nobody asked for so long, and for its window, is forgotten, and so closed.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// Where it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    #[default]
    Closed,
    Open {
        until: Timestamp,
    },
    HalfOpen {
        /// Probes not yet given out.
        left: u32,
        succeeded: u32,
        /// Then probes are given out anew.
        until: Timestamp,
    },
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Breaker {
    pub(crate) phase: Phase,
    /// When jobs failed while it was closed, oldest first, at most as many as open it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Timestamp>,
}

fn open_for(definition: &LimitDefinition) -> Duration {
    Duration::from_millis(definition.open_ms.unwrap_or_default())
}

fn probes(definition: &LimitDefinition) -> u32 {
    definition.probes.unwrap_or(1)
}

impl Breaker {
    /// Failures that count at `at`.
    fn counted(&self, definition: &LimitDefinition, at: Timestamp) -> usize {
        let window = definition.effective().1;
        self.failures.iter().filter(|failed| at.since(**failed) < window).count()
    }

    /// Whether a job's end at `at` opens it.
    pub(crate) fn trips(&self, definition: &LimitDefinition, failed: bool, probe: bool, at: Timestamp) -> bool {
        if !failed {
            return false;
        }
        match self.phase {
            Phase::Closed => {
                let most = definition.limit.0 / tidegate_protocol::limits::Amount::ONE.0;
                u64::try_from(self.counted(definition, at)).unwrap_or(u64::MAX).saturating_add(1) >= most
            }
            Phase::Open { .. } => false,
            Phase::HalfOpen { .. } => probe,
        }
    }

    /// Takes a job's end in.
    pub(crate) fn ended(&mut self, definition: &LimitDefinition, failed: bool, probe: bool, at: Timestamp) {
        if self.trips(definition, failed, probe, at) {
            self.phase = Phase::Open { until: at + open_for(definition) };
            self.failures.clear();
            return;
        }
        match &mut self.phase {
            Phase::Closed if failed => {
                let window = definition.effective().1;
                self.failures.retain(|failed| at.since(*failed) < window);
                self.failures.push(at);
            }
            Phase::HalfOpen { succeeded, .. } if probe => {
                *succeeded += 1;
                if *succeeded >= probes(definition) {
                    self.phase = Phase::Closed;
                }
            }
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. } => {}
        }
    }

    /// Whether it is time to let probes through.
    pub(crate) fn may_be_tried(&self, at: Timestamp) -> bool {
        match self.phase {
            Phase::Closed => false,
            Phase::Open { until } => until <= at,
            Phase::HalfOpen { left, until, .. } => left == 0 && until <= at,
        }
    }

    /// Lets probes through.
    pub(crate) fn half_open(&mut self, definition: &LimitDefinition, at: Timestamp) {
        let until = at + open_for(definition);
        self.phase = Phase::HalfOpen { left: probes(definition), succeeded: 0, until };
    }

    /// A probe was given out.
    pub(crate) fn probed(&mut self) {
        if let Phase::HalfOpen { left, .. } = &mut self.phase {
            *left = left.saturating_sub(1);
        }
    }

    /// From when on it is as if it had never been.
    pub(crate) fn idle_from(&self, definition: &LimitDefinition) -> Timestamp {
        let window = definition.effective().1;
        match self.phase {
            Phase::Closed => self.failures.last().map_or(Timestamp(0), |failed| *failed + window),
            Phase::Open { until } | Phase::HalfOpen { until, .. } => until + window + FORGOTTEN_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_protocol::limits::{Amount, LimitKind};

    #[test]
    fn it_opens_at_the_last_failure_it_allows_and_closes_after_all_probes_succeeded() {
        let failures = Amount::units(3).unwrap();
        let window = Duration::from_micros(100_000);
        let definition = LimitDefinition {
            open_ms: Some(30),
            probes: Some(2),
            ..LimitDefinition::new(LimitKind::Breaker, failures, window)
        };
        let mut breaker = Breaker::default();
        breaker.ended(&definition, true, false, Timestamp(0));
        breaker.ended(&definition, true, false, Timestamp(50_000));
        breaker.ended(&definition, false, false, Timestamp(60_000));
        // The first is out of the window by now.
        breaker.ended(&definition, true, false, Timestamp(100_000));
        assert_eq!(breaker.phase, Phase::Closed);
        breaker.ended(&definition, true, false, Timestamp(110_000));
        assert_eq!(breaker.phase, Phase::Open { until: Timestamp(140_000) });
        breaker.ended(&definition, true, false, Timestamp(120_000));
        assert!(!breaker.may_be_tried(Timestamp(139_999)) && breaker.may_be_tried(Timestamp(140_000)));
        breaker.half_open(&definition, Timestamp(140_000));
        breaker.probed();
        breaker.ended(&definition, true, false, Timestamp(141_000));
        breaker.ended(&definition, false, true, Timestamp(142_000));
        assert!(matches!(breaker.phase, Phase::HalfOpen { left: 1, succeeded: 1, .. }), "{breaker:?}");
        breaker.probed();
        assert!(!breaker.may_be_tried(Timestamp(169_999)) && breaker.may_be_tried(Timestamp(170_000)));
        let mut other = breaker.clone();
        other.ended(&definition, true, true, Timestamp(150_000));
        assert_eq!(other.phase, Phase::Open { until: Timestamp(180_000) });
        breaker.ended(&definition, false, true, Timestamp(150_000));
        assert_eq!((breaker.phase, breaker.idle_from(&definition)), (Phase::Closed, Timestamp(0)));
    }
}
