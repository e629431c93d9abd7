//! `tidegate approvals`.

use std::time::Duration;

use tidegate_node::gateway::view::Story;
use tidegate_protocol::command::Action;

use super::saying::say;
use crate::args::{ApprovalsCommand, Global, Output, SayArgs};
use crate::backend::{Backend, Wanted, reach};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::story;

pub(crate) fn run(global: &Global, command: ApprovalsCommand) -> Result<Exit, Failure> {
    match command {
        ApprovalsCommand::List { tenant, limit, reach: whom } => {
            let found = reach(global, &whom)?.list(&Wanted { state: Some("held".into()), tenant, limit })?;
            match global.output {
                Output::Json => output::json(&found),
                Output::Text if found.jobs.is_empty() => output::text_line("nothing waits for approval"),
                Output::Text => {
                    let rows: Vec<Vec<String>> = found.jobs.iter().map(story::held_row).collect();
                    output::text_line(&output::table(&story::HELD_HEAD, &rows));
                }
            }
            Ok(Exit::Done)
        }
        ApprovalsCommand::Show { job, tenant, reach: whom } => {
            let found = held(&*reach(global, &whom)?, &job, tenant.as_deref())?;
            match global.output {
                Output::Json => output::json(&found),
                Output::Text => output::text_line(&story::whole(&found)),
            }
            Ok(Exit::Done)
        }
        ApprovalsCommand::Approve(args) => about_held(global, Action::Approve, &args),
        ApprovalsCommand::Reject(args) => about_held(global, Action::Reject, &args),
    }
}

/// A job that is, or was, held.
fn held(backend: &dyn Backend, job: &str, tenant: Option<&str>) -> Result<Story, Failure> {
    let found = backend.get(job, tenant, Duration::ZERO)?.filter(|story| story.hold.is_some());
    found.ok_or_else(|| {
        let hint = "`tidegate approvals list` shows what waits for approval";
        Failure::say(Exit::Unsuccessful, format!("no job `{job}` is, or was, held; {hint}"))
    })
}

fn about_held(global: &Global, action: Action, args: &SayArgs) -> Result<Exit, Failure> {
    say(global, action, args, |backend| held(backend, &args.job, args.tenant.as_deref()))
}
