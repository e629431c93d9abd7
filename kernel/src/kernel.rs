//! The kernel as a stage: what it keeps, and which of its parts each input, fact and signal concerns.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tidegate_policy::Snapshot;
use tidegate_protocol::command::Given;
use tidegate_protocol::decision::PayloadAt;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::job::{Job, SourcePosition};
use tidegate_protocol::kept::{KeptAs, KeptRecord, Replaced};
use tidegate_protocol::proof::Checker;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;
use tidegate_stage::{Decision, Input, Outbox, Signal, Stage};

use crate::approvals::{Hold, Refusals};
use crate::config::{INPUT_COMMANDS, INPUT_GRANTS, INPUT_JOBS, INPUT_OUTCOMES, KernelConfig, LEAST_RECORD_BYTES};
use crate::delegation::{Families, Revocation};
use crate::identity::Window;
use crate::kept::{Deferral, Kept, KeptJob, awaited};
use crate::life::Life;
use crate::messages;
use crate::meters::{self, Meters};
use crate::reading::ReaderMemory;
use crate::redriven::Redrives;
use crate::standing::{Adopted, Policies, StandingView};
use crate::state;
use crate::wallet::{Shadow, Wallet, WalletBugs};
use crate::withdrawn::{Withdrawals, Withdrawn};

/// The safety kernel of one source partition.
pub struct Kernel {
    pub(crate) config: KernelConfig,
    /// Durable: what was adopted. Soft: what is held.
    pub(crate) policies: Policies,
    /// Durable.
    pub(crate) window: Window,
    /// Durable.
    pub(crate) kept: Kept,
    /// Durable: what is held of limits.
    pub(crate) wallet: Wallet,
    /// Durable: what would have been taken of limits, of a source that is only observed.
    pub(crate) shadow: Shadow,
    /// Soft: this owner's; 0 in replay.
    pub(crate) epoch: u64,
    /// Durable.
    pub(crate) refusals: Refusals,
    /// Durable: what was revoked, and released jobs that act for others.
    pub(crate) families: Families,
    /// Durable: released jobs that were called off since.
    pub(crate) withdrawn: Withdrawals,
    /// Durable: records that were redriven from `dead`.
    pub(crate) redrives: Redrives,
    /// Reused by `decide`; holds nothing that a decision depends on.
    pub(crate) memory: RefCell<Memory>,
    pub(crate) meters: Meters,
    /// Soft: for the pace of a log line.
    pub(crate) unbelieved: Cell<u64>,
}

/// Buffers of parsing and evaluation, and signatures that were verified before.
pub(crate) struct Memory {
    pub(crate) reader: ReaderMemory,
    pub(crate) policy: tidegate_policy::Scratch,
    pub(crate) tickets: Checker,
}

/// A kernel that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`max_record_bytes` is `{max_record_bytes}`, but facts of largest allowed jobs need {LEAST_RECORD_BYTES}; raise it, and the broker's limit with it"
)]
pub struct KernelRefused {
    /// As configured.
    pub max_record_bytes: usize,
}

impl Kernel {
    /// A kernel without state and without policy: it admits nothing until a policy is given as a signal.
    ///
    /// # Errors
    /// [`KernelRefused`] when records may not be large enough for its facts.
    pub fn new(config: KernelConfig) -> Result<Self, KernelRefused> {
        if config.max_record_bytes < LEAST_RECORD_BYTES {
            return Err(KernelRefused { max_record_bytes: config.max_record_bytes });
        }
        Ok(Self {
            policies: Policies::default(),
            window: Window::new(config.window),
            kept: Kept::new(config.kept),
            wallet: Wallet::new(config.wallet),
            shadow: Shadow::new(config.wallet),
            epoch: 0,
            refusals: Refusals::default(),
            families: Families::default(),
            withdrawn: Withdrawals::default(),
            redrives: Redrives::default(),
            memory: RefCell::new(Memory {
                reader: ReaderMemory::new(&config.source),
                policy: tidegate_policy::Scratch::new(),
                tickets: Checker::new(Arc::clone(&config.trust)),
            }),
            meters: Meters::new(config.source.name()),
            unbelieved: Cell::new(0),
            config,
        })
    }

    /// The same with bugs in its wallet; for tests of tests.
    #[must_use]
    pub fn with_wallet_bugs(mut self, bugs: WalletBugs) -> Self {
        self.wallet = Wallet::new(self.config.wallet).with_bugs(bugs);
        self
    }

    /// A view of whether it can judge; take it before the kernel goes to its runner.
    #[must_use]
    pub fn standing(&self) -> StandingView {
        self.policies.view()
    }

    /// How many job ids the window holds.
    #[must_use]
    pub fn known_ids(&self) -> usize {
        self.window.len()
    }

    /// A fact that ends a job: its id stays known from here on.
    fn ended(&mut self, job: &Job, was_kept: bool, at: Timestamp) {
        if was_kept {
            self.kept.end(&job.source);
        }
        self.window.remember(job, at);
    }

