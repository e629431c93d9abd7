//! What must hold, kept as simply as can be: who has each job, under which token, and whether it ended.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_protocol::facts::{SchedulerFact, Token};
use tidegate_protocol::fleet::Report;
use tidegate_protocol::ids::WorkerId;
use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::pool_command::PoolAction;
use tidegate_protocol::time::Timestamp;

#[derive(Debug, Default)]
struct Job {
    needs: BTreeSet<String>,
    last: Option<Token>,
    holder: Option<(WorkerId, u64)>,
    ended: Option<Option<(WorkerId, Token)>>,
    /// Not to be leased before, by its own wish or a pause.
    until: Option<Timestamp>,
    /// It is called off.
    withdrawn: bool,
    /// Its worker was told so.
    asked: bool,
    /// By which owner last.
    asked_in: Option<u64>,
    /// Its record is in the state.
    kept: bool,
    /// Whose failure was taken.
    answered: Option<(WorkerId, Token)>,
}

#[derive(Debug)]
struct Worker {
    can: BTreeSet<String>,
    capacity: u64,
    credit: u64,
    sent: u64,
    draining: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    epoch: u64,
    jobs: BTreeMap<SourcePosition, Job>,
    /// By worker and incarnation: what its last heartbeat under this epoch said.
    workers: BTreeMap<(WorkerId, u64), Worker>,
    sent: BTreeMap<(WorkerId, u64), u64>,
    newest: BTreeMap<WorkerId, u64>,
    cordoned: BTreeSet<WorkerId>,
    pub(crate) now: Timestamp,
}

impl Model {
    pub(crate) fn owner(&mut self, epoch: u64) {
        self.epoch = epoch;
        self.workers.clear();
        self.sent.clear();
    }

    pub(crate) fn submitted(&mut self, source: &SourcePosition, needs: &[&str], until: Option<Timestamp>) {
        let needs = needs.iter().map(ToString::to_string).collect();
        self.jobs.insert(source.clone(), Job { needs, until, ..Job::default() });
    }

    pub(crate) fn withdrawn(&mut self, source: &SourcePosition) {
        if let Some(job) = self.jobs.get_mut(source) {
            job.withdrawn = true;
        }
    }

    /// What the shard may know from now on.
    pub(crate) fn reported(&mut self, report: &Report) {
        match report {
            Report::Heartbeat { worker, incarnation, epoch, capabilities, capacity, credit, draining, .. }
                if *epoch == self.epoch =>
            {
                let key = (worker.clone(), *incarnation);
                let sent = self.sent.get(&key).copied().unwrap_or(0);
                let can = capabilities.iter().map(|c| c.as_str().to_owned()).collect();
                let worker = Worker { can, capacity: u64::from(*capacity), credit: *credit, sent, draining: *draining };
                self.workers.insert(key, worker);
            }
            Report::Result { worker, incarnation, epoch, credit, .. } if *epoch == self.epoch => {
                if let Some(worker) = self.workers.get_mut(&(worker.clone(), *incarnation)) {
                    worker.credit = *credit;
                }
            }
            Report::Hello { .. }
            | Report::Heartbeat { .. }
            | Report::Result { .. }
            | Report::GiveBack { .. }
            | Report::Progress { .. } => {}
        }
    }

