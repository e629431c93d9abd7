//! Stages with a planted bug: a kernel that fails open, one that takes an approval for another input, one that forgets what
//! was revoked, one that begins no new life, one that loses what a job asks of its pool, a scheduler that takes any token, one that does not look at tickets' time,
//! schedulers that forget or do not hear, and stages that go by a record's own time.

use std::collections::BTreeMap;

use tidegate_kernel::Kernel;
use tidegate_protocol::command::{Action, CommandRefusal};
use tidegate_protocol::decision::Verdict;
use tidegate_protocol::facts::{KernelFact, LeaseEnd, SchedulerFact};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::ids::{JobId, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::selector::Selector;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::Scheduler;
use tidegate_spine::Record;
use tidegate_stage::{Arrival, Decision, Input, Outbox, Signal, Stage};

use super::families::BY_CHAIN;
use super::parts::pool_name;
use super::policies;
use crate::keys;

macro_rules! all_but_decide_and_observe {
    ($fact:ty) => {
        fn emit(&self, fact: &$fact, at: Timestamp, input: Option<&Record>, outbox: &mut Outbox) {
            self.stage.emit(fact, at, input, outbox);
        }

        fn needs_input(&self, fact: &$fact) -> bool {
            self.stage.needs_input(fact)
        }

        fn next_due(&self) -> Option<Timestamp> {
            self.stage.next_due()
        }

        fn admits(&self, input: u32) -> bool {
            self.stage.admits(input)
        }

        fn snapshot(&self) -> Result<String, serde_json::Error> {
            self.stage.snapshot()
        }

        fn restore(&mut self, snapshot: &str) -> Result<(), serde_json::Error> {
            self.stage.restore(snapshot)
        }
    };
}

macro_rules! all_but_decide {
    ($fact:ty, $signal:ty) => {
        fn observe(&mut self, signal: Signal<'_, $signal>, at: Timestamp) {
            self.stage.observe(signal, at);
        }

        all_but_decide_and_observe!($fact);
    };
}

fn again<F: Clone>(right: &Decision<F>, decision: &mut Decision<F>, change: impl Fn(&mut F)) {
    for (fact, settles) in right.facts() {
        let mut fact = fact.clone();
        change(&mut fact);
        match settles {
            Some(settles) => decision.settle(*settles, fact),
            None => decision.fact(fact),
        }
    }
    if right.waits() {
        decision.wait();
    }
}

/// Denied jobs are allowed.
pub struct FailOpen {
    /// The right one.
    pub stage: Kernel,
}

impl Stage for FailOpen {
    type Fact = KernelFact;
    type Signal = <Kernel as Stage>::Signal;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let mut right = Decision::default();
        self.stage.decide(input, at, &mut right);
        again(&right, decision, |fact| {
            if let KernelFact::JobDecided { decision, pool, .. } = fact {
                decision.verdict = Verdict::Allow;
                pool.get_or_insert(pool_name());
            }
        });
    }

    fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    all_but_decide!(KernelFact, <Kernel as Stage>::Signal);
}

/// Approvals count whatever input they are for.
pub struct OtherInput {
    /// The right one.
    pub stage: Kernel,
}

impl Stage for OtherInput {
    type Fact = KernelFact;
    type Signal = <Kernel as Stage>::Signal;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let mut right = Decision::default();
        self.stage.decide(input, at, &mut right);
        again(&right, decision, |fact| {
            if let KernelFact::CommandRefused { source, command, action: Action::Approve, by, why, .. } = &*fact
                && *why == CommandRefusal::OtherInput
            {
                let roles = keys::roles_of(by.as_str()).iter().map(|role| (*role).to_owned()).collect();
                *fact = KernelFact::ApprovalGiven {
                    source: source.clone(),
                    command: command.clone(),
                    by: by.clone(),
                    roles,
                    snapshot: policies::first().name().to_owned(),
                    reason: String::new(),
                };
            }
        });
    }

    fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    all_but_decide!(KernelFact, <Kernel as Stage>::Signal);
}

/// Tickets of revoked jobs admit children as ever.
pub struct RevokedLives {
    /// The right one.
    pub stage: Kernel,
}

