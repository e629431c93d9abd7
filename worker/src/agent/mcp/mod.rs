//! The tools of an MCP server (Model Context Protocol), each call a job.
//!
//! At the start the server is asked for its tools, and each becomes a capability `mcp.<server>.<tool>`; or jobs of one given
//! capability name the tool in their label. The payload is the call's arguments. A call runs only for a job whose labels
//! `mcp.server` and `mcp.tool` say just this server and tool: they are what policy judges MCP calls by, so a job that leaves
//! them out, or says one tool and asks for another, is refused.
//!
//! | the server | the job |
//! |---|---|
//! | answers | succeeded, with the whole result (`content`, `structuredContent`) |
//! | answers with `isError` | failed, the text of its content as reason |
//! | answers error -32603 or -32099 to -32000 | failed, tried again after a pause |
//! | answers another error | failed |
//! | answers more than may be taken in | failed; other calls go on |
//! | ends, cannot be reached, breaks off, is busy | failed, tried again; a process is started again after a pause that grows while it is of no use |
//! | reports progress | has progressed |
//!
//! A job that is to stop is told to the server (`notifications/cancelled`); it may still answer within the grace.
//!
//! Spoken are the revisions [`REVISIONS`]; what else a server asks for (sampling, roots, elicitation) is not offered to it.

mod call;
mod events;
mod http;
mod oversize;
mod rpc;
mod stdio;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::info;

pub use self::call::McpHandler;
use self::http::HttpLink;
use self::rpc::RpcError;
use self::stdio::{HELLO, StdioLink};
use super::child::{LineChild, Starts};
use super::program::{EmptyCommand, Gateway, Program};
use super::web::Endpoint;
use crate::Context;

/// Revisions of the protocol that are spoken, newest last.
pub const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
/// What an answer may have beside its content.
const ENVELOPE: usize = 64 << 10;
/// Most tools of a server, and most pages they come in.
const MOST: (usize, usize) = (1_000, 100);

/// Why a request has no result.
#[derive(Debug, Clone, thiserror::Error)]
enum NoResult {
    /// The server says so.
    #[error("{0}")]
    Error(RpcError),
    /// It is away, or went away: another attempt may go better.
    #[error("{0}")]
    Gone(String),
    /// It is busy for so long.
    #[error("{0}")]
    Busy(String, Duration),
    /// It does not know our session any more.
    #[error("the server has ended the session")]
    SessionOver,
    /// It refused the request (400), as some servers do when they do not know the session.
    #[error("{0}")]
    SessionDoubted(String),
    /// What it does cannot go better.
    #[error("{0}")]
    Refused(String),
}

/// A server that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadServer {
    /// It does not answer as it should.
    #[error("the MCP server does not say who it is and what it can do: {why}")]
    NoAnswer {
        /// Why.
        why: String,
    },
    /// It speaks what we do not.
    #[error("the MCP server speaks revision `{theirs}` of the protocol; spoken here are {}", REVISIONS.join(", "))]
    Revision {
        /// Its revision.
        theirs: String,
    },
    /// It has no tools at all.
    #[error("the MCP server offers no tools")]
    NoTools,
    /// It has too many.
    #[error("the MCP server has more than {} tools, or lists them on more than {} pages", MOST.0, MOST.1)]
    TooMany,
    /// It lacks a tool that is to be offered.
    #[error("the MCP server has no tool `{tool}`; its tools are {theirs}")]
    NoSuchTool {
        /// The tool.
        tool: String,
        /// Those it has.
        theirs: String,
    },
    /// Its name makes no capabilities.
    #[error(
        "the MCP server calls itself `{name}`, which is no name for capabilities; give it one of letters, digits, `_` and `-`"
    )]
    Name {
        /// Its name.
        name: String,
    },
}

#[derive(Debug)]
enum Target {
    Stdio(Program),
    Http(Endpoint),
}

#[derive(Debug)]
enum Link {
    Stdio(StdioLink),
    Http(HttpLink),
}

/// A server, reached when it is needed. Cheap to clone: clones share the process or the session.
#[derive(Debug, Clone)]
pub struct McpServer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    target: Target,
    output_limit: usize,
    grace: Duration,
    answer_limit: Duration,
    link: Mutex<Option<Arc<Link>>>,
    starts: Starts,
    ids: AtomicU64,
}

/// A server with the tools it offers.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The server's name, as capabilities and the label `mcp.server` have it.
    pub name: String,
    /// The names of its tools.
    pub tools: BTreeSet<String>,
    server: McpServer,
}

