//! What is signed: the first line of every kind of statement, and the statements that are no JSON object.
//!
//! | what | statement |
//! |---|---|
//! | claim | `tidegate claim v1`, its partition, the claim's text |
//! | fence, barrier | `tidegate mark v1`, `fence` or `barrier`, its partition, the mark's text |
//! | group of facts | `tidegate group v1`, sender, epoch, root |
//! | chunk of a snapshot | `tidegate snapshot v1`, the chunk's text |
//! | accepted loss | `tidegate loss v1`, its text |
//! | folder of policy bundles | `tidegate policy v1`, the text of its list of files |
//! | operator's command to a pool | `tidegate pool command v1`, its text ([`crate::pool_command`]) |
//! | checkpoint of a facts log | `tidegate checkpoint v1`, the checkpoint's text ([`crate::checkpoint`]) |
//! | messages of a group | `tidegate messages v1`, sender, epoch, offset of the group, root ([`crate::proof`]) |
//!
//! Each part is a line. A partition is `topic/partition`, with the topic's full name.

use serde_json::value::RawValue;

use crate::address::TopicPartition;
use crate::control::Kind;
use crate::hex;
use crate::merkle::{self, Hash, Tree};
use crate::signature::{self, Capacity, Distrust, Signature, Signed, Trust};

/// A claim that landed more than this long after, or before, the wall clock in it does not count: one that is written
/// again later, by whoever has read it, claims nothing. Milliseconds.
pub const CLAIM_COUNTS_MS: u64 = 60_000;

/// Kind of a snapshot's chunk.
pub const SNAPSHOT: &str = "tidegate snapshot v1";

/// Kind of the list of files of a folder of policy bundles.
pub const POLICY: &str = "tidegate policy v1";

/// Kind of an accepted loss.
pub const LOSS: &str = "tidegate loss v1";

/// Kind of a claim in that facts log.
#[must_use]
pub fn claim(at: &TopicPartition) -> String {
    format!("tidegate claim v1\n{at}")
}

/// Kind of a fence or a barrier in that partition.
#[must_use]
pub fn mark(kind: Kind, at: &TopicPartition) -> String {
    format!("tidegate mark v1\n{}\n{at}", kind.word())
}

/// The statement of a group.
#[must_use]
pub fn group(sender: &str, epoch: u64, root: &Hash) -> Vec<u8> {
    format!("tidegate group v1\n{sender}\n{epoch}\n{}", hex::encode(root)).into_bytes()
}

/// Begins the facts in a group's text, and its root.
const FACTS: &[u8] = br#","facts":"#;
const ROOT: &[u8] = br#","root":""#;

/// A group's exact text: header, facts, root, signature.
#[derive(Debug)]
pub struct GroupText<'a> {
    /// The header's text without its closing brace.
    open: &'a [u8],
    /// Each fact's text.
    pub facts: Vec<&'a RawValue>,
    /// The root it names.
    pub root: Hash,
    signed: Signed<'a>,
}

impl<'a> GroupText<'a> {
    /// Takes a group's value apart; `None` when it is not exactly a signed group.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let signed = Signed::read(value)?;
        let rest = signed.open().strip_suffix(b"\"")?;
        let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        let root = signature::digits(digits)?;
        let rest = rest.strip_suffix(ROOT)?;
        // Quotation marks inside a JSON string are escaped, so this stands nowhere before the facts themselves.
        let at = rest.windows(FACTS.len()).position(|window| window == FACTS)?;
        let (open, list) = (rest.get(..at)?, rest.get(at + FACTS.len()..)?);
        let facts: Vec<&RawValue> = serde_json::from_slice(list).ok()?;
        let texts: usize = facts.iter().map(|fact| fact.get().len()).sum();
        let exact = list.len() == texts + facts.len().saturating_sub(1) + 2;
        exact.then_some(Self { open, facts, root, signed })
    }

    /// The header as a JSON object.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        [self.open, b"}"].concat()
    }

    /// The key that signed.
    #[must_use]
    pub const fn key(&self) -> &'a str {
        self.signed.key
    }

    /// Whether the facts and the header are those of the root, and a key that may speak for `sender` at that time signed it.
    /// `epoch` is what the header says.
    ///
    /// # Errors
    /// [`Distrust`]; `BadSignature` also when the root is another's.
    pub fn check(&self, trust: &dyn Trust, sender: &str, epoch: u64, at_ms: u64) -> Result<(), Distrust> {
        trust.entitled(self.signed.key, Capacity::of_sender(sender), at_ms)?;
        let facts = self.facts.iter().map(|fact| merkle::leaf(&[fact.get().as_bytes()]));
        let leaves = std::iter::once(merkle::leaf(&[self.open, b"}"])).chain(facts).collect();
        if Tree::new(leaves).root() != self.root {
            return Err(Distrust::BadSignature);
        }
        trust.verify(self.signed.key, &group(sender, epoch, &self.root), self.signed.signature())
    }
}

