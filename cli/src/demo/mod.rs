//! `tidegate demo`: the whole pipeline on real input, in one process, on a new data folder.
//!
//! ```text
//! lines ──> jobs.raw ──> kernel ──> approved.bank, approved.office ──> workers ──> world/<tenant>/{bank,office}.json
//!   │                      └──> denied, held, dead                        └──> finished
//!   └ labels stay here ──────────────────────── score <── board <── witness: reads the topics as any consumer would
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`input`] | lines of files → what is submitted; labels are taken off and kept |
//! | [`shipped`] | stream, mapping, policies, bank and office, built into the binary |
//! | [`world`] | the example workers and what they act on |
//! | [`submit`] | appends at a steady rate |
//! | [`watch`], [`board`] | what was decided, released and finished, and when |
//! | [`approver`] | with `--answer`, the person who is asked |
//! | [`averted`], [`report`] | what it came to, for people and as JSON |
//!
//! A job that is held for people is as far as it comes, unless `--answer` plays them: nobody is waited for.
//!
//! Exit: 0 when every line was taken and every record has its outcome or is held; 1 otherwise, and what is missing is named. The
//! wait ends when nothing has moved for [`PATIENCE`].
//!
//! Absent on purpose: any judgement. Verdicts come from the kernel and the policy alone; nothing here looks at a label
//! before the report.

mod approver;
mod averted;
mod board;
mod input;
mod report;
mod shipped;
mod submit;
mod watch;
mod world;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bytes::Bytes;
use tidegate_node::config::PoolWritten;
use tidegate_node::policy_folder::load_folder;
use tidegate_node::{Dev, DevNode, Written, dev};
use tidegate_protocol::ids::{PoolName, WorkerId};

use crate::args::Output;
use crate::commands::told_to_stop;
use crate::exit::{Exit, Failure};
use crate::output;
use board::Board;
use input::Lines;
pub(crate) use report::Report;
use submit::Sent;
use watch::Witness;
use world::World;

/// How long nothing may move before what is missing is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Names that are tried for a folder of its own.
const FOLDERS: u32 = 1_000;
/// Jobs each worker runs at once.
const CONCURRENCY: u32 = 8;

/// What `tidegate demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoArgs {
    /// JSON lines instead of the built-in stream; may be given several times. Lines that are jobs are jobs; lines with
    /// `function` and `args` become jobs as examples/agentdojo/mapping.yaml says
    #[arg(long, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Folder of policy bundles instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
    /// Data folder; must be new or empty. Without it one is made in the system's temporary folder. It stays
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Records submitted a second
    #[arg(long, value_name = "N", default_value_t = 200.0, value_parser = rate)]
    rate: f64,
    /// Play the people who are asked: they reject what a line's label says was injected and approve the rest. Without it
    /// what is held stays held, and the report says who would be asked
    #[arg(long)]
    answer: bool,
    /// Go on after the report until Ctrl-C, to look around with `tidegate jobs --data` and `curl`
    #[arg(long)]
    keep: bool,
    /// Where to listen; without `--keep` any free port unless told
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=1e6).contains(&rate) => Ok(rate),
        Ok(_) | Err(_) => Err("write a number from 0.01 to 1000000".into()),
    }
}

/// A demo that has submitted everything, with what it came to.
pub(crate) struct Demo {
    node: DevNode,
    /// What it came to.
    pub(crate) report: Report,
}

impl Demo {
    /// Until Ctrl-C or SIGTERM.
    async fn goes_on(&self) {
        let (address, data) = (self.node.address(), self.report.data.display());
        eprintln!(
            "The demo goes on at http://{address}; look around with `tidegate jobs list --data {data}`. Ctrl-C ends it."
        );
        told_to_stop().await;
    }

    /// Stops everything.
    pub(crate) async fn stop(self) {
        self.node.stop().await;
    }
}

/// Runs the demo and writes its report to stdout; goes on until Ctrl-C where that was asked for.
///
/// # Errors
/// As [`run`].
pub(crate) async fn demo(args: &DemoArgs, format: Output) -> Result<Exit, Failure> {
    let demo = run(args).await?;
    match format {
        Output::Text => output::text_line(demo.report.to_string().trim_end()),
        Output::Json => output::json(&demo.report),
    }
    let exit = if demo.report.is_complete() { Exit::Done } else { Exit::Unsuccessful };
    if args.keep {
        demo.goes_on().await;
    }
    demo.stop().await;
    Ok(exit)
}

/// Starts everything, submits, and waits for the outcomes. Lines that the mapping refuses are warned of on the log.
///
/// # Errors
/// [`Exit::Data`] when an input cannot be read or has no lines, [`Exit::Config`] when the policy or the data folder
/// cannot be used; otherwise what could not start.
pub(crate) async fn run(args: &DemoArgs) -> Result<Demo, Failure> {
    let lines = lines(&args.input).map_err(|error| Failure::new(Exit::Data, error))?;
    for warning in &lines.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(policy) = &args.policy {
        // Read here as well: a policy that cannot be used is said at once, not waited for.
        load_folder(policy, None).map_err(|error| Failure::new(Exit::Config, error))?;
    }
    let data = data_folder(args.data.as_deref()).map_err(|error| Failure::new(Exit::Config, error))?;
    let world = World::new(&data.join("world"), shipped::BANK, shipped::OFFICE).context("a defect of this binary")?;
    let node = start(args, &data, &world).await?;
    let board = Arc::new(Board::new(args.answer));
    match play(args, &node, &data, &board, lines).await {
        Ok(sent) => {
            let report = Report::of(&sent, &board, &world, data);
            Ok(Demo { node, report })
        }
        Err(error) => {
            node.stop().await;
            Err(error.into())
        }
    }
}

