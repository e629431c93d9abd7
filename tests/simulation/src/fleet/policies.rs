//! The policy of a run: a first revision, and in most runs a second, which comes while jobs are held under the first and
//! which every process hears of at another time.

use std::sync::{Arc, OnceLock};

use futures::channel::mpsc;
use tidegate_policy::Snapshot;

use crate::chance::Chance;
use crate::executor::Core;

/// How long a hold lasts, milliseconds.
pub const HOLD_MS: u64 = 2_500;

/// Whose approvals a revision wants for `job.ask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asks {
    /// Of how many people.
    pub quorum: usize,
    /// As one of these.
    pub roles: &'static [&'static str],
}

const FIRST: Asks = Asks { quorum: 2, roles: &["finance"] };

/// What the second may ask for; `None`: `job.ask` is denied.
const LATER: [Option<Asks>; 4] = [
    Some(Asks { quorum: 1, roles: &["finance"] }),
    Some(Asks { quorum: 2, roles: &["finance", "board"] }),
    Some(Asks { quorum: 1, roles: &["board"] }),
    None,
];

fn compiled(revision: u64, asks: Option<Asks>) -> Arc<Snapshot> {
    let ask = match asks {
        Some(Asks { quorum, roles }) => format!(
            "decision: require_approval, reason: ask, approval: {{ approvers: [{}], quorum: {quorum}, ttl: {HOLD_MS}ms, on_timeout: deny }}",
            roles.join(", ")
        ),
        None => "decision: deny, reason: no longer".to_owned(),
    };
    let text = format!(
        "
id: sim
revision: {revision}
rules:
  - {{ id: good, match: {{ topics: [job.ok.>] }}, decision: allow, reason: fine }}
  - {{ id: bad, match: {{ topics: [job.bad.>] }}, decision: deny, reason: not here }}
  - {{ id: ask, match: {{ topics: [job.ask.>] }}, {ask} }}
"
    );
    Arc::new(tidegate_policy::load([("sim.yaml", text.as_str())], None).unwrap())
}

/// The first revision.
#[must_use]
pub fn first() -> Arc<Snapshot> {
    static FIRST_ONE: OnceLock<Arc<Snapshot>> = OnceLock::new();
    FIRST_ONE.get_or_init(|| compiled(1, Some(FIRST))).clone()
}

fn later() -> &'static [Arc<Snapshot>] {
    static ALL: OnceLock<Vec<Arc<Snapshot>>> = OnceLock::new();
    ALL.get_or_init(|| LATER.iter().map(|asks| compiled(2, *asks)).collect())
}

/// What a policy snapshot asks for; `None` when it denies.
#[must_use]
pub fn asks(snapshot: &str) -> Option<Asks> {
    if first().name() == snapshot {
        return Some(FIRST);
    }
    let number = later().iter().position(|known| known.name() == snapshot)?;
    LATER[number]
}

/// When the second revision comes, virtual time, and which it is.
#[derive(Clone)]
pub struct Policies {
    seed: u64,
    change: Option<(u64, Arc<Snapshot>)>,
}

/// What one ownership knows of the policy.
pub struct Hearing {
    /// Told when the second revision comes.
    pub signals: mpsc::UnboundedReceiver<Arc<Snapshot>>,
    hears: Option<(u64, Arc<Snapshot>)>,
}

impl Policies {
    /// Those of a run that submits until virtual time `until`.
    #[must_use]
    pub fn new(seed: u64, until: u64) -> Self {
        let mut chance = Chance::new(seed, "policies");
        let change = chance.percent(60).then(|| (chance.within(300_000..until), chance.one_of(later()).clone()));
        Self { seed, change }
    }

    /// What a shard that is given to a process now hears, and when.
    #[must_use]
    pub fn hear(&self, core: &Core, process: &str) -> Hearing {
        let mut chance = Chance::new(self.seed, &format!("policy {process} {}", core.now()));
        let (told, signals) = mpsc::unbounded();
        let hears = self.change.as_ref().map(|(at, second)| (at + chance.delay(0..1_500_000), second.clone()));
        if let Some((at, second)) = hears.clone() {
            core.at(at.max(core.now()), move || {
                // Its shard may be gone.
                let _ = told.unbounded_send(second);
            });
        }
        Hearing { signals, hears }
    }
}

impl Hearing {
    /// Which policy is at hand at virtual time `now`, as a function that outlives this.
    pub fn at_hand(&self) -> impl Fn(u64) -> Arc<Snapshot> + Send + Sync + 'static {
        let hears = self.hears.clone();
        move |now| match &hears {
            Some((at, second)) if *at <= now => second.clone(),
            _ => first(),
        }
    }
}
