//! Open-loop load: what is due is sent, whatever became of what was sent before.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::broker::{Write, Writer};
use crate::ledger::judge::Expected;
use crate::ledger::position::Position;

/// Partitions of the raw topic.
pub const PARTITIONS: u32 = 4;
/// Jobs a second.
pub const RATE: u64 = 1_000;

/// What the job of a number is. Fixed, so that a repeat can be told from its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Allowed, for `builtin noop`.
    Work,
    /// Allowed, for a command that writes a line.
    Audited,
    /// Allowed, for a command that takes long; [`Kind::Work`] where there are no workers for it.
    Long,
    /// Denied, for the same workers as [`Kind::Work`].
    Forbidden,
    /// Denied, for the command.
    ForbiddenAudit,
    /// No JSON.
    Unparsable,
    /// An earlier job's bytes again.
    Repeat(u64),
    /// An earlier job's id with another payload.
    Conflict(u64),
}

fn kind(number: u64) -> Kind {
    // Up to eight seconds back, so that twins stand on both sides of a takeover.
    let back = 1_000 * (number / 50 % 8);
    let twin = |near: u64| number.checked_sub(near + back);
    match number % 1_000 {
        3 | 503 => Kind::Audited,
        504 => Kind::ForbiddenAudit,
        253 => Kind::Long,
        n if n % 20 == 7 => Kind::Forbidden,
        n if n % 100 == 13 => Kind::Unparsable,
        n if n % 50 == 31 => twin(30).map_or(Kind::Work, Kind::Repeat),
        n if n % 200 == 61 => twin(10).map_or(Kind::Work, Kind::Conflict),
        _ => Kind::Work,
    }
}

/// The number whose id and partition the job of `number` has.
fn origin(number: u64) -> u64 {
    match kind(number) {
        Kind::Repeat(twin) | Kind::Conflict(twin) => twin,
        Kind::Work | Kind::Audited | Kind::Long | Kind::Forbidden | Kind::ForbiddenAudit | Kind::Unparsable => number,
    }
}

fn partition(number: u64) -> u32 {
    // Scattered, so that no kind always meets the same partition.
    let scattered = origin(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    u32::try_from(scattered % u64::from(PARTITIONS)).unwrap_or(0)
}

fn value(number: u64, long: bool) -> Vec<u8> {
    let origin = origin(number);
    let (topic, capability) = match kind(number) {
        Kind::Work | Kind::Repeat(_) | Kind::Conflict(_) => ("job.work.do", "work"),
        Kind::Audited => ("job.audit.do", "audit"),
        Kind::Long if long => ("job.long.do", "long"),
        Kind::Long => ("job.work.do", "work"),
        Kind::Forbidden => ("job.forbidden.do", "work"),
        Kind::ForbiddenAudit => ("job.forbidden.do", "audit"),
        Kind::Unparsable => return format!("{{\"id\":\"j{number}\",\"tenant\":").into_bytes(),
    };
    let payload = if matches!(kind(number), Kind::Conflict(_)) { "another" } else { "as before" };
    format!(
        r#"{{"id":"j{origin}","tenant":"t{}","topic":"{topic}","capability":"{capability}","actor":{{"id":"agent-7","type":"agent"}},"payload":{{"number":{origin},"text":"{payload}"}}}}"#,
        origin % 5
    )
    .into_bytes()
}

/// Sends jobs at [`RATE`] and knows where each landed.
pub struct Load {
    writer: Writer,
    topic: String,
    /// Whether there are workers for long jobs.
    long: bool,
    began: Instant,
    next: u64,
    landed: HashMap<u64, Position>,
}

impl Load {
    /// Towards `topic`, with long jobs or without; begins now.
    #[must_use]
    pub fn begin(writer: Writer, topic: &str, long: bool) -> Self {
        Self { writer, topic: topic.to_owned(), long, began: Instant::now(), next: 0, landed: HashMap::new() }
    }

    /// Sends what is due.
    ///
    /// # Errors
    /// When the client or the broker refuses: then the run is worth nothing.
    pub fn send_due(&mut self) -> anyhow::Result<()> {
        let micros = u64::try_from(self.began.elapsed().as_micros())?;
        let due = micros * RATE / 1_000_000;
        while self.next < due {
            let number = self.next;
            let write = Write { key: None, value: Some(value(number, self.long)), headers: Vec::new() };
            self.writer.hand_over(number, &self.topic, partition(number), &write)?;
            self.next += 1;
        }
        self.note_landed()
    }

    fn note_landed(&mut self) -> anyhow::Result<()> {
        for (number, landed) in self.writer.landed() {
            match landed {
                Ok((partition, offset)) => self.landed.insert(number, Position { partition, offset }),
                Err(reason) => bail!("job {number} of the load was refused by the broker: {reason}"),
            };
        }
        Ok(())
    }

    /// How many have landed.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        u64::try_from(self.landed.len()).unwrap_or(u64::MAX)
    }

    /// Waits until everything sent has landed.
    ///
    /// # Errors
    /// When that does not come.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.writer.flush(Duration::from_secs(60))?;
        self.note_landed()?;
        anyhow::ensure!(self.accepted() == self.next, "{} sent, {} landed", self.next, self.accepted());
        Ok(())
    }

    /// What must become of each record.
    ///
    /// # Errors
    /// When a record's twin has not landed.
    pub fn expected(&self) -> anyhow::Result<HashMap<Position, Expected>> {
        let at = |number: &u64| self.landed.get(number).copied().context("a twin has not landed");
        let expected = |number: u64| -> anyhow::Result<Expected> {
            Ok(match kind(number) {
                Kind::Work | Kind::Audited | Kind::Long => Expected::Succeeds,
                Kind::Forbidden | Kind::ForbiddenAudit => Expected::Denied,
                Kind::Unparsable => Expected::Dead("unparsable"),
                Kind::Repeat(twin) => Expected::Repeats(at(&twin)?),
                Kind::Conflict(_) => Expected::Dead("id_conflict"),
            })
        };
        self.landed.iter().map(|(number, position)| Ok((*position, expected(*number)?))).collect()
    }

    /// Positions of the jobs that a command runs.
    #[must_use]
    pub fn audited(&self) -> Vec<Position> {
        self.of(Kind::Audited)
    }

    /// Positions of the long jobs.
    #[must_use]
    pub fn long(&self) -> Vec<Position> {
        if self.long { self.of(Kind::Long) } else { Vec::new() }
    }

    fn of(&self, wanted: Kind) -> Vec<Position> {
        self.landed.iter().filter(|(number, _)| kind(**number) == wanted).map(|(_, at)| *at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_are_plain_jobs_in_the_same_partition_and_every_kind_comes() {
        let (mut repeats, mut conflicts, mut denied) = (0, 0, 0);
        for number in 0..20_000 {
            match kind(number) {
                Kind::Repeat(twin) => {
                    repeats += 1;
                    assert_eq!((kind(twin), partition(twin)), (Kind::Work, partition(number)), "{number}");
                    assert_eq!(value(twin, true), value(number, true));
                }
                Kind::Conflict(twin) => {
                    conflicts += 1;
                    assert_eq!((kind(twin), partition(twin)), (Kind::Work, partition(number)), "{number}");
                    assert_ne!(value(twin, true), value(number, true));
                }
                Kind::Forbidden => denied += 1,
                Kind::Long => assert_ne!(value(number, true), value(number, false)),
                Kind::Work | Kind::Audited | Kind::ForbiddenAudit | Kind::Unparsable => {}
            }
        }
        assert!(repeats > 300 && conflicts > 70 && denied == 1_000, "{repeats} {conflicts} {denied}");
    }
}
