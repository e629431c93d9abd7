//! Random lives of a session beside a model that knows what should be held.
//!
//! The scheduler's side is played by the script: owners that come and go, messages lost, repeated, late from owners
//! already deposed; appends that fail. The model knows only what was told to run and what came back.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::value::to_raw_value;
use tidegate_protocol::facts::Token;
use tidegate_protocol::fleet::{Order, Report};
use tidegate_protocol::ids::{Capability, WorkerId};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;
use tidegate_worker::session::{Action, Ended, Identity, Incarnation, JobKey, Retry, Session, WhenUnproven};

const CAPACITY: u32 = 3;
const LEASE: u64 = 300;

#[derive(Debug, Clone)]
enum Step {
    /// A new owner welcomes the worker.
    NewOwner,
    /// The welcome of the present owner comes (again).
    Welcome,
    /// The owner assigns a new job within the credit it was told; the message may be lost.
    Assign { lost: bool },
    /// An earlier order comes again.
    Repeat(prop::sample::Index),
    /// A running job ends.
    Finish(prop::sample::Index),
    /// A running job goes back.
    GiveBack(prop::sample::Index),
    /// The present owner settles a result it was sent.
    Settle(prop::sample::Index),
    /// Time passes.
    Pass(u64),
    /// The append under way lands, or fails.
    Land(bool),
    /// The lane is lost.
    Restart,
    /// The owner knows a number so far above ours.
    Outrun(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::NewOwner),
        2 => Just(Step::Welcome),
        8 => prop::bool::weighted(0.1).prop_map(|lost| Step::Assign { lost }),
        2 => any::<prop::sample::Index>().prop_map(Step::Repeat),
        5 => any::<prop::sample::Index>().prop_map(Step::Finish),
        1 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
        4 => any::<prop::sample::Index>().prop_map(Step::Settle),
        6 => (0_u64..120).prop_map(Step::Pass),
        12 => prop::bool::weighted(0.9).prop_map(Step::Land),
        1 => Just(Step::Restart),
        1 => (0_u64..1_000).prop_map(Step::Outrun),
    ]
}

/// What the owner and an observer beside the worker know.
struct Model {
    now: u64,
    life: u64,
    owner: u64,
    /// Of the present owner, to this incarnation.
    sent: u64,
    credit: u64,
    next_job: u64,
    orders: Vec<(u64, Order)>,
    /// Told to run and not back; `false` once the lease was lost.
    running: BTreeMap<JobKey, bool>,
    unsettled: BTreeSet<JobKey>,
    ever_run: BTreeSet<JobKey>,
    welcomed: u64,
    /// Handed over and not landed; when.
    in_flight: Option<(u64, Vec<Report>)>,
    proven: u64,
    received_at: BTreeMap<JobKey, u64>,
    /// What is to become of jobs whose leases are in doubt.
    unproven: WhenUnproven,
}

impl Model {
    fn at(&self) -> Timestamp {
        Timestamp(self.now * 1_000)
    }

    fn obey(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Run { job, .. } => {
                    assert_eq!(job.token.epoch, self.welcomed, "an assignment of another owner was run");
                    assert!(self.ever_run.insert(job.clone()), "{job} was run twice");
                    self.received_at.insert(job.clone(), self.now);
                    self.running.insert(job, true);
                    assert!(self.running.len() <= CAPACITY as usize, "more jobs than slots");
                }
                Action::LeaseLost { job } => {
                    assert_eq!(
                        self.running.insert(job.clone(), false),
                        Some(true),
                        "{job} was lost twice or never ran"
                    );
                }
                Action::Settled { job, .. } => {
                    assert!(self.unsettled.remove(&job), "{job} had no result");
                }
                Action::Welcomed { epoch } => {
                    assert!(epoch > self.welcomed, "welcomes only rise");
                    self.welcomed = epoch;
                }
                Action::GivenBack { job } => panic!("{job} came within the credit and was given back"),
                Action::Outrun { known } => panic!("outrun by {known}, which is not so"),
                Action::Superseded { .. } => panic!("nobody has a higher incarnation"),
                Action::Drain { reason } => panic!("told to leave, which nobody says here: {reason}"),
                Action::Cancel { job, .. } => panic!("{job} is called off, which nobody does here"),
                Action::Ignored { .. } => {}
            }
        }
    }

    fn landed(&mut self, at: u64, reports: Vec<Report>) {
        self.proven = self.proven.max(at);
        for report in reports {
            let (epoch, credit, life) = match &report {
                Report::Heartbeat { epoch, credit, incarnation, .. }
                | Report::Result { epoch, credit, incarnation, .. } => (*epoch, *credit, *incarnation),
                Report::Hello { .. } | Report::GiveBack { .. } | Report::Progress { .. } => continue,
            };
            if epoch == self.owner && life == self.life {
                assert!(credit >= self.credit, "credit fell from {} to {credit}", self.credit);
                self.credit = credit;
            }
        }
    }

    /// Another life begins, with a number so much higher.
    fn rise(&mut self, session: &mut Session, by: u64) {
        self.life += by;
        let incarnation = Incarnation { number: self.life, lane: 0, lane_position: 0 };
        let actions = session.restart(incarnation, self.at());
        self.obey(actions);
        assert!(self.running.values().all(|live| !live), "a lease outlived its incarnation");
        self.unsettled.clear();
        (self.welcomed, self.sent, self.credit) = (0, 0, 0);
    }

    /// Nothing landed for a full lease.
    fn in_doubt(&self) -> bool {
        self.welcomed > 0 && self.proven + LEASE <= self.now
    }

    /// What a heartbeat must restate.
    fn held(&self) -> BTreeSet<JobKey> {
        let live = self.running.iter().filter(|(_, live)| **live).map(|(job, _)| job.clone());
        live.chain(self.unsettled.iter().cloned()).collect()
    }
}

