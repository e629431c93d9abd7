//! Times the evaluator on issue 4's workload: `cargo run --release -p tidegate-policy --example workload [RULES...]`.
//!
//! 100 tenants, 200 topics in two levels; 60 % of the rules name a topic, 30 % an area, 8 % an act in any area; 80 % name a
//! tenant; half ask for risk tags; 40 % have a condition on a number. Every evaluation finds all rules that match.

use std::fmt::Write;
use std::time::Instant;
use tidegate_policy::{Scratch, Snapshot, Subject, load};

const TAGS: [&str; 8] = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7"];
const JOBS: usize = 2_000;
const ROUNDS: usize = 50;

struct Job {
    tenant: String,
    topic: String,
    tags: Vec<&'static str>,
    payload: String,
}

fn main() {
    let mut lines = String::new();
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|count| count.parse().ok()).collect();
    let counts = if asked.is_empty() { vec![10, 1_000, 10_000, 100_000] } else { asked };
    for count in counts {
        let text = rules(count);
        let (snapshot, built) = timed(|| load([("bench.yaml", &text)], None));
        let snapshot = match snapshot {
            Ok(snapshot) => snapshot,
            Err(refused) => {
                let _ = writeln!(lines, "{refused}");
                continue;
            }
        };
        let (p50, p99, matches) = measure(&snapshot);
        let _ = writeln!(
            lines,
            "{count:>6} rules: p50 {p50:>5} ns, p99 {p99:>6} ns, {matches:>4} matches a job, loaded in {:>6.1} ms",
            built as f64 / 1e6
        );
    }
    #[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
    {
        print!("{lines}");
    }
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch is what this program is; the crate itself has no clock")]
fn timed<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let start = Instant::now();
    let result = work();
    (result, u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

/// Nanoseconds of the median and the slowest hundredth of evaluations, and how many rules match on average.
fn measure(snapshot: &Snapshot) -> (u64, u64, usize) {
    let jobs = jobs();
    let mut scratch = Scratch::new();
    let mut times = Vec::with_capacity(JOBS * ROUNDS);
    let mut matches = 0;
    for round in 0..=ROUNDS {
        for job in &jobs {
            let mut subject = Subject::new(&job.tenant, &job.topic, "act");
            subject.risk_tags = &job.tags;
            subject.payload = job.payload.as_bytes();
            let (found, spent) = timed(|| snapshot.find(&subject, 0, &mut scratch).count());
            // The first round warms up.
            if round > 0 {
                times.push(spent);
                matches += found;
            }
        }
    }
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    (at(50), at(99), matches / times.len())
}

fn rules(count: usize) -> String {
    let mut random = fastrand::Rng::with_seed(2_026);
    let mut text =
        "id: bench\nrevision: 1\nschemas:\n  - { topics: ['>'], fields: { amount: number } }\nrules:\n".to_owned();
    for place in 0..count {
        let (area, act) = (random.u32(..20), random.u32(..10));
        let topic = match random.u32(..100) {
            0..60 => format!("topics: [area-{area}.act-{act}]"),
            60..90 => format!("topics: [area-{area}.*]"),
            90..98 => format!("topics: ['*.act-{act}']"),
            _ => String::new(),
        };
        let mut matches = vec![topic.clone()];
        if topic.is_empty() || random.u32(..98) < 78 {
            matches.push(format!("tenants: [tenant-{}]", random.u32(..100)));
        }
        let tagged = random.bool();
        if tagged {
            matches.push(format!("risk_tags: [{}]", random.choose_multiple(TAGS, 2).join(", ")));
        }
        matches.retain(|part| !part.is_empty());
        let trust = if tagged { ", trust: claimed" } else { "" };
        let when = if random.u32(..100) < 40 {
            format!(", when: job.amount > {}", random.u32(..10_000))
        } else {
            String::new()
        };
        let decision = if random.u32(..4) == 0 { "deny" } else { "allow" };
        let _ = writeln!(
            text,
            "  - {{ id: r{place}, match: {{ {} }}{trust}{when}, decision: {decision} }}",
            matches.join(", ")
        );
    }
    text
}

fn jobs() -> Vec<Job> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..JOBS)
        .map(|place| {
            let count = random.usize(..4);
            Job {
                tenant: format!("tenant-{}", random.u32(..100)),
                topic: format!("area-{}.act-{}", random.u32(..20), random.u32(..10)),
                tags: random.choose_multiple(TAGS, count),
                payload: format!(
                    r#"{{"order":"o-{place}","amount":{},"currency":"EUR","note":"as agreed"}}"#,
                    random.u32(..10_000)
                ),
            }
        })
        .collect()
}
