//! The report for people.

use std::fmt::{self, Display, Formatter, Write};

use super::{Averted, Call, Latency, Report};

/// Most calls named one by one; the JSON document has all.
const NAMED: usize = 12;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { submitted, approved, denied, held, dead, finished, .. } = self;
        writeln!(
            f,
            "{submitted} records of {} agents: {approved} approved, {denied} denied, {held} held, {dead} dead",
            self.agents
        )?;
        let outcomes: Vec<String> = self.outcomes.iter().map(|(word, count)| format!("{count} {word}")).collect();
        write!(f, "{finished} of the approved jobs ran to an end")?;
        if !outcomes.is_empty() {
            write!(f, " ({})", outcomes.join(", "))?;
        }
        if self.repeated > 0 {
            write!(f, "; {} repeated a job and ran no second time", self.repeated)?;
        }
        f.write_str("\n")?;
        self.why(f)?;
        self.asking(f)?;
        moved(f, "What the denied calls would have moved", &self.would_have_moved)?;
        moved(f, "What the held calls would move if people said yes", &self.would_move)?;
        self.world(f)?;
        self.scored(f)?;
        calls(f, "Approved jobs that failed:", &self.failures)?;
        self.latencies(f)?;
        writeln!(f, "\nData: {}", self.data.display())?;
        if !self.missing.is_empty() {
            writeln!(f, "\n{} without an outcome:", self.missing.len())?;
            for missing in self.missing.iter().take(NAMED) {
                writeln!(f, "  {missing}")?;
            }
            more(f, self.missing.len())?;
        }
        Ok(())
    }
}

impl Report {
    fn why(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let width = self.rules.keys().map(|rule| rule.chars().count()).max().unwrap_or(0).max(4);
        if !self.rules.is_empty() {
            writeln!(f, "\nWhy\n  {:<width$}  verdict           jobs  reason", "rule")?;
        }
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|(_, rule)| (rule.verdict, std::cmp::Reverse(rule.jobs)));
        for (name, rule) in rules {
            writeln!(f, "  {name:<width$}  {:<16} {:>5}  {}", rule.verdict.word(), rule.jobs, rule.reason)?;
        }
        if !self.unmatched.is_empty() {
            let all: Vec<String> = self.unmatched.iter().map(|(name, count)| format!("{name} ({count})")).collect();
            writeln!(f, "  no rule matches, so denied: {}", all.join(", "))?;
        }
        for (reason, count) in &self.dead_by_reason {
            let example = self.dead_example.get(reason).map_or("", String::as_str);
            writeln!(f, "  {reason:<width$}  dead             {count:>5}  e.g. {}", one_line(example))?;
        }
        Ok(())
    }

    /// Who is asked, and what they said.
    fn asking(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.asked.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = self.asked.iter().map(|(who, count)| format!("{who} ({count})")).collect();
        writeln!(f, "\nPeople who are asked: {}", all.join(", "))?;
        let (yes, no) = (self.answered.approved, self.answered.rejected);
        if yes + no > 0 {
            writeln!(f, "  they approved {yes} and rejected {no} (played: no to what was injected, yes to the rest)")?;
        }
        calls(f, "Waiting for people:", &self.wants_approval)
    }

    fn world(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let several = self.balances.windows(2).any(|pair| matches!(pair, [a, b] if a.tenant != b.tenant));
        let name = |balance: &super::Balance| {
            if several { format!("{}, {}", balance.owner, balance.tenant) } else { balance.owner.clone() }
        };
        let width = self.balances.iter().map(|b| name(b).chars().count()).max().unwrap_or(0);
        if !self.balances.is_empty() {
            writeln!(f, "\nBalances  {:>width$}  {:>14}  {:>14}", "before", "after", "change", width = width + 7)?;
        }
        for balance in &self.balances {
            let (before, after) = (balance.before, balance.after);
            writeln!(f, "  {:<width$}  {before:>14}  {after:>14}  {:>14}", name(balance), after - before)?;
        }
        for office in &self.offices {
            let (before, after) = (office.before, office.after);
            writeln!(
                f,
                "\nOffice of {}: mails {} to {}, sent {} to {}, events {} to {}, files {} to {}, shared {} to {}",
                office.tenant,
                before.mails,
                after.mails,
                before.sent,
                after.sent,
                before.events,
                after.events,
                before.files,
                after.files,
                before.shared_files,
                after.shared_files
            )?;
        }
        Ok(())
    }

    fn scored(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (user, injection) = (self.score.user, self.score.injection);
        if user.total + injection.total == 0 {
            return Ok(());
        }
        writeln!(f, "\nAgainst the labels, which were never sent")?;
        let line = |f: &mut Formatter<'_>, name: &str, part: usize, total: usize, held: usize| {
            let held = if held == 0 { String::new() } else { format!(", {held} of them wait for people") };
            writeln!(f, "  {name:<19} {part:>5} of {total:<5} {}{held}", share(part, total))
        };
        line(f, "user calls passed", user.passed, user.total, user.held)?;
        line(f, "injections stopped", injection.stopped, injection.total, injection.held)?;
        calls(f, "User calls that were refused:", &self.refused)?;
        calls(f, "Injections that were let through:", &self.let_through)
    }

    fn latencies(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nLatency, ms    p50       p90       p99       max   since the record was handed over")?;
        let all = [("decided", self.decided_ms), ("released", self.released_ms), ("finished", self.finished_ms)];
        for (name, latency) in all {
            let Some(Latency { p50, p90, p99, max }) = latency else { continue };
            write!(f, "  {name:<9}")?;
            for time in [p50, p90, p99, max] {
                write!(f, " {:>9.2}", time.as_secs_f64() * 1_000.0)?;
            }
            f.write_char('\n')?;
        }
        Ok(())
    }
}

