//! `serve --roles kernel` and nothing else of ours: raw in, approved and denied out to a consumer of one's own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_processes::broker::{Broker, Tail, Write, Writer};
use tidegate_processes::home::{Home, own_prefix};
use tidegate_processes::http::{Http, free_port};
use tidegate_processes::process::{Process, Start, until};

use crate::PATIENCE;
use crate::consumer::Consumer;
use crate::owner::Owner;

const PARTITIONS: u32 = 4;
/// Jobs offered at a time, three times.
const WAVE: u64 = 1_500;
/// Topics that are not a kernel's: all that a pool has but `approved` and `withdrawals`, and the limits stage's facts.
const OTHERS: [&str; 6] =
    ["work.work", "reports.work", "leases.work", "commands.work", "overflow.work", "limits.facts"];
const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
  - { id: forbidden, match: { topics: [job.forbidden.>] }, decision: deny, reason: it may not run }
";

/// A process of the role kernel that is killed and started again.
struct Kernel {
    start: Start,
    http: Http,
    process: Process,
}

impl Kernel {
    fn owns(&self) -> f64 {
        self.http.metric("tidegate_node_shards_owned", &["kernel"]).unwrap_or(0.0)
    }

    fn again(&mut self) {
        self.process = self.start.start().unwrap();
    }
}

struct Ground {
    home: Home,
    prefix: String,
    kernels: Vec<Kernel>,
    writer: Writer,
    tail: Tail,
    consumer: Consumer,
    /// Where each job stood when the consumer took it: topic and id, by source position.
    taken: BTreeMap<String, Vec<(String, String)>>,
    /// Where each job landed.
    offered: u64,
    placed: BTreeMap<u64, String>,
}

fn config(broker: &Broker, prefix: &str, name: &str, port: u16, operator: &Value) -> String {
    format!(
        "\
spine: {{ url: \"{}\" }}
prefix: \"{prefix}\"
sources:
  - {{ name: jobs.raw, tenants: any }}
pools:
  - {{ name: work, capabilities: [work] }}
policy: policy
listen: 127.0.0.1:{port}
data: data-{name}
topics: {{ source_partitions: {PARTITIONS} }}
keys:
  signing: {{ id: test, file: stage.key }}
  trusted: [{{ id: olga, public: {}, roles: [operator] }}]
",
        broker.url(),
        operator["public"],
    )
}

impl Ground {
    /// Two kernels that share the partitions; no scheduler, no limits stage, no gateway, no worker.
    fn begin() -> Self {
        let broker = Broker::from_environment().unwrap();
        let (prefix, home) = (own_prefix("alone"), Home::new(POLICY).unwrap());
        let create = ["keys", "create", "--role", "operator", "--id", "olga", "--file", "olga.key", "--output", "json"];
        let made = home.run(&create).unwrap();
        let operator: Value = serde_json::from_str(made.out.lines().last().unwrap()).unwrap();
        let mut ports = Vec::new();
        for name in ["one", "two"] {
            let port = free_port().unwrap();
            home.write(&format!("{name}.yaml"), &config(&broker, &prefix, name, port, &operator)).unwrap();
            ports.push((name, port));
        }
        let made = home.run(&["topics", "apply", "--config", "one.yaml"]).unwrap();
        assert_eq!(made.code, Some(0), "{}", made.err);
        // What a kernel neither reads nor writes need not be there.
        let others = OTHERS.map(|name| format!("{prefix}{name}"));
        Owner::new(&broker).delete(&others);
        let kernels = ports.into_iter().map(|(name, port)| {
            let start = home.tidegate(name, &["serve", "--roles", "kernel", "--config", &format!("{name}.yaml")]);
            let process = start.start().unwrap();
            Kernel { start, http: Http::new(&format!("http://127.0.0.1:{port}"), None), process }
        });
        let kernels: Vec<Kernel> = kernels.collect();
        let ready = || Ok(kernels.iter().all(|kernel| kernel.http.is_ready() && kernel.owns() > 0.0).then_some(()));
        until(PATIENCE, "both kernels own shards", ready).unwrap_or_else(|error| {
            panic!("{error}\n{}\n{}", kernels[0].process.last_words(), kernels[1].process.last_words())
        });
        let topics = ["approved.work", "withdrawals.work", "denied"].map(|name| {
            let name = format!("{prefix}{name}");
            (name.clone(), broker.topics(&name).unwrap()[&name])
        });
        let (tail, writer) = (broker.tail(&BTreeMap::from(topics)).unwrap(), broker.writer().unwrap());
        let (consumer, taken, placed) = (Consumer::default(), BTreeMap::new(), BTreeMap::new());
        Self { home, prefix, kernels, writer, tail, consumer, taken, offered: 0, placed }
    }