fn pick<T: Clone>(from: impl IntoIterator<Item = T>, index: &prop::sample::Index) -> Option<T> {
    let all: Vec<T> = from.into_iter().collect();
    (!all.is_empty()).then(|| index.get(&all).clone())
}

fn play(steps: Vec<Step>, unproven: WhenUnproven) {
    let identity = Identity {
        worker: WorkerId::new("w").unwrap(),
        capabilities: vec![Capability::new("echo").unwrap()],
        capacity: CAPACITY,
    };
    let life = |number| Incarnation { number, lane: 0, lane_position: 0 };
    let mut model = Model {
        now: 1_000,
        life: 1,
        owner: 1,
        sent: 0,
        credit: 0,
        next_job: 0,
        orders: Vec::new(),
        running: BTreeMap::new(),
        unsettled: BTreeSet::new(),
        ever_run: BTreeSet::new(),
        welcomed: 0,
        in_flight: None,
        proven: 1_000,
        received_at: BTreeMap::new(),
        unproven,
    };
    let mut session = Session::new(identity, life(1), model.at()).when_unproven(unproven);
    for step in steps {
        match step {
            Step::NewOwner | Step::Welcome => {
                if matches!(step, Step::NewOwner) {
                    model.owner += 1;
                    (model.sent, model.credit) = (0, 0);
                }
                let order =
                    Order::Welcome { incarnation: model.life, epoch: model.owner, heartbeat_ms: 50, lease_ms: LEASE };
                model.orders.push((model.owner, order.clone()));
                let actions = session.order(order, Some(model.owner), model.at());
                model.obey(actions);
            }
            Step::Assign { lost } => {
                if model.sent >= model.credit {
                    continue;
                }
                model.sent += 1;
                model.next_job += 1;
                let order = Order::Assignment {
                    incarnation: model.life,
                    number: model.sent,
                    source: format!("jobs/0@{}", model.next_job).parse().unwrap(),
                    token: Token { epoch: model.owner, attempt: 1 },
                    work: to_raw_value(&()).unwrap(),
                };
                if !lost {
                    model.orders.push((model.owner, order.clone()));
                    let actions = session.order(order, Some(model.owner), model.at());
                    match actions.as_slice() {
                        [Action::GivenBack { .. }] => {
                            assert!(model.in_doubt(), "an assignment within the credit was not run")
                        }
                        _ => {
                            let ran = matches!(actions.as_slice(), [Action::Run { .. }]);
                            assert!(ran && !model.in_doubt(), "{actions:?}");
                            model.obey(actions);
                        }
                    }
                }
            }
            Step::Repeat(index) => {
                if let Some((epoch, order)) = pick(model.orders.clone(), &index) {
                    let actions = session.order(order, Some(epoch), model.at());
                    assert!(!actions.iter().any(|a| matches!(a, Action::Run { .. })), "{actions:?}");
                    model.obey(actions);
                }
            }
            Step::Finish(index) => {
                if let Some((job, live)) = pick(model.running.clone(), &index) {
                    let ended =
                        Ended { outcome: Outcome::Succeeded, reason: String::new(), output: None, retry: Retry::Never };
                    assert_eq!(session.finished(&job, ended), live, "a lost job has no result, a live one has");
                    model.running.remove(&job);
                    if live {
                        model.unsettled.insert(job);
                    }
                }
            }
            Step::GiveBack(index) => {
                if let Some((job, live)) = pick(model.running.clone(), &index) {
                    assert_eq!(session.give_back(&job), live);
                    model.running.remove(&job);
                }
            }
            Step::Settle(index) => {
                if let Some(job) = pick(model.unsettled.clone(), &index) {
                    let order = Order::Settled {
                        source: job.source.clone(),
                        token: job.token,
                        accepted: true,
                        reason: String::new(),
                    };
                    let believed = model.owner == model.welcomed;
                    let actions = session.order(order, Some(model.owner), model.at());
                    model.obey(actions);
                    assert_eq!(model.unsettled.contains(&job), !believed, "only the welcomed owner settles");
                }
            }
            Step::Pass(ms) => model.now += ms,
            Step::Land(true) => {
                if let Some((at, reports)) = model.in_flight.take() {
                    session.landed();
                    model.landed(at, reports);
                }
            }
            Step::Land(false) => {
                if model.in_flight.take().is_some() {
                    session.not_landed();
                }
            }
            Step::Restart => model.rise(&mut session, 1),
            Step::Outrun(by) => {
                // The owner that has welcomed this life knows no higher one.
                if model.welcomed > 0 {
                    continue;
                }
                let known = model.life + by;
                let order = Order::Outrun { said: model.life, known };
                model.orders.push((model.owner, order.clone()));
                let actions = session.order(order, Some(model.owner), model.at());
                assert!(
                    matches!(actions.as_slice(), [Action::Outrun { known: told }] if *told == known),
                    "{actions:?}"
                );
                model.rise(&mut session, by + 1);
            }
        }
        let actions = session.fence(model.at());
        let due: BTreeSet<JobKey> = model
            .running
            .iter()
            .filter(|(job, live)| **live && model.proven.max(model.received_at[*job]) + LEASE <= model.now)
            .filter(|_| model.unproven == WhenUnproven::Stop)
            .map(|(job, _)| job.clone())
            .collect();
        let lost =
            actions.iter().filter_map(|a| if let Action::LeaseLost { job } = a { Some(job.clone()) } else { None });
        assert_eq!(
            lost.collect::<BTreeSet<_>>(),
            due,
            "exactly the leases without proof are lost, where they are to be"
        );
        model.obey(actions);
        let reports = session.tick(model.at());
        for report in &reports {
            if let Report::Heartbeat { running, credit, received, epoch, .. } = report {
                let said: BTreeSet<JobKey> =
                    running.iter().map(|h| JobKey { source: h.source.clone(), token: h.token }).collect();
                assert_eq!(said, model.held(), "a heartbeat restates everything held");
                assert_eq!(*epoch, model.welcomed);
                let free = u64::from(CAPACITY) - model.running.len() as u64;
                assert_eq!(*credit, received + free, "credit is what was received and what is free");
            }
        }
        if !reports.is_empty() {
            assert!(model.in_flight.is_none(), "two appends under way");
            model.in_flight = Some((model.now, reports));
        }
    }
    settle_down(session, model);
}

