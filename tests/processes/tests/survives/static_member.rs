//! Static membership: a process that is back in time has its shards as before, and nobody had them meanwhile.

use std::time::Duration;

use tidegate_processes::broker::Broker;
use tidegate_processes::home::{Home, KEYS, own_prefix};
use tidegate_processes::http::{Http, free_port};
use tidegate_processes::process::{Process, until};

const PATIENCE: Duration = Duration::from_secs(90);

struct Member {
    name: &'static str,
    http: Http,
    process: Process,
}

impl Member {
    fn start(home: &Home, name: &'static str, instance: bool) -> Self {
        let config = std::fs::read_to_string(home.path().join("base.yaml")).unwrap();
        let port = free_port().unwrap();
        home.write(&format!("{name}.yaml"), &format!("{config}listen: 127.0.0.1:{port}\ndata: data-{name}\n")).unwrap();
        let file = format!("{name}.yaml");
        let mut arguments = vec!["serve", "--config", &file, "--roles", "scheduler"];
        if instance {
            arguments.extend(["--instance-id", name]);
        }
        let process = home.tidegate(name, &arguments).start().unwrap();
        Self { name, http: Http::new(&format!("http://127.0.0.1:{port}"), None), process }
    }

    fn owns(&self) -> f64 {
        self.http.metric("tidegate_node_shards_owned", &["scheduler"]).unwrap_or(0.0)
    }

    /// Shards it has taken over since its first start.
    fn takeovers(&self, home: &Home) -> usize {
        let log = std::fs::read_to_string(home.path().join(format!("{}.err", self.name))).unwrap();
        log.matches("shard taken over").count()
    }
}

/// Takeovers of the process that stays while the other is restarted in order.
fn restarted(instance: bool) -> usize {
    let broker = Broker::from_environment().unwrap();
    let home = Home::new("").unwrap();
    let config = format!(
        "\
spine: {{ url: \"{}\" }}
prefix: \"{}\"
sources:
  - {{ name: jobs.raw, tenants: any }}
pools:
  - {{ name: work, capabilities: [work], lanes: 1, shards: 2 }}
policy: policy
topics: {{ source_partitions: 1, shared_partitions: 1 }}
membership: {{ session_timeout_ms: 30000 }}
{KEYS}",
        broker.url(),
        own_prefix("static")
    );
    home.write("base.yaml", &config).unwrap();
    let made = home.run(&["topics", "apply", "--config", "base.yaml"]).unwrap();
    assert_eq!(made.code, Some(0), "{}", made.err);
    let stays = Member::start(&home, "stays", instance);
    let mut goes = Member::start(&home, "goes", instance);
    let each_has_one = |goes: &Member| {
        let shared =
            until(PATIENCE, "each has a shard", || Ok((stays.owns() == 1.0 && goes.owns() == 1.0).then_some(())));
        shared.unwrap();
    };
    each_has_one(&goes);
    let before = stays.takeovers(&home);
    assert!(goes.process.terminate(PATIENCE).unwrap().success());
    if !instance {
        until(PATIENCE, "the one that stays has both", || Ok((stays.owns() == 2.0).then_some(()))).unwrap();
    }
    let back = Member::start(&home, "goes", instance);
    each_has_one(&back);
    stays.takeovers(&home) - before
}

#[test]
fn a_named_process_that_is_back_in_time_finds_its_shards_where_they_were() {
    assert_eq!(restarted(true), 0, "nobody else had them");
    // Without a name they go to others at once, and come back.
    assert!(restarted(false) >= 1);
}
