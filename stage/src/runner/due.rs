//! Ticks: what is due fires only after the control inputs were read up to an end fetched afterwards.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::{Ends, SpineError};

use super::live::Live;
use super::takeover::micros;
use super::watch::Ended;
use crate::spec::InputKind;
use crate::stage::{Input, Signal, Stage};

/// Pause after a tick that changed nothing, and after ends could not be fetched.
const RETRY: Duration = Duration::from_millis(2);
const RETRY_ENDS: Duration = Duration::from_millis(100);
/// Silence that is told to the stage; below it is nothing to tell.
const GAP: Duration = Duration::from_millis(250);

type EndsFuture = BoxFuture<'static, Result<Vec<Ends>, SpineError>>;

/// Where a tick stands.
#[derive(Default)]
pub(crate) enum Step {
    #[default]
    Idle,
    /// Ends of the control inputs are being fetched, since the given time.
    Fetching(Timestamp, EndsFuture),
    /// Control inputs are read up to these ends (number of the input, end).
    Reading(Timestamp, Vec<(usize, u64)>),
}

/// Ticks of a live shard.
#[derive(Default)]
pub(crate) struct Due {
    step: Step,
    not_before: u64,
}

impl<S: Stage> Live<'_, S> {
    /// When the timer must wake for a tick; `None` while nothing is due or a tick is under way.
    pub(crate) fn due_mono(&self) -> Option<u64> {
        match self.due.step {
            // Nothing is decided while it stops; without room what lands next wakes the task.
            Step::Idle if self.stopping.is_some() || !self.has_room() => None,
            Step::Idle => self.stage.next_due().map(|due| self.time.mono_at(due).max(self.due.not_before)),
            Step::Fetching(..) | Step::Reading(..) => None,
        }
    }

    /// An append or a question to the spine succeeded.
    pub(crate) fn succeeded(&mut self) {
        let mono = self.run.clock.mono_us();
        let silent = Duration::from_micros(mono.saturating_sub(self.last_success));
        self.last_success = mono;
        if silent >= GAP {
            self.stage.observe(Signal::Gap(silent), self.at);
        }
    }

    /// Goes on with the tick under way, or begins one; true when something happened.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        loop {
            match std::mem::take(&mut self.due.step) {
                Step::Idle => {
                    let mono = self.run.clock.mono_us();
                    let due = self.stage.next_due().is_some_and(|due| due <= self.at);
                    if !due || mono < self.due.not_before || !self.has_room() {
                        return Ok(false);
                    }
                    let control = self.control_inputs();
                    if control.is_empty() || !self.run.rules.read_before_due {
                        self.tick(self.at)?;
                        return Ok(true);
                    }
                    let spine = self.run.spine.clone();
                    let partitions: Vec<TopicPartition> = control.into_iter().map(|(_, partition)| partition).collect();
                    let ends: EndsFuture = Box::pin(async move { spine.ends(&partitions).await });
                    self.due.step = Step::Fetching(self.at, ends);
                }
                Step::Fetching(since, mut ends) => match ends.poll_unpin(cx) {
                    Poll::Pending => {
                        self.due.step = Step::Fetching(since, ends);
                        return Ok(false);
                    }
                    Poll::Ready(Ok(ends)) => {
                        self.succeeded();
                        let control = self.control_inputs();
                        let targets = control.into_iter().zip(ends).map(|((n, _), ends)| (n, ends.end)).collect();
                        self.due.step = Step::Reading(since, targets);
                    }
                    Poll::Ready(Err(error)) => {
                        tracing::debug!(shard = %self.run.spec.sender, %error, "ends of control inputs could not be fetched");
                        self.due.not_before = self.run.clock.mono_us().saturating_add(micros(RETRY_ENDS));
                        return Ok(false);
                    }
                },
                Step::Reading(since, targets) => {
                    let behind = |(n, end): &(usize, u64)| self.inputs.get(*n).is_some_and(|i| i.place.head() < *end);
                    if targets.iter().any(behind) || !self.has_room() {
                        self.due.step = Step::Reading(since, targets);
                        return Ok(false);
                    }
                    self.tick(since)?;
                    return Ok(true);
                }
            }
        }
    }

    fn control_inputs(&self) -> Vec<(usize, TopicPartition)> {
        let numbered = self.run.spec.inputs.iter().enumerate();
        numbered.filter(|(_, i)| i.kind == InputKind::Control).map(|(n, i)| (n, i.partition.clone())).collect()
    }

    fn tick(&mut self, fresh: Timestamp) -> Result<(), Ended> {
        self.stage.observe(Signal::Due, self.at);
        let before = self.building.facts;
        self.decide(&Input::Tick { fresh }, None)?;
        if self.building.facts == before {
            self.due.not_before = self.run.clock.mono_us().saturating_add(micros(RETRY));
        }
        Ok(())
    }
}
