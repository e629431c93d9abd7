//! One owner of the shard: claim, fences, barrier, replay, then groups and messages until it stops.

use crate::model::State;
use crate::record::{Delivered, Epoch, Fact, Group, Offset, Output, Outputs, Owed};
use crate::rules::Configuration;
use crate::validity::{released_mark, valid_groups};

/// How many groups may be on their way at once.
const IN_FLIGHT: usize = 2;

/// What an owner does next.
#[derive(Clone, Copy, Debug, Default, Hash, PartialEq, Eq)]
pub enum Phase {
    /// Append the claim.
    #[default]
    Claim,
    /// Append the fence to this one of the outputs it fences, counted from 0.
    Fence(u8),
    /// Append the barrier.
    Barrier,
    /// Read the facts log and take over.
    Replay,
    /// Decide, append groups, send messages.
    Run,
    /// An append was lost: decide nothing more; what the client already has may still land.
    Stopping,
    /// Somebody newer owns the shard.
    Down,
}

/// An owner.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub struct Owner {
    /// What it does next.
    pub phase: Phase,
    /// The offset of its claim, once there is one.
    pub epoch: Option<Epoch>,
    /// The outputs it fences, known with the claim.
    pub fences: Outputs,
    /// Groups handed to the client, oldest first.
    pub sending: Vec<Group>,
    /// Messages of landed groups, in order.
    pub owed: Vec<Owed>,
    /// Messages handed over, by output.
    pub sent: Vec<u8>,
    /// How many source records it has decided or replayed: those below this number.
    pub known: u8,
    /// The messages of all groups up to this offset have landed.
    pub released: Option<Offset>,
    /// The sequence number of its next group.
    pub sequence: u8,
}

/// Something an owner, or the client it handed things to, may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Append the claim.
    Claim,
    /// Append the next fence.
    Fence,
    /// Append the barrier.
    Barrier,
    /// Be gone for good, before its barrier.
    Vanish,
    /// Replay the facts log.
    Replay,
    /// Decide the next source record and hand its group over.
    Decide,
    /// The oldest group handed over lands.
    GroupLands,
    /// The oldest group handed over is lost.
    GroupIsLost,
    /// The oldest message for this output lands.
    MessageLands(Output),
    /// The oldest message for this output is lost.
    MessageIsLost(Output),
}

impl Owner {
    /// An owner that has not claimed yet.
    pub(crate) fn new(width: usize) -> Self {
        Self { sent: vec![0; width], ..Self::default() }
    }

    /// Whether it has replayed and holds, or held, the shard.
    pub(crate) fn has_taken_over(&self) -> bool {
        match self.phase {
            Phase::Run | Phase::Stopping => true,
            Phase::Claim | Phase::Fence(_) | Phase::Barrier | Phase::Replay | Phase::Down => false,
        }
    }

    /// Whether nothing of it can land any more unless it decides.
    pub(crate) fn is_quiet(&self) -> bool {
        self.phase == Phase::Down || (self.has_taken_over() && self.sending.is_empty() && self.owed.is_empty())
    }

    /// What may happen next; each step stands for every moment at which it may.
    pub(crate) fn steps(&self, configuration: &Configuration) -> Vec<Step> {
        match self.phase {
            Phase::Claim => vec![Step::Claim],
            Phase::Fence(_) if configuration.claimants_vanish => vec![Step::Fence, Step::Vanish],
            Phase::Barrier if configuration.claimants_vanish => vec![Step::Barrier, Step::Vanish],
            Phase::Fence(_) => vec![Step::Fence],
            Phase::Barrier => vec![Step::Barrier],
            Phase::Replay => vec![Step::Replay],
            Phase::Run | Phase::Stopping => self.steps_of_the_work(configuration),
            Phase::Down => Vec::new(),
        }
    }

    fn steps_of_the_work(&self, configuration: &Configuration) -> Vec<Step> {
        let (mut steps, running) = (Vec::new(), self.phase == Phase::Run);
        if !self.sending.is_empty() {
            steps.push(Step::GroupLands);
            if running && configuration.lose_groups {
                steps.push(Step::GroupIsLost);
            }
        }
        for output in Outputs::of(&self.owed.iter().map(|message| message.output).collect::<Vec<_>>()).iter() {
            steps.push(Step::MessageLands(output));
            if running && configuration.lose_messages {
                steps.push(Step::MessageIsLost(output));
            }
        }
        if running && self.known < configuration.sources && self.sending.len() < IN_FLIGHT {
            steps.push(Step::Decide);
        }
        steps
    }
}

