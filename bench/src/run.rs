//! A run from its topics to its report.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tidegate_node::config::{Settings, SpineConfig};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::topics::Topic;
use tidegate_spine::{Cleanup, ProducerOptions, Spine, TopicSpec};
use tidegate_stage::Pace;
use tokio::task::JoinHandle;

use crate::board::{Board, Milestone};
use crate::features::{self, Features};
use crate::floor::bare::Bare;
use crate::floor::chain::{Link, Marks, Sizes, spawn};
use crate::floor::kafka::BareKafka;
use crate::floor::spine::BareSpine;
use crate::governed::{Governed, Names, PoolTerms, Workers};
use crate::load::Load;
use crate::noting::Noting;
use crate::options::{BenchArgs, Rate, Scenario};
use crate::policy::Weight;
use crate::readers::watch;
use crate::report::{Report, Spent, report, side};

/// Length of a slice.
const SLICE: Duration = Duration::from_secs(5);
/// How long what was sent may take to come out.
const SETTLE: Duration = Duration::from_secs(15);
/// How long the sides of a run that is told to stop may take to stop in order.
const STOPPING: Duration = Duration::from_secs(20);
/// And how long the broker may take to delete a topic of it.
const DELETING: Duration = Duration::from_secs(10);

/// A run was told to stop before its end: nothing was measured.
#[derive(Debug, thiserror::Error)]
#[error("stopped before the run's end, so there are no figures; what it made is removed")]
pub struct Stopped;

/// Where a run is: the spine, the same bare, the prefix of its topics, and whether it is to stop.
pub(crate) struct Place {
    pub(crate) spine: Arc<dyn Spine>,
    bare: Arc<dyn Bare>,
    pub(crate) prefix: String,
    pub(crate) stop: Arc<AtomicBool>,
}

