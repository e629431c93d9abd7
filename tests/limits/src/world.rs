//! A run: kernel shards with jobs, limits shards, kills, and the ledger.

use std::collections::BTreeMap;

use tidegate_kernel::wallet::{Here, Wallet, WalletBugs};
use tidegate_protocol::ids::{SourceName, TenantId};
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::{Amount, LimitKind, LimitUse, LimitsFact, OutcomeTold, Spend, Usage};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_stage::{Input, Stage};

use crate::ledger::{Ledger, Violation};
use crate::load;
use crate::owner::{Owner, Sent};
use crate::parts::{Keeper, Lender, WalletFact, bounds};

/// A bug to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The limits stage forgets what it granted.
    GrantTwice,
    /// A kernel settles a job as often as it is told of its end.
    SettleTwice,
    /// Spends leave their window early.
    WindowShort,
}

/// A run's settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Of all chance.
    pub seed: u64,
    /// It ends when so many spends have landed.
    pub spends: u64,
    /// Kernel shards.
    pub kernels: usize,
    /// Limits shards.
    pub limits: usize,
    /// Clocks are off by up to this, microseconds either way.
    pub skew: i64,
    /// A bug.
    pub planted: Option<Planted>,
}

impl Settings {
    /// By how much a shard's time may jump, when its owner changes, beyond what is allowed for: so much sooner a job whose
    /// end is not told may count no longer, by the true time.
    fn beyond_allowance(&self) -> u64 {
        let allowance = u64::try_from(bounds().skew.as_micros()).unwrap();
        (2 * self.skew.unsigned_abs()).saturating_sub(allowance)
    }
}

/// What happened in a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    /// Spends that landed.
    pub spends: u64,
    /// Takeovers of kernel shards and of limits shards.
    pub takeovers: (u64, u64),
    /// Jobs refused, and looks that had to wait.
    pub refused: u64,
    /// Looks that had to wait for the limits stage.
    pub waits: u64,
    /// Requests answered.
    pub answers: u64,
    /// Holdings recalled.
    pub recalls: u64,
    /// Holdings that lapsed.
    pub lapsed: u64,
    /// Simulated time, microseconds.
    pub time: u64,
    /// Keys of which at least nine tenths of the limit counted at some moment.
    pub filled: u64,
}

struct World {
    settings: Settings,
    random: fastrand::Rng,
    keys: Vec<LimitUse>,
    kernels: Vec<Owner<Keeper>>,
    lenders: Vec<Owner<Lender>>,
    /// Keys a kernel shard's jobs take of just now.
    hot: Vec<Vec<usize>>,
    offsets: Vec<u64>,
    /// Jobs that end: true time, shard, offset.
    ends: BTreeMap<(u64, usize, u64), ()>,
    ledger: Ledger,
    tenant: TenantId,
    source: SourceName,
    now: u64,
    summary: Summary,
}

/// Runs until enough spends have landed.
///
/// # Errors
/// The window that was exceeded, or what else cannot be.
pub fn run(settings: Settings) -> Result<Summary, String> {
    let mut world = World::new(settings);
    while world.ledger.spends < settings.spends {
        world.turn();
    }
    world.finish()
}

impl World {
    fn new(settings: Settings) -> Self {
        let mut random = fastrand::Rng::with_seed(settings.seed);
        let planted = tidegate_limits::Planted { grant_twice: settings.planted == Some(Planted::GrantTwice) };
        let bugs = WalletBugs {
            window_short: settings.planted == Some(Planted::WindowShort),
            settle_twice: settings.planted == Some(Planted::SettleTwice),
            ..WalletBugs::default()
        };
        let holding_ms = random.u64(1_000..4_000);
        let offset = |random: &mut fastrand::Rng| random.i64(-settings.skew..=settings.skew);
        let keeper =
            |shard| Keeper { wallet: Wallet::new(bounds()).with_bugs(bugs), shard, limits: settings.limits, bugs };
        let kernels = (0..settings.kernels).map(|shard| Owner::new(keeper(shard), offset(&mut random))).collect();
        let lender = || Lender::new(settings.kernels, planted, holding_ms);
        let lenders = (0..settings.limits).map(|_| Owner::new(lender(), offset(&mut random))).collect();
        let keys = load::all();
        Self {
            ledger: Ledger::new(keys.len()),
            hot: vec![(0..keys.len()).collect(); settings.kernels],
            offsets: vec![0; settings.kernels],
            ends: BTreeMap::new(),
            tenant: TenantId::new("acme").unwrap(),
            source: SourceName::new("jobs").unwrap(),
            // Far enough from zero for clocks that are behind.
            now: 1_000_000_000,
            summary: Summary::default(),
            settings,
            random,
            keys,
            kernels,
            lenders,
        }
    }

