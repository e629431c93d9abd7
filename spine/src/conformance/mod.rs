//! The suite every adapter passes: one public async function per promise of the traits, named as the sentence it
//! proves.
//!
//! An adapter's test file makes a [`Fixture`] and lists nothing itself:
//!
//! ```ignore
//! // `fixture` is an `async fn() -> MyFixture`, `block_on` runs one future on whatever the adapter needs.
//! tidegate_spine::conformance!(fixture, futures::executor::block_on);
//! tidegate_spine::conformance_outages!(fixture, futures::executor::block_on); // a spine behind a connection
//! ```
//!
//! Every wait is bounded by [`Fixture::deadline`] and fails with the sentence of what was waited for. The bound is
//! checked *before* the awaited thing is looked at again, so a wake-up that was lost fails too instead of being
//! found by chance. Nothing sleeps in order to let something else happen, and nothing needs a particular async
//! runtime: the timer is a thread.
//!
//! Deliberately absent: durability against `kill -9` or power loss (each adapter has its own tests for that), speed.
#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test suite: it fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::Spine;

pub mod appending;
pub mod crash;
pub mod inboxes;
pub mod keyed_topics;
pub mod outage;
pub mod owning;
pub mod pausing;
pub mod reading;
pub mod topic_care;

mod bounded;
mod steps;

/// Gives one promise its spine.
pub trait Fixture: Send {
    /// The spine as it is open now.
    fn spine(&self) -> Arc<dyn Spine>;

    /// Closes the spine and opens it again on the same data: the process was restarted. The suite has dropped
    /// everything it had from the old one.
    fn reopen(&mut self) -> BoxFuture<'_, ()>;

    /// Begins every topic and group name; differs for every fixture that shares a broker with another.
    fn prefix(&self) -> &str;

    /// How long any single wait may take before the promise counts as broken.
    fn deadline(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// A fixture whose spine can be taken away and given back.
pub trait Outages: Fixture {
    /// Cuts the connection (or stops the broker) until [`Self::restore`]; data stays.
    fn break_connection(&mut self) -> BoxFuture<'_, ()>;

    /// Gives it back.
    fn restore(&mut self) -> BoxFuture<'_, ()>;

    /// How long an outage lasts in the suite; longer than the client's request timeouts, so that a client that gives
    /// up is found out.
    fn outage(&self) -> Duration {
        Duration::from_secs(3)
    }
}

/// One `#[test]` for each promise. `$fixture`: path of an `async fn() -> impl Fixture`; `$block_on`: path of a
/// function that runs a future to its end.
#[macro_export]
macro_rules! conformance {
    ($fixture:path, $block_on:path) => {
        $crate::conformance!(@each $fixture, $block_on,
            appending::records_of_a_partition_land_in_the_order_of_the_calls,
            appending::large_waves_land_in_order_flowing_and_whole,
            appending::a_batch_lands_in_the_order_of_its_list,
            appending::an_append_completes_without_being_polled,
            appending::several_producers_interleave_and_none_loses_its_order,
            appending::partitions_have_offsets_of_their_own,
            appending::null_and_empty_values_and_keys_stay_apart,
            appending::headers_keep_order_repeats_and_bytes,
            appending::a_record_too_large_is_refused_and_the_producer_goes_on,
            appending::an_unknown_topic_is_refused_and_the_producer_goes_on,
            appending::a_full_producer_refuses_and_takes_nothing,
            appending::broker_time_is_stamped_on_arrival,
            reading::reading_starts_at_the_earliest_or_at_an_offset,
            reading::an_offset_beyond_the_ends_is_truncated,
            reading::a_reader_at_the_end_is_woken_by_an_append,
            reading::the_position_reaches_the_end,
            reading::ends_are_fetched_after_the_call,
            reading::each_open_delivers_each_record_once,
            reading::a_partition_nobody_polls_holds_up_no_other,
            reading::readers_of_one_topic_come_and_go_unnoticed_by_each_other,
            reading::an_unknown_topic_is_an_error_that_stays,
            reading::reading_resumes_at_a_recorded_offset_after_a_restart,
            reading::trimmed_records_are_truncated_and_the_rest_stays,
            keyed_topics::the_latest_record_of_each_key_is_read_back_whole,
            keyed_topics::a_tombstone_removes_its_key,
            keyed_topics::an_empty_keyed_topic_is_read_whole_at_once,
            keyed_topics::a_keyed_topic_survives_a_restart,
            pausing::nothing_is_delivered_while_paused_and_nothing_is_lost,
            pausing::a_paused_partition_holds_up_no_other,
            owning::a_lone_member_owns_every_partition,
            owning::a_second_member_takes_its_share_once_it_is_let_go,
            owning::a_member_that_leaves_gives_everything_back,
            owning::a_member_that_vanishes_is_replaced,
            owning::a_member_that_is_given_nothing_hears_so,
            owning::a_member_that_never_lets_go_does_not_block_the_group,
            owning::groups_are_independent_of_each_other,
            owning::joining_on_an_unknown_topic_is_an_error,
            crash::what_was_acknowledged_survives_a_restart,
            crash::a_dropped_producer_leaves_a_prefix,
            crash::a_landing_ends_although_its_producer_was_dropped,
            inboxes::a_member_receives_what_is_addressed_to_it_and_skips_the_rest,
            inboxes::an_inbox_starts_at_the_end_of_its_lane,
            topic_care::a_topic_is_created_described_listed_and_deleted,
            topic_care::a_topic_that_exists_is_not_created_again,
            topic_care::a_topic_is_altered_and_grows,
            topic_care::what_does_not_exist_is_said_so,
        );
    };
    (@each $fixture:path, $block_on:path, $($chapter:ident::$promise:ident,)*) => {
        $(
            #[test]
            fn $promise() {
                $block_on(async {
                    let mut fixture = $fixture().await;
                    $crate::conformance::$chapter::$promise(&mut fixture).await;
                });
            }
        )*
    };
}

/// As [`conformance!`], for fixtures that are also [`Outages`].
#[macro_export]
macro_rules! conformance_outages {
    ($fixture:path, $block_on:path) => {
        $crate::conformance!(@each $fixture, $block_on,
            outage::an_append_waits_out_an_outage_and_lands_in_order,
            outage::a_reader_waits_out_an_outage,
            outage::questions_end_within_a_bound_during_an_outage,
        );
    };
}
