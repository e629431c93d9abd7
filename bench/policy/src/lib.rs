//! Policy engines on the same rules and the same jobs, one after the other in one process.
//!
//! A [`Workload`] is made from a number of rules alone, so every run and every machine judges the same. Each [`Engine`]
//! gets it in its own language. Before anything is timed, every engine's verdicts, and the rules it says decided, are held
//! against those of the first ([`check`]): an engine that is fast and wrong is an error, not a row.
//!
//! The engines here are Tidegate's own and the `cel` crate (each rule's whole match is one expression). Those that bring
//! large dependencies (Cedar, Rego) stand in `bench/peers`, outside the workspace, over this same crate.
//!
//! # What is measured
//! - `build_ms`: from the policy's text to an engine that can judge.
//! - `heap_bytes`: what is still allocated after that, counted by the allocator ([`Counting`]), texts and jobs left out.
//! - `p50_us`, `p99_us`: one judgement of one job, by its own stopwatch (which costs some 30 ns itself). A peer's request
//!   is made before its stopwatch starts; our own time includes reading the job's payload.
//! - `matches`: rules that match a job, on average; both of ours give them all back.

mod check;
mod engine;
mod engines;
mod heap;
mod measure;
mod report;
mod workload;

pub use engine::{Decision, Engine, Ruling};
pub use engines::{CelEngine, OwnEngine};
pub use heap::Counting;
pub use report::{Report, Row};
pub use workload::{Job, Rule, Topic, Workload};

use std::time::Duration;

/// How an engine is made of a workload.
pub type Build = fn(&Workload) -> anyhow::Result<Box<dyn Engine>>;

/// The engines of the workspace, by name.
pub const ENGINES: &[(&str, Build)] =
    &[("tidegate", |workload| Ok(Box::new(OwnEngine::build(workload)?))), ("cel", |workload| {
        Ok(Box::new(CelEngine::build(workload)?))
    })];

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
        // The first one's verdicts; it is built again for its own row, so that every row is measured alone.
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

    #[test]
    fn the_engines_agree_and_every_row_has_its_figures() {
        let args = PolicyBenchArgs { rules: vec![10, 300], engines: Vec::new(), seconds: 1 };
        let report = run(&args, ENGINES).unwrap();
        let names: Vec<_> = report.rows.iter().map(|row| (row.engine, row.rules)).collect();
        assert_eq!(names, [("tidegate", 10), ("cel", 10), ("tidegate", 300), ("cel", 300)]);
        for row in &report.rows {
            assert!(row.p50_us > 0.0 && row.p50_us <= row.p99_us && row.build_ms > 0.0, "{row:?}");
            assert!(row.compared > 0 && row.judged >= row.compared, "{row:?}");
        }
    }

    #[test]
    fn an_engine_that_is_not_known_is_named_with_those_that_are() {
        let args = PolicyBenchArgs { rules: vec![1], engines: vec!["oracle".into()], seconds: 1 };
        assert_eq!(run(&args, ENGINES).unwrap_err().to_string(), "no engine `oracle`; there are tidegate, cel");
    }

    #[test]
    fn an_engine_that_disagrees_is_an_error_that_names_the_job() {
        struct Liar;
        impl Engine for Liar {
            fn rule_on(&mut self, _job: &Job) -> Ruling {
                Ruling { decision: Decision::Allow, rules: vec![7], whole: true }
            }
            fn time(&mut self, _place: usize) {}
            fn prepare(&mut self, _jobs: &[Job]) {}
        }
        const LIAR: Build = |_| Ok(Box::new(Liar));
        let args = PolicyBenchArgs { rules: vec![50], engines: Vec::new(), seconds: 1 };
        let error = run(&args, &[ENGINES[0], ("liar", LIAR)]).unwrap_err().to_string();
        assert!(error.contains("`liar` says allow by rules [7] of job"), "{error}");
    }
}
