//! `tidegate jobs`.

use std::time::Duration;

use tidegate_node::gateway::progress::Sign;
use tidegate_node::gateway::view::{State, Story};
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
        JobsCommand::Watch { job: Some(job), tenant, changes, reach: whom } => {
            follow(global, &*reach(global, &whom)?, &job, tenant.as_deref(), changes)
        }
        JobsCommand::Watch { job: None, tenant, changes, reach: whom } => watch(global, tenant, changes, &whom),
    }
}

fn known(backend: &dyn Backend, job: &str, tenant: Option<&str>, wait: Duration) -> Result<Story, Failure> {
    backend.get(job, tenant, wait)?.ok_or_else(|| unknown(job, "it may not be judged yet (add `--wait 30s`)"))
}

fn unknown(job: &str, early: &str) -> Failure {
    let text = format!("no job `{job}` is known; {early}, or be so old that only the logs have it");
    Failure::say(Exit::Unsuccessful, text)
}

fn tell(global: &Global, action: Action, args: &SayArgs) -> Result<Exit, Failure> {
    say(global, action, args, |backend| {
        let found = backend.get(&args.job, args.tenant.as_deref(), Duration::ZERO)?;
        found.ok_or_else(|| unknown(&args.job, "it may not be judged yet (say it again)"))
    })
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

/// What one job says, until it ends.
fn follow(
    global: &Global,
    backend: &dyn Backend,
    job: &str,
    tenant: Option<&str>,
    most: Option<usize>,
) -> Result<Exit, Failure> {
    let (mut since, mut told) = (0, 0);
    let mut teller = Teller::default();
    loop {
        let Some(signs) = backend.progress(job, tenant, since, POLL)? else {
            return Err(unknown(job, "it may not be judged yet"));
        };
        since = signs.next;
        for sign in &signs.signs {
            match global.output {
                Output::Json => output::json(sign),
                Output::Text => teller.tell(sign),
            }
            told += 1;
            if Some(told) == most {
                return Ok(Exit::Done);
            }
        }
        if signs.job.state.is_ended() {
            match global.output {
                Output::Json => output::json(&signs.job),
                Output::Text => {
                    teller.end_line();
                    output::text_line(&story::row(&signs.job).join("  "));
                }
            }
            return Ok(if signs.job.state == State::Succeeded { Exit::Done } else { Exit::Unsuccessful });
        }
    }
}

/// Tells signs as text: pieces of output run on, everything else is a line.
#[derive(Default)]
struct Teller {
    /// The attempt, and where its next piece should begin.
    next: (u32, u64),
    within_line: bool,
}

impl Teller {
    fn tell(&mut self, sign: &Sign) {
        if let Some(partial) = &sign.partial {
            let expected = if self.next.0 == sign.attempt { self.next.1 } else { 0 };
            if partial.at != expected {
                self.end_line();
                output::text_line(&format!("[{} bytes are missing]", partial.at.saturating_sub(expected)));
            }
            // A job must not steer the terminal of whoever watches it.
            let plain: String = partial.text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
            output::text(&plain);
            self.within_line = !plain.is_empty() && !plain.ends_with('\n');
            let bytes = u64::try_from(partial.text.len()).unwrap_or(u64::MAX);
            self.next = (sign.attempt, partial.at.saturating_add(bytes));
        }
        if sign.fraction.is_some() || !sign.note.is_empty() {
            self.end_line();
            let share = sign.fraction.map_or_else(String::new, |share| format!("{:.0} %  ", share * 100.0));
            let note: String = sign.note.chars().filter(|c| !c.is_control()).collect();
            output::text_line(&format!("[attempt {}]  {share}{note}", sign.attempt));
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.within_line) {
            output::text_line("");
        }
    }
}