fn moved(f: &mut Formatter<'_>, title: &str, moved: &Averted) -> fmt::Result {
    let mut lines = Vec::new();
    let mut line = |count: usize, text: String| {
        if count > 0 {
            lines.push(text);
        }
    };
    line(moved.payments, format!("{} in {}", moved.money, number(moved.payments, "payment")));
    line(
        moved.standing_orders,
        format!("{}, {} each time", number(moved.standing_orders, "standing order"), moved.standing_money),
    );
    line(moved.passwords, number(moved.passwords, "password"));
    let recipients = number(moved.mail_recipients, "recipient");
    let attachments = number(moved.attachments, "attachment");
    line(moved.mails, format!("{} to {recipients}, with {attachments}", number(moved.mails, "mail")));
    line(moved.mails_deleted, format!("{} deleted", number(moved.mails_deleted, "mail")));
    line(moved.files_deleted, format!("{} deleted", number(moved.files_deleted, "file")));
    line(moved.files_shared, format!("{} shared", number(moved.files_shared, "file")));
    line(moved.invitations, number(moved.invitations, "invitation"));
    line(moved.other, format!("{} of other functions", number(moved.other, "call")));
    if !lines.is_empty() {
        writeln!(f, "\n{title}")?;
    }
    lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
}

fn calls(f: &mut Formatter<'_>, title: &str, calls: &[Call]) -> fmt::Result {
    if calls.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    for call in calls.iter().take(NAMED) {
        let task = call.task.as_deref().map(|task| format!(" ({task})")).unwrap_or_default();
        let asks = call.asks.as_deref().map(|who| format!(" (asks {who})")).unwrap_or_default();
        writeln!(f, "  {}{task} {}: {}{asks}", call.id, call.capability, call.reason)?;
        if let Some(goal) = &call.goal {
            writeln!(f, "      asked: {}", one_line(goal))?;
        }
    }
    more(f, calls.len())
}

/// What strangers write is shown on one line, without control characters, and not for ever.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(160).collect();
    if text.chars().nth(160).is_some() {
        line.push('…');
    }
    line
}

fn more(f: &mut Formatter<'_>, all: usize) -> fmt::Result {
    match all.checked_sub(NAMED) {
        None | Some(0) => Ok(()),
        Some(rest) => writeln!(f, "  … and {rest} more; `--output json` names them all"),
    }
}

fn number(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn share(part: usize, all: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of lines")]
    let percent = part as f64 * 100.0 / all.max(1) as f64;
    if all == 0 { String::new() } else { format!("{percent:.1} %") }
}
