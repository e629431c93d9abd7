//! Bugs that can be planted, by name: each must turn the simulation red.

use tidegate_stage::Rules;

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
}

/// A planted bug.
#[derive(Debug, Clone, Copy)]
pub struct Bug {
    /// Its name.
    pub name: &'static str,
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
    Bug { name: "none", rules: Rules::default(), plant: Plant::Nothing, limits: LimitsPlant::Nothing }
}

/// All bugs.
#[must_use]
pub fn bugs() -> Vec<Bug> {
    let good = Rules::default();
    let bug = |name, rules| Bug { name, rules, ..right() };
    vec![
        bug("message before facts", Rules { facts_first: false, ..good }),
        bug("decide twice", Rules { decide_once: false, ..good }),
        bug("no fences", Rules { fences: false, ..good }),
        bug("barrier before fences", Rules { fence_first: false, ..good }),
        bug("released believed too long", Rules { released_before_claim: false, ..good }),
        bug("a gap among groups is not void", Rules { group_sequence: false, ..good }),
        bug("a gap among messages is believed", Rules { message_sequence: false, ..good }),
        bug("a snapshot of memory", Rules { snapshot_of_prefix: false, ..good }),
        bug("a place without its ranges", Rules { place_ranges: false, ..good }),
        bug("what is not signed is believed", Rules { signatures: false, ..good }),
        bug("expire before reading", Rules { read_before_due: false, ..good }),
        Bug { plant: Plant::FailOpen, ..bug("fail open", good) },
        Bug { plant: Plant::StaleToken, ..bug("accept a stale token", good) },
        Bug { plant: Plant::OtherInput, ..bug("approve for another input", good) },
        Bug { plant: Plant::TicketUnchecked, ..bug("ticket not checked", good) },
        Bug { plant: Plant::RevokedLives, ..bug("a child of a revoked parent", good) },
        Bug { plant: Plant::LostCancel, ..bug("a cancel lost at takeover", good) },
        Bug { plant: Plant::StrikesForgotten, ..bug("a retry that forgets strikes", good) },
        Bug { plant: Plant::ShareIgnored, ..bug("a tenant's share ignored", good) },
        Bug { plant: Plant::LostSpend, ..bug("a spend lost at takeover", good) },
        Bug { plant: Plant::ExpiredRuns, ..bug("an expired ticket runs", good) },
        Bug { plant: Plant::ExpiredStarts, ..bug("a worker that looks at no ticket's time", good) },
        Bug { plant: Plant::SameLife, ..bug("a redrive is no other life", good) },
    ]
}

/// Bugs in the stages that keep limits: found by the scenario of limits alone.
#[must_use]
pub fn bugs_of_limits() -> Vec<Bug> {
    let bug = |name, limits| Bug { name, limits, ..right() };
    vec![
        bug("grant twice", LimitsPlant::GrantTwice),
        bug("settle twice", LimitsPlant::SettleTwice),
        bug("window boundary", LimitsPlant::WindowBoundary),
        bug("redrive before settling", LimitsPlant::RedriveUnsettled),
    ]
}
