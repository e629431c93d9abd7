//! What the readers of the outputs believe.

use crate::record::{Delivered, Verdict};
use crate::rules::Rules;
use crate::validity::Sequences;

/// For each source record the verdicts believed on it, over all outputs.
pub fn believed(outputs: &[Vec<Delivered>], sources: u8, rules: &Rules) -> Vec<Vec<Verdict>> {
    let mut times = vec![Vec::new(); usize::from(sources)];
    for output in outputs {
        let (mut fence, mut last, mut sequences) = (None, None, Sequences::default());
        for record in output {
            match *record {
                Delivered::Fence { epoch } => fence = fence.max(Some(epoch)),
                Delivered::Message { epoch, sequence, group, source, verdict } => {
                    if rules.message_gap_voids && !sequences.follows(epoch, sequence) {
                        continue;
                    }
                    let counts = if rules.own_epoch { Some(epoch) == fence } else { Some(epoch) >= fence };
                    if (counts || !rules.readers_honour_fences) && Some(group) > last {
                        last = Some(group);
                        if let Some(verdicts) = times.get_mut(usize::from(source)) {
                            verdicts.push(verdict);
                        }
                    }
                }
            }
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Epoch, Offset};

    fn message(epoch: Epoch, sequence: u8, group: Offset) -> Delivered {
        Delivered::Message { epoch, sequence, group, source: group, verdict: epoch }
    }

    fn verdicts(output: Vec<Delivered>) -> Vec<Vec<Verdict>> {
        believed(&[output], 4, &Rules::PROTOCOL)
    }

    #[test]
    fn a_message_below_the_fence_is_dropped() {
        let output = vec![message(1, 0, 0), Delivered::Fence { epoch: 2 }, message(1, 1, 1), message(2, 0, 2)];
        assert_eq!(verdicts(output), [vec![1], vec![], vec![2], vec![]]);
    }

    #[test]
    fn what_is_behind_a_gap_is_dropped_for_the_rest_of_the_epoch() {
        let output = vec![message(1, 0, 0), message(1, 2, 2), message(1, 1, 1), message(3, 0, 3)];
        assert_eq!(verdicts(output), [vec![1], vec![], vec![], vec![3]]);
    }

    #[test]
    fn what_was_believed_before_is_dropped_when_it_is_emitted_again() {
        let output = vec![message(1, 0, 0), message(1, 1, 1), message(2, 0, 1), message(2, 1, 2)];
        assert_eq!(verdicts(output), [vec![1], vec![1], vec![2], vec![]]);
    }
}
