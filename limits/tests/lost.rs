//! What is lost of requests and answers, and a shard whose log was made anew: nothing stays lent that nobody has, nothing that may
//! be spent is lent again.
#![expect(clippy::unwrap_used, reason = "a test's own parts are well-formed")]

mod lender;

use std::time::Duration;

use lender::{Asks, Lender, MOST, asks, gone, granted, is_kept, is_refused, kernel, returns, scheduler, seconds};
use tidegate_protocol::control::epoch;
use tidegate_protocol::limits::{LimitAnswer, LimitKind, LimitsFact};
use tidegate_stage::Input;

const WINDOW: Duration = Duration::from_mins(1);
/// A holding is prolonged for so long.
const HOLDING_S: u64 = 30;
/// The clocks' allowance.
const SKEW_S: u64 = 5;
/// For so long a holding counts that nobody speaks for.
const LAPSES_S: u64 = HOLDING_S + 60 + SKEW_S;

fn counts() -> Lender {
    Lender::new(LimitKind::CountWithin, WINDOW)
}

/// What another shard can have at most, at once.
fn left(lender: &mut Lender, at: u64) -> u64 {
    let answer = lender.asked(&kernel(1), asks(at, at, 0, MOST), at);
    granted(&answer).unwrap().2
}

#[test]
fn what_was_answered_and_put_aside_counts_no_longer_once_it_is_asked_again() {
    for kind in [LimitKind::CountWithin, LimitKind::Concurrency] {
        let mut lender = Lender::new(kind, WINDOW);
        assert_eq!(granted(&lender.asked(&kernel(0), asks(1, 1, 1, 3), 1)), Some((kernel(0), 1, 3)));
        for number in 2..6 {
            let again = Asks { has: Some(3), ..asks(number, 1, 2, 2) };
            assert_eq!(granted(&lender.asked(&kernel(0), again, seconds(number))), Some((kernel(0), 1, 2)));
        }
        // Half of the five that are free.
        assert_eq!(left(&mut lender, seconds(6)), 2, "{kind:?}");
    }
}

#[test]
fn what_a_lost_return_gave_back_is_free_with_the_next_request() {
    for (kind, from) in [(LimitKind::CountWithin, seconds(20 - SKEW_S)), (LimitKind::Concurrency, 0)] {
        let mut lender = Lender::new(kind, WINDOW);
        lender.asked(&kernel(0), asks(1, 1, 1, MOST), 1);
        assert!(is_kept(&lender.asked(&kernel(1), asks(1, 1, 4, 4), seconds(19))));
        // Of its ten it had given four back.
        lender.asked(&kernel(0), Asks { has: Some(6), ..asks(3, 1, 0, 0) }, seconds(20));
        let answer = lender.decides(&Input::Poll, seconds(20));
        assert_eq!(granted(&answer), Some((kernel(1), 1, 4)));
        let LimitsFact::Answered { answer: LimitAnswer::Granted { from: said, .. }, .. } = &answer[0] else { panic!() };
        assert_eq!(said.0, from, "{kind:?}: it was given back at the latest then");
    }
}

#[test]
fn what_is_said_twice_counts_once() {
    let mut lender = counts();
    lender.asked(&kernel(0), asks(1, 1, 1, MOST), 1);
    let back = returns(2, 1, 4);
    assert!(!is_refused(&lender.hears(&kernel(0), &back, 2)));
    assert!(is_refused(&lender.hears(&kernel(0), &back, 3)), "a copy");
    assert!(is_refused(&lender.asked(&kernel(0), asks(1, 1, 1, MOST), 4)), "a copy");
    assert_eq!(left(&mut lender, 5), 2, "half of four");
}

