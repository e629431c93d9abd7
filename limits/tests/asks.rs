//! What shards that ask for places of one limit are given.
#![expect(clippy::unwrap_used, reason = "a test's own parts are well-formed")]

mod lender;

use lender::{Lender, MOST, asks, granted, is_kept, is_refused, returns, scheduler};
use tidegate_stage::Input;

#[test]
fn a_place_given_back_is_for_the_shard_that_waits_not_for_the_one_that_gave_it() {
    let mut lender = Lender::of_places();
    assert_eq!(granted(&lender.asked(&scheduler(0), asks(1, 1, MOST, MOST), 1)), Some((scheduler(0), 1, MOST)));
    assert!(is_kept(&lender.asked(&scheduler(1), asks(1, 1, 1, 1), 2)));
    lender.hears(&scheduler(0), &returns(2, 1, 1), 3);
    // Nor for a renewal that would like more.
    for (number, need) in [(3, 0), (4, 1)] {
        let answer = lender.asked(&scheduler(0), asks(number, 1, need, 1), 3);
        assert_eq!(granted(&answer), Some((scheduler(0), 1, 0)));
    }
    assert_eq!(granted(&lender.decides(&Input::Poll, 3)), Some((scheduler(1), 1, 1)));
}

#[test]
fn a_shard_that_asks_anew_before_it_was_answered_gets_what_the_former_answer_gave() {
    let mut lender = Lender::of_places();
    assert_eq!(granted(&lender.asked_late(&scheduler(0), asks(1, 1, 1, MOST), (1, 5))), Some((scheduler(0), 1, MOST)));
    assert_eq!(granted(&lender.asked_late(&scheduler(0), asks(2, 2, 1, MOST), (2, 5))), Some((scheduler(0), 2, MOST)));
    // All is lent, once.
    assert!(is_kept(&lender.asked(&scheduler(1), asks(1, 1, 1, 1), 6)));
    // A lower number tells nothing of a later holding.
    assert!(is_refused(&lender.asked_late(&scheduler(0), asks(1, 1, 1, 1), (1, 7))));
}
