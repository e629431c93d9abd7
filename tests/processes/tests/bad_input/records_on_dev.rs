//! Jobs that are wrong, over HTTP to `tidegate dev`.

use serde_json::{Value, json};
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;

const CONFIG: &str = "\
sources:
  - { name: jobs.raw, tenants: { allowed: [acme] } }
pools:
  - { name: default, capabilities: [echo] }
policy: policy
";
const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: demo, match: { topics: [job.demo.>] }, decision: allow, reason: it may run }
";

fn job(id: &str, payload: &str) -> Vec<u8> {
    format!(r#"{{"id":"{id}","tenant":"acme","topic":"job.demo.x","capability":"echo","payload":{payload}}}"#)
        .into_bytes()
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// Not taken: the status, the word, and a part of the sentence.
fn refused(dev: &Dev, body: &[u8], status: u16, word: &str, detail: &str) {
    let (answered, body) = dev.submit(body).unwrap();
    assert_eq!((answered, body["error"].as_str()), (status, Some(word)), "{body}");
    assert!(body["detail"].as_str().unwrap().contains(detail), "`{detail}` is not in {body}");
    assert!(!body["hint"].as_str().unwrap().is_empty(), "{body}");
}

/// Taken, and ends in `dead`: the word, and a part of the sentence.
fn dead(dev: &Dev, body: &[u8], word: &str, detail: &str) -> Value {
    let (status, taken) = dev.submit(body).unwrap();
    assert_eq!(status, 202, "{taken}");
    let story = dev.story(taken["source"].as_str().unwrap()).unwrap();
    assert_eq!((&story["state"], &story["dead"]["reason"]), (&json!("dead"), &json!(word)), "{story}");
    let said = story["dead"]["detail"].as_str().unwrap();
    assert!(said.contains(detail), "`{detail}` is not in `{said}`");
    assert!(story["attempts"].as_array().is_none_or(Vec::is_empty), "it ran: {story}");
    story
}

fn runs(dev: &Dev, body: &[u8]) -> Value {
    let (status, taken) = dev.submit(body).unwrap();
    assert_eq!(status, 202, "{taken}");
    let story = dev.story(taken["source"].as_str().unwrap()).unwrap();
    assert_eq!(story["state"], "succeeded", "{story}");
    story
}

#[test]
fn each_has_its_outcome_and_the_next_good_job_runs() {
    let home = Home::new(POLICY).unwrap();
    home.write("tidegate.yaml", CONFIG).unwrap();
    let dev = Dev::ready(&home, "dev", &["--worker", "echo=builtin:echo"]).unwrap();

    // What cannot be a job is not taken at all.
    refused(&dev, br#"{"id":"t","tenant":"acme","top"#, 400, "not_a_job", "EOF while parsing");
    refused(&dev, b"[1,2]", 400, "not_a_job", "does not begin with `{`");
    refused(&dev, b"{\"id\":\"\xff\",\"tenant\":\"acme\"}", 400, "not_a_job", "invalid");
    refused(&dev, b"", 400, "empty", "no job");
    refused(&dev, &job("a\\nb", "1"), 400, "bad_name", "control characters");
    let large = job("large", &format!("\"{}\"", "x".repeat(20 << 20)));
    refused(&dev, &large, 413, "too_large", "bytes, more than");

    // What only the kernel can say is a record in `dead`, with word, sentence and bytes.
    dead(&dev, b"{\"id\":\"u\",\"tenant\":\"acme\",\"payload\":\"\xff\"}", "unparsable", "not UTF-8 from byte");
    dead(&dev, &job("deep", &nested(65)), "too_deep", "nested deeper than 64");
    dead(&dev, &job("bomb", &nested(400_000)), "too_deep", "nested deeper than 64");
    for field in ["tenant", "topic", "capability"] {
        let mut fields: Value = serde_json::from_slice(&job(&format!("no-{field}"), "1")).unwrap();
        fields.as_object_mut().unwrap().remove(field);
        dead(&dev, fields.to_string().as_bytes(), "invalid_field", &format!("field `{field}` is missing"));
    }
    let foreign = String::from_utf8(job("foreign", "1")).unwrap().replace("acme", "evil");
    dead(&dev, foreign.as_bytes(), "tenant_not_allowed", "evil");

    // The same job again runs once; its id with another payload is no job.
    let first = runs(&dev, &job("twice", "{\"n\":1}"));
    let again = runs(&dev, &job("twice", "{\"n\":1}"));
    assert_eq!(again["source"], first["source"], "the second record is the first job");
    assert_eq!(again["attempts"].as_array().unwrap().len(), 1, "{again}");
    assert_eq!(again["repeated_at"].as_array().unwrap().len(), 1, "{again}");
    dead(&dev, &job("twice", "{\"n\":2}"), "id_conflict", "twice");

    // A good line among bad ones is taken.
    let body = [b"nonsense".to_vec(), job("among", "1"), b"{\"id\":".to_vec()].join(&b'\n');
    let answer = dev.http.post("/v1/jobs", "application/x-ndjson", &body).unwrap();
    let lines = answer.json();
    assert_eq!((answer.status, &lines["accepted"], &lines["refused"]), (207, &json!(1), &json!(2)), "{lines}");
    assert_eq!((&lines["jobs"][0]["error"], &lines["jobs"][2]["line"]), (&json!("not_a_job"), &json!(3)), "{lines}");
    let story = dev.story(lines["jobs"][1]["source"].as_str().unwrap()).unwrap();
    assert_eq!(story["state"], "succeeded", "{story}");
    assert!(dev.http.metric("tidegate_kernel_dead_total", &["reason=\"too_deep\""]).unwrap() > 1.5);

    // Without the key nothing is answered, and nothing is said.
    let stranger = tidegate_processes::http::Http::new(
        std::fs::read_to_string(home.path().join("data/address")).unwrap().trim(),
        Some("guess".into()),
    );
    assert_eq!(stranger.get("/v1/jobs").unwrap().status, 401);
}
