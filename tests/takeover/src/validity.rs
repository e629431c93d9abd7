//! What counts in a facts log: the rules a replay follows.

use crate::record::{Epoch, Fact, Group, Offset};
use crate::rules::{ReleasedUntil, Rules};

/// The next sequence number of each epoch; an epoch with a gap is void from there on.
#[derive(Default)]
pub(crate) struct Sequences(Vec<(Epoch, Option<u8>)>);

impl Sequences {
    /// Whether this number follows in its epoch; if not, nothing of the epoch follows any more.
    pub(crate) fn follows(&mut self, epoch: Epoch, sequence: u8) -> bool {
        let Some((_, next)) = self.0.iter_mut().find(|(known, _)| *known == epoch) else {
            self.0.push((epoch, (sequence == 0).then_some(1)));
            return sequence == 0;
        };
        let follows = *next == Some(sequence);
        *next = if follows { sequence.checked_add(1) } else { None };
        follows
    }
}

/// The valid groups with their offsets: no barrier of a higher epoch stands before one, and its sequence number is the next
/// of its epoch.
pub fn valid_groups(facts: &[Fact], rules: &Rules) -> Vec<(Offset, Group)> {
    let (mut highest, mut sequences, mut valid) = (None, Sequences::default(), Vec::new());
    for (offset, fact) in (0..).zip(facts) {
        match *fact {
            Fact::Claim { .. } => {}
            Fact::Barrier { epoch } => highest = highest.max(Some(epoch)),
            Fact::Group { epoch, group } => {
                let counts = if rules.own_epoch { Some(epoch) == highest } else { Some(epoch) >= highest };
                if counts && (!rules.group_gap_voids || sequences.follows(epoch, group.sequence)) {
                    valid.push((offset, group));
                }
            }
        }
    }
    valid
}

/// Whether a claim stands behind the barrier of this epoch, and no barrier of its own: its owner may be gone.
pub fn is_claimed_above(facts: &[Fact], epoch: Epoch) -> bool {
    let has_barrier = |of: Epoch| facts.contains(&Fact::Barrier { epoch: of });
    (0..).zip(facts).any(|(offset, fact)| matches!(fact, Fact::Claim { .. }) && offset > epoch && !has_barrier(offset))
}

/// All groups up to this offset are released, as far as marks that count say so.
pub fn released_mark(facts: &[Fact], rules: &Rules) -> Option<Offset> {
    let (mut highest, mut mark) = (None, None);
    for (offset, fact) in (0..).zip(facts) {
        match (*fact, rules.released_until) {
            (Fact::Claim { .. }, ReleasedUntil::Claim) => highest = Some(offset),
            (Fact::Barrier { epoch }, ReleasedUntil::Barrier) => highest = highest.max(Some(epoch)),
            (Fact::Claim { .. }, ReleasedUntil::Barrier) | (Fact::Barrier { .. }, ReleasedUntil::Claim) => {}
            (Fact::Group { epoch, group }, _) => {
                if Some(epoch) >= highest {
                    mark = mark.max(group.released);
                }
            }
        }
    }
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outputs;

    fn claim() -> Fact {
        Fact::Claim { owner: 0, outputs: Outputs::of(&[0]) }
    }

    fn group(epoch: Epoch, sequence: u8, released: Option<Offset>) -> Fact {
        Fact::Group { epoch, group: Group { sequence, source: sequence, verdict: 0, output: 0, released } }
    }

    fn offsets(facts: &[Fact]) -> Vec<Offset> {
        valid_groups(facts, &Rules::PROTOCOL).into_iter().map(|(offset, _)| offset).collect()
    }

    #[test]
    fn a_group_behind_a_barrier_of_a_higher_epoch_is_void() {
        let facts = [claim(), Fact::Barrier { epoch: 0 }, group(0, 0, None), claim(), Fact::Barrier { epoch: 3 }];
        assert_eq!(offsets(&facts), [2]);
        assert_eq!(offsets(&[&facts[..], &[group(0, 1, None), group(3, 0, None)]].concat()), [2, 6]);
    }

    #[test]
    fn where_its_own_barrier_is_asked_for_a_group_of_an_epoch_that_nobody_announced_is_void() {
        let facts = [claim(), Fact::Barrier { epoch: 0 }, group(0, 0, None), group(9, 0, None)];
        assert_eq!(offsets(&facts), [2, 3]);
        let counted = valid_groups(&facts, &Rules::CODE);
        assert_eq!(counted.into_iter().map(|(offset, _)| offset).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_claim_is_above_until_its_barrier_stands() {
        let mut facts = vec![claim(), Fact::Barrier { epoch: 0 }, claim()];
        assert!(is_claimed_above(&facts, 0) && !is_claimed_above(&facts, 2));
        facts.push(Fact::Barrier { epoch: 2 });
        assert!(!is_claimed_above(&facts, 0));
    }

    #[test]
    fn a_gap_voids_the_rest_of_its_epoch_and_of_no_other() {
        let facts = [claim(), group(0, 0, None), group(0, 2, None), group(0, 1, None), claim(), group(4, 0, None)];
        assert_eq!(offsets(&facts), [1, 5]);
    }

    #[test]
    fn a_released_mark_behind_a_claim_of_a_higher_epoch_does_not_count() {
        let facts = [claim(), group(0, 0, None), group(0, 1, Some(1)), claim(), group(0, 2, Some(2))];
        assert_eq!(released_mark(&facts, &Rules::PROTOCOL), Some(1));
    }
}
