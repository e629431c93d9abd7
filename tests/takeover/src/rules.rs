//! Which parts of the protocol are in force, and the bounds of an exploration.

use crate::record::{Output, Outputs};

/// Where a claim or barrier of a higher epoch ends the belief in `released` marks of older epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleasedUntil {
    /// The protocol: a mark counts if no claim of a higher epoch stands before it.
    Claim,
    /// Too long: the new owner already fences while old marks still count.
    Barrier,
}

/// The parts of the protocol. [`Rules::PROTOCOL`] has them all; a variant leaves one out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Readers drop messages below the highest fence they have met.
    pub readers_honour_fences: bool,
    /// A new owner writes its fences before its barrier.
    pub fences_before_barrier: bool,
    /// A new owner also fences the outputs that claims since the newest barrier's epoch name.
    pub earlier_claims_fenced: bool,
    /// A new owner writes a barrier, and groups of lower epochs behind it are void.
    pub barrier: bool,
    /// A gap among the groups of an epoch voids the rest of them.
    pub group_gap_voids: bool,
    /// A gap among the messages of an epoch in an output voids the rest of them.
    pub message_gap_voids: bool,
    /// How long `released` marks of an older epoch count.
    pub released_until: ReleasedUntil,
    /// A group counts only under the barrier of its own epoch, a message only under its own fence: an epoch that nobody announced is void,
    /// a higher one too (docs/decisions/0004).
    pub own_epoch: bool,
    /// An owner that finds a higher claim behind its own, and no barrier of it, ends and the shard is taken over anew
    /// (docs/decisions/0007).
    pub claims_again: bool,
}

impl Rules {
    /// The protocol of DESIGN §2.
    pub const PROTOCOL: Self = Self {
        readers_honour_fences: true,
        fences_before_barrier: true,
        earlier_claims_fenced: true,
        barrier: true,
        group_gap_voids: true,
        message_gap_voids: true,
        released_until: ReleasedUntil::Claim,
        own_epoch: false,
        claims_again: false,
    };

    /// What `stage` does: the protocol, and what docs/decisions say that it departs in.
    pub const CODE: Self = Self { own_epoch: true, claims_again: true, ..Self::PROTOCOL };
}

/// The bounds of one exploration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// For each owner the outputs it is configured to write to, in order; none may be empty.
    pub owners: Vec<Vec<Output>>,
    /// How many source records there are.
    pub sources: u8,
    /// Groups may be lost.
    pub lose_groups: bool,
    /// Messages may be lost.
    pub lose_messages: bool,
    /// An owner may be gone for good between its claim and its barrier.
    pub claimants_vanish: bool,
    /// The parts of the protocol in force.
    pub rules: Rules,
}

impl Configuration {
    /// Owners that follow the whole protocol; nothing is lost.
    pub fn new(owners: &[&[Output]], sources: u8) -> Self {
        Self {
            owners: owners.iter().map(|outputs| outputs.to_vec()).collect(),
            sources,
            lose_groups: false,
            lose_messages: false,
            claimants_vanish: false,
            rules: Rules::PROTOCOL,
        }
    }

    /// Groups may be lost on their way, too.
    #[must_use]
    pub fn losing_groups(self) -> Self {
        Self { lose_groups: true, ..self }
    }

    /// Messages may be lost on their way, too.
    #[must_use]
    pub fn losing_messages(self) -> Self {
        Self { lose_messages: true, ..self }
    }

    /// Claimants may vanish before their barrier, too.
    #[must_use]
    pub fn with_claimants_that_vanish(self) -> Self {
        Self { claimants_vanish: true, ..self }
    }

    /// Under other rules than the protocol's.
    #[must_use]
    pub fn under(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// How many output partitions there are.
    pub fn width(&self) -> usize {
        self.owners.iter().flatten().max().map_or(0, |&output| usize::from(output) + 1)
    }

    /// What an owner names in its claim.
    pub(crate) fn outputs(&self, owner: u8) -> Outputs {
        self.owners.get(usize::from(owner)).map_or_else(Outputs::default, |outputs| Outputs::of(outputs))
    }

    /// Where an owner's messages go. Owners route differently on purpose: one source record may go to different outputs.
    pub(crate) fn route(&self, owner: u8) -> Output {
        let outputs = self.owners.get(usize::from(owner)).map_or(&[] as &[Output], Vec::as_slice);
        outputs.iter().cycle().nth(usize::from(owner)).copied().unwrap_or(0)
    }
}
