//! W3C trace context: which trace a job belongs to.
//!
//! It is for people's tools alone. It is no part of a job: it differs between retries of one submission, so it is neither hashed nor
//! judged. A record's header [`PARENT`] goes along with the judged job as a header and in its record ([`Judged::traceparent`]), so
//! that whatever runs the job has it, in every attempt.
//!
//! [`Judged::traceparent`]: crate::decision::Judged::traceparent

/// The header, as W3C names it; also of requests, and in lower case everywhere.
pub const PARENT: &str = "traceparent";

/// Whether it is a `traceparent` of version 00, in lower case as it must be: what else it may hold is not passed on.
#[must_use]
pub fn is_parent(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut hex = |digits: usize| {
        let of = parts.next().filter(|part| part.len() == digits)?;
        of.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(of)
    };
    let (version, trace, span, flags) = (hex(2), hex(32), hex(16), hex(2));
    let some = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|byte| byte != b'0'));
    version == Some("00") && some(trace) && some(span) && flags.is_some() && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_what_w3c_says_and_nothing_else() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_parent(good) && is_parent(&good.replace("-01", "-00")));
        for bad in [
            "",
            "00-aa-bb-01",
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            &format!("{good}-x"),
            &good[..54],
            &good.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &good.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &good.replace('-', "\""),
        ] {
            assert!(!is_parent(bad), "{bad}");
        }
    }
}
