//! Everything the topics say about one record, for people.

use crate::broker::{Broker, Met};

use super::position::Position;

/// Longest piece of a record that is shown.
const SHOWN: usize = 320;

/// Reads all topics of a run again and tells what mentions `position`, in the order of the broker's times. What was
/// trimmed meanwhile is missing.
///
/// # Errors
/// When a topic cannot be read.
pub fn story(broker: &Broker, prefix: &str, position: Position) -> anyhow::Result<String> {
    let name = position.to_string();
    let mut told: Vec<(i64, String)> = Vec::new();
    let mut tail = broker.tail(&broker.topics(prefix)?)?;
    tail.to_the_ends(&mut |met: Met| {
        if let Some(piece) = mention(&met, &name, position, prefix) {
            let header = |name: &str| met.header(name).unwrap_or("-").to_owned();
            let line = format!(
                "  {} ms {}/{}@{} {} epoch {} stamp {}: {piece}",
                met.at_ms,
                met.topic.trim_start_matches(prefix),
                met.partition,
                met.offset,
                header("tg-kind"),
                header("tg-epoch"),
                header("tg-stamp"),
            );
            told.push((met.at_ms, line));
        }
    })?;
    told.sort_by_key(|(at, _)| *at);
    Ok(told.into_iter().map(|(_, line)| line + "\n").collect())
}

fn mention(met: &Met, name: &str, position: Position, prefix: &str) -> Option<String> {
    let value = String::from_utf8_lossy(met.value.as_deref().unwrap_or_default()).into_owned();
    let itself = met.topic.trim_start_matches(prefix) == super::position::SOURCE
        && (met.partition, met.offset) == (position.partition, position.offset);
    if itself || met.header("tg-source") == Some(name) {
        return Some(value.chars().take(SHOWN).collect());
    }
    let at = value.find(&format!("\"{name}\""))?;
    // The fact around it.
    let begin = value.get(..at)?.rfind("{\"at\"").unwrap_or(0);
    Some(value.get(begin..)?.chars().take(SHOWN).collect())
}
