//! A kernel shard's wallet and a limits shard, as parts.

use std::collections::BTreeMap;

use tidegate_kernel::wallet::{Life, Wallet, WalletBounds, WalletBugs};
use tidegate_limits::{Layout, Limits, LimitsConfig, Planted, Tuning};
use tidegate_protocol::address::TopicName;
use tidegate_protocol::control::Stamp;
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{SenderId, SourceName};
use tidegate_protocol::limits::{LimitRequest, LimitsFact, Spend};
use tidegate_protocol::time::Timestamp;
use tidegate_protocol::topics::partition_of;
use tidegate_spine::{Headers, Record};
use tidegate_stage::{Arrival, Decision, Input, InputRef, Outbox, Stage};

use crate::owner::{Part, Sent};

/// A fact of a kernel shard that concerns limits; a decision without its job.
#[derive(Debug, Clone)]
pub enum WalletFact {
    /// About limits alone.
    Kernel(Box<KernelFact>),
    /// `JobDecided` of the record at this offset.
    Spent(u64, Vec<Spend>),
}

/// The wallet of a kernel shard.
pub struct Keeper {
    /// The wallet.
    pub wallet: Wallet,
    /// Number of the shard.
    pub shard: usize,
    /// Shards of the limits.
    pub limits: usize,
    /// Bugs.
    pub bugs: WalletBugs,
}

impl Part for Keeper {
    type Fact = WalletFact;

    fn apply(&mut self, fact: &WalletFact, at: u64) {
        match fact {
            WalletFact::Kernel(fact) => self.wallet.apply(fact, Timestamp(at)),
            WalletFact::Spent(offset, spends) => self.wallet.spend(Life(*offset, 0), spends, Timestamp(at)),
        }
    }

    fn emit(&self, fact: &WalletFact, _at: u64) -> Vec<(usize, Sent)> {
        match fact {
            WalletFact::Kernel(fact) => {
                let (KernelFact::SliceRequested { request }
                | KernelFact::SliceReturned { request }
                | KernelFact::OutcomePassedOn { request }) = &**fact
                else {
                    return Vec::new();
                };
                let (limit, key) = request.about();
                let key = [limit.as_str(), "\n", key].concat();
                let to = partition_of(key.as_bytes(), u32::try_from(self.limits).unwrap());
                vec![(to as usize, Sent::Request(self.shard, request.clone()))]
            }
            WalletFact::Spent(..) => Vec::new(),
        }
    }

    fn text(&self) -> String {
        self.wallet.to_text().unwrap()
    }

    fn of(&self, text: &str, _epoch: u64) -> Self {
        let mut wallet = Wallet::new(bounds()).with_bugs(self.bugs);
        wallet.read_text(text).unwrap();
        Self { wallet, ..*self }
    }
}

/// Bounds of every wallet.
pub fn bounds() -> WalletBounds {
    WalletBounds::default()
}

/// A shard of the limits.
pub struct Lender {
    /// The stage.
    pub stage: Limits,
    config: LimitsConfig,
    planted: Planted,
}

impl Lender {
    /// With kernel shards of one source.
    pub fn new(kernels: usize, planted: Planted, holding_ms: u64) -> Self {
        let kernels = u32::try_from(kernels).unwrap();
        let sources = BTreeMap::from([(SourceName::new("jobs").unwrap(), kernels)]);
        let tuning = Tuning { holding_ms, recall_ms: 100, retry_ms: 20, ..Tuning::default() };
        let config =
            LimitsConfig::new(&Layout { prefix: String::new(), sources, pools: BTreeMap::new() }, &tuning).unwrap();
        Self { stage: Limits::new(config.clone()).with_bugs(planted), config, planted }
    }

    /// What a request leads to.
    pub fn heard(&self, from: usize, request: &LimitRequest, at: u64) -> Vec<LimitsFact> {
        let sender = SenderId::new(format!("kernel.jobs/{from}")).unwrap();
        let value = Some(serde_json::to_vec(request).unwrap().into());
        let record = Record { offset: 1, timestamp_ms: 0, key: None, value, headers: Headers::new() };
        let arrival = Arrival {
            at: InputRef { input: 0, offset: 1 },
            partition: &TopicName::new("limits.requests").unwrap().partition(0),
            record: &record,
            sender: Some((&sender, Stamp { epoch: 1, sequence: 0, group: 0, index: 0 })),
        };
        self.decided(&Input::Record(arrival), at)
    }

    /// What follows without one.
    pub fn decided(&self, input: &Input<'_>, at: u64) -> Vec<LimitsFact> {
        let mut decision = Decision::default();
        self.stage.decide(input, Timestamp(at), &mut decision);
        decision.facts().iter().map(|(fact, _)| fact.clone()).collect()
    }
}

impl Part for Lender {
    type Fact = LimitsFact;

    fn apply(&mut self, fact: &LimitsFact, at: u64) {
        self.stage.apply(fact, Timestamp(at));
    }

    fn emit(&self, fact: &LimitsFact, at: u64) -> Vec<(usize, Sent)> {
        let mut outbox = Outbox::new();
        self.stage.emit(fact, Timestamp(at), None, &mut outbox);
        let answer = |message: tidegate_stage::Message| {
            let answer = serde_json::from_slice(&message.value.unwrap()).unwrap();
            (message.to.partition as usize, Sent::Answer(Box::new(answer)))
        };
        outbox.into_messages().into_iter().map(answer).collect()
    }

    fn text(&self) -> String {
        self.stage.snapshot().unwrap()
    }

    fn of(&self, text: &str, _epoch: u64) -> Self {
        let mut stage = Limits::new(self.config.clone()).with_bugs(self.planted);
        stage.restore(text).unwrap();
        Self { stage, config: self.config.clone(), planted: self.planted }
    }
}
