//! Where a job without a lease stands: ready, in line behind others of its key, or waiting for its time.

use std::sync::Arc;

use tidegate_protocol::ids::TenantId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::selector::Selector;
use tidegate_protocol::time::Timestamp;

use crate::Scheduler;
use crate::aside::{Entry, Why};
use crate::lines::LineKey;
use crate::placement::{ClassId, Need, Wish};
use crate::ready::Claim;
use crate::scheduler::Soft;

impl Scheduler {
    /// Puts a job without a lease where it can be leased, or where it waits for its time or its turn.
    pub(crate) fn offer(&mut self, source: &SourcePosition, at: Timestamp) {
        let soft = &mut self.soft;
        let (work, until) = match (self.state.job(source), soft.window.get(source)) {
            (Some(job), _) if job.ending().is_some() || self.pool.is_spent(&job.work, job.strikes) => {
                soft.doomed.insert(source.clone());
                return;
            }
            (Some(job), _) => (&job.work, job.until),
            (None, Some(waiting)) => (&waiting.work, waiting.work.terms().not_before.filter(|until| *until > at)),
            (None, None) => return,
        };
        if let Some(deadline) = work.terms().deadline {
            soft.deadlines.set(source, deadline);
        }
        let line = work.terms().line.clone();
        if let Some(line) = &line {
            soft.lines.join(line, source);
            // One that was ahead of the line until this came (from `overflow`, or back from its kernel).
            if let Some(next) = soft.lines.behind(line, source) {
                soft.unlist(&next);
            }
        }
        match until {
            Some(until) if self.state.job(source).is_some() => soft.wakes.set(source, until),
            Some(until) => soft.sleepers.set(source, until),
            None if line.is_some() && soft.reading.is_waited_for() && self.state.job(source).is_some() => {}
            None if line.as_ref().is_some_and(|line| !soft.lines.may_go(line, source)) => {}
            None => self.enlist(source, at, at),
        }
        self.heads(at);
    }

    /// Puts a job that could be leased since then among the ready, or beside them ([`crate::aside`]).
    pub(crate) fn enlist(&mut self, source: &SourcePosition, since: Timestamp, at: Timestamp) {
        let soft = &mut self.soft;
        let (work, leased_before) = match (self.state.job(source), soft.window.get(source)) {
            (Some(job), _) => (&job.work, job.was_leased()),
            (None, Some(waiting)) => (&waiting.work, false),
            (None, None) => return,
        };
        if soft.aside.has(source) {
            return;
        }
        let aside = || Entry { source: source.clone(), tenant: work.alike.tenant.clone(), since };
        let (tenant, child) = (&work.alike.tenant, work.terms().depth > 0);
        let need = Need { requirement: &work.alike.requirement, tenant, child, wish: work.terms().wish.as_ref() };
        let its_own = |need| soft.placement.known(need).filter(|class| soft.ready.has_of(tenant, *class));
        let plain = work.terms().wish.as_ref().and_then(without_preference);
        let modest = Need { wish: plain.as_ref(), ..need };
        // Others wait for these, with slots of their own: behind those they would wait for each other for ever.
        let awaited = child || leased_before;
        let (classes, bounds) = (soft.ready.classes_of(tenant), soft.aside.bounds);
        let class = match its_own(need) {
            Some(class) => class,
            None if classes < bounds.preferences => soft.placement.class(need),
            None => match its_own(modest) {
                Some(class) => class,
                None if classes >= bounds.needs && !awaited => {
                    let entry = aside();
                    soft.aside.put(Why::Behind(tenant.clone()), entry);
                    return;
                }
                None => soft.placement.class(modest),
            },
        };
        if work.terms().wish.is_some() && !soft.placement.is_served(class) {
            let entry = aside();
            soft.aside.put(Why::Unserved(class), entry);
            soft.head(class);
            return;
        }
        let weight = self.pool.shares.of(tenant).weight;
        let subjects = self.pool.shares.subjects(tenant, &work.alike.requirement);
        let claim = Claim { tenant, weight, leased_before, depth: work.terms().depth, priority: work.priority };
        soft.ready.insert(source, class, claim, since);
        // At once: a class that placement does not know to be busy may be dropped by the next that is made.
        soft.head(class);
        for subject in subjects {
            self.gate(&subject, at);
        }
    }

    /// The opposite of [`Self::offer`]; its place in line stays.
    pub(crate) fn withdraw(&mut self, source: &SourcePosition, at: Timestamp) {
        let soft = &mut self.soft;
        soft.doomed.remove(source);
        soft.deadlines.stop(source);
        soft.wakes.stop(source);
        soft.sleepers.stop(source);
        soft.unlist(source);
        self.heads(at);
    }

