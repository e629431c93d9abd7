//! Facts, messages and gauges in words.

use tidegate_protocol::facts::{Holder, SchedulerFact, Token};
use tidegate_protocol::fleet::Order;
use tidegate_protocol::headers;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Finished;
use tidegate_protocol::time::Timestamp;
use tidegate_scheduler::Gauges;
use tidegate_stage::Message;

type Name<'a> = &'a dyn Fn(&SourcePosition) -> String;

fn token(token: Token) -> String {
    format!("{}/{}", token.epoch, token.attempt)
}

fn by(by: &Holder) -> String {
    format!("{}'s {}", by.worker.as_str(), token(by.token))
}

/// Stories begin at second 1.
fn since_start(until: Timestamp) -> u64 {
    until.millis() - 1_000
}

pub(super) fn fact(fact: &SchedulerFact, name: Name<'_>) -> String {
    match fact {
        SchedulerFact::WorkerWelcomed { worker, incarnation, epoch, lane } => {
            format!("WorkerWelcomed {} incarnation {incarnation}, epoch {epoch}, lane {lane}", worker.as_str())
        }
        SchedulerFact::WorkerOutrun { worker, said, known, lane } => {
            format!("WorkerOutrun {} said {said}, known {known}, lane {lane}", worker.as_str())
        }
        SchedulerFact::LeaseGranted { source, worker, incarnation, token: t, number, work, .. } => format!(
            "LeaseGranted {} to {} incarnation {incarnation}, token {}, number {number}{}",
            name(source),
            worker.as_str(),
            token(*t),
            if work.is_some() { ", with its record" } else { "" }
        ),
        SchedulerFact::LeaseExpired { source, token: t, end, until } => {
            let pause = if until.is_some() { ", then a pause" } else { "" };
            format!("LeaseExpired {} token {}: {end:?}{pause}", name(source), token(*t))
        }
        SchedulerFact::JobRetried { source, by: holder, until, reason, .. } => {
            format!("JobRetried {} from {}, not before {} ms ({reason})", name(source), by(holder), since_start(*until))
        }
        SchedulerFact::JobDelayed { source, until, .. } => {
            format!("JobDelayed {} until {} ms", name(source), since_start(*until))
        }
        SchedulerFact::JobDue { source } => format!("JobDue {}", name(source)),
        SchedulerFact::CancelAsked { source, to, until, outcome, reason, again } => format!(
            "CancelAsked {} of {}, {}{} at {} ms ({reason})",
            name(source),
            by(to),
            outcome.word(),
            if *again { " and again" } else { "" },
            since_start(*until)
        ),
        SchedulerFact::WithdrawalKept { source, reason, .. } => format!("WithdrawalKept {} ({reason})", name(source)),
        SchedulerFact::WithdrawalMoved { source, bucket, .. } => {
            format!("WithdrawalMoved {} to bucket {bucket}", name(source))
        }
        SchedulerFact::JobFinished { source, outcome, reason, dead, by: holder, attempts, work, output, .. } => {
            let mut text = format!("JobFinished {} {} after {attempts}", name(source), outcome.word());
            if let Some(dead) = dead {
                text += &format!(", dead: {}", dead.word());
            }
            if let Some(holder) = holder {
                text += &format!(", by {}", by(holder));
            }
            if let Some(output) = output {
                text += &format!(", output {output}");
            }
            if work.is_some() {
                text += ", with its record";
            }
            if reason.is_empty() { text } else { format!("{text} ({reason})") }
        }
        SchedulerFact::ResultRefused { source, by: holder, reason } => {
            format!("ResultRefused {} from {}: {reason}", name(source), by(holder))
        }
        SchedulerFact::ResultRepeated { source, by: holder } => {
            format!("ResultRepeated {} from {}", name(source), by(holder))
        }
        SchedulerFact::JobDuplicate { source, duplicate_of, .. } => {
            format!("JobDuplicate {} of {}", name(source), name(duplicate_of))
        }
        SchedulerFact::JobMoved { source, bucket, .. } => format!("JobMoved {} to bucket {bucket}", name(source)),
        SchedulerFact::JobReturned { source, attempts, .. } => {
            format!("JobReturned {} after {attempts}", name(source))
        }
        SchedulerFact::WorkRefused { partition, offset, reason, .. } => {
            format!("WorkRefused {partition}@{offset}: {}", reason.word())
        }
        SchedulerFact::WorkerForgotten { worker } => format!("WorkerForgotten {}", worker.as_str()),
        SchedulerFact::WorkerCordoned { worker, drain, tell, by, .. } => {
            let leaves = tell.map_or("nobody".to_owned(), |told| format!("incarnation {}", told.incarnation));
            let drained = if *drain { format!(", {leaves} is to leave") } else { String::new() };
            format!("WorkerCordoned {} by {}{drained}", worker.as_str(), by.as_str())
        }
        SchedulerFact::WorkerUncordoned { worker, by, .. } => {
            format!("WorkerUncordoned {} by {}", worker.as_str(), by.as_str())
        }
        SchedulerFact::SliceRequested { request } => format!("SliceRequested {:?}", request.about()),
        SchedulerFact::SliceGranted { answer } => format!("SliceGranted {:?}", answer.about()),
        SchedulerFact::SliceReturned { request } => format!("SliceReturned {:?}", request.about()),
        SchedulerFact::PoolCommandRefused { worker, action, why, .. } => {
            format!("PoolCommandRefused {} {}: {}", action.word(), worker.as_str(), why.word())
        }
    }
}

