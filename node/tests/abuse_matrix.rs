//! Who can write to every topic but has no key that counts for it gets nothing run, deposes nobody and loses nobody's job:
//! each forgery is refused, counted and in `dead` with its reason, and the real roles go on as if it were not there.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_keys::SecretKey;
use tidegate_node::config::TrustedWritten;
use tidegate_node::gateway::view::{Filter, State};
use tidegate_node::{Dev, DevNode, Written, dev};
use tidegate_protocol::address::{TopicName, TopicPartition};
use tidegate_protocol::control::{Kind, Stamp};
use tidegate_protocol::headers;
use tidegate_protocol::ids::{KeyId, SenderId};
use tidegate_protocol::proof::{Emission, Ticket};
use tidegate_protocol::signature::{Sign, signed};
use tidegate_protocol::statements;
use tidegate_spine::{Headers, NewRecord, ProducerOptions, Record, Spine, Start};

/// Generous: machines that run tests are busy. Nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

fn secret(id: &str, seed: u8) -> SecretKey {
    SecretKey::from_seed(KeyId::new(id).unwrap(), &[seed; 32])
}

/// A key that was right until a second after 1970, and one that is right for something else.
fn also_trusted() -> Vec<TrustedWritten> {
    let entry = |key: &SecretKey, role: &str, until_ms| TrustedWritten {
        id: key.key().to_string(),
        public: key.public().to_string(),
        roles: vec![role.to_owned()],
        tenants: None,
        until_ms,
        person: None,
    };
    vec![
        entry(&secret("retired", 11), "stage", Some(1_000)),
        entry(&secret("boss", 12), "approver", None),
        entry(&secret("scheduler-only", 13), "stage:scheduler", None),
    ]
}

async fn start(folder: &std::path::Path) -> DevNode {
    let mut how = Dev::new(folder);
    how.listen = Some("127.0.0.1:0".parse().unwrap());
    how.workers = vec!["greet=builtin:echo".parse().unwrap()];
    let mut config = Written::default();
    config.pools[0].capabilities = vec!["greet".into()];
    config.keys.trusted = also_trusted();
    config.topics.source_partitions = 1;
    let policy = folder.join("rules");
    std::fs::create_dir_all(&policy).unwrap();
    let rules = "id: p\nrevision: 1\nrules:\n  - { id: ok, match: { topics: [job.ok.>] }, decision: allow }\n";
    std::fs::write(policy.join("p.yaml"), rules).unwrap();
    (how.config, how.policy) = (Some(config), Some(policy));
    let node = dev(how).await.unwrap();
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap_or_else(|_| panic!("not ready: {:?}", node.readiness()));
    node
}

async fn append(node: &DevNode, to: &TopicPartition, record: NewRecord) {
    let mut producer = node.spine().producer(ProducerOptions::default()).await.unwrap();
    producer.append(to, vec![record]).await.unwrap();
}

/// Everything in a partition.
async fn all(spine: &Arc<dyn Spine>, of: &TopicPartition) -> Vec<Record> {
    let end = spine.ends(std::slice::from_ref(of)).await.unwrap()[0].end;
    let mut reader = spine.reader("abuse").await.unwrap();
    let handle = reader.open(of, Start::Earliest);
    let (mut records, mut position) = (Vec::new(), 0);
    while position < end {
        position = poll_fn(|cx| reader.poll_read(handle, 100, cx, &mut records)).await.unwrap().position;
    }
    records
}

fn topic(name: &str) -> TopicName {
    TopicName::new(format!("tidegate.{name}")).unwrap()
}

/// Submits a job and waits for its success.
async fn run_one(node: &DevNode, id: &str, partition: u32) {
    let job = json!({"id": id, "tenant": "acme", "topic": "job.ok.x", "capability": "greet", "payload": {"amount": 1}});
    let record = NewRecord { key: None, value: Some(job.to_string().into()), headers: Headers::new() };
    append(node, &topic("jobs.raw").partition(partition), record).await;
    let is_done = || {
        let jobs = node.view().unwrap().list(&Filter { state: Some(State::Succeeded), tenant: None }, 100).jobs;
        jobs.iter().any(|job| job.id.as_ref().is_some_and(|known| known.as_str() == id))
    };
    let done = async {
        while !is_done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, done).await.unwrap_or_else(|_| panic!("`{id}` did not succeed"));
}

/// How often each reason is in `dead`.
async fn reasons(spine: &Arc<dyn Spine>) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for partition in 0..4 {
        for record in all(spine, &topic("dead").partition(partition)).await {
            let reason = record.headers.text(headers::DEAD_CLASS).unwrap_or_default().to_owned();
            *reasons.entry(reason).or_default() += 1;
        }
    }
    reasons
}

/// The genuine record of a job on `approved`, with where it stands.
struct Genuine {
    at: TopicPartition,
    record: NewRecord,
    text: Vec<u8>,
    ticket: Ticket,
    /// Of the fence in force there.
    epoch: u64,
}

