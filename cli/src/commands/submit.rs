//! `tidegate submit`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tidegate_node::gateway::http::{OUTCOME_UNKNOWN, Refusal};
use tidegate_node::gateway::submit::Submitted;
use tidegate_node::gateway::view::{State, Story};
use tidegate_protocol::delegation::ParentTicket;

use crate::args::{Global, Output, SubmitArgs};
use crate::backend::{Backend, reach};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::story;

/// Lines of one request.
const LINES: usize = 500;
/// Bytes of one request.
const BYTES: usize = 4 << 20;
/// One long poll.
const POLL: Duration = Duration::from_secs(30);
/// Rows of the final table; the JSON document has them all.
const ROWS: usize = 30;

/// One line of the input and what became of it.
#[derive(Serialize)]
struct Line {
    line: usize,
    #[serde(flatten)]
    submitted: Option<Submitted>,
    #[serde(flatten)]
    refusal: Option<Refusal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    story: Option<Story>,
}

#[derive(Serialize)]
struct Summary {
    submitted: usize,
    refused: usize,
    /// Not acknowledged in time: they may have landed, or land later.
    unknown: usize,
    states: BTreeMap<&'static str, usize>,
    jobs: Vec<Line>,
}

pub(crate) fn run(global: &Global, args: &SubmitArgs) -> Result<Exit, Failure> {
    let backend = reach(global, &args.reach)?;
    let mut input = lines(&args.file)?;
    if let Some(file) = &args.parent_ticket {
        delegate(file, &mut input)?;
    }
    if input.is_empty() {
        return Err(Failure::say(Exit::Data, "the input has no lines; give JSON lines, one job each"));
    }
    let bar = bar(input.len(), "submitted");
    let mut done = submit(&*backend, args.source.as_deref(), input, &bar)?;
    bar.finish_and_clear();
    if args.wait {
        wait(&*backend, &mut done, args.timeout)?;
    }
    let summary = summary(done);
    match global.output {
        Output::Json => output::json(&summary),
        Output::Text => output::text_line(&text(&summary, args.wait)),
    }
    let fine = summary.refused + summary.unknown == 0
        && (!args.wait || summary.jobs.iter().all(|j| j.story.as_ref().is_some_and(|s| s.state == State::Succeeded)));
    Ok(if fine { Exit::Done } else { Exit::Unsuccessful })
}

/// Lines that are not empty, with their numbers.
fn lines(file: &Path) -> Result<Vec<(usize, Vec<u8>)>, Failure> {
    let unread = |error: std::io::Error| {
        Failure::say(
            Exit::Data,
            format!("`{}` cannot be read: {error}; give a file of JSON lines, or `-`", file.display()),
        )
    };
    let input: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(unread)?)
    };
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(input).split(b'\n')) {
        let line = line.map_err(unread)?;
        let line = line.trim_ascii();
        if !line.is_empty() {
            lines.push((number, line.to_vec()));
        }
    }
    Ok(lines)
}

/// Makes the lines children of the job whose ticket is in `file`.
fn delegate(file: &Path, input: &mut [(usize, Vec<u8>)]) -> Result<(), Failure> {
    let unread = |problem: String| {
        let hint = "a worker's command finds its job's ticket in the file that `TIDEGATE_TICKET_FILE` names";
        Failure::say(Exit::Data, format!("`{}`: {problem}; {hint}", file.display()))
    };
    let text = std::fs::read_to_string(file).map_err(|error| unread(format!("it cannot be read: {error}")))?;
    let ticket = ParentTicket::read(&text).map_err(|error| unread(error.to_string()))?;
    for (number, line) in input {
        *line = ticket.child(line).map_err(|error| Failure::say(Exit::Data, format!("line {number}: {error}")))?;
    }
    Ok(())
}

fn submit(
    backend: &dyn Backend,
    source: Option<&str>,
    input: Vec<(usize, Vec<u8>)>,
    bar: &ProgressBar,
) -> Result<Vec<Line>, Failure> {
    let mut done = Vec::with_capacity(input.len());
    let mut rest = input.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut numbers, mut lines, mut bytes) = (Vec::new(), Vec::new(), 0);
        while lines.len() < LINES
            && let Some((number, line)) = rest.next_if(|(_, line)| lines.is_empty() || bytes + line.len() <= BYTES)
        {
            bytes += line.len();
            numbers.push(number);
            lines.push(line);
        }
        let answer = backend.submit(source, &lines)?;
        for told in answer.jobs {
            let number = numbers.get(told.line.saturating_sub(1)).copied().unwrap_or(told.line);
            done.push(Line { line: number, submitted: told.submitted, refusal: told.refusal, story: None });
        }
        bar.set_position(done.len() as u64);
    }
    Ok(done)
}

