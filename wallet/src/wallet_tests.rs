//! Limits as one shard sees them.

use super::*;
use tidegate_protocol::ids::SourceName;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::limits::{BudgetOf, LimitKind, LimitUse, OutcomeTold, RequestId, Usage};
use tidegate_protocol::outcome::Outcome;

const SECOND: u64 = 1_000_000;

/// A record's offset, and how often it was redriven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Life(u64, u32);

impl JobName for Life {
    type Written = u64;

    fn written(&self) -> (u64, u32) {
        (self.0, self.1)
    }

    fn read(offset: u64, redrive: u32) -> Self {
        Self(offset, redrive)
    }
}

fn awaits(shard: &Shard, offset: u64) -> bool {
    shard.wallet.awaits(Life(offset, 0)..=Life(offset, u32::MAX))
}

struct Shard {
    wallet: Wallet<Life>,
    tenant: TenantId,
    at: Timestamp,
}

fn wanted(kind: LimitKind, limit: u64, amount: u64) -> LimitUse {
    let mut definition = LimitDefinition::new(kind, Amount::units(limit).unwrap(), Duration::from_mins(1));
    if kind == LimitKind::Budget {
        definition.budget = Some(BudgetOf::Tokens);
    }
    LimitUse {
        limit: LimitId::new("rule#0:0011223344556677").unwrap(),
        definition: Arc::new(definition),
        key: "acme".into(),
        amount: Amount::units(amount).unwrap(),
        member: None,
    }
}

impl Shard {
    fn new() -> Self {
        let wallet = Wallet::new(WalletBounds::default());
        Self { wallet, tenant: TenantId::new("acme").unwrap(), at: Timestamp(1_000 * SECOND) }
    }

    fn look(&self, wanted: &LimitUse) -> (Here, Vec<LimitRequest>) {
        let mut view = self.wallet.view(&self.tenant, self.at, 7);
        (view.look(wanted), view.into_requests())
    }

    /// Looks, and lets everything asked for be granted as wanted.
    fn granted(&mut self, wanted: &LimitUse) {
        let (_, asks) = self.look(wanted);
        for ask in asks {
            self.wallet.requested(&ask, self.at);
            let LimitRequest::Ask { id, holding, limit, key, want, .. } = ask else { panic!("{ask:?}") };
            let answer = LimitAnswer::Granted {
                request: id,
                holding,
                limit,
                key,
                amount: want,
                until: self.at + Duration::from_secs(30),
                from: Timestamp(0),
                again: None,
                probe: false,
                refused: None,
            };
            self.wallet.granted(&answer, self.at);
        }
    }

    fn spend(&mut self, offset: u64, wanted: &LimitUse) {
        self.wallet.spend(&Life(offset, 0), &[wanted.spend()], self.at);
    }

    fn told(&mut self, offset: u64, attempts: u32, tokens: Option<u64>) -> usize {
        let source = SourcePosition::new(SourceName::new("jobs.raw").unwrap(), 0, offset);
        let usage = Usage { tokens: tokens.and_then(Amount::units), money: None };
        let told = OutcomeTold { v: 1, source, outcome: Outcome::Succeeded, attempts, usage, at: self.at };
        let name = Life(told.source.offset, told.source.redrive);
        let Some(passed_on) = self.wallet.told(&name, &told, self.at, 7) else { return 0 };
        self.wallet.settled(&name, &told, self.at);
        self.wallet.forget_due(self.at);
        passed_on.len() + 1
    }

    fn counted(&self, wanted: &LimitUse) -> u64 {
        let holding = self.wallet.entry(&wanted.limit, &wanted.key).unwrap();
        holding.counted(self.at, self.wallet.window(holding)).0 / Amount::ONE.0
    }
}

#[test]
fn a_job_waits_for_its_first_slice_and_then_spends_up_to_the_limit_and_no_further() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::CountWithin, 3, 1));
    let (here, asks) = shard.look(&wanted);
    assert_eq!((here, asks.len()), (Here::Unknown, 1));
    shard.wallet.requested(&asks[0], shard.at);
    assert_eq!(shard.look(&wanted), (Here::Unknown, Vec::new()), "one request at a time");
    let mut shard = Shard::new();
    shard.granted(&wanted);
    for offset in 0..3 {
        assert_eq!(shard.look(&wanted).0, Here::Within);
        shard.spend(offset, &wanted);
    }
    assert_eq!(shard.look(&wanted), (Here::Exceeded, Vec::new()), "it holds the whole limit");
    shard.at = shard.at + Duration::from_secs(29);
    shard.granted(&wanted);
    assert_eq!(shard.look(&wanted).0, Here::Exceeded);
}

