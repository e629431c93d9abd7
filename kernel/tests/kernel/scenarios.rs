//! Runs `tests/scenarios/*.txt`; how to read and write them is in `tests/scenarios/README.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_kernel::{INPUT_COMMANDS, INPUT_JOBS, INPUT_OUTCOMES};
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::decision::Judged;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::headers;
use tidegate_protocol::ids::{CommandId, JobId, PersonId, TenantId};
use tidegate_protocol::job::{InputHash, Job};
use tidegate_protocol::kept::{HoldView, Replaced};
use tidegate_protocol::outcome::Finished;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Headers;
use tidegate_stage::{Delivery, Message, Signal, Stage};

use crate::people::Ring;
use crate::shard::{Outcome, PLAIN, Shard, config, pool, record, source, trusting};

/// A command, its text and what is expected of it.
struct Step {
    command: String,
    body: String,
    expected: String,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for block in text.split("\n\n").map(|block| block.trim_matches('\n')).filter(|block| !block.is_empty()) {
        if block.lines().all(|line| line.starts_with('#')) {
            steps.push(Step { command: String::new(), body: block.to_owned(), expected: String::new() });
            continue;
        }
        let (said, expected) = block.split_once("\n----").unwrap_or_else(|| panic!("no `----` line in:\n{block}"));
        let (command, body) = said.split_once('\n').unwrap_or((said, ""));
        let expected = expected.trim_start_matches('\n').to_owned();
        steps.push(Step { command: command.to_owned(), body: body.to_owned(), expected });
    }
    steps
}

struct Scenario {
    shard: Shard,
    ring: Ring,
    /// Jobs met, by the offset of their record.
    jobs: BTreeMap<u64, Job>,
    commands: u32,
    source: String,
    pools: String,
    policies: Vec<String>,
}

fn minutes(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap();
    Duration::from_secs(if unit == "m" { number * 60 } else { number })
}

impl Scenario {
    fn new() -> Self {
        let shard = Shard::new(config(source(PLAIN), vec![pool("bank", &["pay"], &[])]));
        let (source, pools) = (PLAIN.to_owned(), "bank: pay".to_owned());
        Self { shard, ring: Ring::default(), jobs: BTreeMap::new(), commands: 0, source, pools, policies: Vec::new() }
    }

