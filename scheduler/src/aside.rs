//! Ready jobs that stand beside the ready queues, so that what a tenant writes costs the others nothing.
//!
//! Jobs that need the same of a worker are a class ([`crate::placement`]), and each grant may touch the classes that a tenant, or
//! a worker, has. Needs are what submitters write, so a tenant could have as many classes as jobs. Hence
//!
//! * a job with a `select` that no known worker meets is *unserved*: it waits here, by its class, until a worker comes that does;
//! * a tenant has at most [`MOST_NEEDS`] classes in the ready queues. A job that would make one more stands *behind*, until one of them
//!   is empty; those behind go in as they came. A job of a class that the tenant has there goes straight in. So does a job that another
//!   spawned, or that was leased before: jobs that hold slots wait for the former. Of the latter there are no more than were leased at a
//!   time; the needs of the former are not bounded but by what jobs that run spawn, and by the window;
//! * from [`MOST_PREFERENCES`] on, what a job of a further class prefers is ignored: it is one of a class without preference.
//!
//! Soft, like the queues.

use std::collections::BTreeMap;

use tidegate_protocol::ids::TenantId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

use crate::placement::ClassId;

/// Most classes of a tenant in the ready queues.
pub(crate) const MOST_NEEDS: usize = 128;

/// With so many, a tenant's further classes have no preferences.
pub(crate) const MOST_PREFERENCES: usize = 64;

/// How many classes a tenant may have: [`MOST_NEEDS`] and [`MOST_PREFERENCES`], or fewer in tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) needs: usize,
    pub(crate) preferences: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { needs: MOST_NEEDS, preferences: MOST_PREFERENCES }
    }
}

/// Why a job is here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// No worker serves its class.
    Unserved(ClassId),
    /// This tenant has enough classes.
    Behind(TenantId),
}

/// A job that is here.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) source: SourcePosition,
    pub(crate) tenant: TenantId,
    /// Since when it could have been leased.
    pub(crate) since: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    pub(crate) bounds: Bounds,
    /// As they came.
    queues: BTreeMap<Why, BTreeMap<u64, Entry>>,
    places: BTreeMap<SourcePosition, (Why, u64)>,
    arrivals: u64,
}

impl Aside {
    pub(crate) fn put(&mut self, why: Why, entry: Entry) {
        self.arrivals += 1;
        self.places.insert(entry.source.clone(), (why.clone(), self.arrivals));
        self.queues.entry(why).or_default().insert(self.arrivals, entry);
    }

    pub(crate) fn has(&self, source: &SourcePosition) -> bool {
        self.places.contains_key(source)
    }

    /// Whether jobs of a class are here because nobody serves it.
    pub(crate) fn holds(&self, class: ClassId) -> bool {
        self.queues.contains_key(&Why::Unserved(class))
    }

    /// Takes a job away; its class, when it was unserved.
    pub(crate) fn remove(&mut self, source: &SourcePosition) -> Option<ClassId> {
        let (why, number) = self.places.remove(source)?;
        if let Some(queue) = self.queues.get_mut(&why) {
            queue.remove(&number);
            if queue.is_empty() {
                self.queues.remove(&why);
            }
        }
        match why {
            Why::Unserved(class) => Some(class),
            Why::Behind(_) => None,
        }
    }

    /// Takes all of a class, as they came.
    pub(crate) fn take(&mut self, class: ClassId) -> Vec<Entry> {
        let all: Vec<Entry> =
            self.queues.remove(&Why::Unserved(class)).into_iter().flat_map(BTreeMap::into_values).collect();
        for entry in &all {
            self.places.remove(&entry.source);
        }
        all
    }

    /// Takes the first that stands behind its tenant's other needs.
    pub(crate) fn next_of(&mut self, tenant: &TenantId) -> Option<Entry> {
        let why = Why::Behind(tenant.clone());
        let queue = self.queues.get_mut(&why)?;
        let (_, entry) = queue.pop_first()?;
        if queue.is_empty() {
            self.queues.remove(&why);
        }
        self.places.remove(&entry.source);
        Some(entry)
    }

