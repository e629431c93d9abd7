//! Saying something about a job: a command signed with a person's key, passed on to the kernel that holds the job.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_keys::SecretKey;
use tidegate_node::gateway::commands::{Became, Passed};
use tidegate_node::gateway::view::Story;
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::ids::{CommandId, JobId, TenantId};
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::signature::signed;

use crate::args::{Global, Output, SayArgs};
use crate::backend::{Backend, reach};
use crate::exit::{Exit, Failure};
use crate::output;

/// Signs this person's command about the job that `find` finds, passes it on and prints what became of it.
pub(crate) fn say(
    global: &Global,
    action: Action,
    args: &SayArgs,
    find: impl FnOnce(&dyn Backend) -> Result<Story, Failure>,
) -> Result<Exit, Failure> {
    let key = args.signing.key(&args.reach)?;
    let backend = reach(global, &args.reach)?;
    let story = find(&*backend)?;
    let Some(job) = &story.job else {
        return Err(Failure::say(Exit::Unavailable, "the job's verdict is not known here yet; ask again in a moment"));
    };
    // Nobody has judged what waits for a limit: only an approval is bound to a verdict, and that is refused without one.
    let snapshot = story.decision.as_ref().map_or_else(String::new, |decision| decision.snapshot.clone());
    let command = Command {
        source: story.source.clone(),
        job_id: job.id.clone(),
        tenant: job.tenant.clone(),
        input_hash: job.input_hash,
        snapshot,
        pool: story.pool.clone().filter(|_| matches!(action, Action::Cancel | Action::Revoke)),
        ..unsaid(action, args, &key, story.source.clone())?
    };
    pass_on(global, &*backend, &key, &command)
}

/// This person's command about that record, with nothing said of its job.
pub(crate) fn unsaid(
    action: Action,
    args: &SayArgs,
    key: &SecretKey,
    source: SourcePosition,
) -> Result<Command, Failure> {
    let usage = |error: tidegate_protocol::ids::BadName| Failure::new(Exit::Usage, error);
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    Ok(Command {
        v: 1,
        id: CommandId::new(format!("cli-{at_ms}-{}", std::process::id())).map_err(usage)?,
        action,
        source,
        job_id: JobId::new("-").map_err(usage)?,
        tenant: TenantId::new("-").map_err(usage)?,
        input_hash: InputHash([0; 32]),
        snapshot: String::new(),
        by: args.signing.person(key)?,
        at_ms: u64::try_from(at_ms).unwrap_or(u64::MAX),
        reason: args.reason.clone(),
        pool: None,
        redrive: None,
    })
}

/// Signs a command, passes it on and prints what became of it.
pub(crate) fn pass_on(
    global: &Global,
    backend: &dyn Backend,
    key: &SecretKey,
    command: &Command,
) -> Result<Exit, Failure> {
    let action = command.action;
    let text = serde_json::to_vec(command).map_err(|error| Failure::new(Exit::Software, error))?;
    let passed = backend.say(command, signed(key, KIND, text))?;
    match global.output {
        Output::Json => output::json(&passed),
        Output::Text => output::text_line(&told(action, &passed)),
    }
    Ok(match passed.became {
        Became::Given | Became::Ended => Exit::Done,
        Became::Refused => Exit::Unsuccessful,
        Became::Pending => Exit::Unavailable,
    })
}

fn told(action: Action, passed: &Passed) -> String {
    let state = passed.job.as_ref().map_or("unknown", |job| job.state.word());
    match (passed.became, passed.why) {
        (Became::Given, _) if action == Action::Revoke => format!(
            "revoked: it delegates no longer, and nothing that acts for it begins any more; the job is {state}"
        ),
        (Became::Given, _) if action == Action::Cancel => {
            let pool = passed.job.as_ref().and_then(|job| job.withdrawn.as_ref()).map_or("its", |told| told.pool.as_str());
            format!("pool `{pool}` is told to end it; the job is {state} (`tidegate jobs get --wait 30s` shows its end)")
        }
        (Became::Given, _) if action == Action::Redrive => {
            let at = passed.job.as_ref().map(|job| job.source.to_string()).unwrap_or_default();
            format!("judged again as {at}; the job is {state}")
        }
        (Became::Given, _) if action == Action::Drop => "dropped: lists show it no longer".to_owned(),
        (Became::Given, _) => format!("approved; the job is {state}"),
        (Became::Ended, _) => format!("the job is {state}"),
        (Became::Refused, Some(why)) => format!("refused ({}): {}; the job is {state}", why.word(), passed.detail),
        (Became::Refused, None) => format!("refused: {}; the job is {state}", passed.detail),
        (Became::Pending, _) if action == Action::Cancel => format!(
            "passed on, but nothing has come of it and the job is {state}: the kernel is away, or does not trust this key as an operator or a submitter of the tenant (its log says)"
        ),
        (Became::Pending, _) => {
            "passed on, but nothing has come of it: the kernel is away, or does not trust this key for this (its log says)"
                .to_owned()
        }
    }
}