impl McpServer {
    /// A program that speaks the protocol on stdin and stdout. `gateway`: where it may submit jobs.
    ///
    /// # Errors
    /// [`EmptyCommand`] when there is no program, or its name is empty.
    pub fn stdio(
        command: impl IntoIterator<Item = impl Into<OsString>>,
        gateway: Option<Gateway>,
    ) -> Result<Self, EmptyCommand> {
        let mut program = Program::new(command)?;
        program.gateway = gateway;
        Ok(Self::of(Target::Stdio(program)))
    }

    /// A server at this address.
    #[must_use]
    pub fn http(endpoint: Endpoint) -> Self {
        Self::of(Target::Http(endpoint))
    }

    fn of(target: Target) -> Self {
        Self(Arc::new(Inner {
            target,
            output_limit: 256 << 10,
            grace: Duration::from_secs(5),
            answer_limit: Duration::from_secs(600),
            link: Mutex::new(None),
            starts: Starts::new(),
            ids: AtomicU64::new(0),
        }))
    }

    /// Largest result in bytes. Default 256 KiB. Like the others below: to be said before it is cloned.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.output_limit = bytes;
        }
        self
    }

    /// Longest time to an answer, whatever the job allows. Default 10 minutes.
    #[must_use]
    pub fn answer_limit(mut self, limit: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.answer_limit = limit;
        }
        self
    }

    /// How long a call that was told to stop may take to answer. Default 5 s; to be less than the worker's `cancel_grace`.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.grace = grace;
        }
        self
    }

    /// Asks the server who it is and what tools it has. `name` stands for what it calls itself.
    ///
    /// # Errors
    /// [`BadServer`].
    pub async fn offer(self, name: Option<&str>) -> Result<Offer, BadServer> {
        let no_answer = |error: NoResult| BadServer::NoAnswer { why: error.to_string() };
        let (link, hello) = self.0.begin().await?;
        let tools = timeout(HELLO, self.0.list(&link)).await;
        let tools = tools.map_err(|_| no_answer(NoResult::Gone(format!("no list of tools within {HELLO:?}"))))??;
        *self.0.link.lock().await = Some(link);
        let name = name.unwrap_or(&hello.server_info.name);
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > 100 || !name.chars().all(word) {
            return Err(BadServer::Name { name: name.chars().take(80).collect() });
        }
        if tools.is_empty() {
            return Err(BadServer::NoTools);
        }
        info!(server = name, tools = tools.len(), "an MCP server offers its tools");
        Ok(Offer { name: name.to_owned(), tools, server: self })
    }
}

impl Offer {
    /// These tools alone; all of them when none is named.
    ///
    /// # Errors
    /// [`BadServer::NoSuchTool`].
    pub fn only(mut self, tools: &[String]) -> Result<Self, BadServer> {
        if let Some(tool) = tools.iter().find(|tool| !self.tools.contains(*tool)) {
            let theirs = self.tools.into_iter().collect::<Vec<_>>().join(", ");
            return Err(BadServer::NoSuchTool { tool: tool.clone(), theirs });
        }
        self.tools.retain(|tool| tools.is_empty() || tools.contains(tool));
        Ok(self)
    }

    /// The capability of a tool.
    #[must_use]
    pub fn capability(&self, tool: &str) -> String {
        format!("mcp.{}.{tool}", self.name)
    }

    /// What runs calls of this tool.
    #[must_use]
    pub fn handler(&self, tool: &str) -> McpHandler {
        McpHandler { offer: self.clone(), tool: Some(tool.to_owned()) }
    }

