//! What stands in the logs. Offsets, epochs and sources are small numbers: the bounds of the model keep them below 256.

/// A position in the facts log.
pub type Offset = u8;
/// The offset of an owner's claim. Higher is newer.
pub type Epoch = u8;
/// The number of a source record, from 0.
pub type Source = u8;
/// The number of the owner that decided.
pub type Verdict = u8;
/// The number of an output partition, from 0.
pub type Output = u8;

/// A set of output partitions.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub struct Outputs(u8);

impl Outputs {
    /// The set of the outputs named; a number above 7 is left out.
    pub fn of(outputs: &[Output]) -> Self {
        Self(outputs.iter().fold(0, |set, &output| set | 1_u8.checked_shl(u32::from(output)).unwrap_or(0)))
    }

    /// What stands in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The outputs, lowest first.
    pub fn iter(self) -> impl Iterator<Item = Output> {
        (0..8).filter(move |output| self.0 & (1 << output) != 0)
    }
}

/// A group of facts: here one decision.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Group {
    /// Its place among the groups of its epoch, from 0.
    pub sequence: u8,
    /// The source record it decides.
    pub source: Source,
    /// Who decided.
    pub verdict: Verdict,
    /// Where its message goes.
    pub output: Output,
    /// The messages of all groups up to this offset have landed; `None` before the first.
    pub released: Option<Offset>,
}

/// A record of the facts log.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Fact {
    /// An owner wants the shard and names the outputs it may write to.
    Claim {
        /// Its number.
        owner: u8,
        /// The outputs it may write to.
        outputs: Outputs,
    },
    /// The owner of this epoch replays up to here.
    Barrier {
        /// The offset of its claim.
        epoch: Epoch,
    },
    /// A group that landed.
    Group {
        /// The epoch of the owner that wrote it.
        epoch: Epoch,
        /// What it says.
        group: Group,
    },
}

/// A message a landed group owes, before it is sent.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Owed {
    /// The offset of its group in the facts log.
    pub group: Offset,
    /// The source record it is about.
    pub source: Source,
    /// Who decided.
    pub verdict: Verdict,
    /// Where it goes.
    pub output: Output,
}

/// A record of an output partition.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Delivered {
    /// Nothing below this epoch counts from here on.
    Fence {
        /// The epoch of the owner that wrote it.
        epoch: Epoch,
    },
    /// A message.
    Message {
        /// The epoch of its sender.
        epoch: Epoch,
        /// Its place among the messages of its epoch in this output, from 0.
        sequence: u8,
        /// The offset of its group in the facts log.
        group: Offset,
        /// The source record it is about.
        source: Source,
        /// Who decided.
        verdict: Verdict,
    },
}