pub(super) fn message(message: &Message, name: Name<'_>) -> String {
    let value = message.value.as_deref().unwrap_or_default();
    let header = |key| message.headers.text(key).unwrap_or("");
    let what = match message.to.topic.as_str() {
        "tg.work.p" => format!("for {}: {}", header(headers::TO), order(value, name)),
        "tg.finished" => {
            let finished: Finished = serde_json::from_slice(value).unwrap();
            assert_eq!(message.key.as_deref(), Some(finished.job_id.as_str().as_bytes()));
            format!("{} {}", finished.job_id.as_str(), finished.outcome.word())
        }
        "tg.dead" => format!(
            "{}@{} {}, {}",
            header(headers::DEAD_TOPIC),
            header(headers::DEAD_OFFSET),
            header(headers::DEAD_CLASS),
            if message.value.is_some() { format!("{} bytes", value.len()) } else { "by its hash".into() }
        ),
        "tg.overflow.p" => format!("{} bytes of {}", value.len(), name(&header(headers::SOURCE).parse().unwrap())),
        topic => panic!("nothing is sent to {topic}"),
    };
    format!("-> {} {:?}: {what}", message.to.to_string().trim_start_matches("tg."), message.delivery)
}

fn order(value: &[u8], name: Name<'_>) -> String {
    match serde_json::from_slice(value).unwrap() {
        Order::Welcome { incarnation, epoch, .. } => format!("Welcome epoch {epoch}, incarnation {incarnation}"),
        Order::Assignment { incarnation, number, source, token: t, .. } => {
            format!("Assignment {number} of {}, token {}, incarnation {incarnation}", name(&source), token(t))
        }
        Order::Outrun { said, known } => format!("Outrun said {said}, known {known}"),
        Order::Drain { incarnation, reason } => format!("Drain incarnation {incarnation} ({reason})"),
        Order::Cancel { source, token: t, reason } => format!("Cancel {} token {} ({reason})", name(&source), token(t)),
        Order::Settled { source, token: t, accepted, reason } => {
            let how = if accepted { "accepted".to_owned() } else { format!("refused, {reason}") };
            format!("Settled {} token {}: {how}", name(&source), token(t))
        }
    }
}

pub(super) fn gauges(gauges: &Gauges) -> Vec<String> {
    let counts = &gauges.counts;
    let plain = [
        ("waiting", gauges.waiting as u64),
        ("leased", gauges.leased as u64),
        ("requeued", gauges.requeued as u64),
        ("delayed", gauges.delayed as u64),
        ("workers", gauges.workers as u64),
        ("workers present", gauges.workers_present as u64),
        ("workers free", gauges.workers_free as u64),
        ("workers cordoned", gauges.workers_cordoned as u64),
        ("free credit", gauges.free_credit),
        ("granted", counts.granted),
        ("stale fences", counts.stale_fences),
        ("repeated", counts.repeated),
        ("unanswered", counts.unanswered),
        ("retried", counts.retried),
        ("cancels asked", counts.cancels_asked),
        ("welcomed", counts.welcomed),
        ("outrun", counts.outrun),
        ("forgotten", counts.forgotten),
        ("duplicates", counts.duplicates),
        ("moved", counts.moved),
        ("work refused", counts.work_refused),
        ("bad reports", counts.bad_reports),
        ("old incarnation reports", counts.old_incarnation_reports),
        ("reports ahead", counts.reports_ahead),
        ("workers refused", counts.workers_refused),
        ("idle give-backs", counts.idle_give_backs),
        ("commands unbelieved", counts.commands_unbelieved),
        ("commands repeated", counts.commands_repeated),
        ("progress", counts.progress),
        ("impossible facts", counts.impossible_facts),
    ];
    let mut lines: Vec<String> =
        plain.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{what}: {n}")).collect();
    lines.extend(counts.expired.iter().map(|(end, n)| format!("expired {end}: {n}")));
    lines.extend(counts.finished.iter().map(|(outcome, n)| format!("finished {}: {n}", outcome.word())));
    lines.extend(counts.refused.iter().map(|(reason, n)| format!("refused {reason}: {n}")));
    lines
}