    /// Jobs of a tenant, as they came.
    pub(crate) fn of(&self, tenant: &TenantId) -> Vec<Entry> {
        let theirs = self.queues.values().flatten().filter(|(_, entry)| entry.tenant == *tenant);
        let mut theirs: Vec<_> = theirs.collect();
        theirs.sort_unstable_by_key(|(number, _)| **number);
        theirs.into_iter().map(|(_, entry)| entry.clone()).collect()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::Duration;

    use tidegate_protocol::facts::{SchedulerFact, Token};
    use tidegate_protocol::job::Job;
    use tidegate_protocol::outcome::Outcome;

    use super::*;
    use crate::driver::{Says, Shard, approved, held, job, layout};
    use crate::{TenantShare, Tuning};

    fn wants(tenant: &str, offset: u64, select: &str, prefer: &str) -> Job {
        let mut job = job(&format!("j{offset}"), offset);
        job.tenant = TenantId::new(tenant).unwrap();
        (job.select, job.prefer) = (serde_json::from_str(select).unwrap(), serde_json::from_str(prefer).unwrap());
        job
    }

    fn asks(shard: &mut Shard, tenant: &str, offset: u64, select: &str, prefer: &str) {
        shard.approved(approved(&wants(tenant, offset, select, prefer), "1"));
    }

    /// The same of a job that another spawned.
    fn spawned(job: Job) -> Job {
        let delegation = serde_json::json!({
            "chain": [{"job": "above", "source": "jobs/0@9999"}],
            "scope": {"capabilities": [], "topics": []},
            "expires_ms": 9_000_000_000_000_u64,
        });
        Job { delegation: Some(serde_json::from_value(delegation).unwrap()), ..job }
    }

    const TOKEN: Token = Token { epoch: 1, attempt: 1 };

    /// Those that were leased.
    fn granted(shard: &mut Shard) -> Vec<u64> {
        let source = |fact: &SchedulerFact| {
            let SchedulerFact::LeaseGranted { source, .. } = fact else { panic!("{fact:?}") };
            source.offset
        };
        shard.poll().facts.iter().map(source).collect()
    }

    fn says(name: &str, label: (&str, &str)) -> Says {
        let labels = BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]);
        Says { epoch: 1, credit: u64::MAX, labels, ..Says::of(name) }
    }

    fn comes(shard: &mut Shard, says: &Says) {
        shard.report(&says.hello());
        shard.report(&says.heartbeat());
    }

    /// The job that was leased, which ends at once.
    fn one(shard: &mut Shard, says: &Says) -> Option<u64> {
        let step = shard.poll();
        let [SchedulerFact::LeaseGranted { source, token, .. }] = &step.facts[..] else {
            assert!(step.facts.is_empty(), "{step:?}");
            return None;
        };
        shard.report(&says.result(source.clone(), *token, Outcome::Succeeded));
        Some(source.offset)
    }

    /// Classes that the end or the begin of a worker's room may touch, and a tenant's turn.
    fn touched(shard: &Shard, tenant: &str) -> (usize, usize) {
        let soft = &shard.stage.soft;
        (soft.placement.classes_linked(), soft.ready.classes_of(&TenantId::new(tenant).unwrap()))
    }

    #[test]
    fn however_many_needs_a_tenant_writes_a_grant_touches_few_and_all_its_jobs_run_in_their_order() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let w = says("w", ("zone", "eu"));
        comes(&mut shard, &w);
        asks(&mut shard, "quiet", 0, "{}", "{}");
        assert_eq!(one(&mut shard, &w), Some(0));
        shard.report(&Says { draining: true, ..w.clone() }.heartbeat());
        for n in 1..=1_000 {
            asks(&mut shard, "noisy", n, &format!(r#"{{"zone":["eu","x{n}"]}}"#), "{}");
        }
        asks(&mut shard, "quiet", 2_000, "{}", "{}");
        assert_eq!(shard.stage.soft.aside.len(), 1_000 - MOST_NEEDS);
        shard.report(&w.heartbeat());
        let mut ran = Vec::new();
        while let Some(offset) = one(&mut shard, &w) {
            ran.push(offset);
            let (linked, theirs) = touched(&shard, "noisy");
            assert!(theirs <= MOST_NEEDS && linked <= 64 + MOST_NEEDS, "{linked} {theirs}");
        }
        assert!(ran[..2].contains(&2_000), "nobody waits for the noisy one");
        ran.retain(|offset| *offset != 2_000);
        assert_eq!(ran, (1..=1_000).collect::<Vec<_>>());
        assert_eq!(shard.stage.soft.aside.len(), 0);
    }

    #[test]
    fn what_nobody_serves_takes_no_room_and_goes_in_when_somebody_comes_who_does() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let w = says("w", ("zone", "eu"));
        comes(&mut shard, &w);
        for n in 1..=500 {
            asks(&mut shard, "t", n, &format!(r#"{{"host":"h{n}"}}"#), "{}");
        }
        asks(&mut shard, "t", 501, r#"{"zone":"eu"}"#, "{}");
        assert_eq!((one(&mut shard, &w), touched(&shard, "t").1), (Some(501), 0));
        let host = says("h", ("host", "h77"));
        comes(&mut shard, &host);
        assert_eq!(one(&mut shard, &host), Some(77));
        // And it goes back when that one is another since.
        asks(&mut shard, "t", 502, r#"{"host":"h77"}"#, "{}");
        shard.report(&says("h", ("host", "h78")).heartbeat());
        assert_eq!(one(&mut shard, &host), Some(78));
        assert_eq!(one(&mut shard, &host), None);
        assert_eq!(shard.stage.soft.aside.len(), 499);
        comes(&mut shard, &says("i", ("host", "h77")));
        assert_eq!(one(&mut shard, &says("i", ("host", "h77"))), Some(502));
        // A great many that become served at once are no more for that than any.
        for n in 1_000..2_000 {
            asks(&mut shard, "t", n, &format!(r#"{{"host":["h600","x{n}"]}}"#), "{}");
        }
        comes(&mut shard, &says("j", ("host", "h600")));
        let (linked, theirs) = touched(&shard, "t");
        assert!(theirs == MOST_NEEDS && linked <= 64 + MOST_NEEDS, "{linked} {theirs}");
        for n in 1_000..2_000 {
            assert_eq!(one(&mut shard, &says("j", ("host", "h600"))), Some(n));
        }
    }

    #[test]
    fn beyond_a_number_of_needs_preferences_are_ignored_and_nobody_waits_for_that() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        comes(&mut shard, &says("w", ("zone", "eu")));
        for n in 0..300 {
            asks(&mut shard, "t", n, "{}", &format!(r#"{{"cache":"c{n}"}}"#));
        }
        assert_eq!((touched(&shard, "t").1, shard.stage.soft.aside.len()), (MOST_PREFERENCES + 1, 0));
    }

    #[test]
    fn what_went_aside_as_a_job_without_preference_is_leased_when_its_tenant_has_few_needs_again() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let w = says("w", ("zone", "eu"));
        comes(&mut shard, &w);
        shard.report(&Says { draining: true, ..w.clone() }.heartbeat());
        for n in 0..64 {
            asks(&mut shard, "t", n, "{}", &format!(r#"{{"cache":"c{n}"}}"#));
        }
        for n in [100, 101] {
            asks(&mut shard, "t", n, r#"{"host":"h1"}"#, &format!(r#"{{"cache":"c{n}"}}"#));
        }
        assert_eq!((touched(&shard, "t").1, shard.stage.soft.aside.len()), (MOST_PREFERENCES, 2));
        shard.report(&w.heartbeat());
        while one(&mut shard, &w).is_some() {}
        let h = says("h", ("host", "h1"));
        comes(&mut shard, &h);
        assert_eq!([one(&mut shard, &h), one(&mut shard, &h)], [Some(100), Some(101)]);
    }

    #[test]
    fn a_job_that_others_wait_for_or_that_was_leased_before_stands_behind_no_needs_of_its_tenant() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let w = says("w", ("zone", "eu"));
        comes(&mut shard, &w);
        let root = |shard: &mut Shard, n| asks(shard, "t", n, &format!(r#"{{"zone":["eu","x{n}"]}}"#), "{}");
        root(&mut shard, 0);
        assert_eq!(granted(&mut shard), [0]);
        for n in 1..=200 {
            root(&mut shard, n);
        }
        assert_eq!(shard.stage.soft.aside.len(), 200 - MOST_NEEDS);
        shard.approved(approved(&spawned(wants("t", 300, r#"{"zone":["eu","y"]}"#, "{}")), "1"));
        let mut waits = held(0, TOKEN);
        waits.waits = true;
        shard.report(&Says { running: vec![waits], ..w.clone() }.heartbeat());
        assert_eq!(granted(&mut shard), [300]);
        // Both leases are lost with their worker, which comes again.
        let again = Says { incarnation: 2, ..w };
        comes(&mut shard, &again);
        shard.wait(Duration::from_secs(60));
        shard.tick();
        comes(&mut shard, &again);
        assert_eq!([one(&mut shard, &again), one(&mut shard, &again)], [Some(300), Some(0)]);
    }

    #[test]
    fn a_lent_slot_moves_nobody_aside() {
        let mut shard = Shard::new(layout(), &Tuning::default());
        let w = says("w", ("zone", "eu"));
        comes(&mut shard, &w);
        for n in 0..5 {
            asks(&mut shard, "t", n, r#"{"zone":"eu"}"#, "{}");
        }
        assert_eq!(granted(&mut shard), [0]);
        for waits in [true, false, true] {
            let held = tidegate_protocol::fleet::Held { waits, ..held(0, TOKEN) };
            shard.report(&Says { running: vec![held], ..w.clone() }.heartbeat());
            assert_eq!((granted(&mut shard), shard.stage.soft.aside.len()), (vec![], 0), "{waits}");
        }
        // One that comes while the slot is lent is served too, though not now.
        asks(&mut shard, "t", 5, r#"{"zone":["eu","us"]}"#, "{}");
        assert_eq!((granted(&mut shard), shard.stage.soft.aside.len()), (vec![], 0));
        // Nor does another label of the worker that these jobs do not ask for.
        let labels = BTreeMap::from([("zone", "eu"), ("disk", "ssd")].map(|(l, v)| (l.to_owned(), v.to_owned())));
        shard.report(&Says { running: vec![held(0, TOKEN)], labels, ..w }.heartbeat());
        assert_eq!(shard.stage.soft.aside.arrivals, 0, "at no time");
    }

    #[test]
    fn time_that_a_job_has_waited_counts_whoever_left_and_came_back() {
        let mut shard = Shard::new(layout(), &Tuning { aging_ms: 10_000, ..Tuning::default() });
        let (h, other) = (says("h", ("host", "h1")), says("h", ("host", "h2")));
        comes(&mut shard, &h);
        shard.report(&Says { draining: true, ..h.clone() }.heartbeat());
        let select = r#"{"host":"h1"}"#;
        shard.approved(approved(&Job { priority: 4, ..wants("t", 1, select, "{}") }, "1"));
        shard.wait(Duration::from_secs(25));
        shard.report(&other.heartbeat());
        assert_eq!(shard.stage.soft.aside.len(), 1);
        shard.report(&h.heartbeat());
        shard.approved(approved(&Job { priority: 5, ..wants("t", 2, select, "{}") }, "1"));
        assert_eq!([one(&mut shard, &h), one(&mut shard, &h)], [Some(1), Some(2)]);
        // Nor is it forgotten when a worker of this tenant's alone comes.
        shard.report(&Says { draining: true, ..h.clone() }.heartbeat());
        shard.approved(approved(&Job { priority: 4, ..wants("t", 3, "{}", "{}") }, "1"));
        shard.wait(Duration::from_secs(25));
        let its_own = Says { tenants: Some(vec![TenantId::new("t").unwrap()]), ..says("i", ("host", "h3")) };
        shard.report(&its_own.hello());
        shard.report(&Says { draining: true, ..its_own.clone() }.heartbeat());
        shard.approved(approved(&Job { priority: 5, ..wants("t", 4, "{}", "{}") }, "1"));
        shard.report(&its_own.heartbeat());
        assert_eq!([one(&mut shard, &its_own), one(&mut shard, &its_own)], [Some(3), Some(4)]);
    }

    #[test]
    fn a_tenants_rate_is_of_the_time_that_it_is_and_not_of_when_a_job_went_aside() {
        let slow = TenantShare { per_second: Some(1), burst: Some(1), ..TenantShare::default() };
        let tenants = BTreeMap::from([(TenantId::new("t").unwrap(), slow)]);
        let mut shard = Shard::new(layout(), &Tuning { tenants, ..Tuning::default() });
        let (w, h) = (says("w", ("zone", "eu")), says("h", ("host", "h1")));
        comes(&mut shard, &w);
        asks(&mut shard, "t", 1, r#"{"host":"h1"}"#, "{}");
        asks(&mut shard, "t", 2, "{}", "{}");
        assert_eq!(one(&mut shard, &w), Some(2));
        shard.wait(Duration::from_secs(20));
        comes(&mut shard, &h);
        assert_eq!(one(&mut shard, &h), Some(1));
    }

    /// What a tenant asks for: a host, or any that is of its list when `many`; what it prefers; and whether another spawned it.
    #[derive(Debug, Clone)]
    struct Wants {
        tenant: u8,
        host: Option<u8>,
        many: bool,
        prefer: Option<u8>,
        spawned: bool,
    }

    #[derive(Debug, Clone)]
    enum Does {
        Asks(Wants),
        /// A worker is on that host.
        Moves(u8, u8),
        Leases,
    }

    fn does() -> impl Strategy<Value = Vec<Does>> {
        let wants = (0..2_u8, prop::option::of(0..4_u8), any::<bool>(), prop::option::of(0..4_u8), 0..6_u8);
        let wants = wants.prop_map(|(tenant, host, many, prefer, spawned)| {
            let spawned = spawned == 0;
            Does::Asks(Wants { tenant, host, many, prefer, spawned })
        });
        let one = prop_oneof![
            9 => wants,
            1 => (0..3_u8, 0..4_u8).prop_map(|(w, h)| Does::Moves(w, h)),
            1 => Just(Does::Leases),
        ];
        prop::collection::vec(one, 0..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        /// Whoever comes and goes: a job runs where its `select` holds, the few classes stay few, and in the end all have run once.
        #[test]
        fn all_jobs_run_once_and_where_they_want(all in does()) {
            let mut shard = Shard::new(layout(), &Tuning::default());
            // So few that all of it happens: behind, without preference, classes dropped.
            let bounds = Bounds { needs: 6, preferences: 3 };
            shard.stage.soft.aside.bounds = bounds;
            shard.stage.soft.ready.most_classes = bounds.needs;
            shard.stage.soft.placement.classes_kept = crate::placement::ClassesKept(2);
            let mut hosts = [0_u8; 3];
            let mut asked = BTreeMap::new();
            let mut children = [0; 2];
            let mut ran = std::collections::BTreeSet::new();
            let at = |w: usize, host: u8| says(&format!("w{w}"), ("host", &format!("h{host}")));
            for w in 0..3 {
                comes(&mut shard, &at(w, 0));
            }
            let mut lease = |shard: &mut Shard, hosts: &[u8; 3], asked: &BTreeMap<u64, Option<u8>>| {
                for fact in shard.poll().facts {
                    let SchedulerFact::LeaseGranted { source, worker, token, .. } = fact else { panic!("{fact:?}") };
                    let w: usize = worker.as_str()[1..].parse().unwrap();
                    let wants = asked[&source.offset];
                    assert!(wants.is_none_or(|host| host == hosts[w]), "{wants:?} at {hosts:?} {w}");
                    assert!(ran.insert(source.offset), "once");
                    shard.report(&at(w, hosts[w]).result(source, token, Outcome::Succeeded));
                }
                ran.len()
            };
            for (n, does) in all.iter().enumerate() {
                let n = n as u64;
                match does {
                    Does::Asks(Wants { tenant, host, many, prefer, spawned: child }) => {
                        asked.insert(n, *host);
                        let select = match (host, many) {
                            (None, _) => "{}".to_owned(),
                            (Some(host), true) => format!(r#"{{"host":["h{host}","x{n}"]}}"#),
                            (Some(host), false) => format!(r#"{{"host":"h{host}"}}"#),
                        };
                        let prefer = prefer.map_or("{}".to_owned(), |host| format!(r#"{{"host":"h{host}"}}"#));
                        let job = wants(&format!("t{tenant}"), n, &select, &prefer);
                        children[usize::from(*tenant)] += usize::from(*child);
                        shard.approved(approved(&if *child { spawned(job) } else { job }, "1"));
                    }
                    Does::Moves(w, host) => {
                        hosts[usize::from(*w)] = *host;
                        shard.report(&at(usize::from(*w), *host).heartbeat());
                    }
                    Does::Leases => {
                        lease(&mut shard, &hosts, &asked);
                    }
                }
                for (tenant, children) in ["t0", "t1"].into_iter().zip(children) {
                    prop_assert!(touched(&shard, tenant).1 <= bounds.needs + children);
                }
            }
            for host in 0..4 {
                hosts[0] = host;
                shard.report(&at(0, host).heartbeat());
                let mut before = usize::MAX;
                loop {
                    let now = lease(&mut shard, &hosts, &asked);
                    if now == before {
                        break;
                    }
                    before = now;
                }
            }
            prop_assert_eq!(ran.len(), asked.len());
            prop_assert_eq!(shard.stage.soft.aside.len(), 0);
        }
    }
}
