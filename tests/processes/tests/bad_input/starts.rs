//! Topics, credentials, brokers, folders and configurations with which nothing can begin.

use std::time::Duration;

use tidegate_processes::broker::Broker;
use tidegate_processes::dev::Dev;
use tidegate_processes::home::{Home, KEYS, own_prefix};
use tidegate_processes::http::free_port;

use super::must_end;

const POLICY: &str = "id: p\nrevision: 1\nrules:\n  - { id: r, match: {}, decision: allow }\n";

fn config(spine: &str, prefix: &str, partitions: u32) -> String {
    format!(
        "spine: {spine}\nprefix: \"{prefix}\"\npolicy: policy\nlisten: 127.0.0.1:0\ntopics: {{ source_partitions: {partitions} }}\n{KEYS}"
    )
}

#[test]
fn missing_and_wrong_topics_stop_every_role_with_the_difference() {
    let broker = Broker::from_environment().unwrap();
    let prefix = own_prefix("missing-topics");
    let spine = format!("{{ url: \"{}\" }}", broker.url());
    let home = Home::new(POLICY).unwrap();
    home.write("tidegate.yaml", &config(&spine, &prefix, 2)).unwrap();

    let raw = "jobs.raw: is missing, should have 2 partitions";
    let leases = "leases.default: is missing, should have 1 partition,";
    let work = "work.default: is missing";
    let facts = "limits.facts: is missing";
    // What each role names, and what is not its own.
    for (role, names, others) in [
        ("kernel", vec![raw, "approved.default: is missing"], vec![leases, work, facts]),
        ("limits", vec![facts], vec![raw, leases, work]),
        ("scheduler", vec![leases, work], vec![raw, facts]),
        ("gateway", vec![raw, leases, facts], Vec::new()),
    ] {
        let ended = home.run(&["serve", "--roles", role]).unwrap();
        must_end(&ended, 78, &["run `tidegate topics apply`"]);
        let told = |what: &str| ended.err.contains(&format!("+ {prefix}{what}"));
        assert!(names.into_iter().all(told) && !others.into_iter().any(told), "{role}:\n{}", ended.err);
    }
    must_end(&home.run(&["topics", "plan"]).unwrap(), 1, &[]);
    must_end(&home.run(&["topics", "apply"]).unwrap(), 0, &[]);
    must_end(&home.run(&["topics", "plan"]).unwrap(), 0, &[]);

    // Fewer partitions than there are: nobody can do that.
    home.write("tidegate.yaml", &config(&spine, &prefix, 1)).unwrap();
    let wrong = format!("! {prefix}jobs.raw: partitions is 2, should be 1 (cannot be altered");
    must_end(&home.run(&["serve", "--roles", "kernel"]).unwrap(), 78, &[&wrong]);
    must_end(&home.run(&["topics", "apply"]).unwrap(), 78, &[&format!("{prefix}jobs.raw")]);
    // A worker of a pool that is not there.
    let worker = ["worker", "--pool", "nowhere", "--capability", "x", "--builtin", "noop"];
    must_end(&home.run(&worker).unwrap(), 78, &["nowhere"]);
}

#[test]
fn a_stage_that_has_nothing_to_sign_with_does_not_start() {
    let home = Home::new(POLICY).unwrap();
    let with = config("{ url: \"embedded:spine\" }", "p.", 1);
    let without = with.replace(KEYS, "");
    assert_ne!(with, without);
    home.write("tidegate.yaml", &without).unwrap();
    for role in ["kernel", "limits", "scheduler"] {
        let ended = home.run(&["serve", "--roles", role]).unwrap();
        must_end(&ended, 78, &["there is no `keys.signing`", "tidegate keys create --role stage"]);
    }
    // It signs nothing: its topics are what is missing.
    must_end(&home.run(&["serve", "--roles", "gateway"]).unwrap(), 78, &["run `tidegate topics apply`"]);
}