/// Whatever happened: under a last owner, once appends land and jobs end, every result is settled and the worker is idle.
fn settle_down(mut session: Session, mut model: Model) {
    for job in model.running.clone().into_keys() {
        session.finished(&job, Ended::failed("over"));
    }
    model.owner += 1;
    let order = Order::Welcome { incarnation: model.life, epoch: model.owner, heartbeat_ms: 50, lease_ms: LEASE };
    session.order(order, Some(model.owner), model.at());
    session.drain();
    for _ in 0..4 {
        if let Some((_, reports)) = model.in_flight.take() {
            session.landed();
            for report in reports {
                if let Report::Result { source, token, epoch, .. } = report
                    && epoch == model.owner
                {
                    let settled = Order::Settled { source, token, accepted: true, reason: String::new() };
                    session.order(settled, Some(model.owner), model.at());
                }
            }
        }
        let reports = session.tick(model.at());
        model.in_flight = (!reports.is_empty()).then_some((model.now, reports));
    }
    assert_eq!((session.unsettled(), session.occupied()), (0, 0), "every result reaches the last owner");
    assert!(session.is_idle());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_session_agrees_with_the_model_in_any_life(steps in prop::collection::vec(step(), 1..120), keep in any::<bool>()) {
        play(steps, if keep { WhenUnproven::Keep } else { WhenUnproven::Stop });
    }
}
