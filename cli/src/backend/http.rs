//! A gateway over HTTP.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tidegate_node::doctor::Report;
use tidegate_node::gateway::commands::Passed;
use tidegate_node::gateway::fleet::Told;
use tidegate_node::gateway::http::{DeadList, LimitList, Lines, PoolList, Refusal, WorkerList};
use tidegate_node::gateway::progress::Signs;
use tidegate_node::gateway::view::{Changes, DeadRecord, Story};
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::pool_command::PoolCommand;
use tidegate_protocol::trace;

use super::{Backend, Wanted};
use crate::args::GatewayArgs;
use crate::exit::{Exit, Failure};

/// Longer than any `wait` this sends.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct OverHttp {
    agent: ureq::Agent,
    url: String,
    key: String,
}

enum Answer<T> {
    Yes(T),
    NotThere(Refusal),
}

impl OverHttp {
    /// Address and key as given, else those of the `tidegate dev` of the data folder.
    pub(crate) fn find(reach: &GatewayArgs) -> Result<Self, Failure> {
        let folder = &reach.data;
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned());
        let url = match &reach.url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => read("address").map_err(|_| {
                let folder = folder.display();
                Failure::say(
                    Exit::Unavailable,
                    format!("no `tidegate dev` runs in `{folder}`; start it, or say where to ask with `--data`, `--url` or `--spine`"),
                )
            })?,
        };
        let key = match &reach.key {
            Some(key) => key.clone(),
            None => read("key").map_err(|error| {
                let file = folder.join("key");
                Failure::say(
                    Exit::Config,
                    format!("the key `{}` cannot be read: {error}; give the gateway's data folder with `--data`, or its key with `--key`", file.display()),
                )
            })?,
        };
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Ok(Self { agent: config.build().into(), url, key })
    }

    fn away(&self, error: &ureq::Error) -> Failure {
        Failure::say(
            Exit::Unavailable,
            format!("`{}` does not answer: {error}; is it up, and is the address right?", self.url),
        )
    }

    fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<Answer<T>, Failure> {
        let mut request = self.agent.get(format!("{}{path}", self.url));
        for (name, value) in query {
            request = request.query(*name, value);
        }
        let answer = request.header("authorization", format!("Bearer {}", self.key)).call();
        self.read(answer)
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer<T>, Failure> {
        let mut response = answer.map_err(|error| self.away(&error))?;
        let status = response.status().as_u16();
        let text =
            response.body_mut().with_config().limit(1 << 30).read_to_string().map_err(|error| self.away(&error))?;
        if let Ok(found) = serde_json::from_str::<T>(&text) {
            return Ok(Answer::Yes(found));
        }
        let refusal: Refusal = serde_json::from_str(&text).map_err(|_| {
            let start: String = text.chars().take(200).collect();
            Failure::say(
                Exit::Unavailable,
                format!("`{}` is no gateway of Tidegate: it answered {status}: {start}", self.url),
            )
        })?;
        if status == 404 && refusal.error != "no_such_route" && refusal.error != "no_such_source" {
            return Ok(Answer::NotThere(refusal));
        }
        let exit = match status {
            401 | 403 => Exit::Config,
            400..500 => Exit::Data,
            _ => Exit::Unavailable,
        };
        Err(Failure::say(exit, format!("{}; {}", refusal.detail, refusal.hint)))
    }

    /// What the process there finds when it looks at itself.
    pub(crate) fn doctor(&self, write: bool, longest: Duration) -> Result<Report, Failure> {
        let query = [("wait", wait(longest))];
        if !write {
            return Self::must(self.get("/v1/doctor", &query)?);
        }
        let [(name, value)] = query;
        let request = self.agent.post(format!("{}/v1/doctor", self.url)).query(name, value);
        let answer = request.header("authorization", format!("Bearer {}", self.key)).send_empty();
        Self::must(self.read(answer)?)
    }

    /// Where it asks.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn must<T>(answer: Answer<T>) -> Result<T, Failure> {
        match answer {
            Answer::Yes(found) => Ok(found),
            Answer::NotThere(refusal) => {
                Err(Failure::say(Exit::Unsuccessful, format!("{}; {}", refusal.detail, refusal.hint)))
            }
        }
    }
}

fn wait(wait: Duration) -> String {
    format!("{}ms", wait.as_millis())
}

fn of_pool(pool: Option<&str>) -> Vec<(&'static str, String)> {
    pool.map(|pool| ("pool", pool.to_owned())).into_iter().collect()
}

/// A path segment in which only what is certainly safe stands as it is.
fn segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl Wanted {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        query.extend(self.state.clone().map(|state| ("state", state)));
        query.extend(self.tenant.clone().map(|tenant| ("tenant", tenant)));
        query
    }
}

