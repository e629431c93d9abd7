//! `tidegate approvals`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidegate_keys::SecretKey;
use tidegate_node::gateway::commands::{Became, Passed};
use tidegate_node::gateway::view::Story;
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::ids::{CommandId, KeyId, PersonId};
use tidegate_protocol::signature::signed;

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
        ApprovalsCommand::Approve(args) => say(global, Action::Approve, &args),
        ApprovalsCommand::Reject(args) => say(global, Action::Reject, &args),
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

fn say(global: &Global, action: Action, args: &SayArgs) -> Result<Exit, Failure> {
    let key = key(args)?;
    let backend = reach(global, &args.reach)?;
    let story = held(&*backend, &args.job, args.tenant.as_deref())?;
    let (Some(job), Some(decision)) = (&story.job, &story.decision) else {
        return Err(Failure::say(Exit::Unavailable, "the job's verdict is not known here yet; ask again in a moment"));
    };
    let usage = |error: tidegate_protocol::ids::BadName| Failure::new(Exit::Usage, error);
    let person = args.person.as_deref().unwrap_or_else(|| tidegate_protocol::signature::Sign::key(&key).as_str());
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let command = Command {
        v: 1,
        id: CommandId::new(format!("cli-{at_ms}-{}", std::process::id())).map_err(usage)?,
        action,
        source: story.source.clone(),
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        input_hash: job.input_hash,
        snapshot: decision.snapshot.clone(),
        by: PersonId::new(person).map_err(usage)?,
        at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
        reason: args.reason.clone(),
    };
    let text = serde_json::to_vec(&command).map_err(|error| Failure::new(Exit::Software, error))?;
    let passed = backend.say(&command, signed(&key, KIND, text))?;
    match global.output {
        Output::Json => output::json(&passed),
        Output::Text => output::text_line(&told(&passed)),
    }
    Ok(match passed.became {
        Became::Given | Became::Ended => Exit::Done,
        Became::Refused => Exit::Unsuccessful,
        Became::Pending => Exit::Unavailable,
    })
}

fn told(passed: &Passed) -> String {
    let state = passed.job.as_ref().map_or("unknown", |job| job.state.word());
    match (passed.became, passed.why) {
        (Became::Given, _) => format!("approved; the job is {state}"),
        (Became::Ended, _) => format!("the job is {state}"),
        (Became::Refused, Some(why)) => format!("refused ({}): {}", why.word(), passed.detail),
        (Became::Refused, None) => format!("refused: {}", passed.detail),
        (Became::Pending, _) => {
            "passed on, but nothing has come of it: the kernel is away, or does not trust this key for this (its log says)"
                .to_owned()
        }
    }
}

/// The person's key: the file given, or the one of `tidegate dev`.
fn key(args: &SayArgs) -> Result<SecretKey, Failure> {
    let file = args.signing_key.clone().unwrap_or_else(|| args.reach.data.join("approver.key"));
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let id = KeyId::new(args.key_id.as_deref().unwrap_or(&stem)).map_err(|error| Failure::new(Exit::Usage, error))?;
    tidegate_keys::read(id, &file).map_err(|error| {
        let hint =
            "`tidegate keys create --role approver --id NAME --file NAME.key` makes one; give it with `--signing-key`";
        Failure::say(Exit::Config, format!("{error}; {hint}"))
    })
}