fn wait(backend: &dyn Backend, done: &mut [Line], timeout: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + timeout;
    let bar = bar(done.len(), "ended");
    for line in done {
        if let Some(submitted) = &line.submitted {
            let source = submitted.source.to_string();
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                line.story = backend.get(&source, None, left.min(POLL))?;
                if left.is_zero() || line.story.as_ref().is_some_and(|story| story.state.is_ended()) {
                    break;
                }
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// On a terminal only: elsewhere it would fill a log.
fn bar(length: usize, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length as u64);
    // The template is a constant; a bar that looks plain is no failure.
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.with_message(what)
}

fn summary(jobs: Vec<Line>) -> Summary {
    let told =
        |word| jobs.iter().filter(|line| line.refusal.is_some() && not_taken(line.refusal.as_ref()) == word).count();
    let (refused, unknown) = (told("refused"), told("unknown"));
    let mut states = BTreeMap::new();
    for line in &jobs {
        let word = match (&line.story, &line.submitted) {
            (Some(story), _) => story.state.word(),
            (None, Some(_)) => "submitted",
            (None, None) => not_taken(line.refusal.as_ref()),
        };
        *states.entry(word).or_default() += 1;
    }
    Summary { submitted: jobs.len() - refused - unknown, refused, unknown, states, jobs }
}

/// A job that was not acknowledged may stand in the log, or come to: that is no refusal.
fn not_taken(refusal: Option<&Refusal>) -> &'static str {
    if refusal.is_some_and(|refusal| refusal.error == OUTCOME_UNKNOWN) { "unknown" } else { "refused" }
}

fn text(summary: &Summary, waited: bool) -> String {
    let interesting = |line: &&Line| {
        line.refusal.is_some() || !waited || line.story.as_ref().is_none_or(|story| story.state != State::Succeeded)
    };
    let few = summary.jobs.len() <= ROWS;
    let shown: Vec<&Line> = summary.jobs.iter().filter(|line| few || interesting(line)).take(ROWS).collect();
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|line| {
            let place = line.submitted.as_ref().map_or_else(String::new, |s| s.source.to_string());
            let id = line.submitted.as_ref().map_or_else(String::new, |s| s.id.to_string());
            let (state, reason) = match (&line.story, &line.refusal) {
                (Some(story), _) => (story.state.word().to_owned(), story::why(story)),
                (None, Some(refusal)) => {
                    (not_taken(Some(refusal)).to_owned(), format!("{}; {}", refusal.detail, refusal.hint))
                }
                (None, None) => ("submitted".to_owned(), String::new()),
            };
            vec![line.line.to_string(), id, place, state, reason]
        })
        .collect();
    let counts: Vec<String> = summary.states.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let counted = counts.join(", ");
    if rows.is_empty() {
        return counted;
    }
    let table = output::table(&["line", "id", "record", "state", "why"], &rows);
    let left_out = summary.jobs.len() - rows.len();
    let more =
        if left_out > 0 { format!("\n… {left_out} more; `--output json` has them all") } else { String::new() };
    format!("{table}{more}\n{counted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(error: Option<&str>) -> Line {
        let refusal = error.map(|error| Refusal { error: error.into(), detail: "what".into(), hint: "do this".into() });
        Line { line: 1, submitted: None, refusal, story: None }
    }

    #[test]
    fn a_job_that_was_not_acknowledged_is_not_called_refused_and_what_to_do_is_said() {
        let told = summary(vec![line(Some(OUTCOME_UNKNOWN)), line(Some("not_a_job")), line(Some(OUTCOME_UNKNOWN))]);
        assert_eq!((told.submitted, told.refused, told.unknown), (0, 1, 2));
        assert_eq!(told.states, BTreeMap::from([("refused", 1), ("unknown", 2)]));
        let text = text(&told, false);
        assert!(text.contains("what; do this") && text.ends_with("1 refused, 2 unknown"), "{text}");
    }
}
