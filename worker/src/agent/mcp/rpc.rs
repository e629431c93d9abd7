//! JSON-RPC 2.0 as the Model Context Protocol uses it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A message of ours.
#[derive(Debug, Serialize)]
pub(super) struct Outgoing<'a, P> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    method: &'a str,
    params: P,
}

/// A request with an id, or a notification without.
pub(super) fn message(id: Option<u64>, method: &str, params: impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Outgoing { jsonrpc: "2.0", id, method, params })
}

/// The answer to a request of the server's: `ping` is answered, everything else is not offered.
pub(super) fn reply(id: &RawValue, method: &str) -> Result<Vec<u8>, serde_json::Error> {
    match method {
        "ping" => serde_json::to_vec(&serde_json::json!({"jsonrpc": "2.0", "id": id, "result": {}})),
        _ => {
            let error = serde_json::json!({"code": METHOD_NOT_FOUND, "message": format!("`{method}` is not offered")});
            serde_json::to_vec(&serde_json::json!({"jsonrpc": "2.0", "id": id, "error": error}))
        }
    }
}

/// Bytes in front of which no line break stands: a line on stdio.
pub(super) fn line(mut message: Vec<u8>) -> Vec<u8> {
    message.iter_mut().filter(|byte| matches!(**byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    message.push(b'\n');
    message
}

const METHOD_NOT_FOUND: i64 = -32_601;

/// Why a request has no result.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("error {code}: {message}")]
pub(super) struct RpcError {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
}

impl RpcError {
    /// Whether another attempt may go better: the server's own troubles (`-32603` internal error, `-32099` to `-32000` as it sees
    /// fit) pass, a call that is wrong stays wrong.
    pub(super) const fn may_pass(&self) -> bool {
        matches!(self.code, -32_603 | -32_099..=-32_000)
    }
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<Box<RawValue>>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<RpcError>,
}

/// What the server says.
#[derive(Debug)]
pub(super) enum Incoming {
    /// The answer to our request.
    Response { id: u64, result: Result<Box<RawValue>, RpcError> },
    /// How far our request is.
    Progress { id: u64, fraction: Option<f64>, note: String },
    /// It asks for something.
    Request { id: Box<RawValue>, method: String },
    /// Nothing to act on.
    Other,
}

/// Reads a message, or an array of them.
pub(super) fn read(text: &[u8]) -> Result<Vec<Incoming>, serde_json::Error> {
    let messages: Vec<Message> = match text.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(text)?,
        _ => vec![serde_json::from_slice(text)?],
    };
    Ok(messages.into_iter().map(incoming).collect())
}

fn incoming(message: Message) -> Incoming {
    let number = |id: &RawValue| id.get().parse::<u64>().ok();
    match message {
        Message { id: Some(id), method: Some(method), .. } => Incoming::Request { id, method },
        Message { id: Some(id), method: None, result, error, .. } => match (number(&id), result, error) {
            (Some(id), _, Some(error)) => Incoming::Response { id, result: Err(error) },
            (Some(id), Some(result), None) => Incoming::Response { id, result: Ok(result) },
            (Some(_), None, None) | (None, _, _) => Incoming::Other,
        },
        Message { id: None, method: Some(method), params: Some(params), .. } if method == "notifications/progress" => {
            progress(&params).unwrap_or(Incoming::Other)
        }
        Message { id: None, .. } => Incoming::Other,
    }
}

fn progress(params: &RawValue) -> Option<Incoming> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Progress {
        progress_token: u64,
        progress: f64,
        #[serde(default)]
        total: Option<f64>,
        #[serde(default)]
        message: Option<String>,
    }
    let said: Progress = serde_json::from_str(params.get()).ok()?;
    let fraction = said.total.filter(|total| *total > 0.0).map(|total| said.progress / total);
    Some(Incoming::Progress { id: said.progress_token, fraction, note: said.message.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let one = |text: &str| read(text.as_bytes()).unwrap().remove(0);
        assert!(matches!(one(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#), Incoming::Response { id: 3, result: Ok(_) }));
        assert!(matches!(
            one(r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"no"}}"#),
            Incoming::Response { id: 3, result: Err(error) } if !error.may_pass()
        ));
        assert!(matches!(one(r#"{"id":"s","method":"ping"}"#), Incoming::Request { .. }));
        assert!(matches!(
            one(r#"{"method":"notifications/progress","params":{"progressToken":3,"progress":1,"total":4}}"#),
            Incoming::Progress { id: 3, fraction: Some(fraction), .. } if (fraction - 0.25).abs() < 1e-9
        ));
        for other in [
            r#"{"method":"notifications/progress","params":{"progressToken":"x","progress":1}}"#,
            r#"{"method":"notifications/tools/list_changed"}"#,
            r#"{"id":"theirs","result":{}}"#,
            r#"{"id":4}"#,
        ] {
            assert!(matches!(one(other), Incoming::Other), "{other}");
        }
        assert_eq!(read(br#"[{"id":1,"result":1},{"id":2,"result":2}]"#).unwrap().len(), 2);
        assert!(read(b"starting up...").is_err());
    }

    #[test]
    fn the_servers_own_troubles_may_pass() {
        let may_pass = |code| RpcError { code, message: String::new() }.may_pass();
        assert!([-32_603, -32_000, -32_099].into_iter().all(may_pass));
        assert!(![-32_700, -32_600, -32_601, -32_602, -32_100, 7].into_iter().any(may_pass));
    }
}