#[test]
fn wrong_credentials_are_named_and_never_shown() {
    let broker = Broker::from_environment().unwrap();
    let address = broker.sasl.clone().unwrap();
    let data = broker.data.clone().unwrap();
    let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap().trim().to_owned();
    let prefix = own_prefix("credentials");
    let home = Home::new(POLICY).unwrap();
    let with = |password: &str| {
        home.write("password", password).unwrap();
        let settings = format!(
            "{{ security.protocol: sasl_plaintext, sasl.mechanism: PLAIN, sasl.username: \"{}\", sasl.password: {{ file: password }} }}",
            read("sasl_user")
        );
        let spine = format!("{{ url: \"kafka://{address}\", settings: {settings} }}");
        home.write("tidegate.yaml", &config(&spine, &prefix, 1)).unwrap();
    };
    with("opensesame-wrong");
    for arguments in [&["serve", "--roles", "kernel"][..], &["topics", "plan"]] {
        let ended = home.run(arguments).unwrap();
        must_end(&ended, 78, &["refused", "check the credentials", &address]);
        assert!(!format!("{}{}", ended.out, ended.err).contains("opensesame"), "{}", ended.err);
    }
    // With the right ones the topics are what is missing.
    with(&read("sasl_password"));
    must_end(&home.run(&["serve", "--roles", "kernel"]).unwrap(), 78, &["run `tidegate topics apply`"]);
    // A secret that is not there.
    std::fs::remove_file(home.path().join("password")).unwrap();
    must_end(&home.run(&["topics", "plan"]).unwrap(), 78, &["sasl.password", "cannot be read"]);
}

#[test]
fn a_broker_that_is_down_is_said_within_its_bound() {
    let home = Home::new(POLICY).unwrap();
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    home.write("tidegate.yaml", &config(&format!("{{ url: \"kafka://{nobody}\" }}"), "p.", 1)).unwrap();
    for arguments in [
        &["serve", "--roles", "kernel"][..],
        &["topics", "apply"],
        &["worker", "--capability", "x", "--builtin", "noop"],
    ] {
        let ended = home.tidegate("down", arguments).run(Duration::from_secs(60)).unwrap();
        must_end(&ended, 69, &[&nobody, "is it up"]);
    }
}

#[test]
fn a_second_dev_on_a_folder_and_a_port_that_is_taken_are_refused_and_the_first_goes_on() {
    let home = Home::new(POLICY).unwrap();
    let dev = Dev::ready(&home, "dev", &["--policy", "policy"]).unwrap();
    let second = home.run(&["dev", "--data", "data", "--listen", "127.0.0.1:0", "--policy", "policy"]).unwrap();
    must_end(&second, 69, &["data/spine", "another process"]);
    let address = std::fs::read_to_string(home.path().join("data/address")).unwrap();
    let address = address.trim().trim_start_matches("http://");
    let port = home.run(&["dev", "--data", "other", "--listen", address]).unwrap();
    must_end(&port, 69, &[address, "cannot listen", "--listen"]);
    assert!(dev.http.is_ready());
}

#[test]
fn a_configuration_is_refused_with_line_reason_and_remedy() {
    for (text, line, reason) in [
        ("prefix: p.\ncolour: red\n", "tidegate.yaml:2", "colour"),
        ("pools:\n  - { name: a, capabilities: [] }\n", "tidegate.yaml:2", "no capability"),
        ("listen: nowhere\n", "tidegate.yaml:1", "no address"),
        ("spine: { url: \"carrier-pigeon://x\" }\n", "tidegate.yaml:1", "carrier-pigeon"),
        ("sources:\n  - { name: a, tenants: any }\n  - { name: a, tenants: any }\n", "tidegate.yaml:3", "twice"),
    ] {
        let home = Home::new(POLICY).unwrap();
        home.write("tidegate.yaml", text).unwrap();
        for arguments in [&["config", "check"][..], &["serve"], &["topics", "plan"]] {
            must_end(&home.run(arguments).unwrap(), 78, &[line, reason]);
        }
    }
    let home = Home::new(POLICY).unwrap();
    must_end(&home.run(&["serve", "--config", "absent.yaml"]).unwrap(), 78, &["absent.yaml", "cannot be read"]);
    must_end(&home.run(&["serve", "--roles", "king"]).unwrap(), 2, &["king"]);
}
