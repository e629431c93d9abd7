//! The examples of `docs/policy-conditions.md` mean what the page says.

use crate::judge;
use tidegate_policy::when::{MAX_COST, MAX_DEPTH, MAX_NODES, MAX_OBJECT_KEYS, MAX_TEXT_BYTES, MAX_TOKENS, Truth};

const PAGE: &str = include_str!("../../../docs/policy-conditions.md");

fn block(kind: &str) -> &'static str {
    let after = PAGE.split_once(&format!("```{kind}\n")).and_then(|(_, rest)| rest.split_once("```"));
    after.unwrap_or_else(|| panic!("no block of {kind} on the page")).0
}

#[test]
fn the_examples_of_the_reference_mean_what_it_says() {
    let payload = block("json");
    let mut examples = 0;
    for line in block("when").lines() {
        let (text, result) = line.rsplit_once("=>").unwrap_or_else(|| panic!("an example without a result: {line}"));
        let expected = match result.trim() {
            "true" => Truth::True,
            "false" => Truth::False,
            "cannot be told" => Truth::Error,
            other => panic!("`{other}` is no result: {line}"),
        };
        assert_eq!(judge(text.trim(), payload), expected, "{line}");
        examples += 1;
    }
    assert!(examples >= 20, "{examples} examples");
}

#[test]
fn the_reference_names_the_bounds_as_they_are() {
    let thousands = |number: u64| {
        let digits = number.to_string();
        let (head, tail) = digits.split_at(digits.len() % 3);
        let groups = tail.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
        [head.to_owned()].into_iter().filter(|head| !head.is_empty()).chain(groups).collect::<Vec<_>>().join(",")
    };
    for (bound, what) in [
        (MAX_COST, "units"),
        (MAX_TEXT_BYTES as u64, "bytes"),
        (MAX_TOKENS as u64, "tokens"),
        (MAX_NODES as u64, "parts"),
        (MAX_OBJECT_KEYS as u64, "keys"),
    ] {
        let words = format!("{} {what}", thousands(bound));
        assert!(PAGE.contains(&words), "`{words}` is not on the page");
    }
    assert!(PAGE.contains(&format!("nesting of {MAX_DEPTH}")));
}
