//! A process that does everything, with one pool and a policy that allows all jobs.

use std::path::Path;
use std::time::Duration;

use tidegate_node::config::PoolWritten;
use tidegate_node::{Dev, DevNode, Written, dev};

/// Generous: machines that run tests are busy. Nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn start(folder: &Path, pool: PoolWritten) -> DevNode {
    let mut how = Dev::new(folder);
    how.listen = Some("127.0.0.1:0".parse().unwrap());
    let mut config = Written { pools: vec![pool], ..Written::default() };
    config.topics.source_partitions = 1;
    let policy = folder.join("rules");
    std::fs::create_dir_all(&policy).unwrap();
    let rules = "id: p\nrevision: 1\nrules:\n  - { id: ok, match: { topics: [job.>] }, decision: allow }\n";
    std::fs::write(policy.join("p.yaml"), rules).unwrap();
    (how.config, how.policy) = (Some(config), Some(policy));
    let node = dev(how).await.unwrap();
    ready(&node).await;
    node
}

pub(crate) async fn ready(node: &DevNode) {
    tokio::time::timeout(PATIENCE, node.ready()).await.unwrap_or_else(|_| panic!("not ready: {:?}", node.readiness()));
}
