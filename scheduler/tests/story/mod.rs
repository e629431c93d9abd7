//! The language of the stories.
//!
//! ```text
//! pool lease=10s attempts=5 window=100 workers=10     first line, when the defaults do not do (`backoff=1s`: most)
//! > job a needs=gpu priority=9 deadline=30s source=4  appears on `approved` (`on=overflow`; times from the start)
//! > job a not-before=5s attempts=2                    is not to start before; wants so many attempts at most
//! > withdraw a                                        the kernel calls it off
//! > bytes approved {"v":1}                            any bytes on `approved`, `reports` or `commands`; `null` for a null value
//! > forged fence on reports                           a record that looks like a control record
//! > w1 hello incarnation=2 lane=1 can=echo,gpu capacity=2
//! > w1 heartbeat epoch=1 running=a:1/1 received=1 credit=2 draining
//! > w1 result a token=1/1 epoch=1 outcome=failed output=7 (`retryable`, `after=2s`: another attempt may go better)
//! > w1 gives-back a token=1/1 epoch=1
//! > wait 5s                                           and a tick with all reports read
//! > stale tick after 5s                               time passes, but reports were read up to before only
//! > gap 4s                                            the broker could not be reached for so long
//! > new owner 2 by replay                             or `by snapshot`: state is the same, the present unknown
//! > olga drains w1 command=c1 ago=5s                   also `cordons`, `uncordons`; `role=`, `key=` (whose), `pool=`, `altered`
//! > evict a                                           the runner wants its record settled
//! > show                                              what the gauges say, as far as it is not zero
//! ```
//!
//! A worker keeps what it last said of incarnation, lane, capabilities and capacity. After each line the shard is asked
//! whether more is possible, as the runner does.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod say;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::Held;
use tidegate_protocol::headers;
use tidegate_protocol::ids::PoolName;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::pool_command::PoolAction;
use tidegate_scheduler::Tuning;
use tidegate_spine::Headers;
use tidegate_stage::InputRef;

use crate::driver::{
    Key, Says, Shard, Step, Way, approved, capabilities, command, job, layout, position, signed_by, withdrawal,
};

struct Story {
    shard: Shard,
    workers: BTreeMap<String, Says>,
    /// Source position and input of every job named.
    jobs: BTreeMap<String, (SourcePosition, InputRef)>,
    next_source: u64,
}

/// The story with what follows from each line.
pub(crate) fn tell(written: &str) -> String {
    let mut story = Story::new(written);
    let mut told = String::new();
    for line in written.lines() {
        match line.strip_prefix("> ") {
            Some(event) => {
                told.push_str(line);
                told.push('\n');
                let lines = story.event(event);
                for said in if lines.is_empty() { vec!["nothing".into()] } else { lines } {
                    told.push_str("    ");
                    told.push_str(&said);
                    told.push('\n');
                }
            }
            None if line.starts_with("    ") => {}
            None => {
                told.push_str(line);
                told.push('\n');
            }
        }
    }
    told
}

/// `key=value` words of a line, and flags.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.get(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key}={value} is no number")))
    }

    fn has(&self, flag: &str) -> bool {
        self.0.contains(&flag)
    }
}

fn duration(text: &str) -> Duration {
    let number = |unit| text.strip_suffix(unit).and_then(|number| number.parse().ok());
    match (number("ms"), number("s")) {
        (Some(ms), _) => Duration::from_millis(ms),
        (None, Some(s)) => Duration::from_secs(s),
        (None, None) => panic!("`{text}` is no duration"),
    }
}

fn token(text: &str) -> Token {
    let (epoch, attempt) = text.split_once('/').unwrap_or_else(|| panic!("`{text}` is no token"));
    Token { epoch: epoch.parse().unwrap(), attempt: attempt.parse().unwrap() }
}

