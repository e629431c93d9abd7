//! Stories of jobs for people.

use tidegate_node::gateway::view::{HoldStory, PayloadSummary, Story};
use tidegate_protocol::delegation::Ancestor;
use tidegate_protocol::job::Job;

/// Heads of [`row`].
pub(crate) const HEAD: [&str; 7] = ["when", "id", "tenant", "topic", "state", "took", "why"];

/// A job in a list.
pub(crate) fn row(story: &Story) -> Vec<String> {
    let topic = story.job.as_ref().map_or("", |job| job.topic.as_str());
    let took = match (story.times.submitted_ms, story.times.finished_ms) {
        (Some(from), Some(to)) => span(from, to),
        _ => String::new(),
    };
    vec![
        clock(story.times.submitted_ms.or(story.times.decided_ms).or(story.times.leased_ms)),
        story.id.as_ref().map_or_else(|| story.source.to_string(), ToString::to_string),
        story.tenant.as_ref().map_or_else(String::new, ToString::to_string),
        topic.to_owned(),
        story.state.word().to_owned(),
        took,
        why(story).chars().take(80).collect(),
    ]
}

/// Heads of [`held_row`].
pub(crate) const HELD_HEAD: [&str; 7] = ["record", "id", "tenant", "topic", "asked of", "approved by", "until"];

/// A held job in a list.
pub(crate) fn held_row(story: &Story) -> Vec<String> {
    let hold = story.hold.as_deref();
    vec![
        story.source.to_string(),
        story.id.as_ref().map_or_else(String::new, ToString::to_string),
        story.tenant.as_ref().map_or_else(String::new, ToString::to_string),
        story.job.as_ref().map_or_else(String::new, |job| job.topic.clone()),
        asked_of(story),
        hold.map_or_else(String::new, |hold| hold.given.iter().map(|g| g.by.as_str()).collect::<Vec<_>>().join(", ")),
        hold.map_or_else(String::new, |hold| clock(Some(hold.until_ms))),
    ]
}

/// How many people, and of which roles.
fn asked_of(story: &Story) -> String {
    let approval = story.decision.as_ref().and_then(|decision| decision.approval.as_deref());
    let Some(approval) = approval else { return String::new() };
    let escalated = story.hold.iter().flat_map(|hold| hold.escalated.iter());
    let roles: Vec<&str> = approval.approvers.iter().chain(escalated).map(String::as_str).collect();
    let roles = if roles.is_empty() { "any approver".to_owned() } else { roles.join(" or ") };
    format!("{} of {roles}", approval.quorum)
}

/// What people were asked and said.
fn hold_lines(story: &Story) -> Vec<(&'static str, String)> {
    let Some(hold) = &story.hold else { return Vec::new() };
    let mut lines = vec![("asked", asked_of(story)), ("until", clock(Some(hold.until_ms)))];
    lines.extend(would_run(story, hold).into_iter().map(|line| ("would run", line)));
    for given in &hold.given {
        let reason = if given.reason.is_empty() { String::new() } else { format!(": {}", given.reason) };
        lines.push(("approved", format!("{} by {}{reason}", clock(Some(given.at_ms)), given.by)));
    }
    lines
}

/// What an approval lets run: what must be able to do it, where, and with what. (Under which constraints stands beside
/// the verdict.)
fn would_run(story: &Story, hold: &HoldStory) -> Vec<String> {
    let mut lines = Vec::new();
    // Once it is released, its pool is that of its verdict.
    if let (Some(job), None) = (&story.job, &story.pool) {
        let needs: Vec<String> = job.requires.iter().map(ToString::to_string).collect();
        let needs = if needs.is_empty() { String::new() } else { format!(" with {}", needs.join(", ")) };
        lines.push(match &hold.pool {
            Some(pool) => format!("{}{needs} in pool {pool}", job.capability),
            None => format!("{}{needs}; no pool takes it as it stands: it would go to `dead`", job.capability),
        });
    }
    lines.extend(hold.payload.as_ref().map(|payload| payload.get().to_owned()));
    if let Some(PayloadSummary { bytes, sha256 }) = &hold.payload_is {
        let where_it_is = if hold.payload_left_out { ", more than is shown: it is in the source" } else { "" };
        lines.push(format!("a payload of {bytes} bytes, sha-256 {sha256}{where_it_is}"));
    }
    lines
}

