//! Whether a job fits into what this shard holds, and what to ask for when it does not, or soon will not.
//!
//! | held and live | the spend | nothing more to be had | | the limit | asks |
//! |---|---|---|---|---|---|
//! | | more than the whole limit | | | exceeded | |
//! | yes | fits | | | within | ahead, when little is left or its time is nearly over |
//! | yes | does not fit | it holds the whole limit, or was told so for now | | exceeded | |
//! | yes | does not fit | | | unknown | for what it needs, unless it has asked |
//! | no | | told so for now, or as many entries as may be | | exceeded | |
//! | no | | | | unknown | for what it needs, unless it has asked |

use tidegate_protocol::ids::TenantId;
use tidegate_protocol::limits::{Amount, LimitKind, LimitRequest, LimitUse, RequestId};
use tidegate_protocol::time::Timestamp;

use crate::holding::Holding;
use crate::{JobName, MOST_SPENDS, Wallet, doubled};

/// How a limit stands for a job, here and now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// The job fits in.
    Within,
    /// It does not.
    Exceeded,
    /// It cannot be said before the limits stage has answered.
    Unknown,
}

/// What is wanted of a limit beyond what one job takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// What others here would take next: so much more is asked for, and no more. Not told: what a few such jobs take, or a
    /// part of the limit.
    pub demand: Option<Amount>,
    /// What others were promised of what is held here: it is not spent, and nothing is asked for.
    pub owed: Amount,
    /// What counts here beside what was spent of this holding.
    pub besides: Amount,
}

/// One judgement's look at the wallet; collects what should be asked for.
#[derive(Debug)]
pub struct View<'a, J: JobName> {
    wallet: &'a Wallet<J>,
    tenant: &'a TenantId,
    at: Timestamp,
    epoch: u64,
    asks: Vec<LimitRequest>,
}

impl<J: JobName> Wallet<J> {
    /// A look at `at`, for a job of `tenant`, by the owner of `epoch`.
    #[must_use]
    pub const fn view<'a>(&'a self, tenant: &'a TenantId, at: Timestamp, epoch: u64) -> View<'a, J> {
        View { wallet: self, tenant, at, epoch, asks: Vec::new() }
    }
}

impl<'a, J: JobName> View<'a, J> {
    /// Whose keys those that are looked at from now on count as.
    pub const fn counts_as(&mut self, tenant: &'a TenantId) {
        self.tenant = tenant;
    }

    /// How the limit stands.
    pub fn look(&mut self, wanted: &LimitUse) -> Here {
        self.look_with(wanted, Terms::default())
    }

    /// The same on terms of the stage's own.
    pub fn look_with(&mut self, wanted: &LimitUse, terms: Terms) -> Here {
        let (wallet, at) = (self.wallet, self.at);
        let (whole, _) = wanted.definition.effective();
        let breaker = wanted.definition.kind == LimitKind::Breaker;
        if !breaker && wanted.amount > whole {
            return Here::Exceeded;
        }
        if wanted.definition.kind.settles() && wallet.open.len() >= wallet.bounds.open {
            return Here::Exceeded;
        }
        let Some(holding) = wallet.entry(&wanted.limit, &wanted.key) else {
            let full =
                wallet.count >= wallet.bounds.entries || wallet.keys_of(self.tenant) >= wallet.bounds.tenant_entries;
            if full {
                return Here::Exceeded;
            }
            return self.begin(wanted, terms, whole);
        };
        let denied = holding.again.is_some_and(|again| at < again);
        let waiting = holding.asked.is_some();
        if !holding.is_live(at) {
            // Before `from` what is held will do soon; the clocks are that far apart.
            let early = holding.number != 0 && at < holding.from && at < holding.until;
            return match (denied, waiting || early) {
                (true, false) => Here::Exceeded,
                (_, true) => Here::Unknown,
                (false, false) if holding.number == 0 => self.begin(wanted, terms, whole),
                (false, false) => {
                    let (need, want) = if breaker {
                        (wanted.amount, first(wanted.amount, whole, terms.demand))
                    } else {
                        (Amount::ZERO, Amount::ZERO)
                    };
                    self.ask(wanted, holding.number, need, want)
                }
            };
        }
        if breaker {
            return match (holding.probe && holding.capacity < wanted.amount, denied, waiting) {
                (false, ..) => {
                    self.renew(wanted, holding, Amount::ZERO, waiting || holding.probe);
                    Here::Within
                }
                (true, true, false) => Here::Exceeded,
                (true, _, true) => Here::Unknown,
                (true, false, false) => self.ask(wanted, holding.number, wanted.amount, wanted.amount),
            };
        }
        let window = wallet.window(holding);
        let counted = holding.counted(at, window).plus(terms.besides);
        let takes = if holding.is_member(wanted.member, at, window) { Amount::ZERO } else { wanted.amount };
        let after = counted.plus(takes);
        // What somebody here waited for is his, although others wait for it too.
        if after <= holding.capacity.less(terms.owed.less(holding.promised(at))) {
            let goal = match terms.demand {
                Some(demand) => after.plus(demand),
                None if holding.capacity.less(after) < Amount(holding.capacity.0 / 4) => doubled(holding.capacity),
                None => Amount::ZERO,
            };
            let more =
                if denied || !terms.owed.is_zero() { Amount::ZERO } else { goal.min(whole).less(holding.capacity) };
            self.renew(wanted, holding, more, waiting);
            return Here::Within;
        }
        if holding.capacity >= whole || (denied && !waiting) || !terms.owed.is_zero() {
            return Here::Exceeded;
        }
        if waiting {
            return Here::Unknown;
        }
        let need = after.less(holding.capacity);
        if need > whole.less(holding.capacity) {
            return Here::Exceeded;
        }
        let want = terms.demand.map_or(holding.capacity, |demand| need.plus(demand));
        self.ask(wanted, holding.number, need, want.min(whole.less(holding.capacity)))
    }