/// The text of a group: `header` is the header's JSON object, `facts` its facts' texts with commas between, `leaves` their
/// leaves in order. `sign` gives key and signature of the statement.
pub fn group_text<'k>(
    header: Vec<u8>,
    facts: &[u8],
    leaves: Vec<Hash>,
    sign: impl FnOnce(&Hash) -> (&'k str, Signature),
) -> Vec<u8> {
    let mut all = Vec::with_capacity(leaves.len() + 1);
    all.push(merkle::leaf(&[&header]));
    all.extend(leaves);
    let root = Tree::new(all).root();
    let (key, signature) = sign(&root);
    let mut text = header;
    text.reserve(facts.len() + 384);
    text.pop();
    text.extend_from_slice(FACTS);
    text.push(b'[');
    text.extend_from_slice(facts);
    text.push(b']');
    text.extend_from_slice(ROOT);
    text.extend_from_slice(hex::encode(root).as_bytes());
    text.push(b'"');
    crate::signature::attach(text, key, &signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proof::fixtures::Cheap;
    use crate::signature::Sign;

    const SENDER: &str = "kernel.jobs.raw/0";

    fn written(header: &str, facts: &[&str]) -> Vec<u8> {
        let cheap = Cheap::default();
        let leaves = facts.iter().map(|fact| merkle::leaf(&[fact.as_bytes()])).collect();
        group_text(header.into(), facts.join(",").as_bytes(), leaves, |root| {
            ("cheap", cheap.sign(&group(SENDER, 5, root)))
        })
    }

    #[test]
    fn a_group_is_read_as_it_was_written_and_no_byte_of_it_can_change_unnoticed() {
        let header = r#"{"v":1,"epoch":5,"text":"\",\"facts\":[1]"}"#;
        for facts in [&[][..], &[r#"{"a":"]"}"#], &["1", r#"{"facts":[2]}"#, "\"x\""]] {
            let value = written(header, facts);
            let parsed: serde_json::Value = serde_json::from_slice(&value).unwrap();
            assert_eq!(parsed["facts"].as_array().map(Vec::len), Some(facts.len()));
            let group = GroupText::read(&value).unwrap();
            assert_eq!(group.header(), header.as_bytes());
            assert_eq!(group.facts.iter().map(|f| f.get()).collect::<Vec<_>>(), facts);
            let check = |value: &[u8], sender, epoch| {
                GroupText::read(value).map(|group| group.check(&Cheap::default(), sender, epoch, 1))
            };
            assert_eq!(check(&value, SENDER, 5), Some(Ok(())));
            assert_eq!(check(&value, "kernel.jobs.raw/1", 5), Some(Err(Distrust::BadSignature)));
            assert_eq!(check(&value, SENDER, 6), Some(Err(Distrust::BadSignature)));
            for at in 0..value.len() {
                let mut changed = value.clone();
                changed[at] ^= 1;
                assert_ne!(
                    check(&changed, SENDER, 5),
                    Some(Ok(())),
                    "byte {at}: {}",
                    String::from_utf8_lossy(&changed)
                );
                let mut longer = value.clone();
                longer.insert(at, b' ');
                assert_ne!(check(&longer, SENDER, 5), Some(Ok(())), "a space at {at}");
            }
        }
    }

    #[test]
    fn facts_cannot_be_left_out_or_change_places() {
        let value = String::from_utf8(written("{\"v\":1}", &["1", "2", "3"])).unwrap();
        for list in ["[1,3,2]", "[1,2]", "[1,2,3,3]", "[]"] {
            let changed = value.replace("[1,2,3]", list);
            let group = GroupText::read(changed.as_bytes()).unwrap();
            assert_eq!(group.check(&Cheap::default(), SENDER, 5, 1), Err(Distrust::BadSignature), "{list}");
        }
    }
}