    /// A millisecond or so in the life of every shard.
    fn turn(&mut self) {
        self.now += self.random.u64(200..2_000);
        self.end_jobs();
        for shard in 0..self.kernels.len() {
            self.land_kernel(shard);
            if self.kernels[shard].down_until <= self.now {
                self.kernel(shard);
            }
            if self.random.u32(0..20_000) == 0 {
                self.kill_kernel(shard);
            }
        }
        for shard in 0..self.lenders.len() {
            self.land_lender(shard);
            if self.lenders[shard].down_until <= self.now {
                self.lender(shard);
            }
            if self.random.u32(0..20_000) == 0 {
                let (pause, offset) = self.pause();
                self.lenders[shard].take_over(self.now + pause, offset);
                self.summary.takeovers.1 += 1;
            }
        }
    }

    /// How long nobody owns a shard, and the next owner's clock: mostly short, sometimes longer than a holding lasts.
    fn pause(&mut self) -> (u64, i64) {
        let longest = if self.random.u32(0..4) == 0 { 12_000_000 } else { 300_000 };
        (self.random.u64(0..longest), self.random.i64(-self.settings.skew..=self.settings.skew))
    }

    fn kill_kernel(&mut self, shard: usize) {
        let (pause, offset) = self.pause();
        self.kernels[shard].take_over(self.now + pause, offset);
        self.summary.takeovers.0 += 1;
    }

    fn kernel(&mut self, shard: usize) {
        let at = self.kernels[shard].stamp(self.now);
        while let Some(sent) = self.kernels[shard].next_record(self.now) {
            let owner = &mut self.kernels[shard];
            let (time, epoch) = (Timestamp(owner.at), owner.epoch);
            let facts = match sent {
                Sent::Answer(answer) => owner.live.wallet.answered(*answer, time, epoch).into_iter().collect(),
                Sent::Outcome(told) => owner.live.wallet.told(&told, time, epoch),
                Sent::Request(..) => panic!("a request at a kernel"),
            };
            for fact in facts {
                owner.step(WalletFact::Kernel(Box::new(fact)));
            }
        }
        let owner = &mut self.kernels[shard];
        if owner.live.wallet.next_due().is_some_and(|due| due.0 <= at) {
            for fact in owner.live.wallet.tick(Timestamp(at), Timestamp(at), owner.epoch) {
                owner.step(WalletFact::Kernel(Box::new(fact)));
            }
        }
        if self.random.u32(0..3_000) == 0 {
            let many = self.random.usize(1..=self.keys.len());
            self.hot[shard] = self.random.choose_multiple(0..self.keys.len(), many);
        }
        for _ in 0..self.random.usize(0..6) {
            self.job(shard);
        }
        if self.random.u32(0..3) == 0 {
            let lands = self.now + self.random.u64(100..8_000);
            self.kernels[shard].seal(lands);
        }
    }

    /// A job takes of one to three keys.
    fn job(&mut self, shard: usize) {
        let many = self.random.usize(1..=3);
        let numbers = self.random.choose_multiple(self.hot[shard].iter().copied(), many);
        let mut wanted: Vec<LimitUse> = Vec::new();
        for number in numbers {
            let next = load::next(&self.keys, number, &mut self.random);
            // A worker reports one figure of tokens, so a job has one budget here.
            let budget = |wanted: &LimitUse| wanted.definition.kind == LimitKind::Budget;
            if !budget(&next) || !wanted.iter().any(budget) {
                wanted.push(next);
            }
        }
        let at = self.kernels[shard].stamp(self.now);
        let owner = &mut self.kernels[shard];
        let mut view = owner.live.wallet.view(&self.tenant, Timestamp(at), owner.epoch);
        let looks: Vec<Here> = wanted.iter().map(|wanted| view.look(wanted)).collect();
        for fact in view.into_requests() {
            owner.step(WalletFact::Kernel(Box::new(fact)));
        }
        if looks.iter().all(|look| *look == Here::Within) {
            let offset = self.offsets[shard];
            self.offsets[shard] += 1;
            owner.step(WalletFact::Spent(offset, wanted.iter().map(LimitUse::spend).collect()));
        } else if looks.contains(&Here::Exceeded) {
            self.summary.refused += 1;
        } else {
            self.summary.waits += 1;
        }
    }

    fn lender(&mut self, shard: usize) {
        let at = self.lenders[shard].stamp(self.now);
        while let Some(sent) = self.lenders[shard].next_record(self.now) {
            let Sent::Request(from, request) = sent else { panic!("no request at the limits stage") };
            self.decided(shard, |lender| lender.heard(from, &request, at));
        }
        while self.decided(shard, |lender| lender.decided(&Input::Poll, at)) {}
        if self.lenders[shard].live.stage.next_due().is_some_and(|due| due.0 <= at) {
            self.decided(shard, |lender| lender.decided(&Input::Tick { fresh: Timestamp(at) }, at));
        }
        if self.random.u32(0..3) == 0 {
            let lands = self.now + self.random.u64(100..8_000);
            self.lenders[shard].seal(lands);
        }
    }

