//! Each role runs with exactly the rights that are printed for it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tidegate_processes::http::Http;
use tidegate_processes::process::{Process, Start, until};

use super::ground::Ground;

/// Kafka's tools start a JVM for each line of a script.
const SCRIPT: Duration = Duration::from_secs(400);
const PATIENCE: Duration = Duration::from_secs(90);

/// `deploy/local/kafka tool`, which runs Kafka's own.
const LOCAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local/kafka");

/// One call of Kafka's own `kafka-acls.sh`.
fn acls(ground: &Ground, arguments: &[&str]) {
    let own = ["tool", "kafka-acls.sh", "--bootstrap-server", &ground.broker.address];
    let start = Start::new("acls", Path::new(LOCAL), ground.home.path(), [&own[..], arguments].concat());
    let ended = start.run(SCRIPT).unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
}

/// Runs a script that `topics export` printed, with Kafka's own tools.
fn run_script(ground: &Ground, name: &str, form: &str) {
    let printed = ground.home.run(&["topics", "export", "--format", form, "--config", "admin.yaml"]).unwrap();
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    ground.home.write(name, &printed.out).unwrap();
    let tools = ground.home.path().join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    for tool in ["kafka-acls.sh", "kafka-topics.sh"] {
        ground.home.write(&format!("tools/{tool}"), &format!("#!/bin/sh\nexec {LOCAL} tool {tool} \"$@\"\n")).unwrap();
        std::fs::set_permissions(tools.join(tool), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut start = Start::new(name, Path::new("/bin/sh"), ground.home.path(), [name]);
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let roles = ["kernel", "limits", "scheduler", "gateway", "worker", "operator", "submitter"];
    start.environment = roles.iter().map(|role| (role.to_uppercase(), format!("User:{role}"))).collect();
    start.environment.extend([("PATH".into(), path), ("BOOTSTRAP".into(), ground.broker.address.clone())]);
    let ended = start.run(SCRIPT).unwrap();
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
}

#[test]
fn each_role_runs_with_the_rights_printed_for_it_and_with_no_others() {
    let ground = Ground::new();
    ground.config("admin", &ground.open());
    let ports: Vec<u16> = ["kernel", "limits", "scheduler", "gateway", "worker", "operator"]
        .iter()
        .map(|user| ground.config(user, &ground.door(user)))
        .collect();
    // Topics by Kafka's own tool are as the plan wants them.
    run_script(&ground, "topics.sh", "kafka-topics");
    let plan = ground.home.run(&["topics", "plan", "--config", "admin.yaml"]).unwrap();
    assert_eq!(plan.code, Some(0), "{}{}", plan.out, plan.err);
    let terms = ground.home.run(&["topics", "apply", "--config", "admin.yaml"]).unwrap();
    assert_eq!(terms.code, Some(0), "{}{}", terms.out, terms.err);
    // Nobody may do anything yet.
    let before = ground.home.run(&["serve", "--config", "kernel.yaml", "--roles", "kernel"]).unwrap();
    assert_eq!(before.code, Some(78), "{}", before.err);

    run_script(&ground, "acls.sh", "acls");
    let mut running: Vec<Process> = Vec::new();
    for role in ["kernel", "limits", "scheduler", "gateway"] {
        let arguments = ["serve", "--config", &format!("{role}.yaml"), "--roles", role];
        running.push(ground.home.tidegate(role, &arguments).start().unwrap());
    }
    let worker = ["worker", "--config", "worker.yaml", "--pool", "work", "--capability", "work", "--builtin", "echo"];
    running.push(ground.home.tidegate("worker", &[&worker[..], &["--id", "w"]].concat()).start().unwrap());
    for (port, process) in ports.iter().zip(["kernel", "limits", "scheduler", "gateway"]) {
        let http = Http::new(&format!("http://127.0.0.1:{port}"), None);
        let ready = until(PATIENCE, "it is ready", || Ok(http.is_ready().then_some(())));
        let said = || std::fs::read_to_string(ground.home.path().join(format!("{process}.err"))).unwrap_or_default();
        ready.unwrap_or_else(|error| panic!("{process}: {error:#}\n{}", said()));
    }
    // One job, through all of them.
    let key = std::fs::read_to_string(ground.home.path().join("data-gateway/key")).unwrap().trim().to_owned();
    let http = Http::new(&format!("http://127.0.0.1:{}", ports[3]), Some(key));
    let job = br#"{"id":"one","tenant":"acme","topic":"job.work.do","capability":"work","payload":{"n":7}}"#;
    let answer = http.post("/v1/jobs", "application/json", job).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    let story = http.get("/v1/jobs/one?wait=30s").unwrap();
    assert_eq!(
        (&story.json()["state"], &story.json()["output"]["n"]),
        (&"succeeded".into(), &7.into()),
        "{}",
        story.text
    );
    let workers = http.get("/v1/workers").unwrap().json();
    assert_eq!(workers["workers"][0]["state"], "present", "the gateway may hear workers: {workers}");
    let doctor = ground.home.run(&["doctor", "--config", "scheduler.yaml", "--roles", "scheduler", "--output", "json"]);
    let said = doctor.unwrap().out;
    assert!(!said.contains("may not") && said.contains("scheduler may do all that they must"), "{said}");

    // Whoever has a worker's password is no kernel, and a kernel no scheduler.
    for (user, role) in [("worker", "kernel"), ("kernel", "scheduler")] {
        let config = format!("{user}.yaml");
        let ended = ground.home.run(&["doctor", "--config", &config, "--roles", role, "--output", "json"]).unwrap();
        let lacks = format!("this process may not Write, which the role {role} must");
        let refused = ended.out.contains(&lacks) || ended.out.contains(&lacks.replace("Write", "Read, Write"));
        assert!(ended.code == Some(1) && refused, "{user} as {role}: {:?} {}{}", ended.code, ended.out, ended.err);
    }
}

/// What its user may do is taken from it bit by bit. More than the table asks for is no reason to refuse: here it is all, by prefix.
#[test]
fn a_kernel_that_may_read_and_not_write_is_refused_at_its_start_with_the_right_and_the_command() {
    let ground = Ground::new();
    ground.config("admin", &ground.open());
    let port = ground.config("kernel", &ground.door("kernel"));
    let applied = ground.home.run(&["topics", "apply", "--config", "admin.yaml"]).unwrap();
    assert_eq!(applied.code, Some(0), "{}{}", applied.out, applied.err);
    let kernel = ["--allow-principal", "User:kernel"];
    let prefixed = |kind| [kind, &*ground.prefix, "--resource-pattern-type", "prefixed"];
    acls(&ground, &[&["--add"], &kernel[..], &["--operation", "All"], &prefixed("--topic")].concat());
    acls(&ground, &[&["--add"], &kernel[..], &["--operation", "Read"], &prefixed("--group")].concat());
    acls(&ground, &[&["--add"], &kernel[..], &["--operation", "Read", "--group", "tidegate-readers"]].concat());
    let serve = ["serve", "--config", "kernel.yaml", "--roles", "kernel"];
    let group = format!("{}kernel.jobs.raw", ground.prefix);
    let deny = ["--add", "--deny-principal", "User:kernel", "--operation"];
    let doctor = || ground.home.run(&["doctor", "--config", "kernel.yaml", "--roles", "kernel"]).unwrap().out;
    // A broker takes note of rights in its own time.
    let noted = |what: &str| {
        let said = until(PATIENCE, what, || Ok(Some(doctor()).filter(|said| said.contains(what))));
        said.unwrap_or_else(|error| panic!("{error:#}\n{}", doctor()));
    };
    noted("kernel may do all that they must");
    // Of its group, before anybody has ever joined it: it may look at it, and not join.
    acls(&ground, &[&deny[..], &["Read", "--group", &group]].concat());
    let unjoined = format!("group {group}: this process may not join it");
    noted(&unjoined);
    let refused = ground.home.run(&serve).unwrap();
    assert_eq!(refused.code, Some(78), "{}{}", refused.out, refused.err);
    let command = format!("--allow-principal 'User:kernel' --operation Read --group {group}");
    for words in [&format!("! {unjoined}, which the role kernel must"), &command] {
        assert!(refused.err.contains(words.as_str()), "`{words}` is not in:\n{}", refused.err);
    }
    let denied = ["--remove", "--force", "--deny-principal", "User:kernel", "--operation", "Read", "--group", &group];
    acls(&ground, &denied);
    noted("kernel may do all that they must");
    let mut running = ground.home.tidegate("kernel", &serve).start().unwrap();
    let http = Http::new(&format!("http://127.0.0.1:{port}"), None);
    let ready = until(PATIENCE, "it is ready", || Ok(http.is_ready().then_some(())));
    ready.unwrap_or_else(|error| panic!("{error:#}\n{}", running.err()));
    // Taken away while it runs: it says what is missing, and waits until it is there again.
    acls(&ground, &[&deny[..], &["Read", "--group", &group]].concat());
    let said = until(PATIENCE, "it says that it may not join", || {
        Ok(running.err().contains("this process may not join its group").then_some(()))
    });
    said.unwrap_or_else(|error| panic!("{error:#}\n{}", running.err()));
    assert!(running.err().contains(&format!("--operation Read --group {group}")), "{}", running.err());
    acls(&ground, &denied);
    let ready = until(PATIENCE, "it is ready again", || Ok(http.is_ready().then_some(())));
    ready.unwrap_or_else(|error| panic!("{error:#}\n{}", running.err()));
    running.terminate(PATIENCE).unwrap();

    let topic = |name: &str| format!("{}{name}", ground.prefix);
    let (decisions, approved, snapshots) = (topic("decisions.jobs.raw"), topic("approved.work"), topic("snapshots"));
    acls(&ground, &[&deny[..], &["Write", "--topic", &decisions, "--topic", &approved]].concat());
    let (one, other) =
        (format!("{decisions}: this process may not Write"), format!("{approved}: this process may not Write"));
    noted(&one);
    noted(&other);
    let refused = ground.home.run(&serve).unwrap();
    assert_eq!(refused.code, Some(78), "{}{}", refused.out, refused.err);
    let command = format!("--allow-principal 'User:kernel' --operation Write --topic {approved} --topic {decisions}");
    for words in [&format!("! {one}, which the role kernel must"), &format!("! {other}"), &command] {
        assert!(refused.err.contains(words.as_str()), "`{words}` is not in:\n{}", refused.err);
    }

    acls(&ground, &[&deny[..], &["DescribeConfigs", "--topic", &snapshots]].concat());
    let unread = format!("{snapshots}: its settings cannot be read");
    noted(&unread);
    let refused = ground.home.run(&serve).unwrap();
    assert_eq!(refused.code, Some(78), "{}{}", refused.out, refused.err);
    for words in [&*unread, "allow this process DescribeConfigs"] {
        assert!(refused.err.contains(words), "`{words}` is not in:\n{}", refused.err);
    }
}
