//! Foreign topics that are adopted: mapped (written by a transactional producer too), CloudEvents, and only observed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_processes::broker::{Broker, Met, Tail, Write, Writer};
use tidegate_processes::home::{Home, KEYS, own_prefix};
use tidegate_processes::http::{Http, free_port};
use tidegate_processes::process::{Process, until};

use crate::PATIENCE;
use crate::owner::{Look, Owner};

const PARTITIONS: u32 = 3;
/// The foreign topics by the sources that adopt them, and their partitions.
const TOPICS: [(&str, u32); 3] = [("orders", PARTITIONS), ("watched", PARTITIONS), ("events", 1)];
const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: pay, match: { topics: [job.orders.pay, com.shop.>] }, decision: allow, reason: it may run }
  - { id: refund, match: { topics: [job.orders.refund] }, decision: deny, reason: people refund }
";

/// All roles and a worker; topics of somebody else.
struct Ground {
    home: Home,
    prefix: String,
    shop: String,
    owner: Owner,
    broker: Broker,
    writer: Writer,
    tail: Tail,
    met: Vec<Met>,
    running: Vec<Process>,
}

fn config(broker: &Broker, prefix: &str, shop: &str, port: u16) -> String {
    let mapping = [
        "    mapping:",
        "      id: \"order-{/order/number}\"",
        "      topic: \"job.orders.{/kind}\"",
        "      capability: pay",
        "      labels: { region: \"{header:region|none}\" }",
        "      payload: /order",
        "      drop: [/trace]",
    ]
    .join("\n");
    format!(
        "\
spine: {{ url: \"{}\" }}
prefix: \"{prefix}\"
sources:
  - name: orders
    topic: {shop}orders
    format: mapped
    tenants: {{ constant: acme }}
{mapping}
  - name: watched
    topic: {shop}watched
    format: mapped
    observe: true
    tenants: {{ constant: acme }}
{mapping}
  - name: events
    topic: {shop}events
    format: cloudevents
    tenants: {{ allowed: [acme] }}
pools:
  - {{ name: work, capabilities: [pay], lanes: 2, buckets: 1, tenant_buckets: 1 }}
policy: policy
listen: 127.0.0.1:{port}
data: data
topics: {{ shared_partitions: 1 }}
{KEYS}",
        broker.url()
    )
}

impl Ground {
    fn begin() -> Self {
        let broker = Broker::from_environment().unwrap();
        let (prefix, shop, port) = (own_prefix("adopted"), own_prefix("shop"), free_port().unwrap());
        let (home, owner) = (Home::new(POLICY).unwrap(), Owner::new(&broker));
        home.write("tidegate.yaml", &config(&broker, &prefix, &shop, port)).unwrap();
        // Their companions have as many partitions as they have: so they come first.
        let early = home.run(&["topics", "apply"]).unwrap();
        assert_eq!(early.code, Some(78), "{early:?}");
        assert!(early.err.contains(&format!("topic `{shop}orders` of source `orders` does not exist")), "{early:?}");
        for (name, partitions) in TOPICS {
            owner.make(&format!("{shop}{name}"), i32::try_from(partitions).unwrap());
        }
        let made = home.run(&["topics", "apply"]).unwrap();
        assert_eq!(made.code, Some(0), "{}", made.err);
        assert_eq!(broker.topics(&prefix).unwrap()[&format!("{prefix}decisions.orders")], PARTITIONS);
        let serve = home.tidegate("serve", &["serve"]).start().unwrap();
        let worker = ["worker", "--pool", "work", "--capability", "pay", "--builtin", "echo", "--id", "w"];
        let worker = home.tidegate("worker", &worker).start().unwrap();
        let http = Http::new(&format!("http://127.0.0.1:{port}"), None);
        until(PATIENCE, "the roles are ready", || Ok(http.is_ready().then_some(())))
            .unwrap_or_else(|error| panic!("{error}\n{}", serve.last_words()));
        let topics = [("dead", 1), ("denied", 1), ("finished", 1), ("approved.work", 1)];
        let decisions = [("decisions.orders", PARTITIONS), ("decisions.watched", PARTITIONS), ("decisions.events", 1)];
        let topics = topics.iter().chain(&decisions).map(|(name, count)| (format!("{prefix}{name}"), *count));
        let (tail, writer) = (broker.tail(&topics.collect::<BTreeMap<_, _>>()).unwrap(), broker.writer().unwrap());
        Self { home, prefix, shop, owner, broker, writer, tail, met: Vec::new(), running: vec![worker, serve] }
    }

