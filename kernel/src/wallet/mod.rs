//! The shard's part of every limit, as the kernel's facts change it: a [`tidegate_wallet::Wallet`] whose jobs are records.
//!
//! | what happens | fact | changes |
//! |---|---|---|
//! | a judgement needs more than is here, or soon will; what was asked is not answered | `SliceRequested` | the request is on its way |
//! | the limits stage answers | `SliceGranted` | capacity, its time; or until when there is nothing |
//! | a job is allowed | `JobDecided` (`spends`) | its spends count; those to be settled are open |
//! | a record gets another verdict | `JobDecided`, `JobHeld`, `JobDeferred`, `JobCancelled`, `RecordRejected` | what is open of it is given back |
//! | the scheduler tells its end | `SpendSettled` | places are free, budgets get what was used; a breaker's is passed on (`OutcomePassedOn`) |
//! | others need it; its time is over | `SliceReturned` | capacity goes back; the holding ends |
//!
//! What is only observed has an account apart from this: `shadow`.

mod shadow;

use tidegate_protocol::address::Offset;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::TenantId;
use tidegate_protocol::limits::{LimitAnswer, LimitRequest, LimitUse, OutcomeTold, Spend};
use tidegate_protocol::time::Timestamp;
use tidegate_wallet::Heard;

pub use crate::life::Life;
pub(crate) use shadow::{Entry as ShadowEntry, Shadow};
pub(crate) use tidegate_wallet::MOST_SPENDS;
pub use tidegate_wallet::{Here, WalletBounds, WalletBugs};

/// As written to a snapshot.
pub(crate) type WalletOut<'a> = tidegate_wallet::WalletOut<'a, Life>;
/// As read from one.
pub(crate) type WalletIn = tidegate_wallet::WalletIn<Life>;

/// See the module.
#[derive(Debug)]
pub struct Wallet(tidegate_wallet::Wallet<Life>);

/// One judgement's look at the wallet; collects what should be asked for.
#[derive(Debug)]
pub struct View<'a>(tidegate_wallet::View<'a, Life>);

impl Wallet {
    /// One that holds nothing.
    #[must_use]
    pub fn new(bounds: WalletBounds) -> Self {
        Self(tidegate_wallet::Wallet::new(bounds))
    }

    /// The same with bugs; for tests of tests.
    #[must_use]
    pub fn with_bugs(self, bugs: WalletBugs) -> Self {
        Self(self.0.with_bugs(bugs))
    }

    /// How many keys it has something of or has asked for.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has nothing and has asked for nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it ever asked for anything.
    pub(crate) const fn was_used(&self) -> bool {
        self.0.was_used()
    }

    /// How many jobs' ends are awaited.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open()
    }

    /// When a holding's time is over.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.0.next_due()
    }

    /// Whether the end of a job of this record is awaited, of whichever life.
    pub(crate) fn awaits(&self, offset: Offset) -> bool {
        self.0.awaits(Life::all(offset))
    }

    /// Takes a fact in that has landed or will; nothing for facts that are not about limits.
    pub fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        match fact {
            KernelFact::SliceRequested { request }
            | KernelFact::SliceReturned { request }
            | KernelFact::OutcomePassedOn { request } => self.0.requested(request, at),
            KernelFact::SliceGranted { answer } => self.0.granted(answer, at),
            KernelFact::SpendSettled { told } => self.0.settled(&Life::of(&told.source), told, at),
            KernelFact::JobDecided { job, spends, .. } => self.0.spend(&Life::of(&job.source), spends, at),
            KernelFact::PolicyAdopted { .. }
            | KernelFact::HoldRenewed { .. }
            | KernelFact::ApprovalGiven { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::CommandRefused { .. }
            | KernelFact::JobWithdrawn { .. }
            | KernelFact::DelegationRevoked { .. }
            | KernelFact::RecordRedriven { .. }
            | KernelFact::RecordDropped { .. }
            | KernelFact::JobRepeated { .. } => {}
            KernelFact::JobDeferred { job, .. } | KernelFact::JobHeld { job, .. } => {
                self.0.replaced(&Life::of(&job.source), at);
            }
            KernelFact::JobCancelled { job, .. } => self.0.replaced(&Life::of(&job.source), at),
            KernelFact::RecordRejected { source, .. } => self.0.replaced(&Life::of(source), at),
        }
        self.0.forget_due(at);
    }

    /// The spends of a job that may run count from now on (what a `JobDecided` does), in place of what an earlier verdict
    /// on it has taken.
    pub fn spend(&mut self, life: Life, spends: &[Spend], at: Timestamp) {
        self.0.spend(&life, spends, at);
    }

    /// What the end of a job leads to; nothing when nobody waits for it (told before, or too late).
    #[must_use]
    pub fn told(&self, told: &OutcomeTold, at: Timestamp, epoch: u64) -> Vec<KernelFact> {
        let Some(passed_on) = self.0.told(&Life::of(&told.source), told, at, epoch) else { return Vec::new() };
        let passed_on = passed_on.into_iter().map(|request| KernelFact::OutcomePassedOn { request: Box::new(request) });
        passed_on.chain([KernelFact::SpendSettled { told: Box::new(told.clone()) }]).collect()
    }

    /// What an answer or a notice of the limits stage leads to.
    #[must_use]
    pub fn answered(&self, answer: LimitAnswer, at: Timestamp, epoch: u64) -> Option<KernelFact> {
        Some(match self.0.answered(answer, at, epoch)? {
            Heard::Granted(answer) => KernelFact::SliceGranted { answer: Box::new(answer) },
            Heard::Returned(request) => KernelFact::SliceReturned { request: Box::new(request) },
        })
    }

    /// Holdings whose time was over at `fresh` end, and what was not answered by then is asked again.
    #[must_use]
    pub fn tick(&self, fresh: Timestamp, at: Timestamp, epoch: u64) -> Vec<KernelFact> {
        let due = self.0.tick(fresh, at, epoch).into_iter().map(Box::new);
        let fact = |request: Box<LimitRequest>| match *request {
            LimitRequest::Ask { .. } => KernelFact::SliceRequested { request },
            LimitRequest::Return { .. } | LimitRequest::Ended { .. } => KernelFact::SliceReturned { request },
        };
        due.map(fact).collect()
    }

    /// A look at `at`, for a job of `tenant`, by the owner of `epoch`.
    #[must_use]
    pub const fn view<'a>(&'a self, tenant: &'a TenantId, at: Timestamp, epoch: u64) -> View<'a> {
        View(self.0.view(tenant, at, epoch))
    }

    /// For a snapshot.
    pub(crate) fn written(&self) -> WalletOut<'_> {
        self.0.written()
    }

    /// Replaces everything by what was written.
    pub(crate) fn replace(&mut self, read: WalletIn) {
        self.0.replace(read);
    }

    /// As JSON text; for tests, that replay gives equal bytes.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        self.0.to_text()
    }

    /// Replaces everything by what [`Wallet::to_text`] gave.
    ///
    /// # Errors
    /// When the text is none.
    pub fn read_text(&mut self, text: &str) -> Result<(), serde_json::Error> {
        self.0.read_text(text)
    }
}

impl View<'_> {
    /// How the limit stands.
    pub fn look(&mut self, wanted: &LimitUse) -> Here {
        self.0.look(wanted)
    }

    /// What the judgement asks the limits stage for, as facts, whatever its outcome.
    #[must_use]
    pub fn into_requests(self) -> Vec<KernelFact> {
        let asks = self.0.into_requests().into_iter();
        asks.map(|request| KernelFact::SliceRequested { request: Box::new(request) }).collect()
    }
}
