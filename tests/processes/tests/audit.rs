//! The audit log through the real binary: what was decided verifies, with public keys alone; what was changed does not.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;

use serde_json::{Value, json};
use tidegate_processes::dev::Dev;
use tidegate_processes::home::Home;
use tidegate_processes::process::Ended;

const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
";
const ARGUMENTS: [&str; 4] = ["--policy", "policy", "--worker", "work=builtin:noop"];
const CONFIG: &str = "audit: { checkpoint_every_ms: 1, checkpoint_file: elsewhere.jsonl }
pools: [{ name: default, capabilities: [work] }]
topics: { source_partitions: 2 }
";
const SPINE: [&str; 4] = ["--spine", "embedded:data/spine", "--trusted", "data/trusted.yaml"];

/// Some decisions, by `lives` owners that stopped in order.
fn decided(lives: usize) -> Home {
    let home = Home::new(POLICY).unwrap();
    home.write("tidegate.yaml", CONFIG).unwrap();
    for life in 0..lives {
        let mut dev = Dev::ready(&home, &format!("dev-{life}"), &ARGUMENTS).unwrap();
        let mut last = String::new();
        for number in 0..12 {
            let topic = if number % 4 == 3 { "job.forbidden" } else { "job.work.x" };
            let job = json!({"id": format!("j{life}-{number}"), "tenant": "acme", "topic": topic, "capability": "work", "payload": number});
            let (status, answer) = dev.submit(job.to_string().as_bytes()).unwrap();
            assert!(status < 300, "{answer}");
            last = answer["source"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        }
        dev.story(&last).unwrap();
        dev.process.terminate(std::time::Duration::from_secs(60)).unwrap();
    }
    home
}

fn audit(home: &Home, arguments: &[&str]) -> (Ended, Value) {
    let mut all = vec!["--output", "json", "audit"];
    all.extend_from_slice(arguments);
    let ended = home.run(&all).unwrap();
    let last = ended.out.lines().last().unwrap_or_default().to_owned();
    let document = serde_json::from_str(&last).unwrap_or(Value::Null);
    (ended, document)
}

fn verify(home: &Home, arguments: &[&str]) -> (i32, Value) {
    let mut all = vec!["verify"];
    all.extend_from_slice(arguments);
    let (ended, document) = audit(home, &all);
    (ended.code.unwrap_or(-1), document)
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn write(path: &Path, lines: &[Value]) {
    let text: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(path, text.concat()).unwrap();
}

/// The groups of a dump: numbers of their lines.
fn groups(lines: &[Value]) -> Vec<usize> {
    // `tg-kind: group`, in base64.
    (0..lines.len()).filter(|number| lines[*number]["headers"][0] == json!(["tg-kind", "Z3JvdXA="])).collect()
}

#[test]
fn decisions_of_several_owners_verify_and_are_told_one_by_one() {
    let home = decided(2);
    let (code, report) = verify(&home, &SPINE);
    assert_eq!((code, &report["verdict"]), (0, &json!("verified")), "{report}");
    let partitions = report["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 2, "{report}");
    for partition in partitions {
        assert!(partition["barriers"].as_u64() >= Some(2) && partition["facts"].as_u64() > Some(0), "{partition}");
        // The stop of each owner says up to where its log goes.
        assert_eq!(partition["last_checkpoint"], partition["head"]["offset"], "{partition}");
    }

    let mut export = vec!["export"];
    export.extend(SPINE);
    let (ended, _) = audit(&home, &export);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let told: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |verdict: &str| told.iter().filter(|line| line["verdict"] == verdict).count();
    assert_eq!((told.len(), of("allow"), of("deny")), (24, 18, 6), "{}", ended.out);
    let allowed = told.iter().find(|line| line["verdict"] == "allow").unwrap();
    assert!(allowed["rules"] == json!(["work"]) && allowed["tenant"] == "acme" && allowed["position"].is_string());
    // Another key's word is worth nothing.
    home.write(
        "others.yaml",
        &format!(
            "- {{ id: dev, public: \"{}\", roles: [stage] }}\n",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        ),
    )
    .unwrap();
    let (code, report) = verify(&home, &["--spine", "embedded:data/spine", "--trusted", "others.yaml"]);
    assert_eq!((code, &report["partitions"][0]["damage"]["wrong"]), (3, &json!("edited")), "{report}");
}

#[test]
fn a_dump_verifies_anywhere_and_every_change_of_it_is_named() {
    let home = decided(2);
    let (ended, _) = audit(&home, &["dump", "--spine", "embedded:data/spine", "--file", "d.jsonl"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let whole = lines(&home.path().join("d.jsonl"));
    let trusted = "data/trusted.yaml";
    let arguments = ["--dump", "d.jsonl", "--trusted", trusted];
    let (code, report) = verify(&home, &arguments);
    assert_eq!((code, &report["verdict"]), (0, &json!("verified")), "{report}");

    // A group with another right behind it.
    let number = groups(&whole).windows(2).find(|pair| pair[1] == pair[0] + 1).unwrap()[0];
    let tampered = |what: &str, changed: Vec<Value>, offset: Option<u64>, wrong: &[&str]| {
        write(&home.path().join("t.jsonl"), &changed);
        let (code, report) = verify(&home, &["--dump", "t.jsonl", "--trusted", trusted]);
        let partitions = report["partitions"].as_array().unwrap();
        let damage = partitions.iter().find_map(|one| one.get("damage")).unwrap_or_else(|| panic!("{what}: {report}"));
        assert_eq!(code, 3, "{what}: {report}");
        assert!(wrong.contains(&damage["wrong"].as_str().unwrap()), "{what}: {damage}");
        if let Some(offset) = offset {
            assert_eq!(damage["offset"], offset, "{what}: {damage}");
        }
    };
    let at = whole[number]["offset"].as_u64().unwrap();
    let mut edited = whole.clone();
    // A byte in the middle: a character of base64 is some bits of one.
    let value = edited[number]["value"].as_str().unwrap().to_owned();
    let middle = value.len() / 2;
    let other = if value.as_bytes()[middle] == b'A' { "B" } else { "A" };
    edited[number]["value"] = format!("{}{other}{}", &value[..middle], &value[middle + 1..]).into();
    tampered("edit", edited, Some(at), &["edited", "unsigned"]);
    let mut deleted = whole.clone();
    deleted.remove(number);
    tampered("delete", deleted, Some(at), &["missing"]);
    let mut swapped = whole.clone();
    swapped.swap(number, number + 1);
    for place in [number, number + 1] {
        swapped[place]["offset"] = whole[place]["offset"].clone();
    }
    tampered("swap", swapped, None, &["missing", "moved", "edited"]);
    // The tail is cut, and the header made to fit.
    let last = *groups(&whole).last().unwrap();
    let (topic, partition) = (whole[last]["topic"].clone(), whole[last]["partition"].clone());
    let cut_at = whole[last]["offset"].as_u64().unwrap();
    let below = |line: &Value| {
        line["topic"] != topic || line["partition"] != partition || line["offset"].as_u64() < Some(cut_at)
    };
    let mut cut: Vec<Value> =
        whole.iter().filter(|line| line.get("tidegate_dump").is_some() || below(line)).cloned().collect();
    for one in cut[0]["partitions"].as_array_mut().unwrap() {
        if one["topic"] == topic && one["partition"] == partition {
            one["end"] = cut_at.into();
        }
    }
    tampered("cut tail", cut.clone(), Some(cut_at), &["cut_tail"]);
    // Whoever cuts the checkpoints on the spine as well does not reach those elsewhere.
    let without: Vec<Value> = cut
        .into_iter()
        .filter(|line| !line["topic"].as_str().is_some_and(|t| t.ends_with("audit.checkpoints")))
        .collect();
    write(&home.path().join("t.jsonl"), &without);
    let elsewhere = ["--dump", "t.jsonl", "--trusted", trusted, "--checkpoints", "elsewhere.jsonl"];
    assert_eq!(verify(&home, &elsewhere[..4]).0, 0, "nobody can know");
    let (code, report) = verify(&home, &elsewhere);
    assert_eq!(code, 3, "{report}");
    assert!(report.to_string().contains("cut_tail"), "{report}");
}

#[test]
fn a_byte_flipped_in_the_logs_own_file_does_not_verify() {
    let home = decided(1);
    let folder = home.path().join("data/spine");
    let mut files = Vec::new();
    let mut open = vec![folder];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ext| ext == "log") {
                files.push(path);
            }
        }
    }
    // Facts of kernels stand in their own logs alone.
    let is_decisions = |bytes: &[u8]| bytes.windows(14).any(|window| window == b"{\"job_decided\"");
    let read = |path| std::fs::read(&path).map(|bytes| (path, bytes)).unwrap();
    let (file, bytes) = files.into_iter().map(read).find(|(_, bytes)| is_decisions(bytes)).unwrap();
    // Frames are `length u32 | crc32 u32 | body`, the body begins with the offset.
    let (mut from, mut damaged, mut forged, mut offset) = (0, bytes.clone(), bytes.clone(), None);
    while let Some(prefix) = bytes.get(from..from + 8) {
        let length = u32::from_le_bytes(prefix[..4].try_into().unwrap()) as usize;
        let body = from + 8..from + 8 + length;
        let found = bytes[body.clone()].windows(11).position(|window| window == b"job_decided");
        if let (Some(at), None) = (found, offset) {
            offset = Some(u64::from_le_bytes(bytes[body.start..body.start + 8].try_into().unwrap()));
            damaged[body.start + at] ^= 1;
            forged[body.start + at] ^= 1;
            let crc = crc32fast::hash(&forged[body.clone()]);
            forged[from + 4..from + 8].copy_from_slice(&crc.to_le_bytes());
        }
        from = body.end;
    }
    // A disk that lost a bit: nothing can be said, and the partition is named.
    std::fs::write(&file, damaged).unwrap();
    let (code, report) = verify(&home, &SPINE);
    assert_eq!(code, 4, "{report}");
    let error = report["error"].as_str().unwrap();
    assert!(error.contains("decisions.jobs.raw") && error.contains("damaged"), "{error}");
    // Whoever makes the frame fit again has still not signed it.
    std::fs::write(&file, forged).unwrap();
    let (code, report) = verify(&home, &SPINE);
    let partitions = report["partitions"].as_array().unwrap();
    let damage = partitions.iter().find_map(|one| one.get("damage")).unwrap();
    assert_eq!((code, &damage["wrong"], damage["offset"].as_u64()), (3, &json!("edited"), offset), "{report}");
}
