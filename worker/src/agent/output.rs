//! What comes out of a command.

use std::collections::VecDeque;
use std::io;

use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads to the end; keeps at most `limit` bytes and says with `true` that there were more. `too_much` is called once,
/// at the first byte beyond; reading goes on so that the writer does not hang.
pub(super) async fn read_up_to(
    mut from: impl AsyncRead + Unpin,
    limit: usize,
    kept: &mut Vec<u8>,
    mut too_much: impl FnMut(),
) -> io::Result<bool> {
    let mut over = false;
    let mut chunk = vec![0; 16 << 10];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            return Ok(over);
        }
        let room = limit.saturating_sub(kept.len());
        kept.extend(chunk.iter().take(n.min(room)));
        if n > room && !std::mem::replace(&mut over, true) {
            too_much();
        }
    }
}

/// Reads to the end and keeps the last `tail` bytes.
pub(super) async fn read_tail(
    mut from: impl AsyncRead + Unpin,
    tail: usize,
    kept: &mut VecDeque<u8>,
) -> io::Result<()> {
    let mut chunk = vec![0; 4 << 10];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            return Ok(());
        }
        kept.extend(chunk.iter().take(n));
        kept.drain(..kept.len().saturating_sub(tail));
    }
}

/// stdout as a result: `None` for nothing but white space, JSON if it is one value, otherwise a JSON string.
pub(super) fn as_json(stdout: &[u8]) -> Result<Option<Box<RawValue>>, serde_json::Error> {
    if stdout.trim_ascii().is_empty() {
        return Ok(None);
    }
    if let Ok(json) = serde_json::from_slice::<Box<RawValue>>(stdout) {
        return Ok(Some(json));
    }
    let text = String::from_utf8_lossy(stdout);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    serde_json::value::to_raw_value(text.strip_suffix('\r').unwrap_or(text)).map(Some)
}

/// The end of stderr for people: whole lines when there is more than one, no control characters but line breaks.
pub(super) fn as_reason(tail: &VecDeque<u8>, cut: bool) -> String {
    let bytes: Vec<u8> = tail.iter().copied().collect();
    let text = String::from_utf8_lossy(&bytes);
    let text = if cut { text.split_once('\n').map_or(&*text, |(_, rest)| rest) } else { &*text };
    text.trim().chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdout_is_json_when_it_is_one_value_and_text_otherwise() {
        let json = |bytes: &[u8]| as_json(bytes).unwrap().map(|json| json.get().to_owned());
        assert_eq!(json(b""), None);
        assert_eq!(json(b" \n"), None);
        assert_eq!(json(b"{\"a\": 1}\n").as_deref(), Some("{\"a\": 1}"));
        assert_eq!(json(b"42").as_deref(), Some("42"));
        assert_eq!(json(b"done\n").as_deref(), Some("\"done\""));
        assert_eq!(json(b"1 2\n").as_deref(), Some("\"1 2\""));
        assert_eq!(json(b"{\"a\":").as_deref(), Some("\"{\\\"a\\\":\""));
        assert_eq!(json(b"\xff\r\n").as_deref(), Some("\"\u{fffd}\""));
    }

    #[test]
    fn a_cut_tail_begins_at_a_line() {
        let tail: VecDeque<u8> = b"alf a line\nsecond \x1b[31mline\n".iter().copied().collect();
        assert_eq!(as_reason(&tail, true), "second [31mline");
        assert_eq!(as_reason(&tail, false), "alf a line\nsecond [31mline");
    }
}
