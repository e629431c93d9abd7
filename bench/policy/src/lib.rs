//! Policy engines on the same rules and the same jobs, one after the other in one process.
//!
//! A [`Workload`] is made from a number of rules alone, so every run and every machine judges the same. Each [`Engine`]
//! gets it in its own language. Before anything is timed, every engine's verdicts, and the rules it says decided, are held
//! against those of the first ([`check`]): an engine that is fast and wrong is an error, not a row.
//!
//! The engines here are Tidegate's own and the `cel` crate, once as it is (`cel`: each rule's whole match is one
//! expression, all are asked) and once behind an index by tenant and topic (`cel-indexed`). Those that bring large
//! dependencies (Cedar, Rego) stand in `bench/peers`, outside the workspace, over this same crate.
//!
//! # What is measured
//! - `build_ms`: from the policy's text to an engine that can judge.
//! - `heap_bytes`: what is still allocated after that, counted by the allocator ([`Counting`]), texts and jobs left out.
//! - `p50_us`, `p99_us`: one judgement of one job, by its own stopwatch (which costs some 30 ns itself). A peer's request
//!   is made before its stopwatch starts; our own time includes reading the job's payload. Tidegate finds all rules that
//!   match (`Snapshot::find`), Cedar and Rego those of the decision.
//! - `allocations`: of one judgement, on average.

mod check;
mod engine;
mod engines;
mod heap;
mod measure;
mod report;
mod workload;

pub use engine::{Decision, Engine, Ruling};
pub use engines::{Cel, IndexedCel, OwnEngine};
pub use heap::Counting;
pub use report::{Report, Row};
pub use workload::{Job, Rule, Topic, Workload};

use std::time::Duration;

/// How an engine is made of a workload.
pub type Build = fn(&Workload) -> anyhow::Result<Box<dyn Engine>>;

/// The engines of the workspace, by name.
pub const ENGINES: &[(&str, Build)] = &[
    ("tidegate", |workload| Ok(Box::new(OwnEngine::build(workload)?))),
    ("cel", |workload| Ok(Box::new(Cel::build(workload)?))),
    ("cel-indexed", |workload| Ok(Box::new(IndexedCel::build(workload)?))),
];

/// `tidegate policy bench …`
#[derive(Debug, Clone, clap::Args)]
pub struct PolicyBenchArgs {
    /// Sizes of the rule sets, 1 to 100000 each
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "10,100,1000,10000,100000",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rules: Vec<u32>,
    /// Engines, the first of which the others must agree with; all of them unless told
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub engines: Vec<String>,
    /// Longest timing of one engine at one size, in seconds; slow engines judge fewer jobs
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
}

/// Runs the engines `known` at every size.
///
/// # Errors
/// An engine that is not known, cannot be built, or disagrees with the first about a job.
pub fn run(args: &PolicyBenchArgs, known: &[(&'static str, Build)]) -> anyhow::Result<Report> {
    let mut engines = Vec::new();
    for name in &args.engines {
        let found = known.iter().find(|(known, _)| known == name);
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        engines.push(*found.ok_or_else(|| anyhow::anyhow!("no engine `{name}`; there are {}", names.join(", ")))?);
    }
    if engines.is_empty() {
        engines.extend_from_slice(known);
    }
    let mut report = Report::default();
    for &rules in &args.rules {
        let workload = Workload::new(rules as usize);
        // The first one's verdicts.
        let mut expected = None;
        for (name, build) in &engines {
            let (mut engine, build_ms, heap_bytes) = measure::build(&workload, *build)?;
            let agreed = check::agree(name, engine.as_mut(), &workload, &mut expected)?;
            let times = measure::times(engine.as_mut(), &workload, Duration::from_secs(args.seconds));
            report.rows.push(Row::new(name, rules, build_ms, heap_bytes, &times, agreed));
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    #[global_allocator]
    static ALLOCATOR: Counting<System> = Counting(System);

    fn args(rules: &[u32]) -> PolicyBenchArgs {
        PolicyBenchArgs { rules: rules.to_vec(), engines: Vec::new(), seconds: 1 }
    }

    #[test]
    fn the_engines_agree_and_every_row_has_its_figures() {
        let report = run(&args(&[10, 300]), ENGINES).unwrap();
        let names: Vec<_> = report.rows.iter().map(|row| (row.engine, row.rules)).collect();
        let expected = [10, 300].into_iter().flat_map(|rules| ENGINES.iter().map(move |(name, _)| (*name, rules)));
        assert_eq!(names, expected.collect::<Vec<_>>());
        for row in &report.rows {
            assert!(row.p50_us > 0.0 && row.p50_us <= row.p99_us && row.build_ms > 0.0, "{row:?}");
            assert!(row.compared > 0 && row.judged > 0 && row.heap_bytes > 0, "{row:?}");
        }
    }

    #[test]
    fn tidegate_allocates_nothing_and_cel_is_seen_to_allocate() {
        let report = run(&args(&[2_000]), ENGINES).unwrap();
        let allocations: Vec<_> = report.rows.iter().map(|row| row.allocations).collect();
        assert!(matches!(allocations[..], [own, cel, indexed] if own == 0.0 && cel > indexed && indexed > 1.0));
    }

    #[test]
    fn an_engine_that_is_not_known_is_named_with_those_that_are() {
        let args = PolicyBenchArgs { engines: vec!["oracle".into()], ..args(&[1]) };
        let error = run(&args, ENGINES).unwrap_err().to_string();
        assert_eq!(error, "no engine `oracle`; there are tidegate, cel, cel-indexed");
    }

    #[test]
    fn an_engine_that_disagrees_is_an_error_that_names_the_job() {
        struct Liar;
        impl Engine for Liar {
            fn rule_on(&mut self, _job: &Job) -> Ruling {
                Ruling { decision: Decision::Allow, rules: vec![7] }
            }
            fn time(&mut self, _place: usize) {}
            fn prepare(&mut self, _jobs: &[Job]) {}
        }
        const LIAR: Build = |_| Ok(Box::new(Liar));
        let error = run(&args(&[50]), &[ENGINES[0], ("liar", LIAR)]).unwrap_err().to_string();
        assert!(error.contains("`liar` says allow by rules [7] of job"), "{error}");
    }
}