impl Stage for RevokedLives {
    type Fact = KernelFact;
    type Signal = <Kernel as Stage>::Signal;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let mut right = Decision::default();
        self.stage.decide(input, at, &mut right);
        again(&right, decision, |fact| {
            if let KernelFact::JobDecided { decision, pool, .. } = fact
                && decision.reason.starts_with(BY_CHAIN)
            {
                decision.verdict = Verdict::Allow;
                pool.get_or_insert(pool_name());
            }
        });
    }

    fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    all_but_decide!(KernelFact, <Kernel as Stage>::Signal);
}

/// A record that is redriven goes on as what it was.
pub struct SameLife {
    /// The right one.
    pub stage: Kernel,
}

impl Stage for SameLife {
    type Fact = KernelFact;
    type Signal = <Kernel as Stage>::Signal;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let mut right = Decision::default();
        self.stage.decide(input, at, &mut right);
        again(&right, decision, |fact| {
            if let KernelFact::RecordRedriven { source, .. } | KernelFact::RecordRejected { source, .. } = fact {
                source.redrive = 0;
            } else if let KernelFact::JobDecided { job, .. } | KernelFact::JobHeld { job, .. } = fact {
                job.source.redrive = 0;
            }
        });
    }

    fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    all_but_decide!(KernelFact, <Kernel as Stage>::Signal);
}

/// What a job asks of its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To run in the order of its key.
    Order,
    /// Labels of its worker.
    Selector,
}

/// What is allowed has lost something of what it asked for.
pub struct WishLost {
    /// The right one.
    pub stage: Kernel,
    /// What.
    pub lost: Wish,
}

impl Stage for WishLost {
    type Fact = KernelFact;
    type Signal = <Kernel as Stage>::Signal;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<KernelFact>) {
        let mut right = Decision::default();
        self.stage.decide(input, at, &mut right);
        again(&right, decision, |fact| {
            if let KernelFact::JobDecided { job, .. } = fact {
                match self.lost {
                    Wish::Order => job.ordering_key = None,
                    Wish::Selector => job.select = Selector::default(),
                }
            }
        });
    }

    fn apply(&mut self, fact: &KernelFact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    all_but_decide!(KernelFact, <Kernel as Stage>::Signal);
}

/// A ticket whose time is over is as good as any.
pub struct RunsExpired {
    /// The right one.
    pub stage: Scheduler,
}

impl Stage for RunsExpired {
    type Fact = SchedulerFact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
        let mut right = Decision::default();
        self.stage.decide(input, at, &mut right);
        let gives_back = right.facts().iter().any(|(fact, _)| matches!(fact, SchedulerFact::JobReturned { .. }));
        // An hour ago no ticket of this run had expired; deadlines come first, and have been looked at.
        let at = if gives_back { Timestamp(at.0 - 3_600_000_000) } else { at };
        self.stage.decide(input, at, decision);
    }

    fn apply(&mut self, fact: &SchedulerFact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    all_but_decide!(SchedulerFact, ());
}

/// A record's own time is taken for now.
pub struct ByRecord<S> {
    /// The right one.
    pub stage: S,
}

fn own_time(Arrival { record, .. }: &Arrival<'_>) -> Timestamp {
    Timestamp(u64::try_from(record.timestamp_ms).unwrap_or(0) * 1_000)
}

impl<S: Stage> Stage for ByRecord<S> {
    type Fact = S::Fact;
    type Signal = S::Signal;

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<S::Fact>) {
        let at = if let Input::Record(arrival) = input { own_time(arrival) } else { at };
        self.stage.decide(input, at, decision);
    }

    fn apply(&mut self, fact: &S::Fact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    fn observe(&mut self, signal: Signal<'_, S::Signal>, at: Timestamp) {
        let at = if let Signal::Arrived(arrival) = &signal { own_time(arrival) } else { at };
        self.stage.observe(signal, at);
    }

    all_but_decide_and_observe!(S::Fact);
}

/// Nobody hears that a job makes progress.
pub struct Unheard {
    /// The right one.
    pub stage: Scheduler,
}

impl Stage for Unheard {
    type Fact = SchedulerFact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
        self.stage.decide(input, at, decision);
    }

    fn apply(&mut self, fact: &SchedulerFact, at: Timestamp) {
        self.stage.apply(fact, at);
    }

    fn observe(&mut self, signal: Signal<'_, ()>, at: Timestamp) {
        let is_progress = |Arrival { record, .. }: &Arrival<'_>| {
            let report = serde_json::from_slice(record.value.as_deref().unwrap_or_default());
            matches!(report, Ok(Report::Progress { .. }))
        };
        if !matches!(&signal, Signal::Arrived(arrival) if is_progress(arrival)) {
            self.stage.observe(signal, at);
        }
    }

    all_but_decide_and_observe!(SchedulerFact);
}