fn lines(files: &[PathBuf]) -> anyhow::Result<Lines> {
    let mapping = input::mapping(shipped::MAPPING)?;
    let mut lines = Lines::default();
    if files.is_empty() {
        lines.add("stream.jsonl", &Bytes::from_static(shipped::STREAM.as_bytes()), &mapping);
    }
    for file in files {
        lines.add_file(file, &mapping)?;
    }
    anyhow::ensure!(!lines.submissions.is_empty(), "the input has no lines; give a file of JSON lines with `--input`");
    Ok(lines)
}

/// The folder named, if it is new or empty; else a new one.
fn data_folder(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    let Some(folder) = named else {
        return new_folder();
    };
    std::fs::create_dir_all(folder).with_context(|| format!("data folder `{}` cannot be made", folder.display()))?;
    let mut entries =
        std::fs::read_dir(folder).with_context(|| format!("data folder `{}` cannot be read", folder.display()))?;
    anyhow::ensure!(
        entries.next().is_none(),
        "data folder `{}` is not empty; the demo begins in a new one, name another with `--data`",
        folder.display()
    );
    Ok(folder.to_owned())
}

/// A folder that nobody had before.
fn new_folder() -> anyhow::Result<PathBuf> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let within = std::env::temp_dir();
    std::fs::create_dir_all(&within).with_context(|| format!("`{}` cannot be made", within.display()))?;
    for number in 0..FOLDERS {
        let folder = within.join(format!("tidegate-demo-{stamp}-{}-{number}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("`{}` cannot be made", folder.display())),
        }
    }
    anyhow::bail!("there are {FOLDERS} folders of demos of this millisecond in `{}`", within.display())
}

async fn start(args: &DemoArgs, data: &Path, world: &World) -> anyhow::Result<DevNode> {
    let policy = match &args.policy {
        Some(folder) => folder.clone(),
        None => {
            let folder = data.join("policy");
            shipped::write_policies(&folder).with_context(|| format!("`{}` cannot be written", folder.display()))?;
            folder
        }
    };
    let pool = |name: &str| PoolWritten {
        name: name.to_owned(),
        capabilities: world::functions(name).iter().map(ToString::to_string).collect(),
        ..PoolWritten::default()
    };
    let config = Written { pools: vec![pool(world::BANK), pool(world::OFFICE)], ..Written::default() };
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let listen = args.listen.or_else(|| (!args.keep).then_some(any_port));
    let mut node = dev(Dev { config: Some(config), policy: Some(policy), listen, ..Dev::new(data) }).await?;
    let (of, id) = (|name| PoolName::new(name), |name| WorkerId::new(name));
    let trust = node.keys().trust();
    let bank = world.bank_worker(of(world::BANK)?, id("demo-bank")?, CONCURRENCY, trust.clone())?;
    let office = world.office_worker(of(world::OFFICE)?, id("demo-office")?, CONCURRENCY, trust)?;
    node.start_worker(bank);
    node.start_worker(office);
    Ok(node)
}

async fn play(
    args: &DemoArgs,
    node: &DevNode,
    data: &Path,
    board: &Arc<Board>,
    lines: Lines,
) -> anyhow::Result<Vec<Sent>> {
    if tokio::time::timeout(PATIENCE, node.ready()).await.is_err() {
        let waits_for = node.readiness().waits_for.join("; ");
        anyhow::bail!("not ready after {} s; it waits for: {waits_for}", PATIENCE.as_secs());
    }
    let witness = Witness::open(node.config(), node.spine()).await?;
    let mut telling = tokio::spawn(witness.tell(Arc::clone(board)));
    let playing = async {
        let sent = submit::submit(node, lines.submissions, args.rate).await?;
        let settled = settled(board, sent.iter().filter(|sent| sent.landed.is_ok()).count());
        if args.answer {
            tokio::select! {
                () = settled => {}
                failed = approver::answer(node, data, board, &sent) => match failed? {},
            }
        } else {
            settled.await;
        }
        Ok(sent)
    };
    let outcome = tokio::select! {
        outcome = playing => outcome,
        ended = &mut telling => {
            let why = ended.map_or_else(|e| e.to_string(), |e| e.to_string());
            Err(anyhow::anyhow!("the demo cannot read its topics: {why}"))
        }
    };
    telling.abort();
    outcome
}

/// Waits until `wanted` records are settled, or nothing has moved for [`PATIENCE`].
async fn settled(board: &Board, wanted: usize) {
    let mut settled = board.settled();
    loop {
        let now = *settled.borrow_and_update();
        if now >= wanted || tokio::time::timeout(PATIENCE, settled.changed()).await.is_err() {
            return;
        }
    }
}