/// One side as the loop sees it.
pub(crate) struct Loaded {
    pub(crate) board: Board,
    pub(crate) load: Load,
    pub(crate) spent: Spent,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

/// CPU seconds of this process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted behind the name; the unit is 1/100 s on Linux.
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

async fn open(
    url: &str,
    settings: &Settings,
    run: &str,
) -> anyhow::Result<(Arc<dyn Spine>, Option<PathBuf>, Arc<dyn Bare>)> {
    let spine = |url: String| async move {
        anyhow::Ok(tidegate_node::spine::open(&SpineConfig { url, settings: settings.clone() }).await?)
    };
    if let Some(rest) = url.strip_prefix("embedded:") {
        // A folder of its own below the one that was named, so that nothing of the user's is touched.
        let (folder, query) = rest.split_once('?').map_or((rest, String::new()), |(f, q)| (f, format!("?{q}")));
        let folder = PathBuf::from(folder).join(format!("bench-{run}"));
        let spine = spine(format!("embedded:{}{query}", folder.display())).await?;
        return Ok((spine.clone(), Some(folder), Arc::new(BareSpine(spine))));
    }
    let spine = spine(url.to_owned()).await?;
    let brokers = url.trim_start_matches("kafka://").trim_end_matches('/').to_owned();
    Ok((spine, None, Arc::new(BareKafka::new(brokers, settings.resolve()?))))
}

/// Runs what `args` ask for, with these settings of the broker's client, until it is done or `told` to stop; in either case
/// its topics are deleted.
///
/// # Errors
/// When the spine cannot be opened, topics cannot be made, or a side sees nothing at all; [`Stopped`].
pub async fn run(args: &BenchArgs, settings: &Settings, told: impl Future<Output = ()>) -> anyhow::Result<Report> {
    on_spine(args, settings, told, async |place| measured(args, place).await).await
}

/// Runs `bench decisions --features`: every row's kernels stand beside each other and are loaded in turn.
///
/// # Errors
/// As [`run`]; also for a scenario other than decisions.
pub async fn features(
    args: &BenchArgs,
    settings: &Settings,
    told: impl Future<Output = ()>,
) -> anyhow::Result<Features> {
    anyhow::ensure!(args.scenario == Scenario::Decisions, "`--features` measures decisions");
    on_spine(args, settings, told, async |place| by_feature(args, place).await).await
}

async fn by_feature(args: &BenchArgs, place: &Place) -> anyhow::Result<Features> {
    let Place { spine, prefix, stop, .. } = place;
    let began = Instant::now();
    let mut sides = Vec::new();
    for row in features::ROWS {
        let names = Names::new(format!("{prefix}{}.", row.feature))?;
        // What people are asked about is decided and not released.
        let side = governed_side(args, spine, &names, (row.weight, row.signed), began, Milestone::Decided).await?;
        sides.push((row, side));
    }
    let warm_up = (args.rate, args.warm_up, false);
    let slices = [warm_up, (Rate::Max, args.flat_out, false), warm_up];
    let mut left = args.duration;
    let measured = std::iter::from_fn(|| {
        let length = left.min(features::SLICE);
        left -= length;
        (!length.is_zero()).then_some((args.rate, length, true))
    });
    for (rate, length, counts) in slices.into_iter().chain(measured) {
        let mut after = Vec::new();
        for (row, (loaded, governed)) in sides {
            after.push((row, (slice(args, loaded, rate, length, counts, stop).await?, governed)));
        }
        sides = after;
    }
    let mut rows = Vec::new();
    for (row, (loaded, governed)) in sides {
        governed.stop().await;
        loaded.tasks.iter().for_each(JoinHandle::abort);
        rows.push((row, side(&loaded.board, loaded.spent), loaded.board.counts()));
    }
    Ok(Features::new(args, spine.url().to_owned(), rows))
}

/// Opens the spine, has `what` measure under a prefix of its own, and removes what it made.
pub(crate) async fn on_spine<T>(
    args: &BenchArgs,
    settings: &Settings,
    told: impl Future<Output = ()>,
    what: impl AsyncFnOnce(&Place) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if !args.spine.starts_with("embedded:")
        && let Some(doubt) = crate::machine::doubt()
    {
        tracing::warn!("{doubt}");
    }
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
    let run = format!("{stamp}-{}", std::process::id());
    let (spine, folder, bare) = open(&args.spine, settings, &run).await.context("the spine could not be opened")?;
    let place = Place { spine, bare, prefix: format!("bench-{run}."), stop: Arc::new(AtomicBool::new(false)) };
    let outcome = until_told(told, &place.stop, what(&place)).await;
    remove(&*place.spine, &place.prefix).await;
    drop(place);
    if let Some(folder) = folder
        && let Err(error) = std::fs::remove_dir_all(&folder)
    {
        tracing::warn!(folder = %folder.display(), %error, "the run's folder could not be removed");
    }
    outcome
}

/// Until it is done; once told to stop, it stops in order if that is quick, so that topics are deleted that nobody writes.
async fn until_told<T>(
    told: impl Future<Output = ()>,
    stop: &AtomicBool,
    run: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut run = std::pin::pin!(run);
    tokio::select! {
        outcome = &mut run => return outcome,
        () = told => stop.store(true, Ordering::Relaxed),
    }
    // Whatever it came to, or left running: the process ends.
    let _ = tokio::time::timeout(STOPPING, run).await;
    Err(Stopped.into())
}

/// Deletes the topics of the run.
async fn remove(spine: &dyn Spine, prefix: &str) {
    let topics = match spine.list(prefix).await {
        Ok(topics) => topics,
        Err(error) => return tracing::warn!(prefix, %error, "the topics of the run could not be asked for and stay"),
    };
    for topic in topics {
        match tokio::time::timeout(DELETING, spine.delete(&topic)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%topic, %error, "a topic of the run could not be deleted"),
            Err(_) => tracing::warn!(%topic, "a topic of the run could not be deleted: no answer in time"),
        }
    }
}

