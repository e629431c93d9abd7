//! `tidegate jobs`.

use std::time::Duration;

use tidegate_node::gateway::view::Story;
use tidegate_protocol::command::Action;

use super::saying::say;
use crate::args::{Global, JobsCommand, Output, Reach, SayArgs};
use crate::backend::{Backend, Wanted, reach};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::story;

/// One long poll of `watch`.
const POLL: Duration = Duration::from_secs(30);

pub(crate) fn run(global: &Global, command: JobsCommand) -> Result<Exit, Failure> {
    match command {
        JobsCommand::Get { job, tenant, wait, reach: whom } => {
            let found = known(&*reach(global, &whom)?, &job, tenant.as_deref(), wait)?;
            match global.output {
                Output::Json => output::json(&found),
                Output::Text => output::text_line(&story::whole(&found)),
            }
            Ok(Exit::Done)
        }
        JobsCommand::List { state, tenant, limit, reach: whom } => {
            let found = reach(global, &whom)?.list(&Wanted { state, tenant, limit })?;
            match global.output {
                Output::Json => output::json(&found),
                Output::Text if found.jobs.is_empty() => output::text_line("no jobs"),
                Output::Text => {
                    let rows: Vec<Vec<String>> = found.jobs.iter().map(story::row).collect();
                    output::text_line(&output::table(&story::HEAD, &rows));
                }
            }
            Ok(Exit::Done)
        }
        JobsCommand::Cancel(args) => tell(global, Action::Cancel, &args),
        JobsCommand::Revoke(args) => tell(global, Action::Revoke, &args),
        JobsCommand::Watch { tenant, changes, reach: whom } => watch(global, tenant, changes, &whom),
    }
}

fn known(backend: &dyn Backend, job: &str, tenant: Option<&str>, wait: Duration) -> Result<Story, Failure> {
    backend.get(job, tenant, wait)?.ok_or_else(|| {
        let hint = "it may not be judged yet (add `--wait 30s`), or be so old that only the logs have it";
        Failure::say(Exit::Unsuccessful, format!("no job `{job}` is known; {hint}"))
    })
}

fn tell(global: &Global, action: Action, args: &SayArgs) -> Result<Exit, Failure> {
    say(global, action, args, |backend| known(backend, &args.job, args.tenant.as_deref(), Duration::ZERO))
}

fn watch(global: &Global, tenant: Option<String>, most: Option<usize>, whom: &Reach) -> Result<Exit, Failure> {
    let backend = reach(global, whom)?;
    let wanted = Wanted { tenant, limit: 1_000, state: None };
    let mut since = backend.list(&Wanted { limit: 1, ..wanted.clone() })?.next;
    let mut left = most;
    while left != Some(0) {
        let limit = left.unwrap_or(usize::MAX).min(1_000);
        let found = backend.changes(since, &Wanted { limit, ..wanted.clone() }, POLL)?;
        since = found.next;
        left = left.map(|left| left.saturating_sub(found.jobs.len()));
        for job in &found.jobs {
            match global.output {
                Output::Json => output::json(job),
                Output::Text => output::text_line(&story::row(job).join("  ")),
            }
        }
    }
    Ok(Exit::Done)
}
