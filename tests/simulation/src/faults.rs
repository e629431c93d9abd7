//! What goes wrong in a run, and when.

use std::sync::Arc;

use tidegate_protocol::address::TopicPartition;
use tidegate_stage::InputKind;

use crate::chance::Chance;
use crate::world::World;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process is gone at once.
    Crash,
    /// A process is gone just before one of its next operations on the spine.
    CrashAtOperation,
    /// A process stands still and goes on later; the group may have moved its shards meanwhile.
    Stop,
    /// A shard is given to another process; the old owner hears of it late or never.
    Move,
    /// The broker is away.
    Outage,
    /// Appends to a partition stand still.
    StallAppends,
    /// Reads of a partition stand still.
    StallReads,
    /// A live producer loses an append; what is behind it lands.
    LoseAppend,
    /// A wall clock steps.
    ClockStep,
    /// Keyed topics are compacted.
    Compact,
}

const KINDS: [(Fault, u32); 10] = [
    (Fault::Crash, 2),
    (Fault::CrashAtOperation, 4),
    (Fault::Stop, 3),
    (Fault::Move, 4),
    (Fault::Outage, 1),
    (Fault::StallAppends, 5),
    (Fault::StallReads, 5),
    (Fault::LoseAppend, 6),
    (Fault::ClockStep, 1),
    (Fault::Compact, 1),
];

/// Draws the faults of a run: some at random, between `from` and `until`, all over by `until` plus what they last.
pub fn schedule(seed: u64, world: &Arc<World>, partitions: &[TopicPartition], from: u64, until: u64) {
    let mut chance = Chance::new(seed, "faults");
    let total: u32 = KINDS.iter().map(|(_, weight)| weight).sum();
    let count = chance.within(4..13);
    let spine = world.spine.clone();
    world.core.at(until, move || spine.lose_nothing());
    for number in 0..count {
        let mut pick = u32::try_from(chance.within(0..u64::from(total))).unwrap_or(0);
        let mut fault = Fault::Crash;
        for (kind, weight) in KINDS {
            if pick < weight {
                fault = kind;
                break;
            }
            pick -= weight;
        }
        let at = chance.within(from..until);
        let (world, partition) = (world.clone(), chance.one_of(partitions).clone());
        let mut own = Chance::new(seed, &format!("fault {number}"));
        world.core.clone().at(at, move || happen(&world, fault, partition, &mut own, until));
    }
}

fn happen(world: &Arc<World>, fault: Fault, partition: TopicPartition, chance: &mut Chance, until: u64) {
    let left = until.saturating_sub(world.core.now()).max(1);
    let now = world.core.now();
    let Some(process) = (if chance.percent(80) { world.any_owner() } else { world.any_process() }) else { return };
    world.trace.event(now, "fault", &[fault as u64], || format!("{fault:?} {process:?} {partition}"));
    match fault {
        Fault::Crash => world.core.crash(process),
        Fault::CrashAtOperation => world.spine.crash_at(process, chance.within(0..40)),
        Fault::Stop => {
            world.core.stop(process);
            let core = world.core.clone();
            core.clone().after(chance.within(20_000..2_500_000).min(left), move || core.resume(process));
        }
        Fault::Move => {
            let shard = usize::try_from(chance.within(0..world.shards().len() as u64)).unwrap_or(0);
            world.give(shard, process);
            if chance.percent(60) {
                // Two owners of one shard are most dangerous while an output is slow.
                let outputs = &world.shards()[shard].spec.outputs;
                let output = chance.one_of(outputs).clone();
                world.spine.stall(&output, chance.within(5_000..600_000).min(left), false);
            }
        }
        Fault::Outage => world.spine.outage(chance.within(20_000..3_000_000).min(left)),
        Fault::StallAppends => world.spine.stall(&partition, chance.within(5_000..1_500_000).min(left), false),
        Fault::StallReads if chance.percent(60) => {
            let inputs = world.shards().iter().flat_map(|s| &s.spec.inputs);
            let control: Vec<_> = inputs.filter(|i| i.kind == InputKind::Control).collect();
            if !control.is_empty() {
                let of = &chance.one_of(&control).partition;
                world.spine.stall(of, chance.within(1_000_000..3_500_000).min(left), true);
            }
        }
        Fault::StallReads => world.spine.stall(&partition, chance.within(100_000..3_000_000).min(left), true),
        Fault::LoseAppend => {
            let shard = usize::try_from(chance.within(0..world.shards().len() as u64)).unwrap_or(0);
            let spec = &world.shards()[shard].spec;
            let of = if chance.percent(40) { &spec.facts } else { chance.one_of(&spec.outputs) };
            world.spine.lose(of);
            // Something must be behind it.
            world.spine.stall(of, chance.within(20_000..400_000).min(left), false);
        }
        Fault::ClockStep => {
            let skew = i64::try_from(chance.within(0..6_000_000)).unwrap_or(0) - 3_000_000;
            world.step_clock(process, skew);
        }
        Fault::Compact => world.spine.broker().compact(now),
    }
}
