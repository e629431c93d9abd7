//! Bugs that can be planted, by name: each must turn the simulation red.

use tidegate_stage::Rules;

use crate::ledger::verdicts::Invariant::{
    self, DueAfterReading, Eligible, I1, I2, I3, I4, I5, I6, I7, I10, Order, OwnTime, Share, Stalled, Turn,
};

/// What is wrong with a stage, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    /// Nothing.
    #[default]
    Nothing,
    /// What may not pass passes.
    FailOpen,
    /// A result counts whatever its token.
    StaleToken,
    /// An approval counts whatever input it is for.
    OtherInput,
    /// A worker runs what stands in its lane, whoever wrote it.
    TicketUnchecked,
    /// A ticket admits children whatever was revoked.
    RevokedLives,
    /// A new owner does not know which jobs are to stop.
    LostCancel,
    /// A failed attempt that is retried does not count.
    StrikesForgotten,
    /// A tenant gets more than its share.
    ShareIgnored,
    /// A new owner does not know what leases have taken of limits that are lent.
    LostSpend,
    /// A job is leased by a ticket that has expired.
    ExpiredRuns,
    /// A worker runs a job whose ticket expired on its way there.
    ExpiredStarts,
    /// A record that is redriven goes on as what it was.
    SameLife,
    /// The ordering key of a job is lost.
    OrderIgnored,
    /// What a job asks of its worker's labels is lost.
    SelectorIgnored,
    /// One tenant has more weight than the pool says.
    OutOfTurn,
    /// A worker whose number is below the one that its name has says the same again.
    NeverRises,
    /// Nobody hears that a job makes progress.
    ProgressUnheard,
    /// A lease stays whether or not its job makes progress.
    StallIgnored,
    /// A kernel takes a record's own time for now.
    KernelByRecord,
    /// A scheduler takes a record's own time for now.
    SchedulerByRecord,
}

/// A planted bug.
#[derive(Debug, Clone, Copy)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// What it breaks: it counts as found when one of these is broken, and by nothing else.
    pub breaks: &'static [Invariant],
    /// The runner's rules.
    pub rules: Rules,
    /// What is wrong with the stage.
    pub plant: Plant,
    /// What is wrong with limits.
    pub limits: LimitsPlant,
}

/// What is wrong with limits, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitsPlant {
    /// Nothing.
    #[default]
    Nothing,
    /// A limits shard forgets what it granted.
    GrantTwice,
    /// A kernel gives back twice what a job did not use.
    SettleTwice,
    /// A spend leaves its window a little early.
    WindowBoundary,
    /// A record is redriven although what its job took is not settled: it counts for the new life's.
    RedriveUnsettled,
}

/// No bug.
#[must_use]
pub fn right() -> Bug {
    Bug { name: "none", breaks: &[], rules: Rules::default(), plant: Plant::Nothing, limits: LimitsPlant::Nothing }
}

/// All bugs.
#[must_use]
pub fn bugs() -> Vec<Bug> {
    let good = Rules::default();
    let rule = |name, breaks: &'static [Invariant], rules| Bug { name, breaks, rules, ..right() };
    let bug = |name, breaks: &'static [Invariant], plant| Bug { name, breaks, plant, ..right() };
    vec![
        rule("message before facts", &[I2], Rules { facts_first: false, ..good }),
        rule("decide twice", &[I4], Rules { decide_once: false, ..good }),
        rule("no fences", &[I2, I4], Rules { fences: false, ..good }),
        rule("barrier before fences", &[I2, I4], Rules { fence_first: false, ..good }),
        rule("released believed too long", &[I1], Rules { released_before_claim: false, ..good }),
        rule("a gap among groups is not void", &[I2, I4, I7], Rules { group_sequence: false, ..good }),
        rule("a gap among messages is believed", &[I2, I4, I6], Rules { message_sequence: false, ..good }),
        rule("a snapshot of memory", &[I7], Rules { snapshot_of_prefix: false, ..good }),
        rule("a place without its ranges", &[I4], Rules { place_ranges: false, ..good }),
        rule("what was heard is lost with its record", &[I4], Rules { heard_above: false, ..good }),
        rule("what is not signed is believed", &[I2, I3], Rules { signatures: false, ..good }),
        rule("expire before reading", &[DueAfterReading], Rules { read_before_due: false, ..good }),
        rule("what is lost is passed over", &[I1, I6], Rules { lost_is_given_up: false, ..good }),
        rule("reading begins at the end", &[I1, I6], Rules { from_log_start: false, ..good }),
        rule("a duplicate is taken as new", &[I1, I4], Rules { each_message_once: false, ..good }),
        bug("fail open", &[I3], Plant::FailOpen),
        bug("accept a stale token", &[I5], Plant::StaleToken),
        bug("approve for another input", &[I3], Plant::OtherInput),
        bug("ticket not checked", &[I2], Plant::TicketUnchecked),
        bug("a child of a revoked parent", &[I3], Plant::RevokedLives),
        bug("a cancel lost at takeover", &[I5], Plant::LostCancel),
        bug("a retry that forgets strikes", &[I10], Plant::StrikesForgotten),
        bug("a tenant's share ignored", &[Share], Plant::ShareIgnored),
        bug("a spend lost at takeover", &[Share], Plant::LostSpend),
        bug("an expired ticket runs", &[I2], Plant::ExpiredRuns),
        bug("a worker that looks at no ticket's time", &[I2], Plant::ExpiredStarts),
        bug("a redrive is no other life", &[I4], Plant::SameLife),
        bug("an order that is ignored", &[Order], Plant::OrderIgnored),
        bug("a selector that is ignored", &[Eligible], Plant::SelectorIgnored),
        bug("a tenant served out of turn", &[Turn], Plant::OutOfTurn),
        bug("a worker that relies on its clock", &[I1], Plant::NeverRises),
        bug("progress that nobody hears of", &[DueAfterReading], Plant::ProgressUnheard),
        bug("a lease kept without progress", &[Stalled], Plant::StallIgnored),
        bug("a kernel that goes by a record's own time", &[OwnTime], Plant::KernelByRecord),
        bug("a scheduler that goes by a record's own time", &[I5], Plant::SchedulerByRecord),
    ]
}

/// Bugs in the stages that keep limits: found by the scenario of limits alone.
#[must_use]
pub fn bugs_of_limits() -> Vec<Bug> {
    let bug = |name, limits| Bug { name, breaks: &[I3], limits, ..right() };
    vec![
        bug("grant twice", LimitsPlant::GrantTwice),
        bug("settle twice", LimitsPlant::SettleTwice),
        bug("window boundary", LimitsPlant::WindowBoundary),
        bug("redrive before settling", LimitsPlant::RedriveUnsettled),
    ]
}
