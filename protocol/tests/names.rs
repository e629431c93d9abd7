//! Names, positions, hashes and numbers that records are found by.

use proptest::prelude::*;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::{Kind, epoch};
use tidegate_protocol::ids::{JobId, PoolName, SourceName, TenantId};
use tidegate_protocol::job::{InputHash, SourcePosition};
use tidegate_protocol::topics::partition_of;

#[test]
fn kinds_have_one_word_each() {
    for kind in [Kind::Claim, Kind::Fence, Kind::Barrier, Kind::Group, Kind::Snapshot, Kind::Term, Kind::Loss] {
        assert_eq!(Kind::from_word(kind.word()), Some(kind));
        assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.word()));
    }
    assert_eq!(Kind::from_word("job"), None);
}

#[test]
fn partitions_of_keys_never_move() {
    for (key, of_4, of_7) in [("", 2, 1), ("acme", 2, 2), ("jobs.raw/0@7", 1, 3), ("é", 3, 4)] {
        assert_eq!((partition_of(key.as_bytes(), 4), partition_of(key.as_bytes(), 7)), (of_4, of_7), "{key}");
    }
    assert_eq!(partition_of(b"x", 0), 0);
}

#[test]
fn an_input_without_attributes_hashes_to_its_plain_sha_256() {
    let none: [(&str, &[u8]); 0] = [];
    assert_eq!(
        InputHash::of(b"abc", none).to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn what_is_no_position_is_refused() {
    for text in [
        "",
        "a",
        "a/0",
        "a/0@",
        "a/@1",
        "/0@1",
        "a/0@-1",
        "a/0@1@2",
        "a/0@1~0",
        "a/0@1~",
        "a/0@1~1~1",
        "a/4294967296@0",
        "a b/0@1",
        "a/0@18446744073709551616",
    ] {
        assert!(text.parse::<SourcePosition>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_position_reads_back(source in "[A-Za-z0-9._-]{1,100}", partition: u32, offset: u64, redrive in 0_u32..3) {
        let position = SourcePosition::new(SourceName::new(source).unwrap(), partition, offset).redriven(redrive);
        prop_assert_eq!(&position.to_string().parse::<SourcePosition>().unwrap(), &position);
        let json = serde_json::to_string(&position).unwrap();
        prop_assert_eq!(serde_json::from_str::<SourcePosition>(&json).unwrap(), position);
    }

    #[test]
    fn no_text_makes_parsing_a_position_panic_or_lose_something(text in ".{0,60}") {
        if let Ok(position) = text.parse::<SourcePosition>() {
            let again: SourcePosition = position.to_string().parse().unwrap();
            prop_assert_eq!(again, position);
        }
    }

    #[test]
    fn names_keep_their_rules(text in "\\PC{0,120}|.{0,300}") {
        let word = !text.is_empty() && text.len() <= 100
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        prop_assert_eq!(SourceName::new(&text).is_ok(), word);
        prop_assert_eq!(PoolName::new(&text).is_ok(), word);
        let free = !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
        prop_assert_eq!(TenantId::new(&text).is_ok(), free);
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<JobId>(&json).is_ok(), free);
        let topic = !text.is_empty() && text.len() <= 249 && text != "." && text != ".."
            && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c));
        prop_assert_eq!(TopicName::new(&text).is_ok(), topic);
    }

    #[test]
    fn hashes_read_back_and_attributes_do_not_run_together(
        value in prop::collection::vec(any::<u8>(), 0..50),
        name in "[a-z]{1,8}",
        attribute in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let hash = InputHash::of(&value, [(name.as_str(), attribute.as_slice())]);
        let json = serde_json::to_string(&hash).unwrap();
        prop_assert_eq!(serde_json::from_str::<InputHash>(&json).unwrap(), hash);
        let joined = [value.as_slice(), name.as_bytes(), attribute.as_slice()].concat();
        let none: [(&str, &[u8]); 0] = [];
        prop_assert_ne!(InputHash::of(&joined, none), hash);
        let mut longer = attribute.clone();
        longer.push(0);
        prop_assert_ne!(InputHash::of(&value, [(name.as_str(), longer.as_slice())]), hash);
        prop_assert_ne!(InputHash::of(&value, [(name.as_str(), attribute.as_slice()), ("a", b"")]), hash);
    }

    #[test]
    fn a_later_claim_or_term_has_a_higher_epoch(term in 0..8_191_u32, a in 0..(1_u64 << 40) - 2, b in 0..(1_u64 << 40) - 2) {
        prop_assert_eq!(epoch(term, a).cmp(&epoch(term, b)), a.cmp(&b));
        prop_assert!(epoch(term + 1, a) > epoch(term, b));
        prop_assert!(epoch(term, a) < 1 << 53, "a foreign consumer reads it as a double");
    }

    #[test]
    fn a_key_stays_within_its_partitions(key in prop::collection::vec(any::<u8>(), 0..40), partitions in 1..1_000_u32) {
        prop_assert!(partition_of(&key, partitions) < partitions);
        prop_assert_eq!(partition_of(&key, partitions), partition_of(&key, partitions));
    }
}
