//! The runner: makes a stage's facts durable and only then lets its messages go.
//!
//! One task per shard. An ownership begins with a takeover ([`takeover`]) and is then a loop of turns ([`live`]): what
//! has landed, what arrived (control inputs first), what is due, seal the next group. Any failed append, unreadable
//! input or higher barrier ends the ownership: memory and producer are dropped and, after a pause, the runner takes the
//! shard over again as a new owner. It never decides again in the same epoch.
//!
//! Deliberately absent: cleverness about errors. There is one way out and one way in.

mod checkpoint;
mod clock;
mod due;
mod group;
mod live;
mod loss;
mod read_back;
mod send;
mod snapshot;
mod takeover;
mod turn;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures::channel::{mpsc, oneshot};
use futures::future::{Either, select};
use tidegate_protocol::signature::{Sign, Trust};
use tidegate_spine::Spine;

pub use clock::Clock;
pub use watch::{Ended, Reached, ShardEvent, Watch};

use crate::Rules;
use crate::metrics;
use crate::spec::ShardSpec;
use crate::stage::Stage;
use takeover::micros;

/// A shard to be run: what, where, and by which clock.
pub struct Run<S: Stage> {
    /// The shard.
    pub spec: ShardSpec,
    /// The spine.
    pub spine: Arc<dyn Spine>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Makes a fresh stage for an ownership, with whatever it needs from outside at hand (the current policy, say).
    pub make: Box<dyn Fn() -> S + Send + Sync>,
    /// Soft signals from outside while it runs.
    pub signals: mpsc::UnboundedReceiver<S::Signal>,
    /// Ends the run in order: what is decided still lands, then [`Ended::Stopped`]. Dropping the sender does the same.
    pub stop: oneshot::Receiver<()>,
    /// Signs what this owner writes.
    pub signer: Arc<dyn Sign>,
    /// Says whose records count, its own among them.
    pub trust: Arc<dyn Trust>,
    /// Told what happens.
    pub watch: Arc<dyn Watch>,
    /// The protocol, whole; only the simulation says otherwise.
    pub rules: Rules,
}

impl<S: Stage> Run<S> {
    /// Owns the shard until it is stopped: takes it over, works, and after any failure takes it over again, with a
    /// pause that doubles from the shortest to the longest backoff and starts over after an ownership that worked: one
    /// of which a group landed, or that lasted for as long as the longest pause.
    pub async fn run(mut self) {
        let (first, longest) = self.spec.pace.backoff;
        let mut pause = first;
        loop {
            let mut worked = false;
            let ended = self.own(&mut worked).await;
            // Two members that both believe to own the shard must not supersede each other at full pace.
            if worked && !matches!(ended, Ended::Superseded { .. }) {
                pause = first;
            }
            let stopped = matches!(ended, Ended::Stopped);
            // Every claim makes a live owner elsewhere take over anew; a clock is not put right in a moment.
            if matches!(ended, Ended::Clock { .. }) {
                pause = longest;
            }
            metrics::ownership_ended(&self.spec.sender, &ended);
            let lost = if let Ended::InputLost { partition, from, start } = &ended
                && self.rules.lost_is_given_up
            {
                Some((partition.clone(), *from, *start))
            } else {
                None
            };
            self.watch.event(&self.spec.sender, &ShardEvent::Ended(ended));
            if let Some((partition, from, start)) = lost
                && self.stand_still(partition, from, start).await
            {
                return;
            }
            if stopped || self.pause(pause).await {
                return;
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Waits; true when it was stopped meanwhile.
    async fn pause(&mut self, pause: Duration) -> bool {
        let sleep = self.clock.sleep_until(self.clock.mono_us().saturating_add(micros(pause)));
        matches!(select(&mut self.stop, sleep).await, Either::Left(_))
    }

    async fn own(&mut self, worked: &mut bool) -> Ended {
        let taken = {
            let mut stop = std::mem::replace(&mut self.stop, oneshot::channel().1);
            let takeover = Box::pin(takeover::take_over(self));
            let taken = match select(&mut stop, takeover).await {
                Either::Left(_) => None,
                Either::Right((taken, _)) => Some(taken),
            };
            self.stop = stop;
            match taken {
                None => return Ended::Stopped,
                Some(Err(ended)) => return ended,
                Some(Ok(taken)) => taken,
            }
        };
        let event = ShardEvent::Owning {
            epoch: taken.epoch,
            replayed: taken.replayed,
            emitted_again: taken.again.iter().map(|(_, m)| m.len() as u64).sum(),
        };
        metrics::takeover(&self.spec.sender, taken.epoch, taken.replayed);
        self.watch.event(&self.spec.sender, &event);
        let (begun, longest) = (self.clock.mono_us(), micros(self.spec.pace.backoff.1));
        match live::Live::begin(self, taken) {
            Ok(mut live) => {
                let ended = std::future::poll_fn(|cx| live.poll_turns(cx)).await;
                live.withdraw_figures();
                let ended = loss::name(live.run.spine.as_ref(), &live.run.spec, ended).await;
                *worked = live.log.next.is_some_and(|next| next > 0)
                    || live.run.clock.mono_us().saturating_sub(begun) >= longest;
                ended
            }
            Err(ended) => ended,
        }
    }
}