impl Story {
    fn new(written: &str) -> Self {
        let mut tuning = Tuning::default();
        if let Some(words) = written.lines().find_map(|line| line.strip_prefix("pool ")) {
            let words = Words(words.split_whitespace().collect());
            let millis = |text| u64::try_from(duration(text).as_millis()).unwrap();
            tuning.lease_ms = words.get("lease").map_or(tuning.lease_ms, millis);
            tuning.forget_after_ms = words.get("forget").map_or(tuning.forget_after_ms, millis);
            tuning.max_attempts = words.number("attempts").map_or(tuning.max_attempts, |n| u32::try_from(n).unwrap());
            if let Some(most) = words.get("backoff").map(millis) {
                (tuning.backoff_ms, tuning.max_backoff_ms) = (most, most);
            }
            tuning.window_jobs = words.number("window").map_or(tuning.window_jobs, |n| usize::try_from(n).unwrap());
            tuning.max_workers = words.number("workers").map_or(tuning.max_workers, |n| usize::try_from(n).unwrap());
            tuning.max_work_bytes =
                words.number("work-bytes").map_or(tuning.max_work_bytes, |n| usize::try_from(n).unwrap());
            tuning.max_output_bytes =
                words.number("output-bytes").map_or(tuning.max_output_bytes, |n| usize::try_from(n).unwrap());
        }
        let shard = Shard::new(layout(), &tuning);
        Self { shard, workers: BTreeMap::new(), jobs: BTreeMap::new(), next_source: 0 }
    }