    /// Takes in what a limits shard decides; whether it decided anything.
    fn decided(&mut self, shard: usize, decide: impl FnOnce(&Lender) -> Vec<LimitsFact>) -> bool {
        let owner = &mut self.lenders[shard];
        let facts = decide(&owner.live);
        let any = !facts.is_empty();
        for fact in facts {
            owner.step(fact);
        }
        any
    }

    fn land_kernel(&mut self, shard: usize) {
        let landed = self.kernels[shard].land(self.now);
        for (fact, at) in &landed.facts {
            let WalletFact::Spent(offset, spends) = fact else { continue };
            let number =
                |spend: &Spend| self.keys.iter().position(|key| key.limit == spend.limit && key.key == spend.key);
            let spends: Vec<_> = spends.iter().map(|spend| (number(spend).unwrap(), spend)).collect();
            let window = |key: usize| {
                let window = u64::try_from(self.keys[key].definition.effective().1.as_micros()).unwrap();
                window.saturating_sub(self.settings.beyond_allowance())
            };
            self.ledger.spent((shard, *offset), &spends, window, *at, self.now);
            // One in fifty is never told of.
            if self.random.u32(0..50) > 0 {
                let ends = self.now + self.random.u64(1_000..400_000);
                self.ends.insert((ends, shard, *offset), ());
            }
        }
        for (to, sent) in landed.sent {
            let arrives = self.now + self.random.u64(100..20_000);
            self.lenders[to].append(arrives, sent);
        }
    }

    fn land_lender(&mut self, shard: usize) {
        let landed = self.lenders[shard].land(self.now);
        for (fact, _) in &landed.facts {
            self.summary.answers += u64::from(matches!(fact, LimitsFact::Answered { .. }));
            self.summary.recalls += u64::from(matches!(fact, LimitsFact::Noticed { .. }));
            self.summary.lapsed += u64::from(matches!(fact, LimitsFact::HoldingLapsed { .. }));
        }
        for (to, sent) in landed.sent {
            let arrives = self.now + self.random.u64(100..20_000);
            self.kernels[to].append(arrives, sent);
        }
    }

    /// Jobs end and their kernels are told, some of them twice.
    fn end_jobs(&mut self) {
        while let Some((&(ends, shard, offset), ())) = self.ends.first_key_value() {
            if ends > self.now {
                break;
            }
            self.ends.remove(&(ends, shard, offset));
            let tenths = self.random.u64(0..=10);
            let budgets = |key: usize| self.keys[key].definition.kind == LimitKind::Budget;
            let reserved = self.ledger.reserved((shard, offset), &budgets);
            self.ledger.ended((shard, offset), tenths, &budgets, self.now);
            let source = SourcePosition::new(self.source.clone(), 0, offset);
            let told = Box::new(OutcomeTold {
                v: 1,
                source,
                outcome: Outcome::Succeeded,
                attempts: 1,
                usage: Usage { tokens: reserved.map(|reserved| Amount(reserved * tenths / 10)), money: None },
                at: Timestamp(self.now),
            });
            let arrives = self.now + self.random.u64(100..50_000);
            for _ in 0..self.random.usize(1..=2) {
                self.kernels[shard].append(arrives, Sent::Outcome(told.clone()));
            }
        }
    }

    fn finish(mut self) -> Result<Summary, String> {
        let shares = self.ledger.check(&self.keys).map_err(|violation: Violation| violation.to_string())?;
        self.summary.filled = shares.iter().filter(|share| **share >= 0.9).count() as u64;
        self.summary.spends = self.ledger.spends;
        self.summary.time = self.now - 1_000_000_000;
        for (shard, kernel) in self.kernels.iter_mut().enumerate() {
            kernel.seal(0);
            kernel.land(u64::MAX);
            if !kernel.agrees() {
                return Err(format!("replay gives kernel shard {shard} another state than it had"));
            }
        }
        for (shard, lender) in self.lenders.iter_mut().enumerate() {
            lender.seal(0);
            lender.land(u64::MAX);
            if !lender.agrees() {
                return Err(format!("replay gives limits shard {shard} another state than it had"));
            }
            let impossible = lender.durable.stage.impossible_facts();
            if impossible > 0 {
                return Err(format!("{impossible} facts of limits shard {shard} could not follow from its state"));
            }
        }
        Ok(self.summary)
    }
}
