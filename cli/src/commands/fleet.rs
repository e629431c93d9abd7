//! `tidegate pools` and `tidegate workers`.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_node::gateway::commands::Became;
use tidegate_node::gateway::fleet::{Cordon, PoolStanding, Quantiles, WorkerStanding, WorkerState};
use tidegate_protocol::ids::{BadName, CommandId, PoolName, WorkerId};
use tidegate_protocol::pool_command::{KIND, PoolAction, PoolCommand};
use tidegate_protocol::signature::signed;

use crate::args::{Global, Output, PoolsCommand, TellArgs, WorkersCommand};
use crate::backend::reach;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::story::clock;

/// The heads of the tables.
pub(crate) const POOLS: [&str; 12] = [
    "pool",
    "workers",
    "running",
    "capacity",
    "free",
    "backlog",
    "oldest",
    "wanted",
    "leased/s",
    "ended/s",
    "waited p50/p99",
    "ran p50/p99",
];
pub(crate) const WORKERS: [&str; 8] =
    ["worker", "pool", "state", "running", "capacity", "free", "heard", "capabilities"];

pub(crate) fn pools(global: &Global, command: PoolsCommand) -> Result<Exit, Failure> {
    let (only, whom) = match command {
        PoolsCommand::List { reach } => (None, reach),
        PoolsCommand::Show { pool, reach } => (Some(pool), reach),
    };
    let found = reach(global, &whom)?.pools(only.as_deref())?;
    match (global.output, only) {
        (Output::Json, _) => output::json(&found),
        (Output::Text, None) => {
            let rows: Vec<Vec<String>> = found.pools.iter().map(pool_row).collect();
            output::text_line(&output::table(&POOLS, &rows));
        }
        (Output::Text, Some(_)) => found.pools.iter().for_each(show_pool),
    }
    Ok(Exit::Done)
}

pub(crate) fn workers(global: &Global, command: WorkersCommand) -> Result<Exit, Failure> {
    match command {
        WorkersCommand::List { pool, reach: whom } => {
            let found = reach(global, &whom)?.workers(pool.as_deref())?;
            match global.output {
                Output::Json => output::json(&found),
                Output::Text if found.workers.is_empty() => output::text_line("no worker is known"),
                Output::Text => {
                    let rows: Vec<Vec<String>> = found.workers.iter().map(worker_row).collect();
                    output::text_line(&output::table(&WORKERS, &rows));
                }
            }
        }
        WorkersCommand::Show { worker, pool, reach: whom } => {
            let Some(found) = reach(global, &whom)?.worker(&worker, pool.as_deref())? else {
                let hint = "`tidegate workers list` shows those that are";
                return Err(Failure::say(Exit::Unsuccessful, format!("no worker `{worker}` is known; {hint}")));
            };
            match global.output {
                Output::Json => output::json(&found),
                Output::Text => found.workers.iter().for_each(show_worker),
            }
        }
        WorkersCommand::Cordon(args) => return tell(global, PoolAction::Cordon, &args),
        WorkersCommand::Uncordon(args) => return tell(global, PoolAction::Uncordon, &args),
        WorkersCommand::Drain(args) => return tell(global, PoolAction::Drain, &args),
    }
    Ok(Exit::Done)
}

/// Signs this operator's command, passes it on and prints what became of it.
fn tell(global: &Global, action: PoolAction, args: &TellArgs) -> Result<Exit, Failure> {
    let usage = |error: BadName| Failure::new(Exit::Usage, error);
    let key = args.signing.key(&args.reach)?;
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let command = PoolCommand {
        v: 1,
        id: CommandId::new(format!("cli-{at_ms}-{}", std::process::id())).map_err(usage)?,
        action,
        pool: PoolName::new(&args.pool).map_err(usage)?,
        worker: WorkerId::new(&args.worker).map_err(usage)?,
        by: args.signing.person(&key)?,
        at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
        reason: args.reason.clone(),
    };
    let text = serde_json::to_vec(&command).map_err(|error| Failure::new(Exit::Software, error))?;
    let told = reach(global, &args.reach)?.tell(&command, signed(&key, KIND, text))?;
    match (global.output, told.became, told.why) {
        (Output::Json, ..) => output::json(&told),
        (Output::Text, Became::Given | Became::Ended, _) => output::text_line(match action {
            PoolAction::Cordon => "cordoned: it gets no further job",
            PoolAction::Uncordon => "it may have jobs again",
            PoolAction::Drain => "told to leave: it ends what it runs, and gets no further job",
        }),
        (Output::Text, Became::Refused, Some(why)) => {
            output::text_line(&format!("refused ({}): {}", why.word(), told.detail));
        }
        (Output::Text, Became::Refused, None) => output::text_line("refused"),
        (Output::Text, Became::Pending, _) => output::text_line(&format!(
            "passed on, and {} shards have said so: the others' scheduler is away, or does not trust this key as an operator's (its log says)",
            told.shards
        )),
    }
    Ok(match told.became {
        Became::Given | Became::Ended => Exit::Done,
        Became::Refused => Exit::Unsuccessful,
        Became::Pending => Exit::Unavailable,
    })
}

pub(crate) fn pool_row(pool: &PoolStanding) -> Vec<String> {
    vec![
        pool.pool.to_string(),
        format!("{}/{}", pool.present, pool.workers),
        pool.running.to_string(),
        pool.capacity.to_string(),
        pool.free.to_string(),
        pool.backlog.to_string(),
        span(pool.oldest_waiting_ms),
        pool.wanted_workers.to_string(),
        format!("{:.1}", pool.leased_per_s),
        format!("{:.1}", pool.ended_per_s),
        times(&pool.waited),
        times(&pool.ran),
    ]
}