    /// What runs calls of the tool that a job's label `mcp.tool` names, of those on offer.
    #[must_use]
    pub fn by_label(&self) -> McpHandler {
        McpHandler { offer: self.clone(), tool: None }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hello {
    protocol_version: String,
    #[serde(default)]
    capabilities: Capabilities,
    server_info: ServerInfo,
}

#[derive(Debug, Default, Deserialize)]
struct Capabilities {
    #[serde(default)]
    tools: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct ServerInfo {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    tools: Vec<Listed>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
}

impl Inner {
    fn id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Starts the process or the session, and says hello.
    async fn begin(&self) -> Result<(Arc<Link>, Hello), BadServer> {
        let no_answer = |why: String| BadServer::NoAnswer { why };
        let newest = REVISIONS.last().copied().unwrap_or_default();
        let client = json!({"name": "tidegate", "version": env!("CARGO_PKG_VERSION")});
        let params = json!({"protocolVersion": newest, "capabilities": {}, "clientInfo": client});
        let id = self.id();
        let message = rpc::message(Some(id), "initialize", params).map_err(|error| no_answer(error.to_string()))?;
        let limit = self.output_limit + ENVELOPE;
        let hello = async {
            let mut link = match &self.target {
                Target::Stdio(program) => {
                    let child = LineChild::start(program, None, limit);
                    Link::Stdio(StdioLink::new(child.map_err(|error| NoResult::Gone(error.to_string()))?))
                }
                Target::Http(endpoint) => Link::Http(HttpLink::new(endpoint.clone(), limit)),
            };
            let result = match &mut link {
                Link::Stdio(link) => link.call(id, message, None).await?,
                Link::Http(link) => link.begin(id, message).await?,
            };
            Ok::<_, NoResult>((link, result))
        };
        let said = timeout(HELLO, hello).await.map_err(|_| no_answer(format!("no answer within {HELLO:?}")))?;
        let (mut link, result) = said.map_err(|error| no_answer(error.to_string()))?;
        let hello: Hello = serde_json::from_str(result.get()).map_err(|error| no_answer(error.to_string()))?;
        if !REVISIONS.contains(&hello.protocol_version.as_str()) {
            return Err(BadServer::Revision { theirs: hello.protocol_version.chars().take(40).collect() });
        }
        if hello.capabilities.tools.is_none() {
            return Err(BadServer::NoTools);
        }
        if let Link::Http(link) = &mut link {
            link.agreed(&hello.protocol_version);
        }
        let message = rpc::message(None, "notifications/initialized", json!({}));
        link.notify(message.map_err(|error| no_answer(error.to_string()))?).await;
        Ok((Arc::new(link), hello))
    }

    /// All pages of the tools.
    async fn list(&self, link: &Link) -> Result<BTreeSet<String>, BadServer> {
        let no_answer = |why: String| BadServer::NoAnswer { why };
        let (mut tools, mut cursor) = (BTreeSet::new(), None::<String>);
        for _ in 0..MOST.1 {
            let id = self.id();
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let message = rpc::message(Some(id), "tools/list", params).map_err(|error| no_answer(error.to_string()))?;
            let result = link.call(id, message, None).await.map_err(|error| no_answer(error.to_string()))?;
            let page: Page = serde_json::from_str(result.get()).map_err(|error| no_answer(error.to_string()))?;
            tools.extend(page.tools.into_iter().map(|tool| tool.name));
            if tools.len() > MOST.0 {
                return Err(BadServer::TooMany);
            }
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(tools),
            }
        }
        Err(BadServer::TooMany)
    }

    /// The link there is, or a new one.
    async fn link(&self) -> Result<Arc<Link>, NoResult> {
        let mut held = self.link.lock().await;
        if let Some(link) = held.as_ref() {
            if !link.is_gone() {
                return Ok(Arc::clone(link));
            }
            // One that had said hello was of use, unless it had to be stopped.
            self.starts.ended(!link.was_stopped()).await;
            *held = None;
        }
        self.starts.wait().await;
        match self.begin().await {
            Ok((link, _)) => Ok(Arc::clone(held.insert(link))),
            Err(error) => {
                self.starts.ended(false).await;
                Err(NoResult::Gone(error.to_string()))
            }
        }
    }

    /// Forgets a session that is over.
    async fn over(&self, link: &Arc<Link>) {
        let mut held = self.link.lock().await;
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, link)) {
            *held = None;
        }
    }
}

impl Link {
    fn is_gone(&self) -> bool {
        match self {
            Self::Stdio(link) => link.is_gone(),
            Self::Http(_) => false,
        }
    }

    fn was_stopped(&self) -> bool {
        match self {
            Self::Stdio(link) => link.was_stopped(),
            Self::Http(_) => false,
        }
    }

    async fn call(&self, id: u64, message: Vec<u8>, progress: Option<Context>) -> Result<Box<RawValue>, NoResult> {
        match self {
            Self::Stdio(link) => link.call(id, message, progress).await,
            Self::Http(link) => link.call(id, message, progress).await,
        }
    }

    async fn notify(&self, message: Vec<u8>) {
        match self {
            Self::Stdio(link) => link.notify(message).await,
            Self::Http(link) => link.notify(message).await,
        }
    }
}
