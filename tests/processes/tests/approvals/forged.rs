//! Whoever can write to `commands.<source>` approves nothing by it; and a kernel that is killed loses nothing.

use futures::executor::block_on;
use tidegate_node::config::{Settings, SpineConfig};
use tidegate_node::spine::{embedded_url, open};
use tidegate_processes::process::until;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::command::{Action, Command};
use tidegate_protocol::ids::{KeyId, PersonId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::signature::signed;
use tidegate_spine::{Headers, NewRecord, ProducerOptions};

use crate::desk::{Desk, SOON, became};

/// Appends records to the commands of a job's partition, with no Tidegate process in between.
fn write(desk: &Desk, at: &str, values: Vec<(Vec<u8>, Headers)>) {
    let at: SourcePosition = at.parse().unwrap();
    let url = embedded_url(&desk.home.path().join("data/spine"));
    let spine = block_on(open(&SpineConfig { url, settings: Settings::default() })).unwrap();
    let mut producer = block_on(spine.producer(ProducerOptions::default())).unwrap();
    let to = TopicName::new("tidegate.commands.jobs.raw").unwrap().partition(at.partition);
    let records =
        values.into_iter().map(|(value, headers)| NewRecord { key: None, value: Some(value.into()), headers });
    block_on(producer.append(&to, records.collect())).unwrap();
}

#[test]
fn writing_to_the_topic_approves_nothing_and_a_kill_loses_nothing() {
    let mut desk = Desk::open();
    let at = desk.held("pay-1", "job.pay.two");
    let other = desk.held("pay-2", "job.pay.large");
    let before = desk.story(&at);
    assert_eq!(desk.say(Action::Approve, "alice", &at), became("given"));

    let about = |key: &str, at: &str| desk.command(Action::Approve, key, at);
    let genuine = |key: &str, how: fn(&mut Command)| {
        let mut command = about(key, &at);
        how(&mut command);
        desk.sign(key, &command)
    };
    let stranger = tidegate_keys::SecretKey::generate(KeyId::new("mallory").unwrap()).unwrap();
    let alias = tidegate_keys::SecretKey::generate(KeyId::new("bob").unwrap()).unwrap();
    let text = |command: &Command| serde_json::to_vec(command).unwrap();
    let kind = |kind: &str, key: &tidegate_keys::SecretKey| signed(key, kind, text(&about("bob", &at)));
    let bob = tidegate_keys::read(KeyId::new("bob").unwrap(), &desk.home.path().join("bob.key")).unwrap();
    let for_other = String::from_utf8(desk.sign("bob", &about("bob", &other))).unwrap();
    let rows: Vec<(&str, Vec<u8>, &str)> = vec![
        ("unsigned", text(&about("bob", &at)), "unsigned"),
        ("a stranger's key", kind("tidegate command v1", &stranger), "unknown_key"),
        ("a trusted name over another key", kind("tidegate command v1", &alias), "forged"),
        ("a signature over another kind of statement", kind("tidegate claim v1", &bob), "forged"),
        ("a genuine command moved to another job", for_other.replace(&other, &at).into_bytes(), "forged"),
        (
            "an approval turned out of a rejection",
            {
                let rejection = desk.sign("bob", &desk.command(Action::Reject, "bob", &at));
                String::from_utf8(rejection).unwrap().replace(r#""reject""#, r#""approve""#).into_bytes()
            },
            "forged",
        ),
        ("a genuine one cut short", genuine("bob", |_| {})[..200].to_vec(), "unsigned"),
        ("an operator's", genuine("olga", |_| {}), "wrong_role"),
        ("a submitter's", genuine("sam", |_| {}), "wrong_role"),
        ("a stage's", genuine("will", |_| {}), "wrong_role"),
        ("an approver of another tenant", genuine("erin", |_| {}), "wrong_role"),
        ("a retired key", genuine("retired", |_| {}), "retired_key"),
        ("bob's key for carol", genuine("bob", |c| c.by = PersonId::new("carol").unwrap()), "not_this_person"),
        ("an approver who cancels", desk.sign("bob", &desk.command(Action::Cancel, "bob", &at)), "wrong_role"),
        ("a format of the future", genuine("bob", |c| c.v = 2), "malformed"),
        ("a control character for a log", genuine("bob", |c| c.reason = "fine\u{1b}[2J".into()), "malformed"),
        ("more than a command may have", genuine("bob", |c| c.reason = "x".repeat(9_000)), "too_large"),
        ("more than any command may have", genuine("bob", |c| c.reason = "x".repeat(600_000)), "too_large"),
        ("no JSON", b"approve pay-1".to_vec(), "unsigned"),
        ("nothing", Vec::new(), "unsigned"),
    ];
    let mut expected = std::collections::BTreeMap::<&str, u64>::new();
    for (_, _, why) in &rows {
        *expected.entry(why).or_default() += 1;
    }
    let mut values: Vec<(Vec<u8>, Headers)> =
        rows.iter().map(|(_, value, _)| (value.clone(), Headers::new())).collect();
    // A control record acts on no topic that others may write.
    let fence = [("tg-kind", "fence"), ("tg-sender", "kernel.jobs.raw/0"), ("tg-epoch", "1000000000000")];
    values.push((b"{}".to_vec(), fence.into_iter().map(|(name, value)| (name, value.to_owned())).collect()));
    *expected.entry("unsigned").or_default() += 1;

    desk.dev.process.kill().unwrap();
    write(&desk, &at, values);
    desk.restart("dev-2");
    for (why, count) in &expected {
        until(SOON, &format!("{count} are refused as {why}"), || Ok((desk.refused(why) >= *count).then_some(())))
            .unwrap_or_else(|error| panic!("{error}: {}", desk.refused(why)));
        assert_eq!(desk.refused(why), *count, "{why}");
    }

    // What was held is held, what was given is given, and nothing of the above counts.
    let story = desk.story(&at);
    assert_eq!((&story["state"], &story["attempts"]), (&before["state"], &before["attempts"]), "{story}");
    let given = story["hold"]["given"].as_array().unwrap();
    assert_eq!((given.len(), given[0]["by"].as_str()), (1, Some("alice")), "{story}");
    assert_eq!(story["decision"], before["decision"]);
    desk.is_untouched(&other);
    for (at, key) in [(&at, "bob"), (&other, "alice")] {
        assert_eq!(desk.say(Action::Approve, key, at), became("given"));
        let story = desk.dev.story(at).unwrap();
        assert_eq!((&story["state"], story["attempts"].as_array().unwrap().len()), (&"succeeded".into(), 1), "{story}");
    }
}
