//! What the worker says, and when.

use tidegate_protocol::fleet::{Held, Report};
use tidegate_protocol::outcome::Outcome;
use tidegate_protocol::time::Timestamp;

use super::{Flight, JobKey, PROGRESS_EVERY, Progress, Retry, Session};

/// Most results in one append, and most bytes of output in it (one larger output goes alone).
const BATCH: (usize, usize) = (1_000, 4 << 20);

impl Session {
    /// What is to be appended now, in this order and as one append; empty while one is under way or nothing is due.
    /// A non-empty answer must be followed by [`Session::landed`], [`Session::not_landed`] or [`Session::too_large`].
    pub fn tick(&mut self, now: Timestamp) -> Vec<Report> {
        if self.in_flight.is_some() {
            return Vec::new();
        }
        let mut reports = Vec::new();
        self.flight = Flight::default();
        let mut due = self.heartbeat_at + self.heartbeat <= now;
        if self.hello_wanted || (self.epoch == 0 && due) {
            self.hello_wanted = false;
            self.flight.hello = true;
            self.heartbeat_at = now;
            due = false;
            reports.push(self.hello());
        }
        let credit = self.credit();
        self.granted = self.granted.max(credit);
        let last_words = std::mem::take(&mut self.last_words);
        self.say(last_words, &mut reports);
        self.results_into(&mut reports, credit);
        let told = !reports.is_empty() && !self.flight.results.is_empty();
        while let Some(job) = self.give_backs.pop_front() {
            reports.push(self.given_back(&job));
            self.flight.give_backs.push(job);
        }
        if !self.progress.is_empty() && self.progress_at + PROGRESS_EVERY <= now {
            self.progress_at = now;
            self.progress_into(&mut reports);
        }
        let news = self.heartbeat_wanted || (credit != self.told && !told);
        if news || due {
            self.heartbeat_wanted = false;
            self.heartbeat_at = now;
            reports.push(self.restatement(credit));
        }
        if !reports.is_empty() {
            self.told = credit;
            self.in_flight = Some(now);
        }
        reports
    }

    /// The append under way landed.
    pub fn landed(&mut self) {
        if let Some(at) = self.in_flight.take() {
            self.proven = self.proven.max(at);
        }
        self.flight = Flight::default();
    }

    /// The append under way failed for good, or its producer is gone: whatever it said is said again.
    pub fn not_landed(&mut self) {
        self.in_flight = None;
        let flight = std::mem::take(&mut self.flight);
        self.hello_wanted |= flight.hello;
        for job in flight.results.into_iter().rev() {
            self.unsent.push_front(job);
        }
        for job in flight.give_backs.into_iter().rev() {
            self.give_backs.push_front(job);
        }
        self.heartbeat_wanted = self.epoch > 0;
    }

    /// The append under way holds a record that the spine does not take: every result in it that carries an output
    /// becomes a failure that says `why`. Returns how many; none means that nothing could be made smaller.
    pub fn too_large(&mut self, why: &str) -> usize {
        let mut changed = 0;
        for job in &self.flight.results {
            if let Some(ended) = self.results.get_mut(job).filter(|ended| ended.output.is_some()) {
                ended.output = None;
                ended.outcome = Outcome::Failed;
                why.clone_into(&mut ended.reason);
                changed += 1;
            }
        }
        self.not_landed();
        changed
    }

    /// When to call [`Session::fence`] and [`Session::tick`] again if nothing else happens; at or before `now` means
    /// at once. `None`: only when the append under way has ended.
    #[must_use]
    pub fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let report = match self.in_flight {
            Some(_) => None,
            None if self.has_news() => Some(now),
            None if self.progress.is_empty() => Some(self.heartbeat_at + self.heartbeat),
            None => Some((self.heartbeat_at + self.heartbeat).min(self.progress_at + PROGRESS_EVERY)),
        };
        let fence = self.fence_due(now);
        match (report, fence) {
            (Some(report), Some(fence)) => Some(report.min(fence)),
            (report, fence) => report.or(fence),
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.hello_wanted
            || self.heartbeat_wanted
            || !self.unsent.is_empty()
            || !self.give_backs.is_empty()
            || self.credit() != self.told
    }

    fn hello(&self) -> Report {
        Report::Hello {
            worker: self.identity.worker.clone(),
            incarnation: self.incarnation.number,
            lane: self.incarnation.lane,
            lane_position: self.incarnation.lane_position,
            capabilities: self.identity.capabilities.clone(),
            capacity: self.identity.capacity,
            tenants: self.tenants.clone(),
            labels: self.labels.clone(),
        }
    }

    fn restatement(&self, credit: u64) -> Report {
        let held = |job: &JobKey, waits| Held { source: job.source.clone(), token: job.token, waits };
        let live =
            self.jobs.iter().filter(|(_, running)| !running.lost).map(|(job, _)| held(job, self.waiting.contains(job)));
        Report::Heartbeat {
            worker: self.identity.worker.clone(),
            incarnation: self.incarnation.number,
            lane: self.incarnation.lane,
            epoch: self.epoch,
            capabilities: self.identity.capabilities.clone(),
            capacity: self.identity.capacity,
            running: live.chain(self.results.keys().map(|job| held(job, false))).collect(),
            received: self.received,
            credit,
            draining: self.draining,
            tenants: self.tenants.clone(),
            labels: self.labels.clone(),
            load: self.load,
        }
    }

    fn results_into(&mut self, reports: &mut Vec<Report>, credit: u64) {
        let (most, mut bytes) = BATCH;
        while self.flight.results.len() < most {
            let Some(job) = self.unsent.front() else { break };
            if let Some(ended) = self.results.get(job) {
                let size = ended.output.as_ref().map_or(0, |output| output.get().len());
                if size > bytes && !self.flight.results.is_empty() {
                    break;
                }
                bytes = bytes.saturating_sub(size);
                let (retryable, retry_after_ms) = match (ended.outcome, ended.retry) {
                    (Outcome::Failed, Retry::Backoff) => (true, None),
                    (Outcome::Failed, Retry::After(wait)) => {
                        (true, Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
                    }
                    (_, Retry::Never | Retry::Backoff | Retry::After(_)) => (false, None),
                };
                reports.push(Report::Result {
                    worker: self.identity.worker.clone(),
                    incarnation: self.incarnation.number,
                    lane: self.incarnation.lane,
                    epoch: self.epoch,
                    source: job.source.clone(),
                    token: job.token,
                    outcome: ended.outcome,
                    reason: ended.reason.clone(),
                    output: ended.output.clone(),
                    usage: super::usage::of_output(ended.output.as_deref()),
                    retryable,
                    retry_after_ms,
                    credit,
                });
                self.flight.results.push(job.clone());
            }
            self.unsent.pop_front();
        }
    }

    fn given_back(&self, job: &JobKey) -> Report {
        Report::GiveBack {
            worker: self.identity.worker.clone(),
            incarnation: self.incarnation.number,
            epoch: self.epoch,
            source: job.source.clone(),
            token: job.token,
        }
    }

    fn progress_into(&mut self, reports: &mut Vec<Report>) {
        let said = std::mem::take(&mut self.progress);
        self.partial_bytes = 0;
        self.say(said, reports);
    }

    fn say(&self, said: impl IntoIterator<Item = (JobKey, Progress)>, reports: &mut Vec<Report>) {
        for (JobKey { source, token }, said) in said {
            reports.push(Report::Progress {
                worker: self.identity.worker.clone(),
                incarnation: self.incarnation.number,
                source,
                token,
                fraction: said.fraction,
                note: said.note,
                partial: said.partial,
            });
        }
    }
}