    /// Asks for a holding where there is none.
    fn begin(&mut self, wanted: &LimitUse, terms: Terms, whole: Amount) -> Here {
        let need = wanted.amount.plus(terms.besides);
        if !terms.besides.is_zero() && need > whole {
            return Here::Exceeded;
        }
        self.ask(wanted, 0, need, first(need, whole, terms.demand))
    }

    /// What the look asks the limits stage for, whatever its outcome.
    #[must_use]
    pub fn into_requests(self) -> Vec<LimitRequest> {
        self.asks
    }

    /// Asks ahead: for more, or because the last third of its time has come.
    fn renew(&mut self, wanted: &LimitUse, holding: &Holding, more: Amount, waiting: bool) {
        let term = holding.until.since(holding.since);
        let late = holding.until.since(self.at) < term / 3;
        // What is needed goes first.
        if !waiting && (late || !more.is_zero()) && self.asks.len() < MOST_SPENDS {
            self.ask(wanted, holding.number, Amount::ZERO, more);
        }
    }

    fn ask(&mut self, wanted: &LimitUse, holding: u64, need: Amount, want: Amount) -> Here {
        let full = self.asks.len() >= 2 * MOST_SPENDS;
        if full || self.asks.iter().any(|ask| ask.about() == (&wanted.limit, &*wanted.key)) {
            return Here::Unknown;
        }
        let asked = u64::try_from(self.asks.len()).unwrap_or(u64::MAX);
        let number = self.wallet.number.saturating_add(asked).saturating_add(1);
        self.asks.push(LimitRequest::Ask {
            id: RequestId { epoch: self.epoch, number },
            holding: if holding == 0 { number } else { holding },
            limit: wanted.limit.clone(),
            key: wanted.key.clone(),
            definition: (*wanted.definition).clone(),
            tenant: self.tenant.clone(),
            need,
            want: want.max(need),
            has: self.wallet.entry(&wanted.limit, &wanted.key).and_then(Holding::has),
            at: self.at,
        });
        Here::Unknown
    }
}

/// What is wanted at first: what is in demand; when that is not told, enough for some more jobs like this one, or a sixteenth.
fn first(amount: Amount, whole: Amount, demand: Option<Amount>) -> Amount {
    const JOBS: u64 = 8;
    if let Some(demand) = demand {
        return amount.plus(demand).min(whole).max(amount);
    }
    let sixteenth = Amount(whole.0 / 16 - (whole.0 / 16) % Amount::ONE.0);
    Amount(amount.0.saturating_mul(JOBS)).max(sixteenth).min(whole).max(amount)
}
