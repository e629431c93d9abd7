//! The exact account of every key over all shards, and whether any window of it was exceeded.

use std::collections::BTreeMap;
use std::fmt;

use tidegate_protocol::limits::{Amount, LimitKind, LimitUse, Member, Spend};

/// A spend that has landed.
#[derive(Debug, Clone, Copy)]
struct Entry {
    stamp: u64,
    amount: u64,
    member: Option<Member>,
    /// True times between which a job was open.
    open: (u64, u64),
}

/// A window that was exceeded.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Of which key.
    pub key: String,
    /// What counted, in millionths.
    pub counted: u64,
    /// What may.
    pub limit: u64,
    /// Stamp (concurrency: true time) at which it was so.
    pub at: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, counted, limit, at } = self;
        write!(f, "{key}: {} counted within its window at {at}, but the limit is {}", Amount(*counted), Amount(*limit))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    keys: Vec<Vec<Entry>>,
    /// Spends of jobs whose end is awaited: shard and offset, to key and place.
    open: BTreeMap<(usize, u64), Vec<(usize, usize)>>,
    /// Spends so far.
    pub spends: u64,
}

impl Ledger {
    /// For so many keys.
    pub fn new(keys: usize) -> Self {
        Self { keys: vec![Vec::new(); keys], ..Self::default() }
    }

    /// A job's spends have landed at true time `now`.
    pub fn spent(
        &mut self,
        of: (usize, u64),
        spends: &[(usize, &Spend)],
        open_for: impl Fn(usize) -> u64,
        stamp: u64,
        now: u64,
    ) {
        for (key, spend) in spends {
            self.spends += 1;
            let entries = &mut self.keys[*key];
            self.open.entry(of).or_default().push((*key, entries.len()));
            // Whatever clocks say within their allowance: what is never told is open for its window by the true time.
            let open = (now, now + open_for(*key));
            entries.push(Entry { stamp, amount: spend.amount.0, member: spend.member, open });
        }
    }

    /// What an open job reserved of a budget.
    pub fn reserved(&self, of: (usize, u64), budgets: &dyn Fn(usize) -> bool) -> Option<u64> {
        let (key, place) = self.open.get(&of)?.iter().find(|(key, _)| budgets(*key))?;
        Some(self.keys[*key][*place].amount)
    }

    /// A job ended at true time `now` and had used so much of what it reserved of budgets (in tenths).
    pub fn ended(&mut self, of: (usize, u64), tenths: u64, budgets: &dyn Fn(usize) -> bool, now: u64) {
        for (key, place) in self.open.remove(&of).unwrap_or_default() {
            let entry = &mut self.keys[key][place];
            entry.open.1 = entry.open.1.min(now);
            if budgets(key) {
                entry.amount = entry.amount * tenths / 10;
            }
        }
    }

    /// Checks every window of every key: the first violation, or the largest share of a limit that was used, by key.
    pub fn check(&self, keys: &[LimitUse]) -> Result<Vec<f64>, Violation> {
        keys.iter().zip(&self.keys).map(|(key, entries)| check(key, entries)).collect()
    }
}

fn check(key: &LimitUse, entries: &[Entry]) -> Result<f64, Violation> {
    let (limit, window) = key.definition.effective();
    let window = u64::try_from(window.as_micros()).unwrap();
    let kind = key.definition.kind;
    // What begins to count and what ends to count, in order; at the same time ends come first.
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let concurrent = kind == LimitKind::Concurrency;
        let (from, to) = if concurrent { entry.open } else { (entry.stamp, entry.stamp + window) };
        if from < to {
            events.push((from, true, number));
            events.push((to, false, number));
        }
    }
    events.sort_unstable();
    let mut members: BTreeMap<Member, u64> = BTreeMap::new();
    let (mut counted, mut most) = (0, 0);
    for (at, begins, number) in events {
        let entry = &entries[number];
        let amount = match (entry.member, begins) {
            (None, _) => entry.amount,
            (Some(member), true) => {
                let uses = members.entry(member).or_default();
                *uses += 1;
                if *uses == 1 { entry.amount } else { 0 }
            }
            (Some(member), false) => {
                let uses = members.get_mut(&member).unwrap();
                *uses -= 1;
                if *uses == 0 { entry.amount } else { 0 }
            }
        };
        if begins {
            counted += amount;
            most = most.max(counted);
            if counted > limit.0 {
                let key = format!("{} {} of {}", kind.word(), key.key, key.limit);
                return Err(Violation { key, counted, limit: limit.0, at });
            }
        } else {
            counted -= amount;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    Ok(most as f64 / limit.0 as f64)
}
