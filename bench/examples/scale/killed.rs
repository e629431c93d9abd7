//! The same with processes: whoever owns the shard is killed, worker and all.
//!
//! The parent writes the backlog, then starts a child that owns the shard and runs 1,000 jobs that do not end. When a snapshot is
//! there it kills it and starts another, whose jobs end at once. Children tell on stdout what starts (`s`) and whose result was
//! accepted (`a`); the ledger is the parent's. What ran in the killed process runs again, as its worker is gone; no result of a job is
//! accepted twice, and a backlog that is worked off ends whole.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tidegate_protocol::ids::{PoolName, WorkerId};
use tidegate_protocol::topics::Topic;
use tidegate_worker::handler::Ending;
use tidegate_worker::{Context, Worker};

use crate::takeover::{DRAINED, GOES_ON, Ground, PATIENCE, RUNNING, Silent};

/// First word of a child's command line; then the folder, and whether jobs end.
pub(crate) const CHILD: &str = "--owner";
const HOLDS: &str = "holds";
const GOES: &str = "goes";
/// A child's word that a snapshot is there.
const SNAPSHOT: &str = "snapshot";

fn tell(word: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that has gone hears nothing.
    let _ = writeln!(out, "{word}").and_then(|()| out.flush());
}

/// Owns the shard and works, until it is killed.
pub(crate) async fn child(words: Vec<String>) -> anyhow::Result<()> {
    let [folder, how] = &words[..] else { anyhow::bail!("a folder and what jobs do are missing") };
    let (ground, holds) = (Ground::open(Path::new(folder)).await?, how == HOLDS);
    let (_owner, _stop) = ground.owner(Arc::new(Silent))?;
    let handler = move |context: Context| async move {
        tell(&format!("s {}", context.key().source));
        if holds {
            std::future::pending::<()>().await;
        }
        Ending::Succeeded(None)
    };
    let worker = Worker::builder(PoolName::new("p")?, WorkerId::new("scale")?, ground.keys.1.clone())
        .capability("noop", handler)
        .concurrency(u32::try_from(RUNNING)?)
        .on_settled(|job, accepted, _| {
            if accepted {
                tell(&format!("a {}", job.source));
            }
        })
        .build()?;
    let (spine, snapshots) = (ground.spine.clone(), Topic::Snapshots.name("scale.")?);
    tokio::spawn(async move {
        while tidegate_spine::keyed::read_whole(&*spine, &snapshots).await.is_ok_and(|all| all.is_empty()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tell(SNAPSHOT);
    });
    worker.run(ground.spine.clone(), "scale.", std::future::pending::<()>()).await?;
    Ok(())
}

/// A child, killed when it is dropped.
struct Owner(Child, std::io::Lines<BufReader<ChildStdout>>);

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Owner {
    fn start(folder: &Path, how: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut child = Command::new(program).arg(CHILD).arg(folder).arg(how).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Self(child, lines))
    }
}

/// How often each job started, and how often a result of it was accepted.
type Ledger = BTreeMap<String, (u32, u32)>;

fn note(ledger: &mut Ledger, line: &str) {
    match line.split_once(' ') {
        Some(("s", source)) => ledger.entry(source.to_owned()).or_default().0 += 1,
        Some(("a", source)) => ledger.entry(source.to_owned()).or_default().1 += 1,
        Some(_) | None => {}
    }
}

pub(crate) async fn measure(jobs: u64) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("tidegate-killed-{}", std::process::id()));
    let measured = on(jobs, &folder).await;
    std::fs::remove_dir_all(&folder).context("the folder of the run could not be removed")?;
    measured
}

async fn on(jobs: u64, folder: &Path) -> anyhow::Result<()> {
    let ground = Ground::open(folder).await?;
    ground.topics().await?;
    ground.seed(jobs).await?;
    drop(ground);
    let (mut ledger, begin) = (Ledger::new(), Instant::now());
    let mut first = Owner::start(folder, HOLDS)?;
    let (mut started, mut snapshot) = (0, false);
    while started < RUNNING || !snapshot {
        let line = first.1.next().context("the first owner ended")??;
        started += u64::from(line.starts_with("s "));
        snapshot |= line == SNAPSHOT;
        note(&mut ledger, &line);
        ensure!(begin.elapsed() < PATIENCE, "the first owner did not come so far in {} s", PATIENCE.as_secs());
    }
    let killed = Instant::now();
    drop(first);
    let mut second = Owner::start(folder, GOES)?;
    let (mut accepted, mut next) = (0, None);
    while accepted < jobs && (jobs <= DRAINED || killed.elapsed() < GOES_ON) {
        let line = second.1.next().context("the second owner ended")??;
        if line.starts_with("s ") {
            next.get_or_insert_with(|| killed.elapsed());
        }
        accepted += u64::from(line.starts_with("a "));
        note(&mut ledger, &line);
        ensure!(killed.elapsed() < PATIENCE, "the backlog was not worked off in {} s", PATIENCE.as_secs());
    }
    drop(second);
    let twice = ledger.values().filter(|(_, accepted)| *accepted > 1).count();
    let next = next.context("nothing started")?;
    println!(
        "killed: next job started {:.0} ms after SIGKILL, a new process included; then {accepted} results in {:.1} s, {twice} of a job that had one",
        next.as_secs_f64() * 1e3,
        (killed.elapsed() - next).as_secs_f64()
    );
    ensure!(twice == 0, "a result was accepted twice");
    ensure!(jobs > DRAINED || ledger.len() as u64 == jobs, "{} of {jobs} jobs ended", ledger.len());
    Ok(())
}