#[test]
fn more_than_the_whole_limit_is_exceeded_without_asking() {
    let shard = Shard::new();
    assert_eq!(shard.look(&wanted(LimitKind::SumWithin, 3, 4)), (Here::Exceeded, Vec::new()));
}

#[test]
fn a_budget_counts_what_was_used_once_however_often_it_is_told() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::Budget, 1_000, 100));
    shard.granted(&wanted);
    for offset in 0..4 {
        shard.spend(offset, &wanted);
    }
    assert_eq!(shard.counted(&wanted), 400);
    assert_eq!((shard.told(0, 1, Some(30)), shard.told(0, 1, Some(30))), (1, 0));
    assert_eq!(shard.counted(&wanted), 330);
    shard.told(1, 0, None);
    assert_eq!(shard.counted(&wanted), 230, "it never ran");
    shard.told(2, 1, None);
    assert_eq!(shard.counted(&wanted), 230, "nothing was reported");
    shard.told(3, 1, Some(170));
    assert_eq!(shard.counted(&wanted), 300, "more than was reserved");
    assert_eq!(shard.wallet.open(), 0);
}

#[test]
fn a_place_is_free_when_its_job_has_ended_and_the_holding_stays_until_the_last_has() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::Concurrency, 2, 1));
    shard.granted(&wanted);
    shard.spend(1, &wanted);
    shard.spend(2, &wanted);
    assert_eq!(shard.look(&wanted).0, Here::Exceeded);
    shard.told(1, 1, None);
    assert_eq!(shard.look(&wanted).0, Here::Within);
    shard.at = shard.at + Duration::from_secs(31);
    assert_eq!((shard.wallet.next_due(), shard.look(&wanted).0), (None, Here::Unknown), "its time is over");
    shard.told(2, 1, None);
    let returns = shard.wallet.tick(shard.at, shard.at, 7);
    let [request] = &*returns else { panic!("{returns:?}") };
    assert!(matches!(request, LimitRequest::Return { rest: Some(rest), .. } if rest.amount.is_zero()), "{request:?}");
    shard.wallet.requested(request, shard.at);
    shard.wallet.forget_due(shard.at);
    assert!(shard.wallet.is_empty());
}

#[test]
fn what_was_used_of_late_is_not_given_back() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::CountWithin, 8, 1));
    shard.granted(&wanted);
    for offset in 0..3 {
        shard.spend(offset, &wanted);
    }
    let recall = |shard: &Shard| {
        let (limit, key, amount) = (wanted.limit.clone(), wanted.key.clone(), Amount::units(9).unwrap());
        let answer = LimitAnswer::Recalled { holding: 1, limit, key, amount, owed: Amount::ZERO };
        let Some(Heard::Returned(LimitRequest::Return { free, .. })) = shard.wallet.answered(answer, shard.at, 7)
        else {
            panic!()
        };
        free.0 / Amount::ONE.0
    };
    assert_eq!(recall(&shard), 5);
    shard.at = shard.at + Duration::from_secs(64);
    assert_eq!(recall(&shard), 5, "the clocks' allowance");
    shard.at = shard.at + Duration::from_secs(5);
    assert_eq!(recall(&shard), 8);
}

#[test]
fn what_cannot_be_had_is_exceeded_for_a_while_and_wakes_nobody() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::CountWithin, 3, 1));
    let (_, asks) = shard.look(&wanted);
    shard.wallet.requested(&asks[0], shard.at);
    let answer = LimitAnswer::Granted {
        request: RequestId { epoch: 7, number: 1 },
        holding: 0,
        limit: wanted.limit.clone(),
        key: wanted.key.clone(),
        amount: Amount::ZERO,
        until: shard.at,
        from: Timestamp(0),
        again: Some(shard.at + Duration::from_secs(1)),
        probe: false,
        refused: None,
    };
    shard.wallet.granted(&answer, shard.at);
    assert_eq!((shard.look(&wanted), shard.wallet.next_due()), ((Here::Exceeded, Vec::new()), None));
    shard.at = shard.at + Duration::from_secs(1);
    assert_eq!(shard.look(&wanted).0, Here::Unknown, "it asks again");
}

