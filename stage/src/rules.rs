//! The parts of the takeover protocol that can be left out, to show that each is needed.

/// Every field is `true` in a working runner. The simulation plants a bug by making one `false`
/// (`tests/simulation`), and must then turn red; nothing else ever constructs other than [`Rules::default`], but a view
/// that has no keys and only shows what it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of independent planted bugs")]
pub struct Rules {
    /// Messages wait until their facts have landed.
    pub facts_first: bool,
    /// An input whose fact is in the log is never decided again.
    pub decide_once: bool,
    /// Readers honour fences.
    pub fences: bool,
    /// Fences before the barrier.
    pub fence_first: bool,
    /// A `released` mark counts only before any higher claim.
    pub released_before_claim: bool,
    /// A gap in an epoch voids the rest of its groups.
    pub group_sequence: bool,
    /// A gap in an epoch voids the rest of its messages in that partition.
    pub message_sequence: bool,
    /// A snapshot stands for a log prefix at or below `released`, read back.
    pub snapshot_of_prefix: bool,
    /// A place has the settled ranges above its position.
    pub place_ranges: bool,
    /// A place has what was believed above its position, for when that is given up as lost.
    pub heard_above: bool,
    /// What is not signed by a key that may say so is not acted on.
    pub signatures: bool,
    /// What is due fires only after control inputs have been read up to an end fetched afterwards.
    pub read_before_due: bool,
    /// What is gone of an input before it was read is passed over only when an operator has given it up.
    pub lost_is_given_up: bool,
    /// An input that was never read is read from where its log begins.
    pub from_log_start: bool,
    /// A message that was met before under its fence is not met again.
    pub each_message_once: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            facts_first: true,
            decide_once: true,
            fences: true,
            fence_first: true,
            released_before_claim: true,
            group_sequence: true,
            message_sequence: true,
            snapshot_of_prefix: true,
            place_ranges: true,
            heard_above: true,
            signatures: true,
            read_before_due: true,
            lost_is_given_up: true,
            from_log_start: true,
            each_message_once: true,
        }
    }
}
