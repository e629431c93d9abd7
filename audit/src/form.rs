//! The one form of a control record. Signatures cover values; key and headers must be those their writer gives every record
//! of that kind, so that no byte of a record is free to change.

use tidegate_protocol::control::Kind;
use tidegate_protocol::headers;
use tidegate_spine::Record;

/// Headers of ours begin so; others (a tracing proxy's, a mirror's) are not ours to judge.
const OURS: &str = "tg-";

/// What differs, in words.
pub(crate) fn fault(record: &Record, kind: Kind, sender: &str, epoch: u64) -> Option<&'static str> {
    if record.key.as_deref() != Some(sender.as_bytes()) {
        return Some("its key is not its sender");
    }
    let epoch = epoch.to_string();
    let mut wanted = vec![(headers::KIND, kind.word()), (headers::SENDER, sender)];
    if kind != Kind::Claim {
        wanted.push((headers::EPOCH, &epoch));
    }
    let ours = record.headers.iter().filter(|(name, _)| name.get(..OURS.len()).is_some_and(|start| start == OURS));
    let ours: Vec<(&str, &[u8])> = ours.map(|(name, value)| (name, &**value)).collect();
    let same = ours.len() == wanted.len()
        && ours.iter().zip(&wanted).all(|(ours, (name, value))| *ours == (*name, value.as_bytes()));
    (!same).then_some("its headers are not those of its kind")
}
