//! The scheduler beside a model that is simple enough to be right, under random jobs, workers honest and not, losses at
//! takeover, clocks and owners.

mod driver;
mod world;

use proptest::prelude::*;
use tidegate_protocol::pool_command::PoolAction;
use world::{Op, World};

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = 0..3_usize;
    let op = prop_oneof![
        4 => (
            any::<bool>(),
            0..10_u8,
            prop::option::weighted(0.1, 1..40_u64),
            prop::option::weighted(0.3, 1..9_000_u64),
        )
            .prop_map(|(gpu, priority, deadline_s, delay_ms)| Op::Job { gpu, priority, deadline_s, delay_ms }),
        6 => (who.clone(), 1..4_usize).prop_map(|(who, messages)| Op::Receive { who, messages }),
        5 => who.clone().prop_map(Op::Heartbeat),
        5 => (who.clone(), 0..4_usize, any::<bool>())
            .prop_map(|(who, which, retryable)| Op::Finish { who, which, retryable }),
        1 => (who.clone(), 0..4_usize).prop_map(|(who, which)| Op::GiveBack { who, which }),
        2 => (who.clone(), 0..4_u64).prop_map(|(who, back)| Op::Restart { who, back }),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, draining)| Op::Drain { who, draining }),
        3 => (1..6_000_u64).prop_map(Op::Wait),
        1 => (1..9_000_u64).prop_map(Op::Gap),
        2 => (any::<bool>(), 1..5_u64, 0..4_usize)
            .prop_map(|(replay, by, lost)| Op::Takeover { replay, by, lost }),
        1 => (0..20_u64).prop_map(Op::Evict),
        4 => (0..4_usize, 0..5_u8, 0..12_u64, 0..4_u64, 0..4_u32, 0..3_u64)
            .prop_map(|(who, kind, source, epoch, attempt, incarnation)| {
                Op::Lie { who, kind, source, epoch, attempt, incarnation }
            }),
        1 => (0..20_u64).prop_map(Op::Again),
        2 => (0..20_u64).prop_map(Op::Withdraw),
        2 => (who, prop::sample::select(vec![PoolAction::Cordon, PoolAction::Uncordon, PoolAction::Drain]), any::<bool>())
            .prop_map(|(who, action, again)| Op::Command { who, action, again }),
    ];
    prop::collection::vec(op, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// I1, I5, I7, credit, capacity and capabilities hold through all of it, and once calm returns every job ends.
    #[test]
    fn what_the_model_allows_and_nothing_else_happens(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.act(op);
        }
        world.calm();
    }
}