#[test]
fn beyond_its_bounds_everything_is_exceeded() {
    let mut shard = Shard::new();
    shard.wallet.bounds.tenant_entries = 1;
    let mut first = wanted(LimitKind::CountWithin, 3, 1);
    shard.granted(&first);
    first.key = "other".into();
    assert_eq!(shard.look(&first), (Here::Exceeded, Vec::new()));
}

#[test]
fn an_answer_to_another_request_changes_nothing_and_a_snapshot_is_read_back() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::Budget, 100, 10));
    shard.granted(&wanted);
    shard.spend(5, &wanted);
    let before = shard.wallet.to_text().unwrap();
    let answer = LimitAnswer::Granted {
        request: RequestId { epoch: 7, number: 1 },
        holding: 1,
        limit: wanted.limit.clone(),
        key: wanted.key.clone(),
        amount: Amount::units(9).unwrap(),
        until: shard.at + Duration::from_hours(1),
        from: Timestamp(0),
        again: None,
        probe: false,
        refused: None,
    };
    shard.wallet.granted(&answer, shard.at);
    assert_eq!(shard.wallet.to_text().unwrap(), before);
    let mut other = Wallet::<Life>::new(WalletBounds::default());
    other.read_text(&before).unwrap();
    assert_eq!(other.to_text().unwrap(), before);
    assert_eq!((other.len(), other.open(), other.next_due()), (1, 1, shard.wallet.next_due()));
}

#[test]
fn another_verdict_on_a_record_gives_back_what_the_one_before_took_once() {
    for kind in [LimitKind::Budget, LimitKind::Concurrency] {
        let (mut shard, wanted) = (Shard::new(), wanted(kind, 1_000, 100));
        shard.granted(&wanted);
        shard.spend(1, &wanted);
        shard.spend(2, &wanted);
        assert_eq!(shard.counted(&wanted), 200);
        shard.at = shard.at + Duration::from_secs(1);
        shard.spend(1, &wanted);
        assert_eq!((shard.counted(&wanted), shard.wallet.open()), (200, 2), "allowed again");
        shard.wallet.spend(&Life(1, 0), &[], shard.at);
        assert_eq!((shard.counted(&wanted), shard.wallet.open()), (100, 1), "denied");
        shard.wallet.spend(&Life(1, 0), &[], shard.at);
        assert_eq!((shard.counted(&wanted), shard.told(1, 0, None)), (100, 0), "once");
        // What was awaited of the first verdict ends nothing of a later one.
        shard.spend(1, &wanted);
        shard.at = shard.at + Duration::from_secs(59);
        shard.wallet.spend(&Life(9, 0), &[], shard.at);
        assert_eq!(shard.told(1, 0, None), 1);
        let mut other = Wallet::<Life>::new(WalletBounds::default());
        other.read_text(&shard.wallet.to_text().unwrap()).unwrap();
        assert_eq!(format!("{other:?}"), format!("{:?}", shard.wallet), "what is derived is derived again");
    }
}

#[test]
fn what_one_life_of_a_record_took_is_settled_by_its_own_end_alone() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::Concurrency, 1_000, 100));
    shard.granted(&wanted);
    shard.spend(1, &wanted);
    assert!(awaits(&shard, 1) && !awaits(&shard, 0) && !awaits(&shard, 2));
    shard.wallet.spend(&Life(1, 2), &[wanted.spend()], shard.at);
    assert_eq!((shard.counted(&wanted), shard.wallet.open()), (200, 2));
    let before = shard.wallet.to_text().unwrap();
    let mut other = Wallet::<Life>::new(WalletBounds::default());
    other.read_text(&before).unwrap();
    assert_eq!((format!("{other:?}"), other.to_text().unwrap()), (format!("{:?}", shard.wallet), before));
    assert_eq!((shard.told(1, 1, None), shard.counted(&wanted)), (1, 100));
    assert!(awaits(&shard, 1), "the second is open");
    assert_eq!(shard.told(1, 1, None), 0, "the first has ended");
    shard.wallet.spend(&Life(1, 2), &[], shard.at);
    assert_eq!((shard.counted(&wanted), awaits(&shard, 1)), (0, false));
}

#[test]
fn a_place_whose_jobs_end_is_not_told_is_free_only_after_the_clocks_allowance() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::Concurrency, 1, 1));
    shard.granted(&wanted);
    shard.spend(1, &wanted);
    let spent = shard.at;
    for (seconds, counts) in [(60, 1), (64, 1), (65, 0)] {
        shard.at = spent + Duration::from_secs(seconds);
        assert_eq!(shard.counted(&wanted), counts, "after {seconds} s");
    }
}

