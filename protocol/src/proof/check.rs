//! The reader's side: is the message genuine, and is it this place in the order that it was sent to?

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Shown, Ticket, content, leaf, statement};
use crate::address::{Offset, TopicPartition};
use crate::control::Stamp;
use crate::merkle::{Hash, Way};
use crate::signature::{Capacity, Distrust, Signature, Trust};

/// Signatures remembered as good. One is needed a group that is being read; a reader has at most a few hundred senders.
const REMEMBERED: usize = 512;

/// Why a message proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refused {
    /// What it says of itself is not what was signed: other bytes, or another path.
    #[error("it is not what was signed: content, partition, place in the order or path were altered")]
    Altered,
    /// It is genuine elsewhere.
    #[error("its ticket is for another partition or place in the order")]
    Replayed,
    /// Its signature is worth nothing.
    #[error(transparent)]
    Distrusted(#[from] Distrust),
}

impl Refused {
    /// The word used in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Replayed => "replayed",
            Self::Distrusted(why) => why.word(),
        }
    }
}

/// What a message says of itself, and where it was met.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// Its sender.
    pub sender: &'a str,
    /// Its stamp.
    pub stamp: Stamp,
    /// The partition it was read from.
    pub to: &'a TopicPartition,
}

/// A signature that was verified, and what it was found to sign.
struct Known {
    signature: Signature,
    root: Hash,
    epoch: u64,
    group: Offset,
    key: Box<str>,
    sender: Box<str>,
    /// Of the last message met.
    way: Way,
}

/// Checks messages and remembers good signatures, so that a group's is verified once. Bounded.
pub struct Checker {
    trust: Arc<dyn Trust>,
    /// Newest first.
    known: VecDeque<Known>,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").field("trust", &self.trust).field("known", &self.known.len()).finish()
    }
}

impl Checker {
    /// One that knows nothing yet.
    #[must_use]
    pub const fn new(trust: Arc<dyn Trust>) -> Self {
        Self { trust, known: VecDeque::new() }
    }

    /// Whom it trusts.
    #[must_use]
    pub fn trust(&self) -> &dyn Trust {
        &*self.trust
    }

