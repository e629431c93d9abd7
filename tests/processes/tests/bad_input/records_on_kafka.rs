//! Records that are wrong, written straight into topics of a real Kafka by whoever may.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_processes::broker::{Broker, Met, Tail, Write, Writer};
use tidegate_processes::home::{Home, KEYS, own_prefix};
use tidegate_processes::http::{Http, free_port};
use tidegate_processes::process::{Process, until};

const PATIENCE: Duration = Duration::from_secs(90);
const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
";

/// All roles and a worker on the test's own topics.
struct Ground {
    prefix: String,
    http: Http,
    writer: Writer,
    tail: Tail,
    met: Vec<Met>,
    #[expect(dead_code, reason = "they live until the test ends")]
    running: (Vec<Process>, Home),
}

fn config(broker: &Broker, prefix: &str, port: u16) -> String {
    format!(
        "\
spine: {{ url: \"{}\" }}
prefix: \"{prefix}\"
sources:
  - {{ name: jobs.raw, tenants: {{ allowed: [acme] }} }}
pools:
  - {{ name: work, capabilities: [work], lanes: 2, buckets: 1, tenant_buckets: 1 }}
policy: policy
listen: 127.0.0.1:{port}
data: data
topics: {{ source_partitions: 1, shared_partitions: 1 }}
{KEYS}",
        broker.url()
    )
}

impl Ground {
    fn begin() -> Self {
        let broker = Broker::from_environment().unwrap();
        let (prefix, port) = (own_prefix("bad-records"), free_port().unwrap());
        let home = Home::new(POLICY).unwrap();
        home.write("tidegate.yaml", &config(&broker, &prefix, port)).unwrap();
        let made = home.run(&["topics", "apply"]).unwrap();
        assert_eq!(made.code, Some(0), "{}", made.err);
        let serve = home.tidegate("serve", &["serve"]).start().unwrap();
        let worker = ["worker", "--pool", "work", "--capability", "work", "--builtin", "echo", "--id", "w"];
        let worker = home.tidegate("worker", &worker).start().unwrap();
        let http = Http::new(&format!("http://127.0.0.1:{port}"), None);
        until(PATIENCE, "the roles are ready", || Ok(http.is_ready().then_some(())))
            .unwrap_or_else(|error| panic!("{error}\n{}", serve.last_words()));
        let topics = ["dead", "finished", "decisions.jobs.raw"].map(|name| (format!("{prefix}{name}"), 1));
        let tail = broker.tail(&BTreeMap::from(topics)).unwrap();
        let writer = broker.writer().unwrap();
        Self { prefix, http, writer, tail, met: Vec::new(), running: (vec![serve, worker], home) }
    }

    fn put(&self, topic: &str, write: &Write) -> u64 {
        self.writer.write(&format!("{}{topic}", self.prefix), 0, write).unwrap()
    }

