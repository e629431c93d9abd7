//! A process that is asked to look at itself while its spine does not answer says so, and not that all is well with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tidegate_node::process::start;
use tidegate_node::topics::{apply, plan, wanted};
use tidegate_node::{Config, Role};
use tidegate_protocol::address::TopicName;
use tidegate_spine::{Layer, Spine, SpineError, TopicState};

/// A spine that does not answer while it is told so.
struct Away {
    inner: Arc<dyn Spine>,
    away: Arc<AtomicBool>,
}

impl Layer for Away {
    fn behind(&self) -> &dyn Spine {
        &*self.inner
    }

    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        if self.away.load(Ordering::SeqCst) {
            let (spine, reason) = (self.url().to_owned(), "the test has it so".to_owned());
            return async { Err(SpineError::Unavailable { spine, after: Duration::ZERO, reason }) }.boxed();
        }
        self.inner.describe(topics)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spine_that_does_not_answer_is_bad_and_nothing_else_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "spine: {{url: 'embedded:{0}/spine'}}\ndata: {0}\npolicy: {0}/policy\nlisten: 127.0.0.1:0\n",
        folder.path().display()
    );
    let config = Config::parse("t.yaml", &text).unwrap();
    let inner = tidegate_node::spine::open(&config.spine).await.unwrap();
    apply(&plan(wanted(&config, &*inner).await.unwrap(), &*inner).await.unwrap(), &*inner).await.unwrap();
    let away = Arc::new(AtomicBool::new(false));
    let spine = Arc::new(Away { inner, away: Arc::clone(&away) });
    let keys = config.keys.read().unwrap();
    let node = start(config, spine, keys, [Role::Gateway].into()).await.unwrap();
    let url = format!("http://{}/v1/doctor", node.address());
    let key = std::fs::read_to_string(folder.path().join("key")).unwrap();
    let look = || {
        let (url, authorization) = (url.clone(), format!("Bearer {}", key.trim()));
        let ask = move || {
            let mut answer = ureq::get(&url).header("authorization", &authorization).call().unwrap();
            serde_json::from_str::<Value>(&answer.body_mut().read_to_string().unwrap()).unwrap()
        };
        tokio::task::spawn_blocking(ask).map(Result::unwrap)
    };
    let of = |report: &Value, check: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["check"] == check).map(|finding| finding["level"].clone())
    };
    let report = look().await;
    assert_eq!((&report["reached"], of(&report, "spine")), (&json!(true), Some(json!("ok"))), "{report}");
    away.store(true, Ordering::SeqCst);
    let report = look().await;
    assert_eq!((&report["reached"], of(&report, "spine")), (&json!(false), Some(json!("bad"))), "{report}");
    for check in ["topics", "rights", "clock", "shards", "lanes"] {
        assert_eq!(of(&report, check), Some(json!("note")), "{check}: {report}");
    }
    away.store(false, Ordering::SeqCst);
    let report = look().await;
    assert_eq!((&report["reached"], of(&report, "spine")), (&json!(true), Some(json!("ok"))), "{report}");
    node.stop().await;
}