/// Results count whatever their token.
pub struct AnyToken {
    /// The right one.
    pub stage: Scheduler,
    names: BTreeMap<SourcePosition, (JobId, TenantId)>,
}

impl AnyToken {
    /// Around a right one.
    #[must_use]
    pub const fn new(stage: Scheduler) -> Self {
        Self { stage, names: BTreeMap::new() }
    }
}

impl Stage for AnyToken {
    type Fact = SchedulerFact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
        let mut right = Decision::default();
        self.stage.decide(input, at, &mut right);
        let outcome = match input {
            Input::Record(arrival) => {
                match serde_json::from_slice(arrival.record.value.as_deref().unwrap_or_default()) {
                    Ok(Report::Result { outcome, .. }) => Some(outcome),
                    _ => None,
                }
            }
            Input::Tick { .. } | Input::Poll | Input::Evict(_) | Input::Refused(..) => None,
        };
        again(&right, decision, |fact| {
            if let (SchedulerFact::ResultRefused { source, by, reason }, Some(outcome)) = (&*fact, outcome)
                && reason == "stale_fence"
                && let Some((job_id, tenant)) = self.names.get(source)
            {
                *fact = SchedulerFact::JobFinished {
                    source: source.clone(),
                    job_id: job_id.clone(),
                    tenant: tenant.clone(),
                    outcome,
                    reason: String::new(),
                    dead: None,
                    output: None,
                    by: Some(by.clone()),
                    attempts: by.token.attempt,
                    work: None,
                    usage: tidegate_protocol::limits::Usage::default(),
                    settles: false,
                    moved: 0,
                };
            }
        });
    }

    fn apply(&mut self, fact: &SchedulerFact, at: Timestamp) {
        if let SchedulerFact::LeaseGranted { source, work: Some(work), .. } = fact
            && let Ok(judged) = serde_json::from_str::<tidegate_protocol::decision::Judged>(work.get())
        {
            self.names.insert(source.clone(), (judged.job.id, judged.job.tenant));
        }
        self.stage.apply(fact, at);
    }

    all_but_decide!(SchedulerFact, ());
}

/// What is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgets {
    /// Before it owns its shard, which jobs are to stop.
    Cancels,
    /// That an attempt which is retried has failed.
    Strikes,
    /// Before it owns its shard, what leases have taken of limits.
    Spends,
}

/// Facts do not all change what they should.
pub struct Forgetful {
    stage: Scheduler,
    forgets: Forgets,
    owns: bool,
}

impl Forgetful {
    /// Around a right one.
    #[must_use]
    pub const fn new(stage: Scheduler, forgets: Forgets) -> Self {
        Self { stage, forgets, owns: false }
    }
}

impl Stage for Forgetful {
    type Fact = SchedulerFact;
    type Signal = ();

    fn decide(&self, input: &Input<'_>, at: Timestamp, decision: &mut Decision<SchedulerFact>) {
        self.stage.decide(input, at, decision);
    }

    fn apply(&mut self, fact: &SchedulerFact, at: Timestamp) {
        match (self.forgets, fact) {
            (Forgets::Cancels, SchedulerFact::CancelAsked { .. }) if !self.owns => {}
            (Forgets::Strikes, SchedulerFact::JobRetried { source, by, until, .. }) => {
                let (source, until) = (source.clone(), Some(*until));
                let end = LeaseEnd::GivenBack;
                self.stage.apply(&SchedulerFact::LeaseExpired { source, token: by.token, end, until }, at);
            }
            (Forgets::Spends, SchedulerFact::LeaseGranted { .. }) if !self.owns => {
                let mut fact = fact.clone();
                if let SchedulerFact::LeaseGranted { spends, .. } = &mut fact {
                    spends.clear();
                }
                self.stage.apply(&fact, at);
            }
            _ => self.stage.apply(fact, at),
        }
    }

    fn observe(&mut self, signal: Signal<'_, ()>, at: Timestamp) {
        self.owns |= matches!(signal, Signal::Owner { .. });
        self.stage.observe(signal, at);
    }

    all_but_decide_and_observe!(SchedulerFact);
}