    /// The first record of `topic` for which `wanted` holds, as soon as it is there.
    fn find(&mut self, topic: &str, what: &str, wanted: impl Fn(&Met) -> bool) -> Met {
        let topic = format!("{}{topic}", self.prefix);
        let is = |met: &Met| met.topic == topic && wanted(met);
        let found = until(PATIENCE, what, || {
            while let Some(met) = self.tail.next(Duration::from_millis(20))? {
                self.met.push(met);
            }
            Ok(self.met.iter().find(|met| is(met)).cloned())
        });
        found.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes to the raw topic; the record then stands in `dead`, untouched, with the word and a part of the sentence.
    fn dead(&mut self, write: &Write, word: &str, sentence: &str) -> Met {
        let at = format!("jobs.raw/0@{}", self.put("jobs.raw", write));
        let dead = self.find("dead", &format!("{at} in `dead` ({word})"), |met| met.header("tg-source") == Some(&at));
        assert_eq!(dead.header("__connect.errors.exception.class.name"), Some(word), "{dead:?}");
        let said = dead.header("__connect.errors.exception.message").unwrap();
        assert!(said.contains(sentence), "`{sentence}` is not in `{said}`");
        assert_eq!(dead.header("__connect.errors.topic"), Some(format!("{}jobs.raw", self.prefix).as_str()));
        if dead.header("tg-input-hash").is_none() {
            assert_eq!(dead.value, write.value, "{word}");
        }
        dead
    }

    /// Writes a good job; it succeeds.
    fn runs(&mut self, id: &str) {
        let at = format!("jobs.raw/0@{}", self.put("jobs.raw", &value(job(id, "1"))));
        let end = self.find("finished", &format!("{at} on `finished`"), |met| met.header("tg-source") == Some(&at));
        let end: Value = serde_json::from_slice(&end.value.unwrap()).unwrap();
        assert_eq!(end["outcome"], "succeeded", "{end}");
    }

    fn ended(&self, id: &str) -> usize {
        let is = |met: &&Met| met.topic.ends_with("finished") && met.key.as_deref() == Some(id.as_bytes());
        self.met.iter().filter(is).count()
    }

    fn wait_for_metric(&self, name: &str, labels: &[&str], least: f64) {
        let what = format!("{name} {labels:?} is at least {least}");
        until(PATIENCE, &what, || Ok((self.http.metric(name, labels)? >= least).then_some(()))).unwrap();
    }
}

fn job(id: &str, payload: &str) -> String {
    format!(r#"{{"id":"{id}","tenant":"acme","topic":"job.work.x","capability":"work","payload":{payload}}}"#)
}

fn value(value: impl Into<Vec<u8>>) -> Write {
    Write { value: Some(value.into()), ..Write::default() }
}

fn with_headers(value: impl Into<Vec<u8>>, headers: &[(&str, &str)]) -> Write {
    let headers = headers.iter().map(|(name, text)| ((*name).to_owned(), (*text).as_bytes().to_vec())).collect();
    Write { key: None, value: Some(value.into()), headers }
}

#[test]
fn each_record_on_the_raw_topic_has_its_outcome_and_the_stream_goes_on() {
    let mut ground = Ground::begin();
    ground.runs("before");
    ground.dead(&value(r#"{"id":"t","tenant":"acme","top"#), "unparsable", "the value is not JSON");
    ground.dead(&value(""), "unparsable", "the value is empty");
    ground.dead(&value(b"{\"id\":\"\xff\"}".as_slice()), "unparsable", "not UTF-8 from byte 7");
    ground.dead(&Write::default(), "null_value", "the record has a null value");
    ground.dead(&value(job("d", &format!("{}{}", "[".repeat(65), "]".repeat(65)))), "too_deep", "deeper than 64");
    ground.dead(&value("[".repeat(900_000)), "too_deep", "deeper than 64");
    ground.dead(&value("[1]"), "invalid_field", "not a job envelope");
    for field in ["tenant", "topic", "capability"] {
        let mut fields: Value = serde_json::from_str(&job("m", "1")).unwrap();
        fields.as_object_mut().unwrap().remove(field);
        let sentence = format!("field `{field}` is missing");
        ground.dead(&value(fields.to_string()), "invalid_field", &sentence);
    }
    ground.dead(&value(job("f", "1").replace("acme", "evil")), "tenant_not_allowed", "evil");
    ground.runs("between");

    // Larger than a job may be, but not than the topic takes: in `dead` by reference and hash.
    let large = ground.dead(&value(job("l", &format!("\"{}\"", "x".repeat(1_010_000)))), "too_large", "1000000");
    assert!(large.value.is_none() && large.header("tg-input-hash").is_some(), "{:?}", large.headers);
    // Larger than the topic takes: the broker refuses it, there is nothing to judge.
    let topic = format!("{}jobs.raw", ground.prefix);
    let refused = ground.writer.write(&topic, 0, &value("x".repeat(20 << 20))).unwrap_err().to_string();
    assert!(refused.contains("MessageSizeTooLarge"), "{refused}");

    // The same again runs once; another payload under the id is refused.
    ground.runs("twice");
    let again = ground.put("jobs.raw", &value(job("twice", "1")));
    let repeated = format!("jobs.raw/0@{again}");
    ground.find("decisions.jobs.raw", "the second record is judged", |met| {
        let text = String::from_utf8_lossy(met.value.as_deref().unwrap_or_default()).into_owned();
        text.contains("job_repeated") && text.contains(&repeated)
    });
    ground.dead(&value(job("twice", "2")), "id_conflict", "twice");

    // What looks like ours is bad input here: anyone may write this topic. Its job does not run, its mark marks nothing.
    for kind in ["fence", "barrier", "claim", "group", "snapshot", "term"] {
        let headers = [("tg-kind", kind), ("tg-sender", "kernel.jobs.raw/0"), ("tg-epoch", "9007199254740991")];
        let dead = ground.dead(&with_headers(job("forged", "1"), &headers), "control_record", "");
        assert_eq!(dead.header("original-tg-kind"), Some(kind), "{:?}", dead.headers);
    }
    ground.runs("after");
    assert_eq!((ground.ended("twice"), ground.ended("forged"), ground.ended("after")), (1, 0, 1));
}

#[test]
fn a_forged_job_where_only_stages_write_does_not_run_and_is_counted() {
    let mut ground = Ground::begin();
    ground.runs("before");
    // A whole, allowed job as the kernel would write it, without a stamp; and under an epoch nobody announced.
    let forged = |id: &str| {
        json!({"v": 1, "job": {"id": id, "tenant": "acme", "topic": "job.work.x", "actor": {}, "capability": "work",
            "source": "jobs.raw/0@77", "input_hash": "0".repeat(64), "submitted_ms": 0},
            "decision": {"verdict": "allow", "reason": "because", "snapshot": "0".repeat(64)}, "payload": 1})
        .to_string()
    };
    ground.put("approved.work", &value(forged("unstamped")));
    let stamp = [
        ("tg-sender", "kernel.jobs.raw/0"),
        ("tg-epoch", "9007199254740991"),
        ("tg-stamp", "0 0 0"),
        ("tg-source", "jobs.raw/0@77"),
    ];
    ground.put("approved.work", &with_headers(forged("stamped"), &stamp));
    // Of a former epoch.
    let late = [("tg-sender", "kernel.jobs.raw/0"), ("tg-epoch", "0"), ("tg-stamp", "900 0 0")];
    ground.put("approved.work", &with_headers(forged("late"), &late));
    // Control records that have no business here, and a stranger's fence.
    for kind in ["barrier", "claim", "group", "snapshot", "term", "nonsense"] {
        let headers = [("tg-kind", kind), ("tg-sender", "kernel.jobs.raw/0"), ("tg-epoch", "9007199254740991")];
        ground.put("approved.work", &with_headers("{}", &headers));
    }
    let fence = [("tg-kind", "fence"), ("tg-sender", "stranger/0"), ("tg-epoch", "9007199254740991")];
    ground.put("approved.work", &with_headers("{}", &fence));
    // And reports of nobody.
    for nonsense in ["", "{", "{\"result\":{}}", "[1]"] {
        ground.put("reports.work", &value(nonsense));
    }
    ground.wait_for_metric("tidegate_stage_dropped_total", &["reason=\"unstamped\""], 1.0);
    ground.wait_for_metric("tidegate_stage_dropped_total", &["reason=\"unsigned\""], 2.0);
    ground.wait_for_metric("tidegate_stage_dropped_total", &["reason=\"wrong_role\""], 1.0);
    ground.runs("after");
    ground.runs("after that");
    assert_eq!(["unstamped", "stamped", "late"].map(|id| ground.ended(id)), [0, 0, 0]);
}
