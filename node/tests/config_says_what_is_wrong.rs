//! Configuration files, good and bad, and what is said of them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use tidegate_node::{Config, Written};

#[test]
fn the_example_is_complete_and_says_what_the_defaults_are() {
    let text = include_str!("../../examples/tidegate.yaml");
    assert_eq!(Written::parse("tidegate.yaml", text).unwrap(), Written::default());
    Config::parse("tidegate.yaml", text).unwrap();
    // Every field stands in it: what `show` prints is found there, line by line, in some order.
    let shown = Written::default().show().unwrap();
    for line in shown.lines() {
        let field = line.trim_start_matches([' ', '-']).split(':').next().unwrap();
        assert!(text.contains(&format!("{field}:")) || field.starts_with('"'), "`{field}` is not in the example");
    }
}

#[test]
fn what_is_shown_is_read_as_the_same() {
    let shown = Written::default().show().unwrap();
    assert_eq!(Written::parse("shown", &shown).unwrap(), Written::default());
}

#[test]
fn an_empty_file_is_the_default() {
    for text in ["", "# nothing\n\n"] {
        assert_eq!(Written::parse("t.yaml", text).unwrap(), Written::default());
    }
}

/// The whole text an operator sees.
fn refusal(text: &str) -> String {
    Config::parse("t.yaml", text).unwrap_err().to_string()
}

#[test]
fn each_mistake_is_told_with_its_place_its_reason_and_a_remedy() {
    let table = [
        (
            "prefix: tidegate.\nlisten: here\n",
            "t.yaml:2: `listen` is `here`, no address; write an address and a port, e.g. `127.0.0.1:7070`",
        ),
        (
            "prefix: 'a b'\n",
            "t.yaml:1: `prefix` is `a b`, with which no topic can begin; write up to 100 letters, digits, `.`, `_` and `-`, e.g. `tidegate.`",
        ),
        (
            "spine:\n  url: redis://x\n",
            "t.yaml:2: spine URL `redis://x` is none of ours: write `embedded:FOLDER` or `kafka://host:port`; see `examples/tidegate.yaml`",
        ),
        (
            "pools:\n  - name: bank\n    capabilities: [pay]\n    lanes: 0\n",
            "t.yaml:2: pool `bank`: `lanes` is 0, but must be 1 to 100000; correct the number",
        ),
        (
            "keys:\n  workers:\n    - id: w\n      sha256: '00'\n",
            "t.yaml:4: `00` is no SHA-256: it must be 64 hex digits, as `tidegate keys create --role worker` prints them; `tidegate keys create --role worker` makes one and prints what to write",
        ),
        (
            "keys:\n  workers:\n    - id: w\n      sha256: '0000000000000000000000000000000000000000000000000000000000000000'\n      labels: { zone: [] }\n",
            "t.yaml:5: label `zone` has no value; name its values, or leave the label out",
        ),
        (
            "keys:\n  workers:\n    - id: w\n      sha256: '0000000000000000000000000000000000000000000000000000000000000000'\n      labels: { zone: [\"a\\tb\"] }\n",
            "t.yaml:5: `a\\tb` is no label's name or value; write 1 to 128 bytes without control characters",
        ),
        (
            "keys:\n  workers:\n    - id: w\n      sha256: '0000000000000000000000000000000000000000000000000000000000000000'\n      pools: [shop]\n",
            "t.yaml:5: a worker's key names no pool: `shop`; correct the name",
        ),
        (
            "pools:\n  - name: bank\n    capabilities: []\n",
            "t.yaml:2: pool `bank` has no capability, so no job could go there; list its workers' capabilities, or write `[\"*\"]`",
        ),
        (
            "pools:\n  - name: a\n  - name: a\n",
            "t.yaml:2: pool `a` is defined twice; give each pool its own name; a pool's name is part of its topics' names",
        ),
        (
            "pools:\n  - name: jobs.raw\n",
            "t.yaml:2: pool `jobs.raw` has the name of a source, and both have a topic `commands.jobs.raw`; give one of them another name",
        ),
        (
            "sources:\n  - name: a\n    tenants: any\n    ticket_ttl_ms: 999\n",
            "t.yaml:4: source `a`: `ticket_ttl_ms`: `999` is not 1000 to 604800000; leave it out for that of all sources, `tickets.ttl_ms`",
        ),
        ("sources: []\n", "t.yaml:1: there is no source, so no job could come in; name at least one"),
        (
            "topics:\n  partitions:\n    jobs.row: 8\n",
            "t.yaml:3: `topics.partitions` names no source: `jobs.row`; correct the name",
        ),
        ("limits:\n  record_bytes: 2000000\n", "t.yaml:2: `limits.record_bytes` is 2000000; write 131072 to 1048588"),
    ];
    for (text, expected) in table {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    for (text, line, part) in [
        ("prefix: x\nprefx: y\n", 2, "prefx"),
        ("pools:\n  - name: a\n    lane: 3\n", 3, "lane"),
        ("topics:\n  adopt: maybe\n", 2, "bool"),
        ("sources:\n  - name: a\n    tenants: {everyone: true}\n", 3, "everyone"),
        ("spine:\n  settings:\n    sasl.password: {vault: x}\n", 3, "expected `file` or `env`"),
        ("prefix: [\n", 1, ""),
    ] {
        let refusal = refusal(text);
        assert!(refusal.starts_with(&format!("t.yaml:{line}: ")), "{refusal}");
        assert!(refusal.contains(part) && refusal.contains("examples/tidegate.yaml"), "{refusal}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let told = refusal("listen: here\nprefix: 'a b'\nmembership: {session_timeout_ms: 1}\n");
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn secrets_are_neither_shown_nor_debugged_and_are_read_from_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let text = format!(
        "spine:\n  settings:\n    sasl.password: {{file: {}}}\n    ssl.key.password: very-secret\n    linger.ms: 1\n",
        file.display()
    );
    let written = Written::parse("t.yaml", &text).unwrap();
    let (shown, debugged) = (written.show().unwrap(), format!("{written:?}"));
    for text in [&shown, &debugged] {
        assert!(!text.contains("very-secret") && !text.contains("hunter2") && text.contains("***"), "{text}");
    }
    assert!(shown.contains("linger.ms: \"1\"") || shown.contains("linger.ms: 1"), "{shown}");
    let values = written.spine.settings.resolve().unwrap();
    assert_eq!((values["sasl.password"].as_str(), values["ssl.key.password"].as_str()), ("hunter2", "very-secret"));
    let absent = Written::parse("t.yaml", "spine: {settings: {a: {env: TIDEGATE_TEST_NOT_SET}}}").unwrap();
    let error = absent.spine.settings.resolve().unwrap_err().to_string();
    assert_eq!(error, "setting `a`: environment variable `TIDEGATE_TEST_NOT_SET` is not set, or not UTF-8; set it");
}

#[test]
fn a_limit_of_a_capability_that_would_limit_nothing_is_refused() {
    let with = |has: &str, limited: &str| {
        format!(
            "pools:\n  - name: bank\n    capabilities: ['{has}']\n    scheduling: {{ capabilities: {{ '{limited}': {{ max_leased: 1 }} }} }}\n"
        )
    };
    for has in ["*", "pay"] {
        let star = refusal(&with(has, "*"));
        assert!(star.contains("limits capability `*`, which no job needs by that name; name each"), "{star}");
    }
    let unknown = refusal(&with("pay", "pai"));
    assert!(unknown.contains("limits capability `pai`, which its workers do not have; correct the name"), "{unknown}");
    for has in ["*", "pay"] {
        Config::parse("t.yaml", &with(has, "pay")).unwrap();
    }
}