pub(crate) fn worker_row(worker: &WorkerStanding) -> Vec<String> {
    vec![
        worker.worker.to_string(),
        worker.pool.to_string(),
        worker.state.word().to_owned(),
        worker.running.to_string(),
        worker.capacity.to_string(),
        worker.free.to_string(),
        heard(worker.heard_ms_ago),
        clean(&worker.capabilities.join(",")).chars().take(40).collect(),
    ]
}

fn show_pool(pool: &PoolStanding) {
    let lines = [
        ("pool", pool.pool.to_string()),
        ("shards", format!("{}, lanes {}", pool.shards, pool.lanes)),
        ("workers", format!("{} known, {} present, {} cordoned", pool.workers, pool.present, pool.cordoned)),
        ("wanted", format!("{} workers of the pool's `worker_slots`", pool.wanted_workers)),
        ("jobs", format!("{} run, of {} that could; {} more would be taken", pool.running, pool.capacity, pool.free)),
        ("backlog", format!("{}, the oldest for {}", pool.backlog, span(pool.oldest_waiting_ms))),
        ("rates", format!("{:.1} leased and {:.1} ended a second", pool.leased_per_s, pool.ended_per_s)),
        (
            "waited",
            format!("{} (p50/p99 of {} in the last minute, from verdict to lease)", times(&pool.waited), pool.waited.n),
        ),
        ("ran", format!("{} (p50/p99 of {}, from lease to end)", times(&pool.ran), pool.ran.n)),
        ("ended", pool.outcomes.iter().map(|(word, n)| format!("{word} {n}")).collect::<Vec<_>>().join(", ")),
        ("lost", format!("{} leases ended without result", pool.leases_lost)),
    ];
    for (name, value) in lines {
        output::text_line(&format!("{name:9} {value}"));
    }
    output::text_line("");
}

fn show_worker(worker: &WorkerStanding) {
    let tenants = worker.tenants.as_ref().map_or_else(|| "all".to_owned(), |tenants| tenants.join(", "));
    let labels: Vec<String> = worker.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let lines = [
        ("worker", worker.worker.to_string()),
        ("pool", format!("{}, lane {}", worker.pool, worker.lane)),
        ("state", format!("{}, heard {}", worker.state.word(), heard(worker.heard_ms_ago))),
        ("cordon", worker.cordon.as_ref().map(|word| cordon(word, worker)).unwrap_or_default()),
        ("began", worker.incarnation.to_string()),
        ("can", worker.capabilities.join(", ")),
        ("tenants", tenants),
        ("labels", labels.join(", ")),
        ("load", worker.load.map(|load| format!("{load:.2}")).unwrap_or_default()),
        ("jobs", format!("{} of {}; {} more would be taken", worker.running, worker.capacity, worker.free)),
    ];
    for (name, value) in lines.into_iter().filter(|(_, value)| !value.is_empty()) {
        output::text_line(&format!("{name:9} {}", clean(&value)));
    }
    for job in &worker.jobs {
        output::text_line(&format!("          {job}"));
    }
    output::text_line("");
}

fn cordon(word: &Cordon, worker: &WorkerStanding) -> String {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are below 2^53")]
    let when = clock(Some(word.at_ms as f64));
    let drain = if word.drain { ", to leave" } else { "" };
    let reason = if word.reason.is_empty() { String::new() } else { format!(": {}", word.reason) };
    let is_partly = worker.state == WorkerState::PartlyCordoned;
    let partly = format!(", in {} of its pool's shards alone", worker.cordoned_shards);
    let partly = if is_partly { &*partly } else { "" };
    format!("by {} at {when}{drain}{partly}{reason}", word.by)
}

/// What workers say of themselves cannot steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn heard(ago: Option<u64>) -> String {
    ago.map_or_else(|| "not yet".to_owned(), |ms| format!("{} ago", span(Some(ms))))
}

fn times(times: &Quantiles) -> String {
    match (times.p50_ms, times.p99_ms) {
        (Some(half), Some(most)) => format!("{}/{}", short(half), short(most)),
        _ => "-".to_owned(),
    }
}

/// Milliseconds, as exactly as people want them.
fn short(ms: f64) -> String {
    if ms < 10.0 {
        format!("{ms:.1}ms")
    } else if ms < 10_000.0 {
        format!("{ms:.0}ms")
    } else {
        format!("{:.0}s", ms / 1_000.0)
    }
}

pub(crate) fn span(ms: Option<u64>) -> String {
    match ms {
        None => "-".to_owned(),
        Some(ms @ 0..10_000) => format!("{}.{}s", ms / 1_000, ms / 100 % 10),
        Some(ms @ 10_000..600_000) => format!("{}s", ms / 1_000),
        Some(ms @ 600_000..36_000_000) => format!("{}m", ms / 60_000),
        Some(ms) => format!("{}h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_people_want_them() {
        let spans = [None, Some(0), Some(1_250), Some(59_999), Some(600_000), Some(90_000_000)].map(span);
        assert_eq!(spans, ["-", "0.0s", "1.2s", "59s", "10m", "25h"]);
        assert_eq!([0.44, 12.3, 12_345.0].map(short), ["0.4ms", "12ms", "12s"]);
        assert_eq!(clean("a\u{1b}[2Jb\n"), "a?[2Jb?");
    }
}