    /// A fact that keeps a job: a new one comes with its record.
    fn keep(
        &mut self,
        job: &Job,
        payload: PayloadAt,
        record: Option<&KeptRecord>,
        replaces: Option<Replaced>,
        at: Timestamp,
        how: impl FnOnce(&mut KeptJob),
    ) {
        let record = match (record, self.kept.get(&job.source)) {
            (Some(record), _) => Box::new(record.clone()),
            (None, Some(kept)) => kept.record.clone(),
            (None, None) => {
                self.meters.violations.increment(1);
                tracing::error!(source = %job.source, "I7 replay is broken: a fact speaks of a job that is not kept");
                return;
            }
        };
        // A deferred job that people have approved stays approved.
        let hold = self.kept.get(&job.source).and_then(|kept| kept.hold.clone());
        let (leases, strikes) = replaces.map_or((0, 0), |replaced| (replaced.leases, replaced.strikes));
        let mut kept = KeptJob { job: job.clone(), payload, record, since: at, leases, strikes, hold, deferral: None };
        how(&mut kept);
        self.kept.keep(kept);
        self.window.remember(job, at);
    }

    /// A fact that a job is no longer, or no longer so, where its family knew it.
    fn leaves_its_family(&mut self, fact: &KernelFact) {
        if self.families.is_empty() {
            return;
        }
        let source = match fact {
            KernelFact::JobDecided { job, .. }
            | KernelFact::JobDeferred { job, .. }
            | KernelFact::JobHeld { job, .. } => &job.source,
            KernelFact::JobCancelled { job, .. } => &job.source,
            KernelFact::RecordRejected { source, .. } | KernelFact::JobWithdrawn { source, .. } => source,
            KernelFact::SpendSettled { told } => &told.source,
            KernelFact::PolicyAdopted { .. }
            | KernelFact::SliceRequested { .. }
            | KernelFact::SliceGranted { .. }
            | KernelFact::SliceReturned { .. }
            | KernelFact::OutcomePassedOn { .. }
            | KernelFact::HoldRenewed { .. }
            | KernelFact::ApprovalGiven { .. }
            | KernelFact::HoldEscalated { .. }
            | KernelFact::CommandRefused { .. }
            | KernelFact::DelegationRevoked { .. }
            | KernelFact::RecordRedriven { .. }
            | KernelFact::RecordDropped { .. }
            | KernelFact::JobRepeated { .. } => return,
        };
        self.families.leave(Life::of(source));
    }

    /// A fact about a hold.
    fn kept_changes(&mut self, source: &SourcePosition, how: impl FnOnce(&mut KeptJob, &mut Hold)) {
        let changed = self.kept.change(source, |kept| {
            if let Some(mut hold) = kept.hold.take() {
                how(kept, &mut hold);
                kept.hold = Some(hold);
            }
        });
        if !changed {
            self.meters.violations.increment(1);
            tracing::error!(%source, "I7 replay is broken: a fact speaks of a hold that is not there");
        }
    }
}

/// Whether what a fact replaces was kept here.
pub(crate) fn was_kept(replaces: Option<Replaced>) -> bool {
    replaces.is_some_and(|replaced| matches!(replaced.was, KeptAs::Held | KeptAs::Deferred))
}

