//! Instants on the command line.

/// Milliseconds since 1970 from RFC 3339 in UTC, or from digits.
pub(super) fn instant(text: &str) -> Result<u64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    tidegate_policy::instant(text)
        .ok_or_else(|| format!("`{text}` is no instant; write `2026-03-01T09:30:00Z` or milliseconds since 1970"))
}

/// The wall clock.
pub(super) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