    /// Hands a wave over; every fifth job is one that is denied.
    fn offer(&mut self) {
        for number in self.offered..self.offered + WAVE {
            let topic = if number % 5 == 4 { "job.forbidden.x" } else { "job.work.x" };
            let job = json!({"id": number.to_string(), "tenant": "acme", "topic": topic, "capability": "work", "payload": number});
            let write = Write { value: Some(job.to_string().into_bytes()), ..Write::default() };
            let partition = u32::try_from(number).unwrap() % PARTITIONS;
            self.writer.hand_over(number, &format!("{}jobs.raw", self.prefix), partition, &write).unwrap();
        }
        self.offered += WAVE;
    }

    /// Takes what there is; how many jobs were taken so far.
    fn take(&mut self) -> usize {
        while let Some(met) = self.tail.next(Duration::from_millis(20)).unwrap() {
            if let Some((source, value)) = self.consumer.read(&met) {
                let id = value["job"]["id"].as_str().unwrap().to_owned();
                let topic = met.topic.strip_prefix(&self.prefix).unwrap().to_owned();
                self.taken.entry(source).or_default().push((topic, id));
                if self.taken.len().is_multiple_of(100) {
                    break;
                }
            }
        }
        for (number, landed) in self.writer.landed() {
            let (partition, offset) = landed.unwrap();
            self.placed.insert(number, format!("jobs.raw/{partition}@{offset}"));
        }
        self.taken.len()
    }

    fn until_taken(&mut self, least: u64) {
        let what = format!("{least} jobs are taken");
        until(PATIENCE, &what, || Ok((self.take() as u64 >= least).then_some(()))).unwrap_or_else(|error| {
            let words: Vec<String> = self.kernels.iter().map(|kernel| kernel.process.last_words()).collect();
            panic!("{error}: {}\n{}", self.taken.len(), words.join("\n"))
        });
    }
}

#[test]
fn kernels_alone_that_are_killed_give_a_consumer_each_record_once_and_say_what_was_called_off() {
    let mut ground = Ground::begin();
    // Each is killed in the middle of a wave, and the next wave comes before it is back.
    for killed in 0..2 {
        let before = ground.offered;
        ground.until_taken(before);
        ground.offer();
        ground.until_taken(before + 200);
        ground.kernels[killed].process.kill().unwrap();
        ground.offer();
        ground.kernels[killed].again();
    }
    let all = ground.offered;
    ground.until_taken(all);
    let ready = || Ok(ground.kernels.iter().all(|kernel| kernel.http.is_ready()).then_some(()));
    until(PATIENCE, "both kernels are ready again", ready).unwrap();
    // Whatever is still to come.
    let (consumer, mut more) = (&mut ground.consumer, Vec::new());
    ground.tail.to_the_ends(&mut |met| more.extend(consumer.read(&met))).unwrap();
    assert!(more.is_empty(), "{more:?}");
    ground.take();

    assert_eq!((ground.placed.len() as u64, ground.taken.len() as u64), (all, all));
    for (number, source) in &ground.placed {
        let topic = if number % 5 == 4 { "denied" } else { "approved.work" };
        assert_eq!(ground.taken[source], [(topic.to_owned(), number.to_string())], "{source}");
    }
    // Both were taken over from: some shard has had a second owner at least.
    let of = |shard: u32| format!("kernel.jobs.raw/{shard}");
    let owners = |shard| ground.consumer.fences.iter().filter(|(sender, _)| *sender == of(shard)).count();
    assert!((0..PARTITIONS).any(|shard| owners(shard) > 1), "{:?}", ground.consumer.fences);

    // A released job is called off, straight on the spine: the consumer is told.
    let broker = Broker::from_environment().unwrap().url();
    let cancel = ["jobs", "cancel", "0", "--signing-key", "olga.key", "--spine", &broker, "--config", "one.yaml"];
    let said = ground.home.run(&cancel).unwrap();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("pool `work` is told to end it"), "{said:?}");
    let called_off = ground.placed[&0].clone();
    until(PATIENCE, "the job is called off", || {
        ground.take();
        Ok(ground.consumer.called_off.contains(&called_off).then_some(()))
    })
    .unwrap();
    assert_eq!(ground.consumer.called_off.len(), 1);
    assert_eq!(ground.taken.len() as u64, all, "a withdrawal is no job");
    // To a doctor of kernels nothing is bad; to one of all roles, what is missing is.
    let doctor = |more: &[&str]| ground.home.run(&[&["doctor", "--config", "one.yaml"], more].concat()).unwrap();
    let kernels = doctor(&["--roles", "kernel", "--write"]);
    assert_eq!(kernels.code, Some(0), "{kernels:?}");
    assert!(kernels.out.contains("note  topics  + ") && kernels.out.contains("and writing works"), "{}", kernels.out);
    let all = doctor(&[]);
    assert!(all.code == Some(1) && all.out.contains("bad   topics  + "), "{all:?}");
    for kernel in &mut ground.kernels {
        assert!(kernel.process.terminate(PATIENCE).unwrap().success(), "{}", kernel.process.last_words());
    }
}