async fn measured(args: &BenchArgs, place: &Place) -> anyhow::Result<Report> {
    let Place { spine, bare, prefix, stop } = place;
    let plain = args.shards == 1 && args.max_leased.is_none();
    anyhow::ensure!(plain || args.scenario == Scenario::Jobs, "`--shards` and `--max-leased` are of whole jobs");
    let names = Names::new(prefix.clone())?;
    let began = Instant::now();
    let last = if args.scenario == Scenario::Jobs { Milestone::Finished } else { Milestone::Released };
    let (mut ours, governed) = governed_side(args, spine, &names, (args.weight(), true), began, last).await?;
    ours = slice(args, ours, args.rate, args.warm_up, false, stop).await?;
    let sizes = if args.floor { Some(crate::floor::sizes(spine, &names, args).await?) } else { None };
    ours = slice(args, ours, Rate::Max, args.flat_out, false, stop).await?;
    let mut theirs = None;
    if let Some(sizes) = sizes {
        let mut floor = floor(args, spine, bare, prefix, sizes, began, last).await?;
        floor = slice(args, floor, Rate::Max, args.flat_out, false, stop).await?;
        theirs = Some(slice(args, floor, args.rate, args.warm_up, false, stop).await?);
    }
    // What ran flat out leaves much to be written behind it; neither side is measured right after.
    ours = slice(args, ours, args.rate, args.warm_up, false, stop).await?;
    let mut left = args.duration;
    while !left.is_zero() {
        let length = if theirs.is_some() { left.min(SLICE) } else { left };
        ours = slice(args, ours, args.rate, length, true, stop).await?;
        if let Some(floor) = theirs.take() {
            theirs = Some(slice(args, floor, args.rate, length, true, stop).await?);
        }
        left -= length;
    }
    stop.store(true, Ordering::Relaxed);
    governed.stop().await;
    let asked = if !plain { Some(crate::lending::asked(spine, &names, args.shards).await?) } else { None };
    let floor = theirs.map(|floor| {
        floor.tasks.iter().for_each(JoinHandle::abort);
        side(&floor.board, floor.spent)
    });
    ours.tasks.iter().for_each(JoinHandle::abort);
    let tidegate = side(&ours.board, ours.spent);
    Ok(report(args, spine.url().to_owned(), &ours.board, tidegate, floor, asked))
}

/// The Tidegate side, on topics of its own that are made here. What it weighs, and whether it signs.
pub(crate) async fn governed_side(
    args: &BenchArgs,
    spine: &Arc<dyn Spine>,
    names: &Names,
    (weight, signed): (Weight, bool),
    began: Instant,
    last: Milestone,
) -> anyhow::Result<(Loaded, Governed)> {
    for spec in names.specs(args.partitions, args.shards)? {
        spine.create(&spec).await.with_context(|| format!("topic `{}` could not be made", spec.name))?;
    }
    let slots = (args.scenario == Scenario::Jobs).then_some(args.slots);
    let load = load(spine, args, names.topic(&Topic::Raw(names.source.clone()))?, began, last).await?;
    let board = load.board();
    let decisions = names.topic(&Topic::Decisions(names.source.clone()))?;
    let approved = names.topic(&Topic::Approved(names.pool.clone()))?;
    let noted = slots.is_some().then(|| approved.clone());
    let noting = Noting { spine: spine.clone(), decisions, approved: noted, board: board.clone() };
    let noting: Arc<dyn Spine> = Arc::new(noting);
    let workers = slots.map(|slots| Workers {
        slots,
        work: args.work,
        board: board.clone(),
        pool: PoolTerms { shards: args.shards, max_leased: args.max_leased },
    });
    let pace = Pace { groups_in_flight: args.groups_in_flight as usize, ..Pace::default() };
    let governed = Governed::start(&noting, names, args.partitions, weight, workers, &pace, signed)?;
    let finished = names.topic(&Topic::Finished)?;
    let tasks = vec![instrument(spine, args, &board, approved, finished).await?];
    Ok((Loaded { board, load, spent: Spent::default(), tasks }, governed))
}

async fn load(
    spine: &Arc<dyn Spine>,
    args: &BenchArgs,
    topic: TopicName,
    began: Instant,
    last: Milestone,
) -> anyhow::Result<Load> {
    let options =
        ProducerOptions { name: "bench-load".into(), max_in_flight_bytes: 1 << 30, ..ProducerOptions::default() };
    let producer = spine.producer(options).await?;
    let board = Board::new(began, args.partitions, last)?;
    Ok(Load::new(producer, topic, args.partitions, board, args.size as usize))
}

/// Who sees the last milestone.
async fn instrument(
    spine: &Arc<dyn Spine>,
    args: &BenchArgs,
    board: &Board,
    approved: TopicName,
    finished: TopicName,
) -> anyhow::Result<JoinHandle<()>> {
    let (topic, partitions, milestone) = match args.scenario {
        Scenario::Decisions => (approved, crate::governed::BUCKETS, Milestone::Released),
        Scenario::Jobs => (finished, crate::governed::SHARED, Milestone::Finished),
    };
    Ok(watch(spine, &topic, partitions, milestone, board.clone()).await?)
}

