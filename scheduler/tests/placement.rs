//! Placement through the whole stage: what was given counts at once, what is reported counts too, and labels choose.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod driver;

use std::collections::BTreeMap;

use driver::{Says, Shard, approved, job, layout};
use tidegate_protocol::facts::SchedulerFact;
use tidegate_protocol::job::Job;
use tidegate_scheduler::Tuning;

fn says(name: &str) -> Says {
    Says { epoch: 1, capacity: 10, credit: 10, ..Says::of(name) }
}

fn comes(shard: &mut Shard, says: &Says) {
    shard.report(&says.hello());
    shard.report(&says.heartbeat());
}

fn shard() -> Shard {
    Shard::new(layout(), &Tuning::default())
}

/// How many jobs each got.
fn got(shard: &mut Shard) -> BTreeMap<String, usize> {
    let mut got = BTreeMap::new();
    for fact in shard.poll().facts {
        let SchedulerFact::LeaseGranted { worker, .. } = fact else { panic!("{fact:?}") };
        *got.entry(worker.as_str().to_owned()).or_default() += 1;
    }
    got
}

fn with(offset: u64, select: &str, prefer: &str) -> Job {
    let mut job = job(&format!("j{offset}"), offset);
    (job.select, job.prefer) = (serde_json::from_str(select).unwrap(), serde_json::from_str(prefer).unwrap());
    job
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> Says {
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    Says { labels, ..says(name) }
}

#[test]
fn a_burst_between_two_heartbeats_does_not_herd_to_one_worker() {
    let mut shard = shard();
    for n in 0..10 {
        comes(&mut shard, &says(&format!("w{n}")));
    }
    for n in 0..50 {
        shard.approved(approved(&job(&format!("j{n}"), n), "1"));
    }
    let got = got(&mut shard);
    assert!(got.len() == 10 && got.values().all(|jobs| *jobs == 5), "{got:?}");
}

#[test]
fn one_that_reports_a_load_gets_less_until_the_others_are_as_full_and_then_its_part() {
    let mut shard = shard();
    comes(&mut shard, &Says { load: Some(0.5), ..says("busy") });
    comes(&mut shard, &says("idle"));
    for n in 0..12 {
        shard.approved(approved(&job(&format!("j{n}"), n), "1"));
        if n == 4 {
            assert_eq!(got(&mut shard), [("idle".to_owned(), 5)].into(), "half full is what the other says it is");
        }
    }
    let more = got(&mut shard);
    assert_eq!(more.values().sum::<usize>(), 7, "work is done although somebody is busy: {more:?}");
    assert!(more["busy"] >= 2, "{more:?}");
}

#[test]
fn a_job_goes_only_where_its_selector_holds_and_waits_for_that() {
    let mut shard = shard();
    comes(&mut shard, &labelled("us", &[("zone", "us")]));
    shard.approved(approved(&with(1, r#"{"zone":["eu","uk"],"spot":false}"#, "{}"), "1"));
    shard.approved(approved(&with(2, "{}", "{}"), "1"));
    assert_eq!(got(&mut shard), [("us".to_owned(), 1)].into());
    comes(&mut shard, &labelled("spot", &[("zone", "eu"), ("spot", "yes")]));
    assert!(got(&mut shard).is_empty());
    // A worker's labels are those of its last heartbeat.
    comes(&mut shard, &labelled("spot", &[("zone", "uk")]));
    assert_eq!(got(&mut shard), [("spot".to_owned(), 1)].into());
}

#[test]
fn a_preference_is_followed_while_there_is_room_and_nobody_waits_for_it() {
    let mut shard = shard();
    comes(&mut shard, &Says { capacity: 2, credit: 2, ..labelled("near", &[("cache", "a")]) });
    comes(&mut shard, &says("far"));
    for n in 0..5 {
        shard.approved(approved(&with(n, "{}", r#"{"cache":"a"}"#), "1"));
    }
    assert_eq!(got(&mut shard), [("far".to_owned(), 3), ("near".to_owned(), 2)].into());
}

#[test]
fn a_worker_with_more_or_longer_labels_than_are_allowed_is_not_heard() {
    let mut shard = shard();
    let many = (0..65).map(|n| (format!("l{n}"), "x".to_owned())).collect();
    comes(&mut shard, &Says { labels: many, ..says("w") });
    comes(&mut shard, &labelled("v", &[("l", &"x".repeat(129))]));
    shard.approved(approved(&job("j", 1), "1"));
    assert!(got(&mut shard).is_empty());
    assert_eq!(shard.stage.gauges().counts.bad_reports, 4);
}
