//! What can be typed after `tidegate policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tidegate_policy_bench::PolicyBenchArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Say what is wrong with the bundles of a folder, and which rules can never decide; exit 1 for such rules
    Check(CheckArgs),
    /// Run the cases (`*.test.yaml`) of a folder against its bundles; exit 1 when one fails or coverage is too low
    Test(TestArgs),
    /// Say why a job would get its verdict, and what nearly matched; exit 1 when it may not run
    Explain(ExplainArgs),
    /// Judge one job, or a file of jobs, and count verdicts and rules; nothing is spent or written
    Simulate(SimulateArgs),
    /// Judge recorded decisions again by two policies; exit 1 when a verdict differs
    Diff(DiffArgs),
    /// Turn a safety.yaml of another agent-governance kernel into a bundle; exit 65 when it cannot be carried over whole
    Import(ImportArgs),
    /// Sign a folder: write `policy.sig` into it, the list of its bundles, which kernels ask for with `require_signed_policy`
    Sign(SignArgs),
    /// Time policy engines on the same rules and jobs, after their verdicts are found to be equal
    Bench(PolicyBenchArgs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CheckArgs {
    /// The folder; the configuration's unless told
    pub(crate) folder: Option<PathBuf>,
    /// Exit 0 also when rules can never decide
    #[arg(long)]
    pub(crate) warn_only: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TestArgs {
    /// The folder; the configuration's unless told
    pub(crate) folder: Option<PathBuf>,
    /// Fail when fewer rules of a hundred decide a case
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) coverage_min: Option<u8>,
    /// Fail when fewer conditions of a hundred are seen both to hold and to fail
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) condition_coverage_min: Option<u8>,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SignArgs {
    /// The folder; the configuration's unless told
    pub(crate) folder: Option<PathBuf>,
    /// The key's name, as `keys.trusted` has it
    #[arg(long, value_name = "ID")]
    pub(crate) key: String,
    /// The key's secret (`tidegate keys create --role policy --file FILE`)
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: PathBuf,
}

/// What a judgement takes as given.
#[derive(Debug, Clone, Args)]
pub(crate) struct Given {
    /// The folder of bundles; the configuration's unless told
    #[arg(long, value_name = "DIR")]
    pub(crate) policy: Option<PathBuf>,
    /// When the job is judged: RFC 3339, as in `2026-03-01T09:30:00Z`, or milliseconds since 1970; now unless told
    #[arg(long, value_name = "TIME", value_parser = super::at::instant)]
    pub(crate) at: Option<u64>,
    /// Where jobs stand with every limit
    #[arg(long, value_enum, default_value_t = Limits::Within)]
    pub(crate) limits: Limits,
}

/// Where jobs stand with limits; nothing is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Limits {
    /// Every limit admits the job
    Within,
    /// Every limit is exhausted
    Exceeded,
    /// No limit is known, so a verdict may have to wait
    Unknown,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ExplainArgs {
    /// File with one job as JSON; `-` is stdin
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) job: PathBuf,
    /// Most rules shown that nearly matched; those that failed least come first
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) near: usize,
    #[command(flatten)]
    pub(crate) given: Given,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SimulateArgs {
    /// File with a job as JSON, or a job a line; `-` is stdin
    #[arg(default_value = "-", value_name = "FILE")]
    pub(crate) jobs: PathBuf,
    /// Also say what becomes of each job
    #[arg(long)]
    pub(crate) each: bool,
    #[command(flatten)]
    pub(crate) given: Given,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DiffArgs {
    /// Folder of the bundles in force
    pub(crate) old: PathBuf,
    /// Folder of the bundles that may follow
    pub(crate) new: PathBuf,
    /// File of recorded decisions, a JSON document a line: `{"job": …, "decision": …, "payload": …}` as on `approved.<pool>`
    /// and `denied`, or plain jobs; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) decisions: PathBuf,
    /// Most changed jobs that are named
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) most: usize,
    /// Where jobs stand with every limit, under both policies
    #[arg(long, value_enum, default_value_t = Limits::Within)]
    pub(crate) limits: Limits,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ImportArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// Write `<ID>.yaml` into this folder, which must not have it yet; on stdout unless told
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The bundle's id; the file's name without its endings unless told
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The bundle's revision
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) revision: u64,
}
