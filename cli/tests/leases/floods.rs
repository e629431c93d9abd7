//! Workers that say more than anybody wants to hear.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use super::dev::{ask, until};
use super::{Dev, word};

/// Groups of facts that the pool's scheduler has sealed.
fn groups(dev: &Dev) -> u64 {
    let (_, text) = ask(&dev.url, "GET", "/metrics", "", None).unwrap();
    let of_pool = |line: &&str| line.starts_with("tidegate_stage_groups_total") && line.contains("scheduler");
    let value = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
    text.as_str().unwrap().lines().filter(of_pool).filter_map(value).sum()
}

#[test]
fn a_flood_of_heartbeats_and_progress_signs_grows_no_log_and_holds_up_nobody_elses_jobs() {
    const JOBS: u64 = 20;
    let dev = Dev::with(10_000, 1, 10);
    let source = dev.submit("acme", "job.dig", "loud");
    let loud = dev.next(&dev.acme, "loud");
    until("the lease is in the log", || (dev.story_after(&source, "0ms")["state"] == "running").then_some(()));
    let (before, begun) = (groups(&dev), std::time::Instant::now());
    let (over, said) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (dev, loud, over, said) = (&dev, &loud, &over, &said);
            threads.spawn(move || {
                let mut number = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    number += 1;
                    // Its own lease, and ever new ones that are made up.
                    let made_up = json!({"lease": format!("{thread}{number:031x}"), "token": "1.1"});
                    assert_eq!(dev.of(&dev.acme, loud, "heartbeat", json!({})), word(200, "held"));
                    let note = json!({"fraction": 0.5, "note": format!("{number}"), "partial": "x".repeat(1_000)});
                    assert_eq!(dev.of(&dev.acme, loud, "progress", note), word(200, "held"));
                    for verb in ["heartbeat", "progress", "complete"] {
                        assert_eq!(dev.of(&dev.acme, &made_up, verb, json!({})), word(404, "lease_lost"));
                    }
                    let other = json!({"token": format!("9.{number}")});
                    assert_eq!(dev.of(&dev.acme, loud, "complete", other), word(409, "stale_fence"));
                    said.fetch_add(6, Ordering::Relaxed);
                }
            });
        }
        // Whatever becomes of the rest, the flood ends with it.
        let ends = Ends(&over);
        for number in 0..JOBS {
            let id = format!("quiet-{number}");
            let quiet = dev.submit("globex", "job.dig", &id);
            let lease = dev.next(&dev.globex, &id);
            assert_eq!(dev.of(&dev.globex, &lease, "complete", json!({"result": number})), word(200, "accepted"));
            assert_eq!(dev.story(&quiet)["output"], number);
        }
        until("there was a flood", || (said.load(Ordering::Relaxed) > 1_000).then_some(()));
        drop(ends);
    });
    // A job is a few facts, and a quiet shard says where it stands now and then; six words of a flood are none.
    let (grown, bound) = (groups(&dev) - before, 10 * JOBS + begun.elapsed().as_secs() + 10);
    let said = said.load(Ordering::Relaxed);
    assert!(grown <= bound, "{said} words, {JOBS} jobs, and {grown} groups of facts (at most {bound})");
    assert_eq!(dev.of(&dev.acme, &loud, "complete", json!({"result": Value::Null})), word(200, "accepted"));
    assert_eq!(dev.story(&source)["state"], "succeeded");
}

/// Ends the flood.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