#[test]
fn a_breaker_hears_of_failures_and_of_probes_that_ran_and_of_nothing_else() {
    let rows = [
        (Outcome::Failed, 1, [Some(true), Some(true)]),
        (Outcome::TimedOut, 1, [Some(true), Some(true)]),
        (Outcome::Dead, 1, [Some(true), Some(true)]),
        (Outcome::Succeeded, 1, [None, Some(false)]),
        (Outcome::Cancelled, 1, [None, None]),
        (Outcome::Dead, 0, [None, None]),
        (Outcome::TimedOut, 0, [None, None]),
    ];
    for (outcome, attempts, expected) in rows {
        for (probe, expected) in [false, true].into_iter().zip(expected) {
            let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::Breaker, 3, 1));
            shard.granted(&wanted);
            shard.wallet.change(&wanted.limit, &wanted.key, |holding| holding.probe = probe);
            shard.spend(5, &wanted);
            let source = SourcePosition::new(SourceName::new("jobs.raw").unwrap(), 0, 5);
            let told = OutcomeTold { v: 1, source, outcome, attempts, usage: Usage::default(), at: shard.at };
            let mut passed_on = None;
            for request in shard.wallet.told(&Life(5, 0), &told, shard.at, 7).unwrap() {
                let LimitRequest::Ended { failed, .. } = request else { panic!("{request:?}") };
                passed_on = Some(failed);
            }
            assert_eq!(passed_on, expected, "{outcome:?} after {attempts}, a probe: {probe}");
        }
    }
}

/// What falls due by the shard's time, and goes out.
fn ticks(shard: &mut Shard) -> Vec<LimitRequest> {
    let requests = shard.wallet.tick(shard.at, shard.at, 7);
    for request in &requests {
        shard.wallet.requested(request, shard.at);
    }
    requests
}

fn granting(ask: &LimitRequest, amount: u64, at: Timestamp) -> LimitAnswer {
    let LimitRequest::Ask { id, holding, limit, key, .. } = ask.clone() else { panic!("{ask:?}") };
    LimitAnswer::Granted {
        request: id,
        holding,
        limit,
        key,
        amount: Amount::units(amount).unwrap(),
        until: at + Duration::from_secs(30),
        from: Timestamp(0),
        again: None,
        probe: false,
        refused: None,
    }
}

#[test]
fn what_is_not_answered_is_asked_again_ever_more_seldom_and_the_last_answer_counts_alone() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::CountWithin, 8, 2));
    let first = shard.look(&wanted).1.remove(0);
    shard.wallet.requested(&first, shard.at);
    let begun = shard.at;
    let (mut asks, mut waited) = (vec![first], Vec::new());
    while let Some(due) = shard.wallet.next_due().filter(|due| due.since(begun) < Duration::from_mins(20)) {
        shard.at = due;
        assert_eq!(shard.look(&wanted), (Here::Unknown, Vec::new()), "nobody asks beside it");
        let before = asks.last().map(|ask| ask.id().number).unwrap();
        let [ask] = &ticks(&mut shard)[..] else { panic!() };
        let LimitRequest::Ask { id, holding, need, want, has, .. } = ask else { panic!("{ask:?}") };
        assert_eq!((id.number, *holding, *has), (before + 1, before + 1, None));
        assert!(matches!(&asks[0], LimitRequest::Ask { need: n, want: w, .. } if n == need && w == want));
        asks.push(ask.clone());
        waited.push(due.since(begun).as_secs());
        let text = shard.wallet.to_text().unwrap();
        let mut other = Wallet::<Life>::new(WalletBounds::default());
        other.read_text(&text).unwrap();
        assert_eq!(format!("{other:?}"), format!("{:?}", shard.wallet), "what is derived is derived again");
    }
    assert_eq!(waited, [5, 15, 35, 75, 155, 315, 635]);
    let (_, _, since) = shard.wallet.asked().next().unwrap();
    assert_eq!(since, begun);
    let last = asks.pop().unwrap();
    for earlier in &asks {
        shard.wallet.granted(&granting(earlier, 8, shard.at), shard.at);
    }
    assert_eq!(shard.look(&wanted), (Here::Unknown, Vec::new()), "put aside");
    shard.wallet.granted(&granting(&last, 3, shard.at), shard.at);
    assert_eq!(shard.look(&wanted).0, Here::Within);
    assert_eq!(shard.wallet.holding(&wanted.limit, &wanted.key).unwrap().capacity(), Amount::units(3).unwrap());
}