    /// Writes to a foreign topic; the record's source position.
    fn put(&self, source: &str, partition: u32, value: impl Into<Vec<u8>>, headers: &[(&str, &str)]) -> String {
        let headers = headers.iter().map(|(name, text)| ((*name).to_owned(), (*text).as_bytes().to_vec())).collect();
        let write = Write { key: None, value: Some(value.into()), headers };
        let offset = self.writer.write(&format!("{}{source}", self.shop), partition, &write).unwrap();
        format!("{source}/{partition}@{offset}")
    }

    fn read(&mut self) {
        while let Some(met) = self.tail.next(Duration::from_millis(20)).unwrap() {
            self.met.push(met);
        }
    }

    fn of(&self, topic: &str) -> impl Iterator<Item = &Met> {
        let topic = format!("{}{topic}", self.prefix);
        self.met.iter().filter(move |met| met.topic == topic && met.header("tg-kind").is_none())
    }

    /// The record of `topic` that has this in a header or as its key, as soon as it is there.
    fn find(&mut self, topic: &str, of: &str) -> Met {
        let is = |met: &&Met| met.header("tg-source") == Some(of) || met.key.as_deref() == Some(of.as_bytes());
        until(PATIENCE, &format!("{of} in `{topic}`"), || {
            self.read();
            Ok(self.of(topic).find(is).cloned())
        })
        .unwrap_or_else(|error| {
            let words: Vec<String> = self.running.iter().map(Process::last_words).collect();
            panic!("{error}\n{}", words.join("\n"))
        })
    }

    /// The facts of a source that stand so far, by name.
    fn facts(&mut self, source: &str) -> Vec<(String, Value)> {
        self.read();
        let topic = format!("{}decisions.{source}", self.prefix);
        let groups = self.met.iter().filter(|met| met.topic == topic && met.header("tg-kind") == Some("group"));
        let groups = groups.map(|met| serde_json::from_slice::<Value>(met.value.as_deref().unwrap()).unwrap());
        let facts = groups.flat_map(|group| group["facts"].as_array().cloned().unwrap_or_default());
        let named = facts.flat_map(|said| said["fact"].as_object().cloned().unwrap_or_default());
        named.collect()
    }

    fn look(&self) -> Vec<Look> {
        TOPICS.map(|(name, partitions)| self.owner.look(&format!("{}{name}", self.shop), partitions)).into()
    }
}

