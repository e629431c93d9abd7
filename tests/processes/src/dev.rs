//! `tidegate dev` in a folder.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::home::Home;
use crate::http::{Http, in_path};
use crate::process::{Process, until};

/// A running `tidegate dev`, ready unless started otherwise.
pub struct Dev {
    /// The process.
    pub process: Process,
    /// Its HTTP side, with its key.
    pub http: Http,
}

impl Dev {
    /// Starts `tidegate dev --data data --listen 127.0.0.1:0 further…` in `home` and waits until it listens.
    ///
    /// # Errors
    /// When it ends instead or does not listen.
    pub fn listening(home: &Home, name: &str, further: &[&str]) -> anyhow::Result<Self> {
        let address = home.path().join("data/address");
        // One of an earlier start that was killed.
        let _ = std::fs::remove_file(&address);
        let mut arguments = vec!["dev", "--data", "data", "--listen", "127.0.0.1:0"];
        arguments.extend_from_slice(further);
        let mut process = home.tidegate(name, &arguments).start()?;
        let base = until(Duration::from_secs(60), "`tidegate dev` listens", || {
            anyhow::ensure!(process.ended()?.is_none(), "{name} has ended:\n{}", process.last_words());
            Ok(std::fs::read_to_string(&address).ok().filter(|text| text.ends_with('\n')))
        })
        .with_context(|| process.last_words())?;
        let key = std::fs::read_to_string(home.path().join("data/key")).context("read the key")?;
        let http = Http::new(&base, Some(key.trim().to_owned()));
        Ok(Self { process, http })
    }

    /// As [`Self::listening`], and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn ready(home: &Home, name: &str, further: &[&str]) -> anyhow::Result<Self> {
        let dev = Self::listening(home, name, further)?;
        until(Duration::from_secs(90), "`tidegate dev` is ready", || Ok(dev.http.is_ready().then_some(())))
            .with_context(|| dev.process.last_words())?;
        Ok(dev)
    }

    /// Submits one job; the answer's status and body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn submit(&self, job: &[u8]) -> anyhow::Result<(u16, Value)> {
        let answer = self.http.post("/v1/jobs", "application/json", job)?;
        Ok((answer.status, answer.json()))
    }

    /// The story of the record at `position` once it has ended.
    ///
    /// # Errors
    /// When there is none.
    pub fn story(&self, position: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(&format!("/v1/jobs/{}?wait=60s", in_path(position)))?;
        anyhow::ensure!(answer.status == 200, "story of {position}: {} {}", answer.status, answer.text);
        Ok(answer.json())
    }
}
