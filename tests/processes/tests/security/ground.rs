//! A folder with a configuration for each user of the broker.

use std::path::PathBuf;

use tidegate_processes::broker::Broker;
use tidegate_processes::home::{Home, KEYS, own_prefix};
use tidegate_processes::http::free_port;

pub(crate) const POLICY: &str = "\
id: p
revision: 1
rules:
  - { id: work, match: { topics: [job.work.>] }, decision: allow, reason: it may run }
";

/// How a configuration connects.
pub(crate) struct Door<'a> {
    /// `host:port`.
    pub(crate) address: &'a str,
    /// `security.protocol`.
    pub(crate) protocol: &'a str,
    /// Who; with the file of the password.
    pub(crate) user: Option<(&'a str, PathBuf)>,
    /// The CA's certificate.
    pub(crate) ca: Option<PathBuf>,
}

pub(crate) struct Ground {
    pub(crate) broker: Broker,
    pub(crate) tls: String,
    pub(crate) data: PathBuf,
    pub(crate) home: Home,
    pub(crate) prefix: String,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let broker = Broker::from_environment().unwrap();
        let tls = std::env::var("TIDEGATE_TEST_KAFKA_TLS").unwrap_or_else(|_| {
            panic!(
                "TIDEGATE_TEST_KAFKA_TLS is not set: this needs a broker with TLS, as `deploy/ci/with-kafka` starts it"
            )
        });
        let data = broker.data.clone().unwrap_or_else(|| panic!("TIDEGATE_TEST_KAFKA_DATA is not set"));
        Self { broker, tls, data, home: Home::new(POLICY).unwrap(), prefix: own_prefix("security") }
    }

    /// As the user of that name, by TLS.
    pub(crate) fn door<'a>(&'a self, user: &'a str) -> Door<'a> {
        let password = self.data.join("scram").join(user);
        Door {
            address: &self.tls,
            protocol: "SASL_SSL",
            user: Some((user, password)),
            ca: Some(self.data.join("ca.pem")),
        }
    }

    /// Whoever comes to the first listener may do everything.
    pub(crate) fn open(&self) -> Door<'_> {
        Door { address: &self.broker.address, protocol: "PLAINTEXT", user: None, ca: None }
    }

    /// Writes `NAME.yaml`; the port it listens on.
    pub(crate) fn config(&self, name: &str, door: &Door<'_>) -> u16 {
        let port = free_port().unwrap();
        let mut settings = format!("    security.protocol: {}\n", door.protocol);
        if let Some((user, password)) = &door.user {
            settings.push_str("    sasl.mechanism: SCRAM-SHA-512\n");
            settings.push_str(&format!("    sasl.username: {user}\n"));
            settings.push_str(&format!("    sasl.password: {{ file: \"{}\" }}\n", password.display()));
        }
        if let Some(ca) = &door.ca {
            settings.push_str(&format!("    ssl.ca.location: \"{}\"\n", ca.display()));
        }
        let (address, prefix) = (door.address, &self.prefix);
        let text = format!(
            "\
spine:
  url: kafka://{address}
  settings:
{settings}prefix: \"{prefix}\"
sources:
  - {{ name: jobs.raw, tenants: {{ allowed: [acme] }} }}
pools:
  - {{ name: work, capabilities: [work], lanes: 2, buckets: 1, tenant_buckets: 1 }}
policy: policy
listen: 127.0.0.1:{port}
data: data-{name}
topics: {{ source_partitions: 1, shared_partitions: 1 }}
limits: {{ escrow: {{ shards: 1 }} }}
{KEYS}"
        );
        self.home.write(&format!("{name}.yaml"), &text).unwrap();
        port
    }
}