    /// Checks a record's message by its header's proof, else by the ticket in its value. `at_ms` is the reader's time.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn message(
        &mut self,
        said: Said<'_>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        header: Option<&[u8]>,
        at_ms: u64,
    ) -> Result<(), Refused> {
        let Stamp { sequence, index, .. } = said.stamp;
        if let Some(header) = header {
            let proof = Shown::in_header(header).ok_or(Distrust::Unsigned)?;
            let of = leaf(said.to, sequence, index, &content(key, value));
            return self.proof(proof, of, said.sender, said.stamp, at_ms);
        }
        let (ticket, content) = value.and_then(Ticket::read).ok_or(Distrust::Unsigned)?;
        if ticket.sender.as_str() != said.sender || ticket.stamp() != said.stamp || ticket.to != *said.to {
            return Err(Refused::Replayed);
        }
        let (proof, of) = ticket.shown(&content);
        self.proof(proof, of, said.sender, said.stamp, at_ms)
    }

    /// Checks a record's text by its ticket alone; whether the ticket is for this reader is the caller's to see.
    ///
    /// # Errors
    /// [`Refused`], never `Replayed`.
    pub fn ticket(&mut self, text: &[u8], at_ms: u64) -> Result<Ticket, Refused> {
        let (ticket, content) = Ticket::read(text).ok_or(Distrust::Unsigned)?;
        let (proof, of) = ticket.shown(&content);
        self.proof(proof, of, ticket.sender.as_str(), ticket.stamp(), at_ms)?;
        Ok(ticket)
    }

    fn proof(&mut self, proof: Shown<'_>, of: Hash, sender: &str, stamp: Stamp, at_ms: u64) -> Result<(), Refused> {
        self.trust.entitled(proof.key, Capacity::of_sender(sender), at_ms)?;
        let (leaf, leaves) = (proof.leaf.into(), proof.leaves.into());
        let is_known = |k: &&mut Known| {
            (k.epoch, k.group) == (stamp.epoch, stamp.group)
                && k.signature == *proof.signature
                && k.root == *proof.root
                && (&*k.key, &*k.sender) == (proof.key, sender)
        };
        let mut known = self.known.iter_mut().find(is_known);
        if let Some(known) = &mut known
            && known.way.joins(leaf, leaves, of, proof.path)
        {
            return Ok(());
        }
        let way = Way::follow(leaf, leaves, of, proof.path).filter(|way| way.root() == proof.root);
        let way = way.ok_or(Refused::Altered)?;
        if known.is_some() {
            return Ok(());
        }
        let statement = statement(sender, stamp.epoch, stamp.group, proof.root);
        self.trust.verify(proof.key, &statement, proof.signature)?;
        self.known.truncate(REMEMBERED - 1);
        self.known.push_front(Known {
            signature: *proof.signature,
            root: *proof.root,
            epoch: stamp.epoch,
            group: stamp.group,
            key: proof.key.into(),
            sender: sender.into(),
            way,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::address::TopicName;
    use crate::ids::{KeyId, SenderId};
    use crate::proof::Emission;
    use crate::proof::fixtures::Cheap;
    use crate::signature::{Role, Sign};

    const SENDER: &str = "kernel.jobs.raw/0";
    const TEXT: &[u8] = br#"{"v":1,"job":{"a":"1"},"payload":{"b":",\"ticket\":{"}}"#;

    #[derive(Debug, Default)]
    struct Counting(Cheap, AtomicUsize);

    impl Trust for Counting {
        fn entitled(&self, key: &str, capacity: Capacity<'_>, at_ms: u64) -> Result<(), Distrust> {
            self.0.entitled(key, capacity, at_ms)
        }
        fn verify(&self, key: &str, statement: &[u8], signature: &Signature) -> Result<(), Distrust> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.verify(key, statement, signature)
        }
    }

    fn partition(name: &str, number: u32) -> TopicPartition {
        TopicName::new(name).unwrap().partition(number)
    }

    fn to() -> TopicPartition {
        partition("t.approved.p", 3)
    }

    fn stamp(sequence: u64) -> Stamp {
        Stamp { epoch: 5, sequence, group: 12, index: sequence * 256 }
    }

    /// Messages of one group: (the record's value with its ticket, the same content's header) each.
    fn group(signer: &dyn Sign, n: u64) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut tickets, mut headers) = (Emission::default(), Emission::default());
        for sequence in 0..n {
            tickets.push(&to(), sequence, sequence * 256, &Ticket::content(TEXT));
            headers.push(&to(), sequence, sequence * 256, &content(Some(b"k"), Some(TEXT)));
        }
        let tickets = tickets.seal(signer, SENDER, 5, 12).unwrap();
        let headers = headers.seal(signer, SENDER, 5, 12).unwrap();
        let sender = SenderId::new(SENDER).unwrap();
        (0..n)
            .map(|n| {
                let number = usize::try_from(n).unwrap();
                let ticket = Ticket::new(tickets.proof(number), sender.clone(), to(), stamp(n));
                (ticket.splice(TEXT).unwrap(), headers.proof(number).to_header())
            })
            .collect()
    }

    fn met<'a>(to: &'a TopicPartition, sender: &'a str, stamp: Stamp) -> Said<'a> {
        Said { sender, stamp, to }
    }

    #[test]
    fn genuine_messages_are_believed_with_one_verification_a_group() {
        let trust = Arc::new(Counting::default());
        let mut checker = Checker::new(trust.clone());
        for (sequence, (value, header)) in (0..).zip(group(&Cheap::default(), 9)) {
            let to = to();
            let said = met(&to, SENDER, stamp(sequence));
            assert_eq!(checker.message(said, Some(b"k"), Some(&value), None, 1), Ok(()));
            assert_eq!(checker.ticket(&value, 1).map(|t| t.stamp()), Ok(stamp(sequence)));
            assert_eq!(checker.message(said, Some(b"k"), Some(TEXT), Some(&header), 1), Ok(()));
        }
        assert_eq!(trust.1.load(Ordering::Relaxed), 2, "two roots");
    }

    #[test]
    fn a_reader_remembers_a_bounded_number_of_roots() {
        let mut checker = Checker::new(Arc::new(Cheap::default()));
        for group in 0..3 * REMEMBERED as u64 {
            let mut emission = Emission::default();
            emission.push(&to(), group, 0, &content(None, None));
            let header = emission.seal(&Cheap::default(), SENDER, 5, group).unwrap().proof(0).to_header();
            let to = to();
            let said = met(&to, SENDER, Stamp { epoch: 5, sequence: group, group, index: 0 });
            assert_eq!(checker.message(said, None, None, Some(&header), 1), Ok(()));
        }
        assert_eq!(checker.known.len(), REMEMBERED);
    }

    #[test]
    fn what_is_not_exactly_what_was_sent_there_is_refused_with_its_reason() {
        let mut checker = Checker::new(Arc::new(Cheap::default()));
        let (value, header) = group(&Cheap::default(), 9).remove(4);
        let right = stamp(4);
        let mut refused = |to: &TopicPartition, sender, stamp, value: &[u8], header: Option<&[u8]>, at| {
            checker.message(met(to, sender, stamp), Some(b"k"), Some(value), header, at).map_err(Refused::word)
        };
        assert_eq!(refused(&to(), SENDER, right, &value, None, 1), Ok(()));
        // Unsigned, in each way.
        assert_eq!(refused(&to(), SENDER, right, TEXT, None, 1), Err("unsigned"));
        assert_eq!(refused(&to(), SENDER, right, TEXT, Some(b"nonsense"), 1), Err("unsigned"));
        // Genuine elsewhere: another partition, pool, place in the order, epoch, group or sender.
        for (to, stamp, sender) in [
            (partition("t.approved.p", 2), right, SENDER),
            (partition("t.approved.q", 3), right, SENDER),
            (to(), Stamp { sequence: 5, ..right }, SENDER),
            (to(), Stamp { epoch: 6, ..right }, SENDER),
            (to(), Stamp { group: 13, ..right }, SENDER),
            (to(), Stamp { index: 0, ..right }, SENDER),
            (to(), right, "kernel.jobs.raw/1"),
        ] {
            assert_eq!(refused(&to, sender, stamp, &value, None, 1), Err("replayed"));
            let by_header = refused(&to, sender, stamp, TEXT, Some(&header), 1);
            assert!(matches!(by_header, Err("altered" | "forged")), "{by_header:?}");
        }
        // Altered content.
        let text = String::from_utf8(value.clone()).unwrap();
        for (from, into) in [(r#""a":"1""#, r#""a":"2""#), (r#""v":1,"job""#, r#""v":2,"job""#), ("payload", "payloae")]
        {
            let altered = text.replacen(from, into, 1);
            assert_ne!(altered, text);
            assert_eq!(refused(&to(), SENDER, right, altered.as_bytes(), None, 1), Err("altered"));
        }
        assert_eq!(refused(&to(), SENDER, right, b"{}", Some(&header), 1), Err("altered"));
        // A key that may not, or may no longer.
        assert_eq!(refused(&to(), SENDER, right, &value, None, Cheap::UNTIL_MS + 1), Err("retired_key"));
        let unknown = text.replacen(r#""key":"cheap""#, r#""key":"other""#, 1);
        assert_eq!(refused(&to(), SENDER, right, unknown.as_bytes(), None, 1), Err("unknown_key"));
        let scheduler = Cheap { role: Role::Stage("scheduler".into()), ..Cheap::default() };
        let mut strict = Checker::new(Arc::new(scheduler));
        assert_eq!(strict.ticket(&value, 1).map_err(Refused::word), Err("wrong_role"));
    }

    #[test]
    fn no_byte_of_a_ticket_or_of_a_header_can_change_unnoticed() {
        let (value, header) = group(&Cheap::default(), 5).remove(2);
        let mut checker = Checker::new(Arc::new(Cheap::default()));
        let to = to();
        for at in 0..value.len() {
            for bit in [1, 0x20] {
                let mut changed = value.clone();
                changed[at] ^= bit;
                if serde_json::from_slice::<serde_json::Value>(&changed).ok()
                    == serde_json::from_slice::<serde_json::Value>(&value).ok()
                {
                    continue; // the same text for a JSON reader: a hex digit's case
                }
                let said = met(&to, SENDER, stamp(2));
                let met = checker.message(said, Some(b"k"), Some(&changed), None, 1);
                let hex_case = changed.to_ascii_lowercase() == value;
                assert!(met.is_err() || hex_case, "byte {at} changed: {}", String::from_utf8_lossy(&changed));
            }
        }
        for at in 0..header.len() {
            let mut changed = header.clone();
            changed[at] ^= 1;
            let met = checker.message(met(&to, SENDER, stamp(2)), Some(b"k"), Some(TEXT), Some(&changed), 1);
            assert!(met.is_err(), "byte {at} of the header changed");
        }
        assert!(checker.message(met(&to, SENDER, stamp(2)), Some(b"l"), Some(TEXT), Some(&header), 1).is_err());
    }

    #[test]
    fn a_ticket_is_no_longer_than_it_may_be() {
        let longest = "\"".repeat(255) + "k";
        let ticket = Ticket {
            v: 1,
            sender: SenderId::new(&longest).unwrap(),
            epoch: u64::MAX,
            sequence: u64::MAX,
            group: u64::MAX,
            index: u64::MAX,
            to: partition(&"t".repeat(249), u32::MAX),
            key: KeyId::new("k".repeat(100)).unwrap(),
            root: [255; 32],
            leaf: u32::MAX,
            leaves: u32::MAX,
            path: vec![[255; 32]; crate::merkle::LONGEST_PATH],
            signature: [255; 64],
        };
        let whole = ticket.splice(b"{\"v\":1}").unwrap();
        assert!(whole.len() < super::super::MOST_TICKET_BYTES, "{}", whole.len());
        assert_eq!(Ticket::read(&whole), Some((ticket, Ticket::content(b"{\"v\":1}"))));
    }
}