    /// A job is leased: it costs its tenant a turn, and nobody else of its line may go.
    pub(crate) fn serve(&mut self, source: &SourcePosition, line: Option<&LineKey>, at: Timestamp) {
        let soft = &mut self.soft;
        soft.ready.serve(source);
        if let Some(line) = line {
            for other in soft.lines.front(line) {
                soft.unlist(&other);
            }
            soft.lines.join(line, source);
            soft.lines.lease(line, Some(source));
        }
        if let Some(alike) = self.state.job(source).map(|job| Arc::clone(&job.work.alike)) {
            self.count_lease(&alike, at);
        }
        self.heads(at);
    }

    /// A lease of a job has ended, the job has not: it stands in its line again, and is offered with the others in front.
    pub(crate) fn resume(&mut self, source: &SourcePosition, at: Timestamp) {
        if let Some(line) = self.state.job(source).map(|job| job.work.terms().line.clone()) {
            if let Some(line) = &line {
                self.soft.lines.lease(line, None);
            }
            self.offer(source, at);
            self.moves_on(line.as_ref(), at);
        }
    }

    /// A job's tenant and line, wherever it is.
    pub(crate) fn owner_of(&self, source: &SourcePosition) -> Option<(TenantId, Option<LineKey>)> {
        let work = match (self.state.job(source), self.soft.window.get(source)) {
            (Some(job), _) => Some(&job.work),
            (None, waiting) => waiting.map(|waiting| &waiting.work),
        };
        work.map(|work| (work.alike.tenant.clone(), work.terms().line.clone())).or_else(|| {
            let line = self.state.overflow().in_line().get(source)?;
            Some((line.0.clone(), Some(line.clone())))
        })
    }

    /// A job has left the pool: its line and its tenant's limits have room.
    pub(crate) fn leave(&mut self, source: &SourcePosition, line: Option<&LineKey>, at: Timestamp) {
        if let Some(line) = line {
            self.soft.lines.leave(line, source);
        }
        self.moves_on(line, at);
    }

    fn moves_on(&mut self, line: Option<&LineKey>, at: Timestamp) {
        if let Some(line) = line {
            for next in self.soft.lines.front(line) {
                self.offer(&next, at);
            }
        }
        self.gate_freed(at);
        self.heads(at);
    }

    /// Tells placement of the classes whose first job is another now, and lets jobs in that stood behind others of their tenant.
    pub(crate) fn heads(&mut self, at: Timestamp) {
        loop {
            let soft = &mut self.soft;
            for class in soft.ready.take_touched() {
                soft.head(class);
            }
            let roomy = soft.ready.take_roomy();
            if roomy.is_empty() {
                return;
            }
            for tenant in roomy {
                while self.soft.ready.classes_of(&tenant) < self.soft.aside.bounds.needs
                    && let Some(Entry { source, since, .. }) = self.soft.aside.next_of(&tenant)
                {
                    self.enlist(&source, since, at);
                }
            }
        }
    }
}

/// The same wish, but for what it would rather have; `None` when nothing is left.
fn without_preference(wish: &Arc<Wish>) -> Option<Arc<Wish>> {
    let select = wish.select.clone();
    match (wish.prefer.is_empty(), select.is_empty()) {
        (true, _) => Some(Arc::clone(wish)),
        (false, true) => None,
        (false, false) => Some(Arc::new(Wish { select, prefer: Selector::default() })),
    }
}

impl Soft {
    /// A job is neither in the ready queues nor beside them.
    pub(crate) fn unlist(&mut self, source: &SourcePosition) {
        self.ready.remove(source);
        if let Some(class) = self.aside.remove(source) {
            self.head(class);
        }
    }