impl Genuine {
    async fn find(spine: &Arc<dyn Spine>) -> Self {
        for partition in 0..4 {
            let at = topic("approved.default").partition(partition);
            let records = all(spine, &at).await;
            let Some(record) = records.iter().find(|record| record.headers.text(headers::STAMP).is_some()) else {
                continue;
            };
            let value = record.value.clone().unwrap();
            let (ticket, _) = Ticket::read(&value).unwrap();
            let cut = value.windows(10).rposition(|window| window == br#","ticket":"#).unwrap();
            let text = [&value[..cut], b"}"].concat();
            let record = NewRecord { key: record.key.clone(), value: Some(value), headers: record.headers.clone() };
            return Self { at, record, text, epoch: ticket.epoch, ticket };
        }
        panic!("no job on `approved`");
    }

    fn with(&self, value: impl Into<Vec<u8>>) -> NewRecord {
        NewRecord { value: Some(value.into().into()), ..self.record.clone() }
    }

    fn edited(&self, from: &str, into: &str) -> NewRecord {
        let text = String::from_utf8(self.record.value.clone().unwrap().to_vec()).unwrap();
        let edited = text.replacen(from, into, 1);
        assert_ne!(edited, text, "`{from}` is not in it");
        self.with(edited)
    }

    fn stamped(&self, record: NewRecord, stamp: Stamp) -> NewRecord {
        let theirs = [headers::STAMP, headers::EPOCH];
        let kept = record.headers.iter().filter(|(name, _)| !theirs.contains(name));
        let mut list: Headers = kept.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        list.push(headers::EPOCH, stamp.epoch.to_string());
        list.push(headers::STAMP, format!("{} {} {}", stamp.sequence, stamp.group, stamp.index));
        NewRecord { headers: list, ..record }
    }

    /// The same job, sent by whoever has `key`.
    fn signed_by(&self, key: &dyn Sign, stamp: Stamp) -> NewRecord {
        let mut emission = Emission::default();
        emission.push(&self.at, stamp.sequence, stamp.index, &Ticket::content(&self.text));
        let sender = self.ticket.sender.clone();
        let proof = emission.seal(key, sender.as_str(), stamp.epoch, stamp.group).unwrap().proof(0);
        let whole = Ticket::new(proof, sender, self.at.clone(), stamp).splice(&self.text).unwrap();
        self.stamped(self.with(whole), stamp)
    }
}

fn mark(kind: Kind, sender: &SenderId, epoch: u64, at: &TopicPartition, key: Option<&SecretKey>) -> NewRecord {
    let text = json!({"v": 1, "sender": sender, "epoch": epoch}).to_string().into_bytes();
    let value = match key {
        Some(key) => signed(key, &statements::mark(kind, at), text),
        None => text,
    };
    let headers = [(headers::KIND, kind.word()), (headers::SENDER, sender.as_str())];
    let mut headers: Headers = headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    headers.push(headers::EPOCH, epoch.to_string());
    NewRecord { key: None, value: Some(value.into()), headers }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_forgery_on_approved_is_dead_with_its_reason_and_costs_no_job() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let spine = Arc::clone(node.spine());
    run_one(&node, "first", 0).await;
    let genuine = Genuine::find(&spine).await;
    let stage = tidegate_keys::read(KeyId::new("dev").unwrap(), &folder.path().join("stage.key")).unwrap();
    let said = genuine.ticket.stamp();
    let next = Stamp { sequence: said.sequence + 1, group: said.group + 1_000, ..said };
    let elsewhere = topic("approved.default").partition((genuine.at.partition + 1) % 4);
    let sender = &genuine.ticket.sender;
    let high = genuine.epoch + (1 << 30);
    let hex = |byte: u8| hex_of(&[byte; 32]);
    let here = genuine.at.clone();
    let forgeries: Vec<(&str, TopicPartition, NewRecord)> = vec![
        // Unsigned, with and without a stamp; a stamp of the next place in the order.
        ("unsigned", here.clone(), NewRecord { headers: Headers::new(), ..genuine.record.clone() }),
        ("unsigned", here.clone(), genuine.stamped(genuine.with(genuine.text.clone()), next)),
        // Forged: under the stage's name by another key.
        ("forged", here.clone(), genuine.signed_by(&secret("dev", 99), next)),
        // Foreign: of nobody known, of a retired key, of a key for something else, of another stage's.
        ("foreign", here.clone(), genuine.signed_by(&secret("nobody", 10), next)),
        ("foreign", here.clone(), genuine.signed_by(&secret("retired", 11), next)),
        ("foreign", here.clone(), genuine.signed_by(&secret("boss", 12), next)),
        ("foreign", here.clone(), genuine.signed_by(&secret("scheduler-only", 13), next)),
        // Altered: job, decision, payload, path, root.
        ("altered", here.clone(), genuine.edited(r#""amount":1"#, r#""amount":9"#)),
        ("altered", here.clone(), genuine.edited(r#""tenant":"acme""#, r#""tenant":"evil""#)),
        ("altered", here.clone(), genuine.edited(r#""rule_ids":["ok"]"#, r#""rule_ids":["no"]"#)),
        ("altered", here.clone(), genuine.edited(r#""path":""#, &format!(r#""path":"{}"#, hex(3)))),
        ("altered", here.clone(), genuine.edited(r#""leaves":"#, r#""leaves":9"#)),
        // Replayed: there, elsewhere, and as if it were the next.
        ("replayed", here.clone(), genuine.record.clone()),
        ("replayed", elsewhere, genuine.record.clone()),
        ("replayed", here.clone(), genuine.stamped(genuine.record.clone(), next)),
        // Of a former owner: genuine, but of an epoch that the fence is above.
        ("former_owner", here.clone(), genuine.signed_by(&stage, Stamp { epoch: genuine.epoch - 1, ..next })),
        // Fences.
        ("unsigned", here.clone(), mark(Kind::Fence, sender, high, &here, None)),
        ("foreign", here.clone(), mark(Kind::Fence, sender, high, &here, Some(&secret("nobody", 10)))),
        ("forged", here.clone(), mark(Kind::Fence, sender, high, &here, Some(&secret("dev", 99)))),
    ];
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    for (number, (reason, to, record)) in forgeries.into_iter().enumerate() {
        *expected.entry(reason.to_owned()).or_default() += 1;
        append(&node, &to, record).await;
        let told = async {
            while reasons(&spine).await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, told).await.is_err() {
            panic!("forgery {number} ({reason}): expected {expected:?}, `dead` has {:?}", reasons(&spine).await);
        }
    }
    // Nothing of it took a place in the order: what is genuine is still believed, in every bucket.
    for n in 0..8 {
        run_one(&node, &format!("then-{n}"), 0).await;
    }
    let finished = node.view().unwrap().list(&Filter::default(), 100).jobs;
    assert_eq!(finished.len(), 9, "nothing else ran");
    let mut ends = 0;
    for partition in 0..4 {
        let records = all(&spine, &topic("finished").partition(partition)).await;
        ends += records.iter().filter(|record| record.headers.text(headers::KIND).is_none()).count();
    }
    assert_eq!(ends, 9);
    tokio::time::timeout(PATIENCE, node.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_claims_barriers_groups_and_orders_depose_nobody_and_run_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path()).await;
    let spine = Arc::clone(node.spine());
    run_one(&node, "first", 0).await;
    let logs = [("decisions.jobs.raw", "kernel.jobs.raw/0"), ("leases.default", "scheduler.default/0")];
    for (log, sender) in logs {
        let (at, sender) = (topic(log).partition(0), SenderId::new(sender).unwrap());
        let before = all(&spine, &at).await;
        for key in [None, Some(secret("nobody", 10)), Some(secret("dev", 99)), Some(secret("boss", 12))] {
            append(&node, &at, mark(Kind::Barrier, &sender, 1 << 50, &at, key.as_ref())).await;
        }
        // Every genuine record of it once more; a copied claim counts as the one it is a copy of.
        for record in before {
            let copy = NewRecord { key: record.key, value: record.value, headers: record.headers };
            append(&node, &at, copy).await;
        }
    }
    let mut node_metrics = String::new();
    // Orders to the worker: what it was told already, and the same told anew.
    for partition in 0..16 {
        let lane = topic("work.default").partition(partition);
        for record in all(&spine, &lane).await {
            let text = String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
            let anew = text.replace(r#""number":1,"#, r#""number":2,"#);
            for value in [text, anew] {
                let (key, headers) = (record.key.clone(), record.headers.clone());
                append(&node, &lane, NewRecord { key, value: Some(value.into()), headers }).await;
            }
        }
    }
    // The owners read their logs back when idle; jobs after that still run, under the same owners.
    let noticed = async {
        while !logs.iter().all(|(_, sender)| has_refused_barriers(&node_metrics, sender)) {
            node_metrics = metrics(&node).await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.unwrap();
    for n in 0..4 {
        run_one(&node, &format!("then-{n}"), 0).await;
    }
    for (log, _) in logs {
        let epochs: std::collections::BTreeSet<u64> = all(&spine, &topic(log).partition(0))
            .await
            .iter()
            .filter(|record| record.headers.text(headers::KIND) == Some("group"))
            .filter_map(|record| serde_json::from_slice::<Value>(record.value.as_ref()?).ok()?["epoch"].as_u64())
            .collect();
        assert_eq!(epochs.len(), 1, "{log} changed its owner");
    }
    node.stop().await;
    drop(spine);

    // A restart replays over all of it.
    let node = start(folder.path()).await;
    run_one(&node, "after", 0).await;
    assert_eq!(node.view().unwrap().list(&Filter { state: Some(State::Succeeded), tenant: None }, 100).jobs.len(), 6);
    node.stop().await;
}

async fn metrics(node: &DevNode) -> String {
    let url = format!("http://{}/metrics", node.address());
    tokio::task::spawn_blocking(move || ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap())
        .await
        .unwrap()
}

fn has_refused_barriers(metrics: &str, sender: &str) -> bool {
    let refused = |line: &&str| line.starts_with("tidegate_stage_control_refused_total") && line.contains(sender);
    metrics.lines().filter(refused).filter(|line| line.contains("barrier")).count() >= 3
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
