//! MCP servers whose tools a worker offers.

use std::str::FromStr;
use std::time::Duration;

use tidegate_worker::agent::{Endpoint, Gateway, McpServer, startable};

use super::{BadWorkerSpec, Runs, WorkerSpec, is_address, shown};
use crate::process::StartError;

/// Where a server is.
#[derive(Debug, Clone)]
pub enum McpAt {
    /// A program and its arguments, spoken to on stdin and stdout.
    Command(Vec<String>),
    /// An address.
    Http(Endpoint),
}

/// A server, and how its tools are offered.
#[derive(Debug, Clone)]
pub struct McpSpec {
    /// Where it is.
    pub at: McpAt,
    /// Its name in capabilities and labels; what it calls itself when there is none.
    pub name: Option<String>,
    /// The tools on offer; all of them when empty.
    pub tools: Vec<String>,
    /// Capabilities whose jobs name the tool in their label; when empty each tool is a capability of its own.
    pub capabilities: Vec<String>,
}

const FORMS: &str = "`NAME=COMMAND ARGS` or `NAME=http://HOST/PATH`";

impl FromStr for McpSpec {
    type Err = BadWorkerSpec;

    /// `NAME=COMMAND ARGS` or `NAME=http://…`.
    fn from_str(text: &str) -> Result<Self, BadWorkerSpec> {
        let bad = |reason: String| BadWorkerSpec { text: shown(text), reason, forms: FORMS };
        let (name, at) = text.split_once('=').ok_or_else(|| bad("there is no `=`".into()))?;
        let (name, at) = (name.trim(), at.trim());
        if name.is_empty() {
            return Err(bad("there is no name before `=`".into()));
        }
        let at = match is_address(at) {
            true => McpAt::Http(Endpoint::new(at).map_err(|error| bad(error.to_string()))?),
            false => McpAt::Command(at.split_whitespace().map(str::to_owned).collect()),
        };
        Ok(Self { at, name: Some(name.to_owned()), tools: Vec::new(), capabilities: Vec::new() })
    }
}

/// Asks the server for its tools, and makes of each what a worker offers. `gateway`: where a server that is a program may submit
/// jobs; `answer`: longest time to an answer.
///
/// # Errors
/// [`StartError::Worker`]: it cannot be used, or has not the tools that were named.
pub async fn offered(spec: McpSpec, gateway: Option<Gateway>, answer: Duration) -> Result<Vec<WorkerSpec>, StartError> {
    // Its arguments, and what else an address says, may be secret.
    let which = match &spec.at {
        McpAt::Command(words) => words.first().map_or_else(String::new, |program| format!("MCP server `{program}`: ")),
        McpAt::Http(_) => spec.name.as_ref().map_or_else(String::new, |name| format!("MCP server `{name}`: ")),
    };
    let error = |reason: String| StartError::Worker { reason: format!("{which}{reason}") };
    let server = match spec.at {
        McpAt::Command(words) => {
            if let Some(program) = words.first().filter(|program| !program.is_empty()) {
                startable(program.as_ref()).map_err(|e| error(e.to_string()))?;
            }
            McpServer::stdio(words, gateway).map_err(|e| error(e.to_string()))?
        }
        McpAt::Http(endpoint) => McpServer::http(endpoint),
    };
    let offer = server.answer_limit(answer).offer(spec.name.as_deref()).await.map_err(|e| error(e.to_string()))?;
    let offer = offer.only(&spec.tools).map_err(|e| error(e.to_string()))?;
    if spec.capabilities.is_empty() {
        let one =
            |tool: &String| WorkerSpec { capability: offer.capability(tool), runs: Runs::Tool(offer.handler(tool)) };
        return Ok(offer.tools.iter().map(one).collect());
    }
    let by_label = |capability| WorkerSpec { capability, runs: Runs::Tool(offer.by_label()) };
    Ok(spec.capabilities.into_iter().map(by_label).collect())
}