#[test]
fn what_is_asked_again_of_a_holding_says_what_is_held() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::CountWithin, 8, 1));
    let first = shard.look(&wanted).1.remove(0);
    shard.wallet.requested(&first, shard.at);
    shard.wallet.granted(&granting(&first, 2, shard.at), shard.at);
    shard.spend(1, &wanted);
    shard.spend(2, &wanted);
    let has = |ask: &LimitRequest| {
        let LimitRequest::Ask { holding: 1, has: Some(has), .. } = ask else { panic!("{ask:?}") };
        has.0 / Amount::ONE.0
    };
    let ask = shard.look(&wanted).1.remove(0);
    assert_eq!(has(&ask), 2);
    shard.wallet.requested(&ask, shard.at);
    shard.at = shard.at + Duration::from_secs(5);
    assert_eq!(has(&ticks(&mut shard)[0]), 2);
    // Its time is over, and still the answer must meet the holding it is for.
    shard.at = shard.at + Duration::from_secs(60);
    assert_eq!(has(&ticks(&mut shard)[0]), 2);
}

#[test]
fn an_answer_to_a_log_that_was_made_anew_is_none_to_this_one() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::CountWithin, 8, 1));
    let ask = shard.look(&wanted).1.remove(0);
    shard.wallet.requested(&ask, shard.at);
    let mut old = granting(&ask, 8, shard.at);
    let LimitAnswer::Granted { request, .. } = &mut old else { panic!() };
    request.epoch = 6;
    shard.wallet.granted(&old, shard.at);
    assert_eq!(shard.look(&wanted).0, Here::Unknown);
}

#[test]
fn what_a_job_waited_for_is_its_own_although_others_need_it_at_once() {
    for kind in [LimitKind::CountWithin, LimitKind::Concurrency] {
        let (mut shard, wanted) = (Shard::new(), wanted(kind, 8, 1));
        // Granted and recalled in one batch, before the job that waits is looked at.
        shard.granted(&wanted);
        let free = |shard: &Shard| shard.wallet.unused((&wanted.limit, &wanted.key), shard.at).0 / Amount::ONE.0;
        let recalled = LimitAnswer::Recalled {
            holding: 1,
            limit: wanted.limit.clone(),
            key: wanted.key.clone(),
            amount: Amount::units(8).unwrap(),
            owed: Amount::ZERO,
        };
        let Some(Heard::Returned(request)) = shard.wallet.answered(recalled, shard.at, 7) else { panic!() };
        shard.wallet.requested(&request, shard.at);
        let mut view = shard.wallet.view(&shard.tenant, shard.at, 7);
        let owed = Terms { owed: Amount::ONE, ..Terms::default() };
        assert_eq!(view.look_with(&wanted, owed), Here::Within, "what it waited for is not owed");
        // When nobody takes it, it goes back after all.
        assert_eq!(free(&shard), 0);
        let after = shard.wallet.frees_at((&wanted.limit, &wanted.key), shard.at);
        assert_eq!(after, Some(shard.at + Duration::from_secs(1)));
        shard.at = shard.at + Duration::from_secs(1);
        assert_eq!(free(&shard), 1);
        // And what it took is not kept for another.
        let (mut shard, _) = (Shard::new(), ());
        shard.granted(&wanted);
        shard.spend(1, &wanted);
        assert_eq!(free(&shard), 7);
    }
}

#[test]
fn a_recall_of_what_is_not_known_here_is_answered_by_that() {
    let (mut shard, wanted) = (Shard::new(), wanted(LimitKind::CountWithin, 8, 1));
    let recall = |holding| {
        let (limit, key) = (wanted.limit.clone(), wanted.key.clone());
        LimitAnswer::Recalled { holding, limit, key, amount: Amount::ONE, owed: Amount::ZERO }
    };
    let gone = |shard: &Shard, holding| match shard.wallet.answered(recall(holding), shard.at, 7) {
        Some(Heard::Returned(LimitRequest::Return { gone, free, rest: None, .. })) => Some((gone, free.is_zero())),
        None => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(gone(&shard, 1), Some((true, true)), "a log that was made anew knows nothing");
    let ask = shard.look(&wanted).1.remove(0);
    shard.wallet.requested(&ask, shard.at);
    assert_eq!(gone(&shard, 1), None, "it may still come");
    shard.wallet.granted(&granting(&ask, 3, shard.at), shard.at);
    assert_eq!((gone(&shard, 1), gone(&shard, 9)), (Some((false, false)), Some((true, true))));
}