/// Loads a side for a slice on a thread of its own, then waits until what was sent has come out.
pub(crate) async fn slice(
    args: &BenchArgs,
    side: Loaded,
    rate: Rate,
    length: Duration,
    counts: bool,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Loaded> {
    let Loaded { board, mut load, mut spent, tasks } = side;
    let (in_flight, told) = (u64::from(args.in_flight), stop.clone());
    let cpu = cpu_seconds();
    let (load, seconds) = tokio::task::spawn_blocking(move || {
        let seconds = load.offer(rate, in_flight, length, counts, &told);
        (load, seconds)
    })
    .await?;
    let drained = Instant::now();
    // A backlog that is there on purpose is not waited for.
    let awaited = |load: &Load| match load.counts_all() {
        true => board.open(),
        false => board.awaited(),
    };
    while awaited(&load) > 0 && drained.elapsed() < SETTLE && !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if counts {
        spent.cpu += cpu_seconds() - cpu;
        // At the highest rate what is in flight at the end belongs to the time it took to come out.
        spent.seconds += seconds + if rate == Rate::Max { drained.elapsed().as_secs_f64() } else { 0.0 };
    }
    Ok(Loaded { board, load, spent, tasks })
}

async fn floor(
    args: &BenchArgs,
    spine: &Arc<dyn Spine>,
    bare: &Arc<dyn Bare>,
    prefix: &str,
    sizes: Sizes,
    began: Instant,
    last: Milestone,
) -> anyhow::Result<Loaded> {
    let name = |text: &str| TopicName::new(format!("{prefix}floor.{text}"));
    let (raw, decisions, approved, leases, work, reports, finished) = (
        name("raw")?,
        name("decisions")?,
        name("approved")?,
        name("leases")?,
        name("work")?,
        name("reports")?,
        name("finished")?,
    );
    let topics = [
        (&raw, args.partitions),
        (&decisions, args.partitions),
        (&approved, crate::governed::BUCKETS),
        (&leases, 1),
        (&work, 1),
        (&reports, 1),
        (&finished, crate::governed::SHARED),
    ];
    for (topic, partitions) in topics {
        let spec = TopicSpec {
            name: topic.clone(),
            partitions,
            cleanup: Cleanup::Log { retention_ms: None },
            max_record_bytes: 4 << 20,
            broker_time: false,
            replication: None,
        };
        spine.create(&spec).await?;
    }
    let load = load(spine, args, raw.clone(), began, last).await?;
    let board = load.board();
    let mut tasks = Vec::new();
    for partition in 0..args.partitions {
        tasks.push(spawn(
            bare.clone(),
            Link {
                name: "kernel",
                marks: Marks::Kernel(board.clone()),
                from: vec![raw.partition(partition)],
                groups: Some(decisions.partition(partition)),
                fact: sizes.fact,
                to: approved.clone(),
                partitions: crate::governed::BUCKETS,
                size: sizes.verdict,
                carries: true,
                first: true,
            },
        ));
    }
    if args.scenario == Scenario::Jobs {
        let link = |name, from, groups, fact, to: &TopicName, partitions, size| Link {
            name,
            marks: if name == "work" { Marks::Worker(board.clone()) } else { Marks::None },
            from,
            groups,
            fact,
            to: to.clone(),
            partitions,
            size,
            carries: false,
            first: false,
        };
        let buckets = (0..crate::governed::BUCKETS).map(|b| approved.partition(b)).collect();
        let facts = Some(leases.partition(0));
        tasks.push(spawn(bare.clone(), link("lease", buckets, facts.clone(), sizes.lease, &work, 1, sizes.assignment)));
        tasks.push(spawn(bare.clone(), link("work", vec![work.partition(0)], None, 0, &reports, 1, sizes.report)));
        let shared = crate::governed::SHARED;
        tasks.push(spawn(
            bare.clone(),
            link("finish", vec![reports.partition(0)], facts, sizes.end, &finished, shared, sizes.finished),
        ));
    }
    tasks.push(instrument(spine, args, &board, approved, finished).await?);
    Ok(Loaded { board, load, spent: Spent::default(), tasks })
}
