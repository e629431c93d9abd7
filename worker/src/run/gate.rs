//! What a worker acts on: orders that a scheduler of its pool sent to its lane, and jobs whose ticket a kernel signed for its
//! pool. Whoever else writes to a lane, or alters what stands there, gets nothing run.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::decision::{Judged, Verdict};
use tidegate_protocol::headers;
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::proof::{Checker, Refused, Said};
use tidegate_protocol::signature::Trust;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;

/// A ticket counts for this long beyond its time here: the scheduler looked at it by another clock just before.
const LEEWAY: Duration = Duration::from_secs(5);

/// See the module.
pub struct Gate {
    checker: Checker,
    work: TopicName,
    approved: TopicName,
    /// `scheduler.<pool>`.
    scheduler: String,
    leeway: Duration,
}

/// Whose an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct From {
    /// Shard of the pool.
    pub shard: usize,
    /// The owner's epoch.
    pub epoch: u64,
}

/// Why an order or a job is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// Not a stage's message.
    #[error("it has no sender and stamp")]
    Unstamped,
    /// Of another sender than may send it.
    #[error("its sender is `{sender}`")]
    Sender {
        /// The sender.
        sender: String,
    },
    /// Addressed to this worker by its header alone.
    #[error("it was sent to another worker")]
    Worker,
    /// Not proven.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The job is not allowed.
    #[error("its verdict is {verdict}", verdict = .0.word())]
    Verdict(Verdict),
    /// The ticket is for another pool.
    #[error("its ticket is for `{topic}`")]
    Pool {
        /// Where it was sent to.
        topic: TopicName,
    },
    /// The ticket's time is over.
    #[error("its ticket expired")]
    Expired,
}

impl Gate {
    /// Of a worker of `pool`, whose lanes are in `work` and whose jobs come from `approved`.
    #[must_use]
    pub fn new(trust: Arc<dyn Trust>, pool: &PoolName, work: TopicName, approved: TopicName) -> Self {
        Self { checker: Checker::new(trust), work, approved, scheduler: format!("scheduler.{pool}"), leeway: LEEWAY }
    }

    /// Where clocks are known to be nearer to each other than 5 s: a ticket counts for `leeway` beyond its time.
    #[must_use]
    pub const fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Whose order the record in that lane is.
    ///
    /// # Errors
    /// [`NotOurs`]: it is to be passed over.
    pub fn order(&mut self, lane: u32, record: &Record, now: Timestamp) -> Result<From, NotOurs> {
        let text = |name| record.headers.text(name);
        let sender = text(headers::SENDER).ok_or(NotOurs::Unstamped)?;
        let epoch = text(headers::EPOCH).and_then(|epoch| epoch.parse().ok()).ok_or(NotOurs::Unstamped)?;
        let stamp = text(headers::STAMP).and_then(|stamp| Stamp::read(epoch, stamp)).ok_or(NotOurs::Unstamped)?;
        let shard = sender.rsplit_once('/').filter(|(of, _)| *of == self.scheduler);
        let Some(shard) = shard.and_then(|(_, shard)| shard.parse().ok()) else {
            return Err(NotOurs::Sender { sender: sender.to_owned() });
        };
        let said = Said { sender, stamp, to: &self.work.partition(lane) };
        let proof = record.headers.get(headers::PROOF).map(|proof| &**proof);
        // Only a header proves an order: a ticket is for another topic in any case.
        let proof = Some(proof.unwrap_or_default());
        self.checker.message(said, record.key.as_deref(), record.value.as_deref(), proof, now.millis())?;
        // The key is signed, the header by which the lane sorts records is not.
        if record.key.as_deref() != text(headers::TO).map(str::as_bytes) {
            return Err(NotOurs::Worker);
        }
        Ok(From { shard, epoch })
    }

    /// Whether the job of an assignment may run.
    ///
    /// # Errors
    /// [`NotOurs`]: it must not run.
    pub fn job(&mut self, text: &str, judged: &Judged, now: Timestamp) -> Result<(), NotOurs> {
        let ticket = self.checker.ticket(text.as_bytes(), now.millis())?;
        let source = &judged.job.source;
        if ticket.sender.as_str() != format!("kernel.{}/{}", source.source, source.partition) {
            return Err(NotOurs::Sender { sender: ticket.sender.to_string() });
        }
        if ticket.to.topic != self.approved {
            return Err(NotOurs::Pool { topic: ticket.to.topic });
        }
        if !judged.decision.verdict.permits() {
            return Err(NotOurs::Verdict(judged.decision.verdict));
        }
        let over = |ms: u64| Timestamp(ms.saturating_mul(1_000)) + self.leeway < now;
        if judged.decision.expires_ms.is_some_and(over) { Err(NotOurs::Expired) } else { Ok(()) }
    }
}