    pub(crate) fn fact(&mut self, fact: &SchedulerFact, report: Option<&Report>) {
        match fact {
            SchedulerFact::WorkerWelcomed { worker, incarnation, epoch, .. } => {
                assert_eq!(*epoch, self.epoch);
                let newest = self.newest.entry(worker.clone()).or_insert(*incarnation);
                assert!(*incarnation >= *newest, "an old incarnation is not welcomed");
                *newest = *incarnation;
            }
            SchedulerFact::WorkerOutrun { worker, said, known, .. } => {
                assert!(matches!(report, Some(Report::Hello { incarnation, .. }) if incarnation == said));
                assert!(said <= known && self.newest.get(worker) == Some(known), "the number that the name has");
            }
            SchedulerFact::LeaseGranted { source, worker, incarnation, token, number, work, .. } => {
                self.granted(source, worker, *incarnation, *token, *number, work.is_some());
            }
            SchedulerFact::LeaseExpired { source, token, until, .. } => {
                let job = self.jobs.get_mut(source).unwrap();
                assert_eq!(job.last, Some(*token));
                assert!(job.holder.take().is_some(), "only a lease can expire");
                job.until = *until;
            }
            SchedulerFact::JobRetried { source, by, until, .. } => {
                let job = self.jobs.get_mut(source).unwrap();
                assert_eq!(job.last, Some(by.token), "I5: the current token");
                assert!(matches!(report, Some(Report::Result { retryable: true, .. })));
                assert_eq!(job.holder.take().map(|(who, _)| who).as_ref(), Some(&by.worker));
                job.until = Some(*until);
                job.answered = Some((by.worker.clone(), by.token));
            }
            SchedulerFact::JobDelayed { source, until, .. } => {
                let job = self.jobs.get_mut(source).unwrap();
                assert!(job.last.is_none() && job.ended.is_none() && job.until == Some(*until));
                job.kept = true;
            }
            SchedulerFact::CancelAsked { source, to, .. } => {
                let job = self.jobs.get_mut(source).unwrap();
                assert!(
                    job.withdrawn && job.asked_in < Some(self.epoch),
                    "by each owner once, because it is called off"
                );
                assert_eq!(job.holder.as_ref().map(|(who, _)| who), Some(&to.worker));
                assert_eq!(job.last, Some(to.token));
                job.asked = true;
                job.asked_in = Some(self.epoch);
            }
            SchedulerFact::WithdrawalKept { source, .. } | SchedulerFact::WithdrawalMoved { source, .. } => {
                assert!(self.jobs[source].withdrawn);
            }
            SchedulerFact::JobDue { source } => {
                let job = self.jobs.get_mut(source).unwrap();
                let until = job.until.take();
                assert!(until.is_some_and(|until| until <= self.now), "never before its time");
            }
            SchedulerFact::JobFinished { source, by, outcome, .. } => {
                let job = self.jobs.get_mut(source).unwrap();
                assert!(job.ended.is_none(), "I5: one completion");
                if let Some(by) = by {
                    assert_eq!(job.last, Some(by.token), "I5: the current token");
                    let Some(Report::Result { worker, incarnation, epoch, token, .. }) = report else {
                        panic!("only a result ends a job for a worker");
                    };
                    assert_eq!((job.holder.as_ref(), *token), (Some(&(worker.clone(), *incarnation)), by.token));
                    assert_eq!(*epoch, self.epoch, "a result counts under the present epoch");
                    assert_eq!(&by.worker, worker);
                } else {
                    assert!(job.holder.is_none() || job.asked, "what is leased ends by a result, or is called off");
                }
                assert!(*outcome != Outcome::Cancelled || job.withdrawn, "only what is called off is cancelled");
                job.ended = Some(by.as_ref().map(|by| (by.worker.clone(), by.token)));
                job.holder = None;
            }
            SchedulerFact::ResultRepeated { source, by } => {
                let job = &self.jobs[source];
                let won = job.ended.as_ref().and_then(Option::as_ref);
                let by = Some((by.worker.clone(), by.token));
                assert!(won == by.as_ref() || job.answered == by, "what was taken before");
            }
            SchedulerFact::ResultRefused { source, by, .. } => {
                if let Some(job) = self.jobs.get(source)
                    && let Some((worker, incarnation)) = &job.holder
                    && (worker, job.last) == (&by.worker, Some(by.token))
                {
                    assert!(
                        self.newest.get(worker) != Some(incarnation)
                            || matches!(report, Some(Report::Result { outcome, .. }) if outcome.word() == "dead"),
                        "the holder's result is not refused"
                    );
                }
            }
            SchedulerFact::JobDuplicate { source, duplicate_of, .. } => {
                assert_eq!(source, duplicate_of, "no two jobs have one name here");
            }
            SchedulerFact::JobMoved { source, .. } => {
                let job = &self.jobs[source];
                assert!(job.last.is_none() && job.ended.is_none(), "only what waits moves");
            }
            SchedulerFact::JobReturned { .. } => panic!("no ticket expires here"),
            SchedulerFact::WorkRefused { .. } => panic!("all work is good here"),
            SchedulerFact::WorkerForgotten { worker } => {
                assert!(self.jobs.values().all(|job| job.holder.as_ref().is_none_or(|(who, _)| who != worker)));
                self.newest.remove(worker);
            }
            SchedulerFact::WorkerCordoned { worker, .. } => {
                self.cordoned.insert(worker.clone());
            }
            SchedulerFact::WorkerUncordoned { worker, .. } => assert!(self.cordoned.remove(worker)),
            SchedulerFact::SliceRequested { .. }
            | SchedulerFact::SliceGranted { .. }
            | SchedulerFact::SliceReturned { .. } => panic!("one shard keeps its limits itself"),
            SchedulerFact::PoolCommandRefused { worker, action, .. } => {
                assert!(*action == PoolAction::Uncordon && !self.cordoned.contains(worker));
            }
        }
    }

    fn granted(
        &mut self,
        source: &SourcePosition,
        worker: &WorkerId,
        incarnation: u64,
        token: Token,
        number: u64,
        first: bool,
    ) {
        let key = (worker.clone(), incarnation);
        let holds = self.jobs.values().filter(|job| job.holder.as_ref().is_some_and(|(who, _)| who == worker)).count();
        let job = self.jobs.get_mut(source).unwrap();
        assert!(job.holder.is_none() && job.ended.is_none(), "one holder, none after the end");
        assert!(Some(token) > job.last && token.epoch == self.epoch, "I5: tokens rise");
        assert_eq!(first, job.last.is_none() && !job.kept, "the record is in the fact when the state has it not");
        assert!(!job.asked, "what is called off is not leased again");
        assert!(job.until.is_none_or(|until| until <= self.now), "never before its time");
        assert_eq!(token.attempt, job.last.map_or(0, |last| last.attempt) + 1);
        let known = self.workers.get_mut(&key).unwrap_or_else(|| panic!("nothing before a heartbeat under this epoch"));
        assert!(!self.cordoned.contains(worker), "nothing for a cordoned worker");
        assert!(!known.draining && job.needs.is_subset(&known.can), "only to who can and will");
        assert_eq!(number, known.sent + 1, "numbers have no gaps");
        assert!(number <= known.credit && (holds as u64) < known.capacity, "never beyond credit or capacity");
        known.sent = number;
        self.sent.insert(key, number);
        job.last = Some(token);
        job.holder = Some((worker.clone(), incarnation));
    }

    /// Jobs that these facts end.
    pub(crate) fn ends(facts: &[SchedulerFact]) -> usize {
        facts.iter().filter(|fact| matches!(fact, SchedulerFact::JobFinished { .. })).count()
    }

    pub(crate) fn all_ended(&self) -> bool {
        self.jobs.values().all(|job| job.ended.is_some())
    }
}
