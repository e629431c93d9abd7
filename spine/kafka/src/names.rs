//! Header names: those we write ourselves come back without an allocation.

use std::borrow::Cow;

use tidegate_protocol::headers as h;

const OURS: &[&str] = &[
    h::STAMP,
    h::SENDER,
    h::EPOCH,
    h::SOURCE,
    h::KIND,
    h::TO,
    "traceparent",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_specversion",
    "content-type",
    h::DEAD_TOPIC,
    h::DEAD_PARTITION,
    h::DEAD_OFFSET,
    h::DEAD_STAGE,
    h::DEAD_CLASS,
    h::DEAD_MESSAGE,
    h::DEAD_HASH,
];

/// The name as text; what is not UTF-8 in a stranger's is replaced.
pub(crate) fn of(name: &[u8]) -> Cow<'static, str> {
    match OURS.iter().find(|ours| ours.as_bytes() == name) {
        Some(ours) => Cow::Borrowed(ours),
        None => Cow::Owned(String::from_utf8_lossy(name).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_cost_nothing_and_strange_ones_do_no_harm() {
        assert!(matches!(of(b"tg-stamp"), Cow::Borrowed("tg-stamp")));
        assert_eq!(of(b"x-y"), "x-y");
        assert_eq!(of(b"a\xff"), "a\u{fffd}");
    }
}
