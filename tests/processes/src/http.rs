//! Asking a process over HTTP.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

/// A process's HTTP address, with its key when it has one.
#[derive(Debug, Clone)]
pub struct Http {
    base: String,
    key: Option<String>,
    agent: ureq::Agent,
}

/// An answer of any status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }
}

impl Http {
    /// At `base`, e.g. `http://127.0.0.1:7070`. No request takes longer than 90 s.
    #[must_use]
    pub fn new(base: &str, key: Option<String>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(90)))
            .build()
            .into();
        Self { base: base.trim().trim_end_matches('/').to_owned(), key, agent }
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.key.as_deref().unwrap_or_default())
    }

    /// GET.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut response = self
            .agent
            .get(&url)
            .header("authorization", &self.bearer())
            .call()
            .with_context(|| format!("GET {url}"))?;
        let text = response.body_mut().with_config().limit(256 << 20).read_to_string().context("read the answer")?;
        Ok(Answer { status: response.status().as_u16(), text })
    }

    /// POST of these bytes.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post(&self, path: &str, kind: &str, body: &[u8]) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.base);
        let mut response = self
            .agent
            .post(&url)
            .header("authorization", &self.bearer())
            .header("content-type", kind)
            .send(body)
            .with_context(|| format!("POST {url}"))?;
        let text = response.body_mut().with_config().limit(256 << 20).read_to_string().context("read the answer")?;
        Ok(Answer { status: response.status().as_u16(), text })
    }

    /// Whether `/readyz` says ready; `false` when nothing answers.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok_and(|answer| answer.status == 200)
    }

    /// The sum of a metric's samples whose labels contain all of `labels` (as written: `reason="unstamped"`).
    ///
    /// # Errors
    /// When there is no answer.
    pub fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
        let wanted = |series: &str| labels.iter().all(|label| series.contains(label));
        let samples = self.samples(|named| named == name)?;
        Ok(samples.into_iter().filter(|(series, _)| wanted(series)).map(|(_, value)| value).sum())
    }

    /// All samples of metrics whose name is wanted, each as its series is written.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn samples(&self, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<(String, f64)>> {
        let answer = self.get("/metrics")?;
        anyhow::ensure!(answer.status == 200, "GET {}/metrics answers {}", self.base, answer.status);
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let named = !line.starts_with('#') && wanted(series.split('{').next().unwrap_or(series));
            named.then(|| value.parse().ok().map(|value| (series.to_owned(), value)))?
        };
        Ok(answer.text.lines().filter_map(sample).collect())
    }
}

/// A source position as it stands in a path.
#[must_use]
pub fn in_path(position: &str) -> String {
    position.replace('/', "%2F").replace('@', "%40")
}

/// A port on loopback that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