impl Stage for Kernel {
    type Fact = KernelFact;
    type Signal = Arc<Snapshot>;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        match input {
            Input::Record(arrival) => match arrival.at.input {
                INPUT_JOBS => self.judge(arrival, at, decision),
                INPUT_COMMANDS => self.command(arrival, at, decision),
                INPUT_OUTCOMES => self.hear_outcome(arrival, at, decision),
                INPUT_GRANTS => self.hear_answer(arrival, at, decision),
                _ => decision.wait(),
            },
            // The runner has counted it; it says nothing of a record of the source.
            Input::Refused(..) => {}
            Input::Tick { fresh } => {
                // Not both at once: each numbers its requests from what the wallet knows.
                if !self.end_holdings(*fresh, at, decision) {
                    self.end_overdue(*fresh, at, decision);
                }
            }
            Input::Poll => {
                if !self.stop_revoked(decision) {
                    self.judge_next(at, decision);
                }
            }
            // No record of the source waits in its log: it is settled or not read.
            Input::Evict(_) => {}
        }
    }

    fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        self.wallet.apply(fact, at);
        self.leaves_its_family(fact);
        match fact {
            KernelFact::SliceGranted { answer } => {
                let (limit, key) = answer.about();
                self.kept.wake(&awaited(limit, key));
            }
            KernelFact::SliceRequested { .. }
            | KernelFact::SliceReturned { .. }
            | KernelFact::SpendSettled { .. }
            | KernelFact::OutcomePassedOn { .. } => {}
            KernelFact::PolicyAdopted { revision, snapshot } => {
                self.policies.adopt(Some(Adopted { revision: *revision, snapshot: snapshot.clone() }));
                self.kept.adopt(snapshot);
            }
            KernelFact::JobDecided { job, decision, pool, observed, replaces, would_take, .. } => {
                if !would_take.is_empty() {
                    self.shadow.take(would_take, &job.tenant, at);
                }
                if let Some(pool) = pool.as_ref().filter(|_| !observed && decision.verdict.permits()) {
                    self.families.release(job, decision, pool, at);
                }
                self.ended(job, was_kept(*replaces), at);
            }
            KernelFact::DelegationRevoked { source, command, by, reason, until, .. } => {
                let (command, by, reason) = (command.clone(), by.clone(), reason.clone());
                self.families.revoke(source, Revocation { until: *until, command, by, reason }, &self.kept, at);
            }
            KernelFact::RecordRejected { job: Some(job), replaces, .. } => self.ended(job, was_kept(*replaces), at),
            KernelFact::JobDeferred {
                job,
                payload,
                record,
                why,
                until,
                retry,
                throttled,
                waits_for,
                decision,
                replaces,
            } => {
                let deferral = Deferral {
                    why: *why,
                    until: *until,
                    retry: *retry,
                    throttled: *throttled,
                    waits_for: waits_for.clone(),
                    decision: decision.clone(),
                };
                self.keep(job, *payload, record.as_deref(), *replaces, at, |kept| kept.deferral = Some(deferral));
            }
            KernelFact::JobHeld { job, decision, payload, record, until, replaces, pool: _ } => {
                let hold = Hold::new(decision.clone(), *until, at);
                self.keep(job, *payload, record.as_deref(), *replaces, at, |kept| {
                    kept.hold = Some(hold);
                    kept.deferral = None;
                });
            }
            KernelFact::HoldRenewed { source, decision, until } => self.kept_changes(source, |kept, hold| {
                hold.renew((**decision).clone(), *until);
                kept.since = at;
            }),
            KernelFact::ApprovalGiven { source, command, by, roles, reason, .. } => {
                self.kept_changes(source, |_, hold| {
                    let (by, roles, command, reason) = (by.clone(), roles.clone(), command.clone(), reason.clone());
                    hold.given.push(Given { by, roles, at, command, reason });
                });
            }
            KernelFact::HoldEscalated { source, to } => {
                self.kept_changes(source, |_, hold| hold.escalated.push(to.clone()));
            }
            KernelFact::JobCancelled { job, replaces, .. } => {
                self.withdrawn.forget(&job.source);
                self.ended(job, was_kept(Some(*replaces)), at);
            }
            KernelFact::JobWithdrawn { source, pool, command, by, reason, cause, .. } => {
                let (source, pool, command) = (source.clone(), pool.clone(), command.clone());
                let (by, reason, cause) = (by.clone(), reason.clone(), *cause);
                self.withdrawn.remember(Withdrawn { source, pool, command, by, reason, cause });
            }
            KernelFact::CommandRefused { .. } => self.refusals.count(at),
            KernelFact::RecordRedriven { source, .. } => self.redrives.remember(source.offset, source.redrive, at),
            KernelFact::JobRepeated { .. }
            | KernelFact::RecordDropped { .. }
            | KernelFact::RecordRejected { job: None, .. } => {}
        }
    }

    fn emit(&self, fact: &KernelFact, at: Timestamp, input: Option<&Record>, outbox: &mut Outbox) {
        if let Err(unmade) = messages::emit(self, fact, at, input, outbox) {
            self.meters.violations.increment(1);
            tracing::error!(%unmade, "I1 no-loss is broken: report this with the fact");
        }
    }

    fn needs_input(&self, fact: &KernelFact) -> bool {
        messages::needs_input(&self.config, fact)
    }

    fn observe(&mut self, signal: Signal<'_, Arc<Snapshot>>, _at: Timestamp) {
        match signal {
            Signal::Outside(policy) => self.policies.offer(policy),
            // A policy stays good over a change of owner; nothing else is known softly.
            Signal::Owner { epoch } => self.epoch = epoch,
            Signal::Arrived(_) | Signal::ReadAgain { .. } | Signal::Due | Signal::Gap(_) => {}
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        // Without a policy nothing can be judged again: that alone must not wake the shard.
        let retry = self.kept.next_retry().filter(|_| self.policies.usable().is_some());
        [self.kept.next_deadline(), retry, self.wallet.next_due()].into_iter().flatten().min()
    }

    fn admits(&self, input: u32) -> bool {
        input != INPUT_JOBS || (self.policies.usable().is_some() && !self.kept.is_full(KeptAs::Deferred))
    }

    fn tally(fact: &KernelFact, count: &mut dyn FnMut(&'static str, &'static str, &'static str)) {
        meters::tally(fact, count);
    }

    fn figures(&self, publish: &mut dyn FnMut(&'static str, f64)) {
        meters::figures(self.window.len(), self.policies.adopted().map(|adopted| adopted.revision), publish);
        meters::kept(|kind| self.kept.count(kind), publish);
        meters::wallet(&self.wallet, publish);
    }

    fn snapshot(&self) -> Result<String, serde_json::Error> {
        state::write(self)
    }

    fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
        state::read(snapshot, self)
    }
}