    /// Tells placement how a class stands.
    pub(crate) fn head(&mut self, class: ClassId) {
        let head = self.ready.head(class).map(|(rank, _)| rank);
        let busy = self.ready.has(class) || self.aside.holds(class);
        let shut = self.gates.note(class, self.placement.requirement(class), busy);
        self.placement.set_head(class, head.filter(|_| !shut), busy);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::ids::TenantId;
    use tidegate_protocol::outcome::Outcome;
    use tidegate_stage::Stage;

    use crate::driver::{Says, Shard, Step, Way, approved, job, layout, position};
    use crate::{TenantShare, Tuning};

    fn keyed(offset: u64) -> bytes::Bytes {
        let mut job = job(&format!("j{offset}"), offset);
        job.ordering_key = Some("k".into());
        approved(&job, "1")
    }

    fn says(epoch: u64) -> Says {
        Says { epoch, credit: 99, capacity: 9, ..Says::of("w") }
    }

    fn ready_worker(shard: &mut Shard) {
        shard.report(&says(shard.epoch).hello());
        shard.report(&says(shard.epoch).heartbeat());
    }

    fn leased(step: &Step) -> Vec<u64> {
        let granted = step.facts.iter().filter_map(|fact| {
            assert!(!matches!(fact, SchedulerFact::WorkRefused { .. }), "{fact:?}");
            if let SchedulerFact::LeaseGranted { source, .. } = fact { Some(source.offset) } else { None }
        });
        granted.collect()
    }

    fn ends(shard: &mut Shard, offset: u64, attempt: u32, outcome: Outcome, again: bool) -> Step {
        let token = Token { epoch: shard.epoch, attempt };
        let mut report = says(shard.epoch).result(position(offset), token, outcome);
        if let tidegate_protocol::fleet::Report::Result { retryable, .. } = &mut report {
            *retryable = again;
        }
        shard.report(&report)
    }

    #[test]
    fn jobs_of_a_key_are_leased_one_at_a_time_in_order_through_retries_and_owners() {
        for way in [Way::Replay, Way::Snapshot] {
            let mut shard = Shard::new(layout(), &Tuning { backoff_ms: 0, max_backoff_ms: 0, ..Tuning::default() });
            ready_worker(&mut shard);
            for offset in [1, 2, 3] {
                shard.approved(keyed(offset));
            }
            assert_eq!(leased(&shard.poll()), [1]);
            ends(&mut shard, 1, 1, Outcome::Failed, true);
            assert!(leased(&shard.poll()).is_empty(), "the next does not pass one that is tried again");
            shard.tick();
            assert_eq!(leased(&shard.poll()), [1]);
            shard.takeover(way, 2);
            shard.read();
            ready_worker(&mut shard);
            assert_eq!(leased(&shard.poll()), [1], "lost on the way, and still first");
        }
    }

    #[test]
    fn the_next_of_a_key_follows_when_one_ends_and_other_keys_do_not_wait() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        ready_worker(&mut shard);
        for offset in [1, 2] {
            shard.approved(keyed(offset));
        }
        shard.approved(approved(&job("free", 3), "1"));
        assert_eq!(leased(&shard.poll()), [1, 3]);
        ends(&mut shard, 1, 1, Outcome::Succeeded, false);
        assert_eq!(leased(&shard.poll()), [2]);
        ends(&mut shard, 2, 1, Outcome::Failed, false);
        assert_eq!(shard.stage.gauges().waiting, 0);
    }

    #[test]
    fn one_in_overflow_keeps_its_place_over_a_change_of_owner() {
        for way in [Way::Replay, Way::Snapshot] {
            // The share of a bucket's `overflow` is one job, and nobody takes the one that fills it.
            let mut shard = Shard::new(layout(), &Tuning { window_jobs: 8, ..Tuning::default() });
            let mut stuck = job("stuck", 9);
            stuck.capability = tidegate_protocol::ids::Capability::new("gpu").unwrap();
            for value in [approved(&stuck, "1"), keyed(1)] {
                let at = shard.append(0, Some(value), tidegate_spine::Headers::new());
                shard.read();
                shard.evict(at);
                shard.read();
            }
            shard.approved(keyed(2));
            shard.takeover(way, 2);
            shard.read();
            ready_worker(&mut shard);
            assert!(leased(&shard.poll()).is_empty(), "1 is not here, and 2 is not its turn");
            let able = Says { name: "g".into(), capabilities: crate::driver::capabilities(&["gpu"]), ..says(2) };
            shard.report(&able.hello());
            shard.report(&able.heartbeat());
            assert_eq!(leased(&shard.poll()), [9]);
            shard.read();
            assert_eq!(leased(&shard.poll()), [1]);
        }
    }

    #[test]
    fn the_first_of_a_line_is_found_in_overflow_behind_others_that_wait_for_it_and_fill_their_share() {
        for way in [None, Some(Way::Replay), Some(Way::Snapshot)] {
            // The share of a bucket's `overflow` is one job.
            let mut shard = Shard::new(layout(), &Tuning { window_jobs: 8, ..Tuning::default() });
            let mut back = Vec::new();
            for offset in [1, 2, 3] {
                let at = shard.append(0, Some(keyed(offset)), tidegate_spine::Headers::new());
                shard.read();
                back.extend(shard.evict(at).messages.iter().map(|message| message.to.clone()));
            }
            // The first came back and pins its log: it goes to the end.
            shard.read();
            let first = tidegate_stage::InputRef { input: 2, offset: 0 };
            assert_eq!(shard.evict(first).facts.len(), 1, "{back:?}");
            shard.read();
            if let Some(way) = way {
                shard.takeover(way, 2);
                shard.read();
            }
            ready_worker(&mut shard);
            let mut order = Vec::new();
            for _ in 0..20 {
                let step = shard.poll();
                if let [offset] = leased(&step)[..] {
                    order.push(offset);
                    ends(&mut shard, offset, 1, Outcome::Succeeded, false);
                }
                shard.read();
            }
            assert_eq!(order, [1, 2, 3], "{way:?}");
        }
    }