#[test]
fn the_later_of_two_requests_of_a_shard_is_answered_alone_and_waits_no_longer_than_the_first() {
    let mut lender = counts();
    lender.asked(&kernel(0), asks(1, 1, 1, MOST), 1);
    let until = |facts: &[LimitsFact]| match facts {
        [LimitsFact::AskKept { until, .. }, ..] => *until,
        _ => panic!("{facts:?}"),
    };
    let first = until(&lender.asked(&kernel(1), asks(1, 1, 2, 2), 2));
    assert_eq!(until(&lender.asked(&kernel(1), asks(2, 2, 2, 2), 3)), first);
    lender.hears(&kernel(0), &returns(2, 1, 3), 4);
    assert_eq!(granted(&lender.decides(&Input::Poll, 4)), Some((kernel(1), 2, 2)));
    assert!(lender.decides(&Input::Poll, 5).is_empty());
    // One that is answered at once leaves none behind either.
    assert!(is_kept(&lender.asked(&kernel(1), Asks { has: Some(2), ..asks(3, 2, 2, 2) }, 6)));
    assert_eq!(
        granted(&lender.asked(&kernel(1), Asks { has: Some(2), ..asks(4, 2, 1, 1) }, 7)),
        Some((kernel(1), 2, 1))
    );
    lender.hears(&kernel(0), &returns(3, 1, 7), 8);
    assert!(lender.decides(&Input::Poll, 9).is_empty());
}

#[test]
fn what_a_shard_whose_log_was_made_anew_may_have_spent_counts_until_it_is_out_of_every_window() {
    // The new log's number may be lower than the old one's, higher, or the same.
    for number in [1, 7, 9] {
        let mut lender = counts();
        assert_eq!(granted(&lender.asked(&kernel(0), asks(7, 7, 4, 4), 1)), Some((kernel(0), 7, 4)));
        let anew = |number, want| Asks { epoch: epoch(1, 3), ..asks(number, number, 0, want) };
        let answer = lender.asked(&kernel(0), anew(number, MOST), seconds(1));
        assert_eq!(granted(&answer), Some((kernel(0), number, 6)), "what was spent nobody knows");
        let lapsed = seconds(LAPSES_S) + seconds(2);
        let Some((_, _, more)) = granted(&lender.asked(
            &kernel(0),
            Asks { holding: number, has: Some(6), ..anew(number + 1, MOST) },
            lapsed - seconds(4),
        )) else {
            panic!()
        };
        assert_eq!(more, 0, "it counts");
        let last = Asks { holding: number, has: Some(6), ..anew(number + 2, MOST) };
        assert_eq!(granted(&lender.asked(&kernel(0), last, lapsed)), Some((kernel(0), number, 4)));
    }
}

#[test]
fn a_shard_whose_holdings_end_was_lost_is_lent_to_and_what_it_spent_counts() {
    let mut lender = counts();
    lender.asked(&kernel(0), asks(1, 1, 4, 4), 1);
    let answer = lender.asked(&kernel(0), asks(5, 5, 1, MOST), seconds(HOLDING_S + 10));
    assert_eq!(granted(&answer), Some((kernel(0), 5, 6)));
}

#[test]
fn a_holding_that_nobody_knows_returns_by_the_recall_that_meets_nobody() {
    // Of a source: with its window.
    let mut lender = counts();
    lender.asked(&kernel(0), asks(1, 1, MOST, MOST), 1);
    lender.hears(&kernel(0), &gone(epoch(1, 3), 1, 1), seconds(1));
    assert_eq!((left(&mut lender, seconds(LAPSES_S - 4)), left(&mut lender, seconds(LAPSES_S + 2))), (0, MOST));
    // Of a pool: at once when none of its leases is left, else when the last of them must have ended.
    for (epoch, seconds_after, free) in [(1, 1, 5), (epoch(1, 3), 86_000, 0), (epoch(1, 3), 88_000, 5)] {
        let mut lender = Lender::of_places();
        lender.asked(&scheduler(0), asks(1, 1, MOST, MOST), 1);
        lender.hears(&scheduler(0), &gone(epoch, 2, 1), seconds(1));
        let answer = lender.asked(&scheduler(1), asks(1, 1, 0, 5), seconds(seconds_after));
        assert_eq!(granted(&answer).unwrap().2, free, "after {seconds_after} s");
    }
}

#[test]
fn a_holding_of_a_shard_that_never_speaks_again_lapses() {
    let mut lender = counts();
    lender.asked(&kernel(0), asks(1, 1, MOST, MOST), 0);
    assert!(lender.ticks(seconds(LAPSES_S) - 1).is_empty());
    let facts = lender.ticks(seconds(LAPSES_S));
    assert!(matches!(facts[..], [LimitsFact::HoldingLapsed { .. }, LimitsFact::KeyForgotten { .. }]), "{facts:?}");
}