/// Whom it acts for, the root first, and within what.
fn chain_lines(job: &Job) -> Vec<(&'static str, String)> {
    let Some(delegation) = &job.delegation else { return Vec::new() };
    let mut lines = Vec::new();
    for Ancestor { job, source, actor, max_tokens } in &delegation.chain {
        let who = [actor.kind.as_deref(), actor.id.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let who = if who.is_empty() { "nobody named".to_owned() } else { who };
        let tokens = max_tokens.map_or_else(String::new, |most| format!(", {most} tokens for all below"));
        lines.push(("acts for", format!("{who} ({job} at {source}{tokens})")));
    }
    let names = delegation.scope.capabilities.iter().map(ToString::to_string);
    let names: Vec<String> = names.chain(delegation.scope.topics.iter().map(ToString::to_string)).collect();
    lines.push(("may ask", names.join(", ")));
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are below 2^53")]
    lines.push(("may start", format!("until {}", clock(Some(delegation.expires_ms as f64)))));
    lines
}

/// Why it stands as it stands, in a sentence.
pub(crate) fn why(story: &Story) -> String {
    match (&story.dead, &story.duplicate_of, &story.decision) {
        (Some(dead), _, _) => format!("{}: {}", dead.reason.word(), dead.detail),
        (None, Some(first), _) => format!("stands at {first}"),
        (None, None, Some(decision)) if story.reason.is_empty() => decision.reason.clone(),
        (None, None, _) => story.reason.clone(),
    }
}

/// Everything that is known of a job.
pub(crate) fn whole(story: &Story) -> String {
    let mut lines = vec![format!("{}  {}", title(story), story.state.word())];
    let mut say = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("  {name:10} {value}"));
        }
    };
    say("record", story.source.to_string());
    if let Some(job) = &story.job {
        say("topic", job.topic.clone());
        say("capability", job.capability.to_string());
        let actor = [job.actor.kind.as_deref(), job.actor.id.as_deref()];
        say("actor", actor.into_iter().flatten().collect::<Vec<_>>().join(" "));
        say("parent", job.parent.as_ref().map_or_else(String::new, ToString::to_string));
        for (name, value) in chain_lines(job) {
            say(name, value);
        }
        say("input", format!("sha-256 {}", job.input_hash));
    }
    if let Some(decision) = &story.decision {
        say("verdict", format!("{}: {}", decision.verdict.word(), decision.reason));
        say("rules", decision.rule_ids.join(", "));
        say("risk tags", decision.risk_tags.join(", "));
        say("policy", decision.snapshot.clone());
        let constraints = decision.constraints.as_ref().and_then(|all| serde_json::to_string(all).ok());
        say("under", constraints.unwrap_or_default());
    }
    for (name, value) in hold_lines(story) {
        say(name, value);
    }
    for refused in &story.refused {
        let (action, why) = (refused.action.word(), refused.why.word());
        say("refused", format!("{} {action} by {} ({why})", clock(Some(refused.at_ms)), refused.by));
    }
    if let Some(revoked) = &story.revoked {
        let reason = if revoked.reason.is_empty() { String::new() } else { format!(": {}", revoked.reason) };
        say("revoked", format!("{} by {}{reason}", clock(Some(revoked.at_ms)), revoked.by));
    }
    say("pool", story.pool.as_ref().map_or_else(String::new, ToString::to_string));
    for attempt in &story.attempts {
        let failed = attempt.failed.as_deref();
        let ended = match (attempt.ended_ms, attempt.lost) {
            (Some(at), None) if failed.is_some() => {
                format!(
                    "failed after {}, to be tried again ({})",
                    span(attempt.leased_ms, at),
                    failed.unwrap_or_default()
                )
            }
            (Some(at), None) => format!("ended after {}", span(attempt.leased_ms, at)),
            (Some(at), Some(lost)) => format!("lost after {} ({})", span(attempt.leased_ms, at), word(&lost)),
            (None, _) => "holds it".to_owned(),
        };
        say(
            "attempt",
            format!("{} by {}, token {}.{}, {ended}", attempt.attempt, attempt.worker, attempt.epoch, attempt.attempt),
        );
    }
    if let Some(outcome) = story.outcome {
        say("outcome", format!("{} {}", outcome.word(), story.reason).trim_end().to_owned());
    }
    if let Some(dead) = &story.dead {
        say("dead", format!("{}: {}", dead.reason.word(), dead.detail));
    }
    say("output", story.output.as_ref().map_or_else(String::new, |output| output.get().to_owned()));
    if story.output_left_out {
        say("output", "larger than the view keeps; it is in `finished`".to_owned());
    }
    say("stands at", story.duplicate_of.as_ref().map_or_else(String::new, ToString::to_string));
    say("repeated", story.repeated_at.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    let times = &story.times;
    say("submitted", clock(times.submitted_ms));
    for (name, at) in [("decided", times.decided_ms), ("leased", times.leased_ms), ("finished", times.finished_ms)] {
        if let Some(at) = at {
            let after = times.submitted_ms.map_or_else(String::new, |from| format!("  +{}", span(from, at)));
            say(name, format!("{}{after}", clock(Some(at))));
        }
    }
    lines.join("\n")
}

