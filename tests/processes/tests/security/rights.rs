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

/// Runs a script that `topics export` printed, with Kafka's own tools.
fn run_script(ground: &Ground, name: &str, form: &str) {
    let printed = ground.home.run(&["topics", "export", "--format", form, "--config", "admin.yaml"]).unwrap();
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    ground.home.write(name, &printed.out).unwrap();
    let tools = ground.home.path().join("tools");
    std::fs::create_dir_all(&tools).unwrap();
    let local = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local/kafka");
    for tool in ["kafka-acls.sh", "kafka-topics.sh"] {
        ground.home.write(&format!("tools/{tool}"), &format!("#!/bin/sh\nexec {local} tool {tool} \"$@\"\n")).unwrap();
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
    assert!(!said.contains("refused"), "{said}");

    // Whoever has a worker's password is no kernel, and a kernel no scheduler.
    for (user, role) in [("worker", "kernel"), ("kernel", "scheduler")] {
        let config = format!("{user}.yaml");
        let ended = ground.home.run(&["doctor", "--config", &config, "--roles", role, "--output", "json"]).unwrap();
        let refused = ended.out.contains("refused") && ended.out.contains("rights");
        assert!(ended.code == Some(1) && refused, "{user} as {role}: {:?} {}{}", ended.code, ended.out, ended.err);
        assert_eq!(ended.code, Some(1));
    }
}
