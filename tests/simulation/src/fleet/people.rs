//! People who are asked for approvals: they answer in time, late, twice, about their own jobs, as somebody they are not,
//! about another input than stands there, with what they saw under an older policy, or not at all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde_json::Value;
use tidegate_protocol::address::TopicPartition;
use tidegate_protocol::command::{Action, Command, KIND};
use tidegate_protocol::ids::{CommandId, PersonId};
use tidegate_protocol::job::{InputHash, Job};
use tidegate_protocol::signature::signed;
use tidegate_spine::{Headers, NewRecord};

use super::parts::{KERNELS, named};
use super::policies::HOLD_MS;
use crate::chance::Chance;
use crate::executor::{Core, locked};
use crate::keys::{self, PEOPLE};
use crate::spine::SimSpine;

/// How often they look, microseconds.
const LOOK_US: u64 = 120_000;
const HOLD_US: u64 = HOLD_MS * 1_000;

struct Office {
    seed: u64,
    core: Core,
    spine: SimSpine,
    until: u64,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Records read of each decisions log.
    read: [usize; KERNELS as usize],
    /// Holds, the snapshots they were asked under, and until when: a job whose ticket expired may be held anew.
    asked: BTreeSet<(String, String, u64)>,
    jobs: Vec<Job>,
}

/// A job that is held, and under which policy.
struct Asked {
    job: Job,
    snapshot: String,
    to: TopicPartition,
}

/// Lets people look at what is held, and act, until virtual time `until`.
pub fn attend(seed: u64, core: &Core, spine: &SimSpine, until: u64) {
    let office = Office { seed, core: core.clone(), spine: spine.clone(), until, seen: Mutex::default() };
    Arc::new(office).look();
}

impl Office {
    fn look(self: Arc<Self>) {
        for shard in 0..KERNELS {
            for (number, asked) in self.news(shard).into_iter().enumerate() {
                self.act(&asked, number);
            }
        }
        if self.core.now() < self.until {
            let office = self.clone();
            self.core.after(LOOK_US, move || office.look());
        }
    }

    /// What was not there when they last looked. They believe what they read, valid or not: the kernel must not.
    fn news(&self, shard: u32) -> Vec<Asked> {
        let broker = self.spine.broker();
        let log = broker.log(&named("decisions.jobs.raw").partition(shard));
        let mut seen = locked(&self.seen);
        let from = std::mem::replace(&mut seen.read[shard as usize], log.len());
        let mut news = Vec::new();
        for stored in log.iter().skip(from).filter(|stored| !stored.is_forged()) {
            let value = stored.record.value.as_deref().unwrap_or_default();
            let Ok(group) = serde_json::from_slice::<Value>(value) else { continue };
            for fact in group.get("facts").and_then(Value::as_array).into_iter().flatten() {
                if let Some(held) = fact.pointer("/fact/job_held")
                    && let Ok(job) = serde_json::from_value::<Job>(held["job"].clone())
                {
                    seen.jobs.push(job);
                }
                let Some(held) = fact.pointer("/fact/job_held").or_else(|| fact.pointer("/fact/hold_renewed")) else {
                    continue;
                };
                let Some(snapshot) = held.pointer("/decision/snapshot").and_then(Value::as_str) else { continue };
                let Some(source) = held.pointer("/job/source").or_else(|| held.get("source")).and_then(Value::as_str)
                else {
                    continue;
                };
                let until = held.get("until").and_then(Value::as_u64).unwrap_or_default();
                if !seen.asked.insert((source.to_owned(), snapshot.to_owned(), until)) {
                    continue;
                }
                if let Some(job) = seen.jobs.iter().find(|job| job.source.to_string() == source) {
                    let to = named("commands.jobs.raw").partition(shard);
                    news.push(Asked { job: job.clone(), snapshot: snapshot.to_owned(), to });
                }
            }
        }
        news
    }

    /// Draws what people say about a job, and when.
    fn act(&self, asked: &Asked, round: usize) {
        let name = format!("people {} {} {round}", asked.job.source, asked.snapshot);
        let mut chance = Chance::new(self.seed, &name);
        let mut number = 0;
        let say = |to: &TopicPartition, delay: u64, value: Vec<u8>| {
            let (spine, to) = (self.spine.clone(), to.clone());
            let record = NewRecord { key: None, value: Some(Bytes::from(value)), headers: Headers::new() };
            self.core.after(delay, move || spine.put(&to, record));
        };
        let mut id = || {
            number += 1;
            let (source, now) = (&asked.job.source, self.core.now());
            CommandId::new(format!("c-{}-{}-{now}-{round}-{number}", source.partition, source.offset)).unwrap()
        };
        let in_time = 20_000..900_000;
        let late = HOLD_US..HOLD_US + 1_000_000;
        let first = usize::try_from(chance.within(0..PEOPLE.len() as u64)).unwrap_or(0);
        let when = match chance.within(0..10) {
            0..7 => Some(in_time.clone()),
            7 => Some(late),
            _ => None,
        };
        if let Some(when) = when {
            for step in 0..usize::try_from(chance.within(1..5)).unwrap_or(1) {
                let (who, _) = PEOPLE[(first + step) % PEOPLE.len()];
                let value = signed_by(who, &command(asked, id(), Action::Approve, who));
                say(&asked.to, chance.within(when.clone()), value);
            }
        }
        if chance.percent(8) {
            let (who, _) = *chance.one_of(&PEOPLE);
            say(&asked.to, chance.within(in_time.clone()), signed_by(who, &command(asked, id(), Action::Reject, who)));
        }
        for _ in 0..chance.within(0..4) {
            let (who, _) = *chance.one_of(&PEOPLE);
            let (other, _) = *chance.one_of(&PEOPLE);
            let right = command(asked, id(), Action::Approve, who);
            let delay = chance.within(in_time.clone());
            let mut to = asked.to.clone();
            let value = match chance.within(0..9) {
                // Another input than was held.
                0..3 => signed_by(who, &Command { input_hash: InputHash::of(b"what they saw", []), ..right }),
                // The approval of one job, for another.
                3 => {
                    let jobs = locked(&self.seen).jobs.clone();
                    let source = chance.one_of(&jobs).source.clone();
                    signed_by(who, &Command { source, ..right })
                }
                4 => signed_by(who, &Command { snapshot: "0000".to_owned(), ..right }),
                // In somebody else's name; with a key that is nobody's; with none.
                5 => signed_by(who, &Command { by: PersonId::new(other).unwrap(), ..right }),
                6 => signed_by("mallory", &right),
                7 => serde_json::to_vec(&right).unwrap(),
                // To the other shard.
                _ => {
                    to.partition = (to.partition + 1) % KERNELS;
                    signed_by(who, &right)
                }
            };
            if chance.percent(25) {
                // The same bytes again.
                say(&to, delay + chance.within(0..400_000), value.clone());
            }
            say(&to, delay, value);
        }
    }
}

fn command(asked: &Asked, id: CommandId, action: Action, by: &str) -> Command {
    Command {
        v: 1,
        id,
        action,
        source: asked.job.source.clone(),
        job_id: asked.job.id.clone(),
        tenant: asked.job.tenant.clone(),
        input_hash: asked.job.input_hash,
        snapshot: asked.snapshot.clone(),
        by: PersonId::new(by).unwrap(),
        at_ms: 0,
        reason: String::new(),
        pool: None,
        redrive: None,
    }
}

fn signed_by(name: &str, command: &Command) -> Vec<u8> {
    signed(&*keys::key(name), KIND, serde_json::to_vec(command).unwrap())
}