    fn rebuild(&mut self) {
        let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let pools = self
            .pools
            .lines()
            .map(|line| {
                let (name, rest) = line.split_once(':').unwrap();
                let (capabilities, topics) = rest.split_once('|').unwrap_or((rest, ""));
                let (capabilities, topics) = (words(capabilities), words(topics));
                let refs = |list: &[String]| -> Vec<&'static str> {
                    list.iter().map(|s| &*Box::leak(s.clone().into_boxed_str())).collect()
                };
                pool(name.trim(), &refs(&capabilities), &refs(&topics))
            })
            .collect();
        self.shard = Shard::new(trusting(config(source(&self.source), pools), &self.ring));
    }

    fn run(&mut self, step: &Step) -> String {
        let mut words = step.command.split_whitespace();
        match words.next().unwrap() {
            "source" => {
                self.source.clone_from(&step.body);
                self.rebuild();
                String::new()
            }
            "pools" => {
                self.pools.clone_from(&step.body);
                self.rebuild();
                String::new()
            }
            "people" => {
                self.ring = Ring::read(&step.body);
                self.rebuild();
                String::new()
            }
            action @ ("approve" | "reject" | "cancel" | "revoke" | "redrive") => {
                let action = serde_json::from_value(serde_json::Value::String(action.to_owned())).unwrap();
                self.say(action, words)
            }
            "wait" => {
                let outcome = self.shard.pass(minutes(words.next().unwrap()));
                self.show(&outcome)
            }
            "policy" => {
                let policy = tidegate_policy::load([("policy.yaml", &step.body)], None).unwrap();
                self.policies.push(policy.name().to_owned());
                self.shard.kernel.observe(Signal::Outside(Arc::new(policy)), self.shard.at);
                let standing = self.standing();
                // The runner asks after every signal too.
                let outcome = self.shard.pass(Duration::ZERO);
                if outcome.facts.is_empty() { standing } else { standing + &self.show(&outcome) }
            }
            "record" => self.arrive(INPUT_JOBS, words, &step.body),
            "command" => self.arrive(INPUT_COMMANDS, words, &step.body),
            "outcome" => self.arrive(INPUT_OUTCOMES, words, &step.body),
            "restart" => {
                let live = self.shard.kernel.snapshot().unwrap();
                let mut restored = self.shard.replayed();
                assert_eq!(restored.snapshot().unwrap(), live, "replay gives other bytes");
                restored.restore(&live).unwrap();
                assert_eq!(restored.snapshot().unwrap(), live, "a restored snapshot gives other bytes");
                self.shard.kernel = restored;
                self.standing()
            }
            other => panic!("`{other}` is no command"),
        }
    }

    fn standing(&self) -> String {
        format!(
            "{}; job records are {}\n",
            self.shard.kernel.standing().get(),
            if self.shard.kernel.admits(INPUT_JOBS) { "read" } else { "left in their log" }
        )
    }

    fn arrive<'a>(&mut self, input: u32, words: impl Iterator<Item = &'a str>, body: &str) -> String {
        let mut value = Some(body.as_bytes().to_vec());
        let mut headers = Headers::new();
        for word in words {
            match word.split_once('=') {
                None if word == "null" => value = None,
                None if word == "hex" => {
                    let digits: Vec<u8> = body.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
                    value = Some(
                        digits
                            .chunks(2)
                            .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
                            .collect(),
                    );
                }
                Some(("after", time)) => self.shard.at = self.shard.at + minutes(time),
                Some(("deep", n)) => {
                    let n = n.parse().unwrap();
                    value = Some([vec![b'['; n], vec![b']'; n]].concat());
                }
                Some(("pad", n)) => {
                    let pad = "x".repeat(n.parse().unwrap());
                    value = Some(body.replace("PAD", &pad).into_bytes());
                }
                Some((name, text)) => headers.push(name.to_owned(), text.to_owned().into_bytes()),
                None => panic!("`{word}` is no option"),
            }
        }
        let outcome = self.shard.feed(input, record(value.as_deref(), headers));
        for fact in &outcome.facts {
            if let KernelFact::JobHeld { job, .. }
            | KernelFact::JobDeferred { job, .. }
            | KernelFact::JobDecided { job, .. } = fact
            {
                self.jobs.insert(job.source.offset, job.clone());
            }
        }
        self.show(&outcome)
    }

    /// `approve JOB by KEY` and what is wrong with it.
    fn say<'a>(&mut self, action: Action, mut words: impl Iterator<Item = &'a str>) -> String {
        let id = words.next().unwrap();
        assert_eq!(words.next(), Some("by"));
        let key = self.ring.key(words.next().unwrap());
        let met = self.jobs.values().find(|job| job.id.as_str() == id);
        let job = met.unwrap_or_else(|| panic!("no job `{id}` was met"));
        self.commands += 1;
        let mut command = Command {
            v: 1,
            id: CommandId::new(format!("c{}", self.commands)).unwrap(),
            action,
            source: job.source.clone(),
            job_id: job.id.clone(),
            tenant: job.tenant.clone(),
            input_hash: job.input_hash,
            snapshot: self.policies.last().unwrap().clone(),
            by: key.person(),
            at_ms: self.shard.at.millis(),
            reason: String::new(),
            pool: None,
            redrive: None,
        };
        let (mut unsigned, mut forged, mut repeats, mut padded) = (false, false, 1, false);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("unsigned", "") => unsigned = true,
                ("forged", "") => forged = true,
                ("twice", "") => repeats = 2,
                ("oversize", "") => padded = true,
                ("reason", text) => command.reason = text.replace('_', " ").replace("\\n", "\n"),
                ("person", name) => command.by = PersonId::new(name).unwrap(),
                ("tenant", name) => command.tenant = TenantId::new(name).unwrap(),
                ("job", id) => command.job_id = JobId::new(id).unwrap(),
                ("input", other) => command.input_hash = InputHash::of(other.as_bytes(), std::iter::empty()),
                ("record", other) => command.source.offset = other.parse().unwrap(),
                ("policy", number) => {
                    command.snapshot.clone_from(self.policies.get(number.parse::<usize>().unwrap() - 1).unwrap())
                }
                ("after", time) => self.shard.at = self.shard.at + minutes(time),
                (other, _) => panic!("`{other}` is no option"),
            }
        }
        let mut value = if unsigned { serde_json::to_vec(&command).unwrap() } else { key.signs(&command) };
        if forged {
            value = String::from_utf8(value).unwrap().replace("\"v\":1", "\"v\": 1").into_bytes();
        }
        if padded {
            command.reason = "x".repeat(9_000);
            value = key.signs(&command);
        }
        let mut said = String::new();
        for _ in 0..repeats {
            let outcome = self.shard.feed(INPUT_COMMANDS, record(Some(&value), Headers::new()));
            said.push_str(&self.show(&outcome));
        }
        said
    }

    fn show(&self, outcome: &Outcome) -> String {
        let mut out = String::new();
        if outcome.waits {
            out.push_str("waits\n");
        } else if outcome.facts.is_empty() {
            out.push_str("no fact\n");
        }
        for fact in &outcome.facts {
            writeln!(out, "{}", self.fact(fact)).unwrap();
        }
        for message in &outcome.messages {
            writeln!(out, "  {}", shown(message)).unwrap();
        }
        out
    }

    fn fact(&self, fact: &KernelFact) -> String {
        match fact {
            KernelFact::PolicyAdopted { revision, snapshot } => {
                assert!(self.policies.contains(snapshot));
                format!("policy_adopted revision {revision}")
            }
            KernelFact::JobDecided { job, decision, pool, observed, replaces, .. } => {
                assert!(self.policies.contains(&decision.snapshot));
                let job_json = serde_json::to_value(job).unwrap();
                let fields = [
                    "topic",
                    "capability",
                    "requires",
                    "actor",
                    "labels",
                    "priority",
                    "deadline",
                    "not_before",
                    "ordering_key",
                    "retry",
                    "select",
                    "prefer",
                    "parent",
                ];
                let rest: Vec<String> = fields
                    .iter()
                    .filter_map(|name| {
                        job_json
                            .get(name)
                            .filter(|v| v.as_object().is_none_or(|o| !o.is_empty()))
                            .map(|v| format!("{name}={v}"))
                    })
                    .collect();
                format!(
                    "job_decided {} {}/{} {} | {} by {:?}{}{}{}",
                    decision.verdict.word(),
                    job.tenant,
                    job.id,
                    rest.join(" "),
                    decision.reason,
                    decision.rule_ids,
                    pool.as_ref().map(|p| format!(", to pool {p}")).unwrap_or_default(),
                    if *observed { ", observed" } else { "" },
                    was(*replaces)
                )
            }
            KernelFact::JobDeferred {
                job,
                why,
                until,
                retry,
                throttled,
                waits_for,
                decision,
                replaces,
                record,
                ..
            } => {
                assert_eq!(record.is_some(), replaces.is_none(), "a record is kept once");
                let in_seconds = |then: &Timestamp| then.since(self.shard.at).as_secs_f64();
                let retry = retry.map(|retry| format!(", again in {} s", in_seconds(&retry))).unwrap_or_default();
                let times = if *throttled > 0 { format!(" for the {throttled}. time") } else { String::new() };
                let reason = decision.as_ref().map(|d| format!(" | {}", d.reason)).unwrap_or_default();
                format!(
                    "job_deferred {}/{} ({}{times}){retry}, at most {} s{}{reason}{}",
                    job.tenant,
                    job.id,
                    why.word(),
                    in_seconds(until),
                    if waits_for.is_empty() { String::new() } else { format!(", for {waits_for:?}") },
                    was(*replaces)
                )
            }
            KernelFact::SliceRequested { request } => {
                format!("slice_requested {}", serde_json::to_string(request).unwrap())
            }
            KernelFact::SliceGranted { answer } => format!("slice_granted {}", serde_json::to_string(answer).unwrap()),
            KernelFact::SliceReturned { request } => {
                format!("slice_returned {}", serde_json::to_string(request).unwrap())
            }
            KernelFact::SpendSettled { told } => format!("spend_settled {}", serde_json::to_string(told).unwrap()),
            KernelFact::OutcomePassedOn { request } => {
                format!("outcome_passed_on {}", serde_json::to_string(request).unwrap())
            }
            KernelFact::JobHeld { job, decision, until, replaces, record, .. } => {
                assert!(self.policies.contains(&decision.snapshot));
                assert_eq!(record.is_some(), replaces.is_none(), "a record is kept once");
                format!(
                    "job_held {}/{} for {} | {} by {:?}{}",
                    job.tenant,
                    job.id,
                    lasting(until.since(self.shard.at)),
                    decision.reason,
                    decision.rule_ids,
                    was(*replaces)
                )
            }
            KernelFact::HoldRenewed { source, decision, until } => {
                let rest = lasting(until.since(self.shard.at));
                format!("hold_renewed {source} for {rest} | {} by {:?}", decision.reason, decision.rule_ids)
            }
            KernelFact::ApprovalGiven { source, by, roles, reason, .. } => {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                format!("approval_given {source} by {by} ({}){reason}", roles.join(", "))
            }
            KernelFact::HoldEscalated { source, to } => format!("hold_escalated {source} to {to}"),
            KernelFact::CommandRefused { source, action, by, why, detail, .. } => {
                format!("command_refused {} {source} by {by}: {}: {detail}", action.word(), why.word())
            }
            KernelFact::RecordRedriven { source, by, reason, .. } => {
                format!("record_redriven {source} by {by}: {reason}")
            }
            KernelFact::RecordDropped { source, by, reason, .. } => {
                format!("record_dropped {source} by {by}: {reason}")
            }
            KernelFact::JobWithdrawn { source, job_id, tenant, pool, by, reason, .. } => {
                format!("job_withdrawn {tenant}/{job_id} at {source} from {pool} by {by}: {reason}")
            }
            KernelFact::DelegationRevoked { source, job_id, tenant, by, reason, .. } => {
                format!("delegation_revoked {tenant}/{job_id} at {source} by {by}: {reason}")
            }
            KernelFact::JobCancelled { job, by, reason, replaces, .. } => {
                format!("job_cancelled {}/{} by {by}: {reason}{}", job.tenant, job.id, was(Some(*replaces)))
            }
            KernelFact::JobRepeated { source, duplicate_of, job_id, tenant } => {
                format!("job_repeated {tenant}/{job_id} at {source}, first at {duplicate_of}")
            }
            KernelFact::RecordRejected { source, reason, detail, job, replaces, .. } => {
                let job = job.as_ref().map(|job| format!(" {}/{}", job.tenant, job.id)).unwrap_or_default();
                format!("record_rejected{job} at {source}: {}: {detail}{}", reason.word(), was(*replaces))
            }
        }
    }
}

