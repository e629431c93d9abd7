//! A new ownership: what is made of the state, and what waits until all that waited before is known again.

use tidegate_protocol::job::SourcePosition;
use tidegate_protocol::time::Timestamp;

use crate::Scheduler;
use crate::scheduler::Soft;
use crate::state::Job;

/// Whether all that waited under an owner before is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is.
    Done,
    /// Not yet: until then it is waited for.
    WaitedFor(Timestamp),
    /// Not yet, and nobody waits for it any longer.
    GivenUp,
}

impl Reading {
    pub(crate) const fn is_waited_for(self) -> bool {
        matches!(self, Self::WaitedFor(_))
    }
}

impl Scheduler {
    /// A new ownership: nothing is known of the present, every lease and every worker has a full term.
    pub(crate) fn begin(&mut self, epoch: u64, at: Timestamp) {
        self.soft = Soft::new(&self.pool, self.buckets.len());
        self.soft.epoch = Some(epoch);
        self.soft.unheard_until = at + self.pool.lease;
        self.begin_gates();
        let (mut requeued, mut leased) = (Vec::new(), Vec::new());
        for (source, line) in self.state.overflow().in_line() {
            self.soft.lines.join(line, source);
        }
        for job in self.state.jobs() {
            if let Some(line) = &job.work.terms().line {
                self.soft.lines.join(line, &job.work.source);
            }
        }
        for job in self.state.jobs() {
            if let (Some(line), true) = (&job.work.terms().line, job.lease.is_some()) {
                self.soft.lines.lease(line, Some(&job.work.source));
            }
            if job.lease.is_some() {
                self.soft.leases.set(&job.work.source, at + self.pool.lease);
                if let Some(stopping) = &job.stopping {
                    self.soft.cancels.set(&job.work.source, stopping.until.max(self.soft.unheard_until));
                }
                leased.push(job.work.source.clone());
            } else {
                requeued.push(job.work.source.clone());
            }
        }
        for source in leased {
            self.watch(&source, at);
        }
        for source in requeued {
            self.offer(&source, at);
        }
        for worker in self.state.workers() {
            if self.state.in_flight(worker) == 0 {
                self.soft.forget.set(worker, at + self.pool.forget_after);
            }
        }
    }

    /// Jobs with an ordering key that the state has (delayed, or to be tried again) may stand behind others that wait in the log: none of them
    /// goes before these are known again. Should that take longer than a lease (nothing more is read while a bound of the state is
    /// reached), they go all the same.
    pub(crate) fn read_again(&mut self, left: usize, at: Timestamp) {
        match (self.soft.reading, left) {
            (Reading::Done, 1..) => {
                self.soft.reading = Reading::WaitedFor(at + self.pool.lease);
                for source in self.unleased_in_line() {
                    self.withdraw(&source, at);
                    self.offer(&source, at);
                }
            }
            (Reading::WaitedFor(_), 0) => self.let_go(Reading::Done, at),
            (Reading::GivenUp, 0) => self.soft.reading = Reading::Done,
            (Reading::Done, 0) | (Reading::WaitedFor(_) | Reading::GivenUp, 1..) => {}
        }
    }

    /// A lease is over, and not all is read again.
    pub(crate) fn wait_no_longer(&mut self, at: Timestamp) {
        if let Reading::WaitedFor(until) = self.soft.reading
            && until <= at
        {
            self.let_go(Reading::GivenUp, at);
        }
    }

    fn let_go(&mut self, reading: Reading, at: Timestamp) {
        self.soft.reading = reading;
        for source in self.unleased_in_line() {
            self.offer(&source, at);
        }
    }

    /// Jobs with an ordering key that the state has and nobody runs.
    fn unleased_in_line(&self) -> Vec<SourcePosition> {
        let in_line = |job: &&Job| job.lease.is_none() && job.work.terms().line.is_some();
        self.state.jobs().filter(in_line).map(|job| job.work.source.clone()).collect()
    }
}