/// Does what owner `number` may do. `None` if it may not, which [`Owner::steps`] never offers.
pub(crate) fn take(state: &mut State, number: u8, step: Step, configuration: &Configuration) -> Option<()> {
    let State { facts, outputs, owners } = state;
    let owner = owners.get_mut(usize::from(number))?;
    match step {
        Step::Claim => claim(owner, facts, number, configuration),
        Step::Fence => fence(owner, outputs, configuration),
        Step::Barrier => {
            if configuration.rules.barrier {
                facts.push(Fact::Barrier { epoch: owner.epoch? });
            }
            owner.phase = if configuration.rules.fences_before_barrier { Phase::Replay } else { Phase::Fence(0) };
            Some(())
        }
        Step::Vanish => {
            owner.phase = Phase::Down;
            Some(())
        }
        Step::Replay => replay(owner, facts, configuration),
        Step::Decide => {
            owner.sending.push(Group {
                sequence: owner.sequence,
                source: owner.known,
                verdict: number,
                output: configuration.route(number),
                released: owner.released,
            });
            owner.known += 1;
            owner.sequence += 1;
            Some(())
        }
        Step::GroupLands => group_lands(owner, facts),
        Step::GroupIsLost => {
            owner.sending.remove(0);
            owner.phase = Phase::Stopping;
            Some(())
        }
        Step::MessageLands(output) => {
            let (message, sequence) = hand_over(owner, output)?;
            // Everything up to its group has landed, if nothing older is owed still and nothing else of its group is.
            if owner.owed.first().is_none_or(|oldest| oldest.group > message.group) {
                owner.released = owner.released.max(Some(message.group));
            }
            outputs.get_mut(usize::from(output))?.push(Delivered::Message {
                epoch: owner.epoch?,
                sequence,
                group: message.group,
                source: message.source,
                verdict: message.verdict,
            });
            Some(())
        }
        Step::MessageIsLost(output) => {
            hand_over(owner, output)?;
            owner.phase = Phase::Stopping;
            Some(())
        }
    }
}

fn claim(owner: &mut Owner, facts: &mut Vec<Fact>, number: u8, configuration: &Configuration) -> Option<()> {
    let own = configuration.outputs(number);
    owner.fences = own;
    if configuration.rules.earlier_claims_fenced {
        let barriers = facts.iter().filter_map(|fact| match *fact {
            Fact::Barrier { epoch } => Some(epoch),
            Fact::Claim { .. } | Fact::Group { .. } => None,
        });
        // The claim of the newest effective owner, and every claim behind it.
        let since = usize::from(barriers.max().unwrap_or(0));
        for fact in facts.iter().skip(since) {
            if let Fact::Claim { outputs, .. } = *fact {
                owner.fences = owner.fences.union(outputs);
            }
        }
    }
    owner.epoch = Some(Epoch::try_from(facts.len()).ok()?);
    owner.phase = if configuration.rules.fences_before_barrier { Phase::Fence(0) } else { Phase::Barrier };
    facts.push(Fact::Claim { owner: number, outputs: own });
    Some(())
}

fn fence(owner: &mut Owner, outputs: &mut [Vec<Delivered>], configuration: &Configuration) -> Option<()> {
    let Phase::Fence(at) = owner.phase else { return None };
    let mut to_fence = owner.fences.iter().skip(usize::from(at));
    let output = to_fence.next()?;
    outputs.get_mut(usize::from(output))?.push(Delivered::Fence { epoch: owner.epoch? });
    owner.phase = match (to_fence.next(), configuration.rules.fences_before_barrier) {
        (Some(_), _) => Phase::Fence(at + 1),
        (None, true) => Phase::Barrier,
        (None, false) => Phase::Replay,
    };
    Some(())
}

fn replay(owner: &mut Owner, facts: &[Fact], configuration: &Configuration) -> Option<()> {
    let (epoch, rules) = (owner.epoch?, &configuration.rules);
    let past = if rules.barrier {
        let barrier = facts.iter().position(|fact| *fact == Fact::Barrier { epoch })?;
        facts.get(..=barrier)?
    } else {
        facts
    };
    if past.iter().any(|fact| matches!(*fact, Fact::Barrier { epoch: other } if other > epoch)) {
        owner.phase = Phase::Down;
        return Some(());
    }
    let mark = released_mark(past, rules);
    let mut decided = Vec::new();
    for (offset, Group { source, verdict, output, .. }) in valid_groups(past, rules) {
        if decided.contains(&source) {
            continue;
        }
        decided.push(source);
        if Some(offset) > mark {
            owner.owed.push(Owed { group: offset, source, verdict, output });
        }
    }
    // The position is in the facts: everything up to it counts as decided.
    owner.known = decided.iter().max().map_or(0, |&source| source + 1);
    owner.released = mark;
    owner.phase = Phase::Run;
    Some(())
}

fn group_lands(owner: &mut Owner, facts: &mut Vec<Fact>) -> Option<()> {
    let group = owner.sending.remove(0);
    if owner.phase == Phase::Run {
        let Group { source, verdict, output, .. } = group;
        owner.owed.push(Owed { group: Offset::try_from(facts.len()).ok()?, source, verdict, output });
    }
    facts.push(Fact::Group { epoch: owner.epoch?, group });
    Some(())
}

/// Takes the oldest message for an output from what is owed, and numbers it.
fn hand_over(owner: &mut Owner, output: Output) -> Option<(Owed, u8)> {
    let at = owner.owed.iter().position(|message| message.output == output)?;
    let message = owner.owed.remove(at);
    let sent = owner.sent.get_mut(usize::from(output))?;
    let sequence = *sent;
    *sent += 1;
    Some((message, sequence))
}