fn lasting(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 3_600.0 { format!("{:.1} h", seconds / 3_600.0) } else { format!("{seconds} s") }
}

/// How a fact's job was kept before it.
fn was(replaces: Option<Replaced>) -> String {
    replaces.map(|replaced| format!(", was {}", replaced.was.word())).unwrap_or_default()
}

fn shown(message: &Message) -> String {
    let key = String::from_utf8_lossy(message.key.as_deref().unwrap_or_default()).into_owned();
    let delivery = match message.delivery {
        Delivery::Fenced => "fenced",
        Delivery::Ticketed => "ticketed",
        Delivery::Advisory => "advisory",
        Delivery::Lane => "lane",
    };
    let topic = message.to.to_string();
    let value = message.value.as_deref();
    let header = |name| message.headers.text(name).unwrap_or_default().to_owned();
    let content = if topic.starts_with("tidegate.dead") {
        let left_out = message.headers.get(headers::DEAD_HASH).is_some();
        assert!(value.is_none() || !left_out);
        let kept = match value {
            None if left_out => "left out, with its hash".to_owned(),
            None => "null".to_owned(),
            Some(value) => format!("{} bytes", value.len()),
        };
        format!(
            "{} from {}/{}@{}, value {kept}",
            header(headers::DEAD_CLASS),
            header(headers::DEAD_TOPIC),
            header(headers::DEAD_PARTITION),
            header(headers::DEAD_OFFSET)
        )
    } else if topic.starts_with("tidegate.held") {
        match value {
            None => "nobody is asked any more".to_owned(),
            Some(value) => {
                let view: serde_json::Value = serde_json::from_slice(value).unwrap();
                let hold: HoldView = serde_json::from_value(view.get("hold").unwrap().clone()).unwrap();
                let given: Vec<&str> = hold.given.iter().map(|given| given.by.as_str()).collect();
                let roles = [
                    view.pointer("/decision/approval/approvers").unwrap().to_string(),
                    format!("{:?}", hold.escalated),
                ];
                format!(
                    "asked {}, approved by {given:?}, payload {}",
                    roles.join(" and "),
                    view.get("payload").unwrap()
                )
            }
        }
    } else if topic.starts_with("tidegate.finished") {
        let end: Finished = serde_json::from_slice(value.unwrap()).unwrap();
        format!("{}: {}", end.outcome.word(), end.reason)
    } else {
        let judged: Judged = serde_json::from_slice(value.unwrap()).unwrap();
        let payload = judged.payload.map(|raw| raw.get().to_owned());
        let base64 = judged.payload_base64.map(|text| format!("base64 {text}"));
        let elsewhere = judged.payload_ref.map(|at| format!("elsewhere, {} bytes, {}", at.bytes, at.sha256));
        let mut payload = payload.or(base64).or(elsewhere).unwrap_or_else(|| "null".to_owned());
        if payload.len() > 120 {
            payload = format!("({} bytes)", payload.len());
        }
        format!("payload {payload}")
    };
    let others: Vec<&str> = message
        .headers
        .iter()
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with("__connect") && !matches!(*name, headers::SOURCE | headers::DEAD_HASH))
        .collect();
    let others = if others.is_empty() { String::new() } else { format!(" [{}]", others.join(" ")) };
    format!("{topic} #{} {delivery} key {key}{others}: {content}", message.ordinal)
}

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    files.sort();
    assert!(files.len() >= 8, "scenarios are missing in {}", folder.display());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let mut scenario = Scenario::new();
        let mut blocks = Vec::new();
        for step in steps(&text) {
            if step.command.is_empty() {
                blocks.push(step.body);
                continue;
            }
            let got = scenario.run(&step);
            if std::env::var_os("TIDEGATE_REWRITE").is_none() {
                assert_eq!(
                    got.trim_end(),
                    step.expected.trim_end(),
                    "{}: {} {}",
                    path.display(),
                    step.command,
                    step.body
                );
            }
            let body = if step.body.is_empty() { String::new() } else { format!("\n{}", step.body) };
            blocks.push(format!("{}{body}\n----\n{}", step.command, got.trim_end()).trim_end().to_owned());
        }
        if std::env::var_os("TIDEGATE_REWRITE").is_some() {
            fs::write(&path, blocks.join("\n\n") + "\n").unwrap();
        }
    }
}
