//! A call of a tool: which one a job may call, and how the call ended.

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::time::timeout;

use super::{Inner, Link, NoResult, Offer, Target, rpc};
use crate::{Cancel, Context, Ending, Handler};

/// The labels that say which server and which tool.
const LABELS: (&str, &str) = ("mcp.server", "mcp.tool");

#[derive(Debug, Serialize)]
struct CallParams<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
    #[serde(rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    progress_token: u64,
    /// The trace the job belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

/// Calls a tool for each job; the module's parent documents the contract.
#[derive(Debug, Clone)]
pub struct McpHandler {
    pub(super) offer: Offer,
    /// `None`: the job's label says.
    pub(super) tool: Option<String>,
}

impl Handler for McpHandler {
    async fn run(&self, context: Context) -> Ending {
        let tool = match self.tool_of(&context) {
            Ok(tool) => tool,
            Err(refusal) => return refusal,
        };
        let inner = &self.offer.server.0;
        let calling = async {
            match self.call(inner, &context, &tool).await {
                // The server did not run it: it knows no such session, or says no more than that it cannot be. Once more in a
                // new one: what it still refuses is wrong in itself.
                Err((NoResult::SessionOver | NoResult::SessionDoubted(_), link)) => {
                    if let Some(link) = link {
                        inner.over(&link).await;
                    }
                    self.call(inner, &context, &tool).await.map_err(|(error, _)| error)
                }
                ended => ended.map_err(|(error, _)| error),
            }
        };
        match calling.await {
            Ok(ending) => ending,
            Err(NoResult::Error(error)) if error.may_pass() => Ending::retryable(error.to_string()),
            Err(NoResult::Error(error)) => Ending::failed(error.to_string()),
            Err(error @ (NoResult::Refused(_) | NoResult::SessionDoubted(_))) => {
                Ending::failed(format!("the MCP server: {error}"))
            }
            Err(error @ (NoResult::Gone(_) | NoResult::SessionOver)) => {
                Ending::retryable(format!("the MCP server is away: {error}"))
            }
            Err(NoResult::Busy(reason, wait)) => Ending::retryable_after(format!("the MCP server: {reason}"), wait),
        }
    }
}

impl McpHandler {
    /// The tool that the job may call.
    fn tool_of(&self, context: &Context) -> Result<String, Ending> {
        let label = |name: &str| context.job().labels.get(name).map(String::as_str);
        let said = label(LABELS.1);
        let tool = self.tool.as_deref().or(said).unwrap_or_default();
        let server = self.offer.name.as_str();
        if label(LABELS.0) != Some(server) || said != Some(tool) {
            return Err(Ending::failed(format!(
                "refused by its worker: policy judges MCP calls by labels, and this job's are not `{}: {server}` and `{}: {tool}`",
                LABELS.0, LABELS.1
            )));
        }
        if !self.offer.tools.contains(tool) {
            return Err(Ending::failed(format!("the MCP server `{server}` offers no tool `{tool}`")));
        }
        let allowed = context.constraints().and_then(|asked| asked.toolchain.allowed_tools.as_ref());
        if let Some(allowed) = allowed.filter(|allowed| !allowed.contains(tool)) {
            let listed = allowed.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Ending::failed(format!(
                "its constraints allow the tools [{listed}]; `{tool}` is none of them"
            )));
        }
        if let Target::Stdio(program) = &self.offer.server.0.target
            && let Some(refusal) = program.forbidden(context)
        {
            return Err(refusal);
        }
        Ok(tool.to_owned())
    }

    /// An error comes with the link it came by.
    async fn call(
        &self,
        inner: &Inner,
        context: &Context,
        tool: &str,
    ) -> Result<Ending, (NoResult, Option<Arc<Link>>)> {
        let stopped = |why: Cancel| Ending::cancelled(format!("stopped because {}", why.sentence()));
        let link = tokio::select! {
            biased;
            link = inner.link() => link.map_err(|error| (error, None))?,
            why = context.cancelled() => return Ok(stopped(why)),
        };
        // As it was judged, byte for byte.
        let arguments = match context.payload().get() {
            "null" => None,
            text if text.starts_with('{') => Some(context.payload()),
            _ => return Ok(Ending::failed("the payload of an MCP call is an object: its arguments")),
        };
        let id = inner.id();
        let params =
            CallParams { name: tool, arguments, meta: Meta { progress_token: id, traceparent: context.traceparent() } };
        let message = rpc::message(Some(id), "tools/call", params);
        let message = message.map_err(|error| (NoResult::Refused(error.to_string()), None))?;
        let mut call = std::pin::pin!(link.call(id, message, Some(context.clone())));
        let (reason, late) = tokio::select! {
            biased;
            // Before the call: of a server that never stops talking nothing behind it would be looked at. An answer that is
            // there already is taken below.
            why = context.cancelled() => (why.sentence(), Ok(stopped(why))),
            () = tokio::time::sleep(inner.answer_limit) => {
                ("no answer came in time", Err(NoResult::Gone(format!("no answer within {:?}", inner.answer_limit))))
            }
            result = &mut call => {
                let ended = result.map(|result| self.end_of(&result, context));
                return ended.map_err(|error| (error, Some(Arc::clone(&link))));
            }
        };
        let cancelled = rpc::message(None, "notifications/cancelled", json!({"requestId": id, "reason": reason}));
        let tell = async {
            if let Ok(message) = cancelled {
                link.notify(message).await;
            }
            std::future::pending::<Infallible>().await
        };
        // Whether the server takes it or not, the answer counts as soon as it is there.
        let late_answer = async {
            tokio::select! {
                result = &mut call => result,
                never = tell => match never {},
            }
        };
        match timeout(inner.grace, late_answer).await {
            Ok(Ok(result)) => Ok(self.end_of(&result, context)),
            Ok(Err(_)) | Err(_) => late.map_err(|error| (error, None)),
        }
    }

    fn end_of(&self, result: &RawValue, context: &Context) -> Ending {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Called {
            #[serde(default)]
            is_error: bool,
            #[serde(default)]
            content: Vec<Block>,
        }
        #[derive(Deserialize)]
        struct Block {
            #[serde(default)]
            text: Option<String>,
        }
        let limit = self.offer.server.0.output_limit;
        let limit = context.max_output().map_or(limit, |most| most.min(limit));
        if result.get().len() > limit {
            let bytes = result.get().len();
            return Ending::failed(format!("the result has {bytes} bytes, more than the limit of {limit}"));
        }
        let called: Called = match serde_json::from_str(result.get()) {
            Ok(called) => called,
            Err(error) => return Ending::failed(format!("the MCP server's result is none of a tool: {error}")),
        };
        if !called.is_error {
            return Ending::Succeeded(Some(result.to_owned()));
        }
        let texts: Vec<String> = called.content.into_iter().filter_map(|block| block.text).collect();
        let said = texts.join("\n");
        let reason = if said.trim().is_empty() { "the tool says that it failed".to_owned() } else { said };
        Ending::failed(reason).with_output(Some(result.to_owned()))
    }
}