fn order(kind: &str, number: u32) -> String {
    format!(r#"{{"kind":"{kind}","order":{{"number":{number},"amount":20.50}},"trace":"t"}}"#)
}

fn text(met: &Met) -> &str {
    std::str::from_utf8(met.value.as_deref().unwrap()).unwrap()
}

#[test]
fn foreign_topics_are_judged_run_and_observed_and_stay_as_they_are() {
    let mut ground = Ground::begin();
    let before = ground.look();
    let orders = format!("{}orders", ground.shop);

    // Mapped: by itself, and of a transactional producer what it committed.
    for number in 0..PARTITIONS {
        ground.put("orders", number, order("pay", number), &[("region", "eu")]);
    }
    let transaction = |from: u32| -> Vec<String> { (from..from + PARTITIONS).map(|n| order("pay", n)).collect() };
    ground.owner.transaction(&orders, &transaction(660), false);
    ground.owner.lies_in_the_log(&orders, 3, r#""number":66"#, 3);
    ground.owner.transaction(&orders, &transaction(10), true);
    let run: Vec<String> = [0, 1, 2, 10, 11, 12].map(|number| format!("order-{number}")).into();
    for id in &run {
        let end: Value = serde_json::from_str(text(&ground.find("finished", id))).unwrap();
        assert_eq!((&end["outcome"], &end["tenant"]), (&json!("succeeded"), &json!("acme")), "{end}");
        assert_eq!(end["output"]["amount"], json!(20.5), "{end}");
    }
    let approved = ground.find("approved.work", "acme/order-0");
    assert!(text(&approved).contains(r#""payload":{"number":0,"amount":20.50}"#), "byte for byte: {}", text(&approved));
    assert!(text(&approved).contains(r#""region":"eu""#), "{}", text(&approved));
    ground.put("orders", 1, order("refund", 20), &[]);
    assert!(text(&ground.find("denied", "order-20")).contains("people refund"));

    // What cannot be mapped is dead, its bytes as they were.
    for (partition, value, says) in [
        (0, r#"{"kind":"pay",  "trace":"no order"}"#, "`/order` is missing"),
        (1, r#"{"kind":"pay","order":{"number":30},"new":1}"#, "neither used nor dropped"),
        (2, "<order number='31'/>", "not JSON"),
    ] {
        let at = ground.put("orders", partition, value, &[("region", "us")]);
        let dead = ground.find("dead", &at);
        assert_eq!(dead.value.as_deref(), Some(value.as_bytes()), "{at}");
        assert!(dead.header("__connect.errors.exception.message").unwrap().contains(says), "{dead:?}");
        assert_eq!(dead.header("__connect.errors.topic"), Some(orders.as_str()));
        assert_eq!(dead.number("__connect.errors.partition"), Some(partition.into()));
        assert_eq!(dead.header("region"), Some("us"));
    }

    // CloudEvents in binary mode; what is none is dead.
    let event = [
        ("ce_specversion", "1.0"),
        ("ce_id", "7"),
        ("ce_source", "shop"),
        ("ce_type", "com.shop.paid"),
        ("ce_tenant", "acme"),
        ("ce_capability", "pay"),
    ];
    ground.put("events", 0, r#"{"paid":7}"#, &event);
    let end: Value = serde_json::from_str(text(&ground.find("finished", "shop#7"))).unwrap();
    assert_eq!((&end["outcome"], &end["output"]), (&json!("succeeded"), &json!({"paid": 7})), "{end}");
    assert_eq!(ground.find("approved.work", "acme/shop#7").header("ce_id"), Some("7"));
    let at = ground.put("events", 0, r#"{"paid":8}"#, &[]);
    assert_eq!(ground.find("dead", &at).value.as_deref(), Some(r#"{"paid":8}"#.as_bytes()));

    // Observed: decided and audited.
    ground.put("watched", 0, order("pay", 100), &[]);
    ground.put("watched", 1, order("refund", 101), &[]);
    ground.put("watched", 2, "{}", &[]);
    until(PATIENCE, "what is observed is decided", || {
        let facts = ground.facts("watched");
        let observed = |fact: &Value, id: &str, verdict: &str| {
            fact["job"]["id"] == id && fact["decision"]["verdict"] == verdict && fact["observed"] == true
        };
        let decided = |id, verdict| facts.iter().any(|(name, f)| name == "job_decided" && observed(f, id, verdict));
        let rejected = facts.iter().any(|(name, _)| name == "record_rejected");
        Ok((decided("order-100", "allow") && decided("order-101", "deny") && rejected).then_some(()))
    })
    .unwrap();

    // A last one behind all of it, through every stage; then everything stops in order.
    ground.put("orders", 2, order("pay", 40), &[]);
    ground.find("finished", "order-40");
    for process in &mut ground.running {
        assert!(process.terminate(PATIENCE).unwrap().success(), "{}", process.last_words());
    }
    let (tail, met) = (&mut ground.tail, &mut ground.met);
    tail.to_the_ends(&mut |record| met.push(record)).unwrap();

    let ids = |topic: &str| -> Vec<String> {
        let value = |met: &Met| serde_json::from_str::<Value>(text(met)).unwrap();
        let id = |value: Value| value["job_id"].as_str().or(value["job"]["id"].as_str()).unwrap().to_owned();
        let mut ids: Vec<String> = ground.of(topic).map(|met| id(value(met))).collect();
        ids.sort();
        ids
    };
    let mut allowed = run;
    allowed.extend(["order-40", "shop#7"].map(str::to_owned));
    allowed.sort();
    assert_eq!(ids("approved.work"), allowed, "nothing aborted, nothing that is only observed");
    assert_eq!(ids("denied"), ["order-20"]);
    let mut ended = allowed;
    ended.push("order-20".to_owned());
    ended.sort();
    assert_eq!(ids("finished"), ended);
    assert_eq!(ground.of("dead").count(), 4);
    let judged: BTreeSet<String> =
        ground.facts("orders").into_iter().filter_map(|(_, f)| f["job"]["id"].as_str().map(str::to_owned)).collect();
    assert!(judged.contains("order-10") && !judged.iter().any(|id| id.starts_with("order-66")), "{judged:?}");

    let audit = ground.home.run(&["audit", "verify", "--output", "json"]).unwrap();
    assert_eq!(audit.code, Some(0), "{audit:?}");
    let exported = ground.home.run(&["audit", "export", "--source", "watched"]).unwrap();
    assert!(exported.out.contains("order-100") && exported.out.contains("order-101"), "{exported:?}");

    // Nobody but its owner touched a foreign topic.
    for ((topic, now), before) in TOPICS.iter().zip(ground.look()).zip(before) {
        assert_eq!(now.settings, before.settings, "{topic:?}");
        assert_eq!(now.settings["retention.ms"].as_deref(), Some("987654321"));
        // `orders`: 11 records by themselves and two transactions of 3 records and 3 marks; none of ours.
        let records = BTreeMap::from([("orders", 20), ("watched", 3), ("events", 2)])[topic.0];
        assert!(now.whole && now.records == records, "{topic:?}: {now:?}");
    }
    let plan = ground.home.run(&["topics", "plan"]).unwrap();
    assert_eq!(plan.code, Some(0), "{plan:?}");
    let ours = ground.broker.topics(&ground.shop).unwrap();
    assert_eq!(ours.len(), TOPICS.len(), "{ours:?}");
}