impl Backend for OverHttp {
    fn submit(&self, source: Option<&str>, lines: &[Vec<u8>]) -> Result<Lines, Failure> {
        let mut request = self.agent.post(format!("{}/v1/jobs", self.url));
        if let Some(source) = source {
            request = request.query("source", source);
        }
        if let Some(parent) = super::traceparent() {
            request = request.header(trace::PARENT, parent);
        }
        let answer = request
            .header("authorization", format!("Bearer {}", self.key))
            .content_type("application/x-ndjson")
            .send(lines.join(&b'\n'));
        Self::must(self.read(answer)?)
    }

    fn get(&self, job: &str, tenant: Option<&str>, longest: Duration) -> Result<Option<Story>, Failure> {
        let mut query = vec![("wait", wait(longest))];
        query.extend(tenant.map(|tenant| ("tenant", tenant.to_owned())));
        match self.get(&format!("/v1/jobs/{}", segment(job)), &query)? {
            Answer::Yes(story) => Ok(Some(story)),
            Answer::NotThere(_) => Ok(None),
        }
    }

    fn list(&self, wanted: &Wanted) -> Result<Changes, Failure> {
        Self::must(self.get("/v1/jobs", &wanted.query())?)
    }

    fn changes(&self, since: u64, wanted: &Wanted, longest: Duration) -> Result<Changes, Failure> {
        let mut query = wanted.query();
        query.extend([("since", since.to_string()), ("wait", wait(longest))]);
        Self::must(self.get("/v1/jobs", &query)?)
    }

    fn progress(&self, job: &str, of: Option<&str>, since: u64, longest: Duration) -> Result<Option<Signs>, Failure> {
        let mut query = vec![("since", since.to_string()), ("wait", wait(longest))];
        query.extend(of.map(|tenant| ("tenant", tenant.to_owned())));
        match self.get(&format!("/v1/jobs/{}/progress", segment(job)), &query)? {
            Answer::Yes(signs) => Ok(Some(signs)),
            Answer::NotThere(_) => Ok(None),
        }
    }

    fn limits(&self, of: &str, limit: usize) -> Result<LimitList, Failure> {
        let path = if of.is_empty() { "/v1/limits".to_owned() } else { format!("/v1/limits/{}", segment(of)) };
        Self::must(self.get(&path, &[("limit", limit.to_string())])?)
    }

    fn pools(&self, only: Option<&str>) -> Result<PoolList, Failure> {
        let path = only.map_or_else(|| "/v1/pools".to_owned(), |pool| format!("/v1/pools/{}", segment(pool)));
        Self::must(self.get(&path, &[])?)
    }

    fn workers(&self, pool: Option<&str>) -> Result<WorkerList, Failure> {
        Self::must(self.get("/v1/workers", &of_pool(pool))?)
    }

    fn worker(&self, worker: &str, pool: Option<&str>) -> Result<Option<WorkerList>, Failure> {
        match self.get(&format!("/v1/workers/{}", segment(worker)), &of_pool(pool))? {
            Answer::Yes(found) => Ok(Some(found)),
            Answer::NotThere(refusal) if refusal.error == "no_such_worker" => Ok(None),
            refused @ Answer::NotThere(_) => Self::must(refused).map(Some),
        }
    }

    fn tell(&self, command: &PoolCommand, signed: Vec<u8>) -> Result<Told, Failure> {
        let (pool, worker) = (segment(command.pool.as_str()), segment(command.worker.as_str()));
        let answer = self
            .agent
            .post(format!("{}/v1/pools/{pool}/workers/{worker}/{}", self.url, command.action.word()))
            .header("authorization", format!("Bearer {}", self.key))
            .content_type("application/json")
            .send(signed);
        Self::must(self.read(answer)?)
    }

    fn say(&self, command: &Command, signed: Vec<u8>) -> Result<Passed, Failure> {
        let (at, action) = (segment(&command.source.to_string()), command.action.word());
        let of = match command.action {
            Action::Approve | Action::Reject => "approvals",
            Action::Cancel | Action::Revoke => "jobs",
            Action::Redrive | Action::Drop => "dead",
        };
        let answer = self
            .agent
            .post(format!("{}/v1/{of}/{at}/{action}", self.url))
            .header("authorization", format!("Bearer {}", self.key))
            .content_type("application/json")
            .send(signed);
        Self::must(self.read(answer)?)
    }

    fn dead(&self, limit: usize) -> Result<DeadList, Failure> {
        Self::must(self.get("/v1/dead", &[("limit", limit.to_string())])?)
    }

    fn dead_record(&self, at: &str) -> Result<Option<DeadRecord>, Failure> {
        match self.get(&format!("/v1/dead/{}", segment(at)), &[])? {
            Answer::Yes(record) => Ok(Some(record)),
            Answer::NotThere(_) => Ok(None),
        }
    }
}