fn title(story: &Story) -> String {
    match (&story.tenant, &story.id) {
        (Some(tenant), Some(id)) => format!("{tenant}/{id}"),
        (None, Some(id)) => id.to_string(),
        _ => story.source.to_string(),
    }
}

/// The word of a fieldless variant as its records have it.
fn word(of: &impl serde::Serialize) -> String {
    serde_json::to_value(of).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn span(from: f64, to: f64) -> String {
    let ms = (to - from).max(0.0);
    if ms < 10_000.0 { format!("{ms:.1} ms") } else { format!("{:.1} s", ms / 1_000.0) }
}

/// Time of day in UTC.
pub(crate) fn clock(ms: Option<f64>) -> String {
    let Some(ms) = ms else { return String::new() };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time since 1970")]
    let ms = ms.max(0.0) as u64;
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (h, m, s) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{:03}Z", of_day % 1_000)
}

/// Year, month and day of a number of days since 1970-01-01, by counting whole years and months.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |y: u64| (y.is_multiple_of(4) && !y.is_multiple_of(100)) || y.is_multiple_of(400);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    for (month, length) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if days < length {
            return (year, month, days + 1);
        }
        days -= length;
    }
    (year, 12, 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        for (ms, expected) in [
            (0.0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000.0, "2000-02-29T00:00:00.000Z"),
            (1_795_449_826_612.6, "2026-11-23T16:03:46.612Z"),
            (1_735_689_599_999.0, "2024-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(clock(Some(ms)), expected);
        }
        assert_eq!(clock(None), "");
    }

    #[test]
    fn a_delegated_jobs_whole_chain_is_shown() {
        let text = include_str!("../../protocol/tests/golden/job.delegated.json");
        let job: Job = serde_json::from_str(text).unwrap();
        let lines: Vec<String> =
            chain_lines(&job).into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            lines,
            [
                "acts for: human ann (j0 at jobs.raw/0@6, 4000 tokens for all below)",
                "acts for: nobody named (j1 at jobs.raw/0@7)",
                "may ask: pay, sign, job.pay.>",
                "may start: until 2023-11-14T22:23:20.000Z",
            ]
        );
    }

    #[test]
    fn a_story_is_told_whole() {
        let story: Story = serde_json::from_value(serde_json::json!({
            "source": "jobs.raw/0@7", "id": "a", "tenant": "t", "state": "succeeded", "pool": "p", "change": 1,
            "decision": {"verdict": "allow", "reason": "may run", "rule_ids": ["r"], "snapshot": "abc"},
            "attempts": [
                {"attempt": 1, "epoch": 9, "worker": "w1", "leased_ms": 1000.0, "ended_ms": 2000.0, "lost": "silent"},
                {"attempt": 2, "epoch": 9, "worker": "w2", "leased_ms": 2000.0, "ended_ms": 2004.5}],
            "outcome": "succeeded", "output": {"n": 1},
            "times": {"submitted_ms": 990.0, "decided_ms": 991.0, "leased_ms": 1000.0, "finished_ms": 2004.5}
        }))
        .unwrap();
        assert_eq!(
            whole(&story),
            "t/a  succeeded\n  record     jobs.raw/0@7\n  verdict    allow: may run\n  rules      r\n  policy     abc\n  \
             pool       p\n  attempt    1 by w1, token 9.1, lost after 1000.0 ms (silent)\n  \
             attempt    2 by w2, token 9.2, ended after 4.5 ms\n  outcome    succeeded\n  output     {\"n\":1}\n  \
             submitted  1970-01-01T00:00:00.990Z\n  decided    1970-01-01T00:00:00.991Z  +1.0 ms\n  \
             leased     1970-01-01T00:00:01.000Z  +10.0 ms\n  finished   1970-01-01T00:00:02.004Z  +1014.5 ms"
        );
    }
}
