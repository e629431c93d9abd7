//! `tidegate limits`.

use tidegate_node::gateway::view::LimitStanding;
use tidegate_protocol::limits::Amount;

use crate::args::{Global, LimitsCommand, Output};
use crate::backend::reach;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::story::clock;

pub(crate) fn run(global: &Global, command: LimitsCommand) -> Result<Exit, Failure> {
    let (of, limit, reach_whom, whole) = match command {
        LimitsCommand::List { limit, reach } => (String::new(), limit, reach, false),
        LimitsCommand::Show { of, limit, reach } => (of, limit, reach, true),
    };
    let limits = reach(global, &reach_whom)?.limits(&of, limit)?;
    if limits.limits.is_empty() && whole {
        return Err(Failure::say(
            Exit::Unsuccessful,
            format!(
                "nothing counts towards a limit whose id begins with `{of}`; `tidegate limits list` shows what does"
            ),
        ));
    }
    if global.output == Output::Json {
        output::json(&limits);
        return Ok(Exit::Done);
    }
    if limits.limits.is_empty() {
        output::text_line("nothing counts towards any limit");
        return Ok(Exit::Done);
    }
    if whole {
        for standing in &limits.limits {
            show(standing);
        }
    } else {
        let rows: Vec<Vec<String>> = limits.limits.iter().map(row).collect();
        output::text_line(&output::table(&["limit", "key", "kind", "most", "lent", "counting", "free"], &rows));
    }
    Ok(Exit::Done)
}

fn free(standing: &LimitStanding) -> Amount {
    standing.definition.effective().0.less(standing.lent).less(standing.counting)
}

fn row(standing: &LimitStanding) -> Vec<String> {
    let (most, kind) = (standing.definition.effective().0, standing.definition.kind.word());
    let (limit, key) = (standing.limit.to_string(), standing.key.to_string());
    match &standing.breaker {
        Some(phase) => vec![limit, key, format!("{kind} ({phase})"), most.to_string()],
        None => {
            let figures = [most, standing.lent, standing.counting, free(standing)];
            [limit, key, kind.to_owned()].into_iter().chain(figures.map(|amount| amount.to_string())).collect()
        }
    }
}

fn show(standing: &LimitStanding) {
    let (most, window) = standing.definition.effective();
    let mut lines = vec![
        ("limit", standing.limit.to_string()),
        ("key", standing.key.to_string()),
        ("kind", standing.definition.kind.word().to_owned()),
        ("most", format!("{most} within {} ms", window.as_millis())),
    ];
    match &standing.breaker {
        Some(phase) => lines.push(("breaker", phase.clone())),
        None => {
            lines.push(("lent", standing.lent.to_string()));
            lines.push(("counting", standing.counting.to_string()));
            lines.push(("free", free(standing).to_string()));
            lines.push(("waiting", standing.waiting.to_string()));
        }
    }
    for holder in &standing.holders {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are below 2^53")]
        let until = clock(Some(holder.until_ms as f64));
        lines.push(("holder", format!("{} {} until {until}", holder.holder, holder.capacity)));
    }
    for (name, value) in lines {
        output::text_line(&format!("{name:9} {value}"));
    }
    output::text_line("");
}