    #[test]
    fn one_that_comes_back_from_overflow_as_a_second_of_a_live_job_leaves_its_line() {
        for way in [None, Some(Way::Replay), Some(Way::Snapshot)] {
            let mut shard = Shard::new(layout(), &Tuning::default());
            let first = shard.append(0, Some(keyed(1)), tidegate_spine::Headers::new());
            shard.read();
            shard.evict(first);
            // Another of its name is read before it is read back.
            let other = job("j1", 5);
            let step = shard.approved(approved(&other, "1"));
            assert!(
                matches!(&step.facts[..], [SchedulerFact::JobDuplicate { source, duplicate_of, moved: 1, .. }]
                    if (source.offset, duplicate_of.offset) == (1, 5)),
                "{step:?}"
            );
            shard.approved(keyed(2));
            if let Some(way) = way {
                shard.takeover(way, 2);
                shard.read();
            }
            ready_worker(&mut shard);
            assert_eq!(leased(&shard.poll()), [5, 2], "{way:?}");
            assert!(shard.stage.state.overflow().in_line().is_empty());
        }
    }

    #[test]
    fn those_behind_one_that_turns_out_to_be_a_second_go_at_once() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        ready_worker(&mut shard);
        shard.report(&Says { draining: true, ..says(1) }.heartbeat());
        for offset in [1, 2] {
            let at = shard.append(0, Some(keyed(offset)), tidegate_spine::Headers::new());
            shard.read();
            if offset == 1 {
                shard.evict(at);
                shard.append(0, Some(approved(&job("j1", 5), "1")), tidegate_spine::Headers::new());
            }
        }
        ready_worker(&mut shard);
        assert_eq!(leased(&shard.poll()), [5, 2]);
    }

    fn of(tenant: &str, offset: u64) -> bytes::Bytes {
        let mut job = job(&format!("j{offset}"), offset);
        job.tenant = TenantId::new(tenant).unwrap();
        approved(&job, "1")
    }

    #[test]
    fn a_tenant_has_no_more_leases_at_once_than_its_share_says_whoever_owns_the_shard() {
        for way in [Way::Replay, Way::Snapshot] {
            let two = TenantShare { max_leased: Some(2), ..TenantShare::default() };
            let tenants = BTreeMap::from([(TenantId::new("a").unwrap(), two)]);
            let mut shard = Shard::new(layout(), &Tuning { tenants, ..Tuning::default() });
            ready_worker(&mut shard);
            for offset in 1..=4 {
                shard.approved(of("a", offset));
            }
            shard.approved(of("b", 5));
            assert_eq!(leased(&shard.poll()), [1, 5, 2]);
            shard.takeover(way, 2);
            shard.read();
            let running = vec![
                crate::driver::held(1, Token { epoch: 1, attempt: 1 }),
                crate::driver::held(2, Token { epoch: 1, attempt: 1 }),
            ];
            shard.report(&says(2).hello());
            shard.report(&Says { running, ..says(2) }.heartbeat());
            assert_eq!(leased(&shard.poll()), [5], "5 was lost on the way; a has two");
            let token = Token { epoch: 1, attempt: 1 };
            shard.report(&says(2).result(position(1), token, Outcome::Succeeded));
            assert_eq!(leased(&shard.poll()), [3]);
        }
    }

    #[test]
    fn a_tenant_starts_no_more_jobs_in_a_second_than_its_share_says() {
        let ten = TenantShare { per_second: Some(10), burst: Some(1), ..TenantShare::default() };
        let tenants = BTreeMap::from([(TenantId::new("a").unwrap(), ten)]);
        let mut shard = Shard::new(layout(), &Tuning { tenants, ..Tuning::default() });
        shard.report(&says(1).hello());
        for offset in 1..=30 {
            shard.approved(of("a", offset));
        }
        let (began, mut started) = (shard.at, 0);
        while shard.at.since(began) < Duration::from_millis(995) {
            if shard.stage.next_due().is_some_and(|due| due <= shard.at) {
                shard.tick();
            }
            shard.report(&Says { capacity: 100, ..says(1) }.heartbeat());
            started += leased(&shard.poll()).len();
            shard.wait(Duration::from_millis(3));
        }
        assert_eq!(started, 10);
    }
}