    fn event(&mut self, line: &str) -> Vec<String> {
        let words = Words(line.split_whitespace().collect());
        let mut step = match words.0[..] {
            ["job", id, ..] => self.job(id, &words),
            ["bytes", "approved", ..] => {
                let bytes = line.strip_prefix("bytes approved ").unwrap();
                self.shard.append(0, value(bytes), Headers::new());
                self.shard.read()
            }
            ["bytes", "reports", ..] => {
                let bytes = line.strip_prefix("bytes reports ").unwrap();
                self.shard.raw_report(value(bytes), Headers::new())
            }
            ["bytes", "commands", ..] => {
                let bytes = line.strip_prefix("bytes commands ").unwrap();
                self.shard.command(value(bytes), Headers::new())
            }
            ["forged", kind, "on", topic] => {
                let headers = Headers::from_iter([(headers::KIND, kind.to_owned()), (headers::EPOCH, "99".to_owned())]);
                let bytes = value(r#"{"v":1,"sender":"scheduler.p/0","epoch":99}"#);
                if topic == "commands" {
                    self.shard.command(bytes, headers)
                } else {
                    self.shard.raw_report(bytes, headers)
                }
            }
            [by, verb @ ("cordons" | "uncordons" | "drains"), of, ..] => self.command(by, verb, of, &words),
            ["wait", time] => {
                self.shard.wait(duration(time));
                self.shard.tick()
            }
            ["stale", "tick", "after", time] => {
                let fresh = self.shard.at;
                self.shard.wait(duration(time));
                self.shard.tick_fresh(fresh)
            }
            ["gap", time] => {
                self.shard.wait(duration(time));
                self.shard.gap(duration(time));
                self.shard.tick()
            }
            ["new", "owner", epoch, "by", way] => {
                let way = if way == "replay" { Way::Replay } else { Way::Snapshot };
                self.shard.takeover(way, epoch.parse().unwrap());
                self.shard.read()
            }
            ["withdraw", id] => {
                let withdrawal = withdrawal(id, self.jobs[id].0.offset);
                self.shard.approved(withdrawal)
            }
            ["evict", id] => {
                let input = self.jobs[id].1;
                self.shard.evict(input)
            }
            ["show"] => return say::gauges(&self.shard.stage.gauges()),
            [worker, verb, ..] => self.worker(worker, verb, &words),
            [..] => panic!("`{line}` is no event"),
        };
        loop {
            let mut more = self.shard.poll();
            let read = self.shard.read();
            more.facts.extend(read.facts);
            more.messages.extend(read.messages);
            if more.facts.is_empty() {
                break;
            }
            step.facts.extend(more.facts);
            step.messages.extend(more.messages);
        }
        self.tell(&step)
    }

    fn tell(&self, step: &Step) -> Vec<String> {
        let name = |source: &SourcePosition| {
            let named = self.jobs.iter().find(|(_, (position, _))| position == source);
            named.map_or_else(|| source.to_string(), |(id, _)| id.clone())
        };
        let facts = step.facts.iter().map(|fact| say::fact(fact, &name));
        facts.chain(step.messages.iter().map(|message| say::message(message, &name))).collect()
    }

    fn job(&mut self, id: &str, words: &Words<'_>) -> Step {
        let offset = words.number("source").unwrap_or(self.next_source);
        self.next_source = self.next_source.max(offset + 1);
        let mut job = job(words.get("id").unwrap_or(id), offset);
        if let Some(needs) = words.get("needs") {
            let mut needs = capabilities(&needs.split(',').collect::<Vec<_>>());
            job.capability = needs.remove(0);
            job.requires = needs;
        }
        job.priority = words.number("priority").map_or(job.priority, |n| u8::try_from(n).unwrap());
        // Stories begin at second 1.
        job.deadline = words.get("deadline").map(|text| u64::try_from(duration(text).as_millis()).unwrap() + 1_000);
        job.not_before = words.get("not-before").map(|text| u64::try_from(duration(text).as_millis()).unwrap() + 1_000);
        job.retry.max_attempts = words.number("attempts").map(|n| u32::try_from(n).unwrap());
        let input = if words.get("on") == Some("overflow") { 2 } else { 0 };
        let payload = words.get("payload").unwrap_or("1");
        let at = self.shard.append(input, Some(approved(&job, payload)), Headers::new());
        self.jobs.entry(id.to_owned()).or_insert((position(offset), at));
        self.shard.read()
    }

    fn command(&mut self, by: &str, verb: &str, of: &str, words: &Words<'_>) -> Step {
        let action = match verb {
            "cordons" => PoolAction::Cordon,
            "uncordons" => PoolAction::Uncordon,
            _ => PoolAction::Drain,
        };
        let now = self.shard.at.millis();
        let at_ms = match words.get("ago") {
            Some(ago) => ago.strip_prefix('-').map_or_else(
                || now - u64::try_from(duration(ago).as_millis()).unwrap(),
                |ahead| now + u64::try_from(duration(ahead).as_millis()).unwrap(),
            ),
            None => now,
        };
        let mut command = command(words.get("command").unwrap(), action, of, by, at_ms);
        if let Some(pool) = words.get("pool") {
            command.pool = PoolName::new(pool).unwrap();
        }
        let key = Key::of(words.get("role").unwrap_or("operator"), words.get("key").unwrap_or(by));
        let mut bytes = signed_by(&key, &command).to_vec();
        if words.has("altered") {
            bytes[6] ^= 1;
        }
        self.shard.command(Some(bytes.into()), Headers::new())
    }

    fn worker(&mut self, name: &str, verb: &str, words: &Words<'_>) -> Step {
        let says = self.workers.entry(name.to_owned()).or_insert_with(|| Says::of(name));
        says.incarnation = words.number("incarnation").unwrap_or(says.incarnation);
        says.lane = words.number("lane").map_or(says.lane, |n| u32::try_from(n).unwrap());
        if let Some(can) = words.get("can") {
            says.capabilities = capabilities(&can.split(',').collect::<Vec<_>>());
        }
        says.capacity = words.number("capacity").map_or(says.capacity, |n| u32::try_from(n).unwrap());
        says.epoch = words.number("epoch").unwrap_or(0);
        says.credit = words.number("credit").unwrap_or(says.credit);
        says.received = words.number("received").unwrap_or(0);
        says.draining = words.has("draining");
        says.running = words.get("running").map_or_else(Vec::new, |held| {
            let held = held.split(',').map(|one| one.split_once(':').unwrap_or_else(|| panic!("`{one}`")));
            held.map(|(id, text)| Held { source: self.jobs[id].0.clone(), token: token(text), waits: false }).collect()
        });
        let source = |id: &str| self.jobs.get(id).map_or_else(|| position(id.parse().unwrap()), |(at, _)| at.clone());
        let report = match verb {
            "hello" => says.hello(),
            "heartbeat" => says.heartbeat(),
            "result" => {
                let outcome = words.get("outcome").unwrap_or("succeeded");
                let outcome: Outcome = serde_json::from_str(&format!("\"{outcome}\"")).unwrap();
                let mut report = says.result(source(words.0[2]), token(words.get("token").unwrap()), outcome);
                if let tidegate_protocol::fleet::Report::Result { output, retryable, retry_after_ms, .. } = &mut report
                {
                    *output = words
                        .get("output")
                        .map(|text| serde_json::value::RawValue::from_string(text.to_owned()).unwrap());
                    *retryable = words.has("retryable");
                    *retry_after_ms = words.get("after").map(|text| u64::try_from(duration(text).as_millis()).unwrap());
                }
                report
            }
            "gives-back" => says.give_back(source(words.0[2]), token(words.get("token").unwrap())),
            verb => panic!("a worker does not `{verb}`"),
        };
        self.shard.report(&report)
    }
}

fn value(text: &str) -> Option<Bytes> {
    (text != "null").then(|| Bytes::copy_from_slice(text.as_bytes()))
}
