//! From what policy said about a job, new or kept, to the fact that says so.
//!
//! | policy said | and | a new job | a kept job |
//! |---|---|---|---|
//! | anything | too large as it would be written | `RecordRejected` (`too_large`) | the same |
//! | allow, allow_with_constraints | a pool takes it | `JobDecided` | `JobDecided` |
//! | | none does | `RecordRejected` (`unroutable`); observed: `JobDecided` | `RecordRejected` |
//! | require_approval | somebody can give it | `JobHeld` | see `approvals` |
//! | | nobody can, or there is no room | `JobDecided`, deny | `JobDecided`, deny |
//! | throttle | within its tries and its time | `JobDeferred` | `JobDeferred` |
//! | | beyond | `JobDecided`, deny | `JobDecided`, deny |
//! | deny | | `JobDecided` | `JobDecided` |
//!
//! A new job is taken by pools that do not drain. A draining one also takes, where no other does, what was released before and
//! what people were asked about ([`Case::is_no_new_one`]), and the children of its own jobs, without which these could not
//! end: so draining ends nothing that a pool has. A job that is throttled or waits for its limits is new for as long as it has
//! not been released, unless it is a child of the pool's own job; so is a child of another pool's job, and what is redriven.
//!
//! Facts on a kept job, but `HoldRenewed`, name what they replace. What is too large to be kept is rejected (`too_large`).

use tidegate_protocol::cloudevents;
use tidegate_protocol::decision::{Decision, PayloadAt, Verdict};
use tidegate_protocol::facts::KernelFact;
use tidegate_protocol::ids::{PersonId, PoolName};
use tidegate_protocol::job::{InputHash, Job, SourcePosition};
use tidegate_protocol::kept::{KeptAs, KeptRecord, Replaced};
use tidegate_protocol::limits::{LimitUse, WouldTake};
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::returned::Work;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;

use crate::approvals::{self, can_be_given};
use crate::delegation::parents_topic;
use crate::kept::{Deferral, KeptJob, MAX_KEPT_RECORD_BYTES, keep};
use crate::kernel::Kernel;
use crate::messages;
use crate::reading::{Refusal, quoted};

/// A job that was judged, and what it came from.
pub(crate) struct Case<'a> {
    pub(crate) job: Job,
    pub(crate) payload: PayloadAt,
    /// Its record, read or kept.
    pub(crate) record: &'a Record,
    /// How it is kept so far.
    pub(crate) kept: Option<&'a KeptJob>,
    /// It was released before, and came back.
    pub(crate) returned: Option<Replaced>,
    pub(crate) at: Timestamp,
    /// What it takes of limits when it may run.
    pub(crate) spends: Vec<LimitUse>,
}

impl Case<'_> {
    fn replaces(&self) -> Option<Replaced> {
        self.kept.map(KeptJob::replaced).or(self.returned)
    }

    /// The job as one that cannot be handled.
    pub(crate) fn rejected(self, reason: DeadReason, detail: String) -> KernelFact {
        let (replaces, source, input_hash) = (self.replaces(), self.job.source.clone(), self.job.input_hash);
        rejected(source, Refusal::new(reason, detail), input_hash, Some(self.job), replaces)
    }

    /// Whether a pool had it already, or people were asked about it. One that came back and had to be kept stands there with
    /// the record that came back.
    fn is_no_new_one(&self) -> bool {
        let Some(kept) = self.kept else {
            return self.returned.is_some_and(|replaced| replaced.was == KeptAs::Released);
        };
        let text = || std::str::from_utf8(self.record.value.as_deref().unwrap_or_default());
        kept.hold.is_some()
            || text().is_ok_and(|text| Work::read(text).is_ok_and(|work| work.job.source == self.job.source))
    }

    /// Whether a fact could keep it.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.kept_record().is_ok()
    }

    /// The record and the payload's place in it as a fact keeps them; no record when it is kept already.
    fn kept_record(&self) -> Result<(Option<Box<KeptRecord>>, PayloadAt), Refusal> {
        if let Some(kept) = self.kept {
            return Ok((None, kept.payload));
        }
        let (record, payload) =
            keep(self.record, self.payload).map_err(|e| Refusal::new(DeadReason::Unparsable, e.to_string()))?;
        if record.bytes() > MAX_KEPT_RECORD_BYTES {
            let detail = format!(
                "the record has {} bytes and would have to be kept; one that waits has at most {MAX_KEPT_RECORD_BYTES}",
                record.bytes()
            );
            return Err(Refusal::new(DeadReason::TooLarge, detail));
        }
        Ok((Some(Box::new(record)), payload))
    }
}

impl Kernel {
    /// The pool it goes to when it may run.
    fn pool(&self, case: &Case<'_>, held: bool) -> Option<PoolName> {
        let routes = &self.config.routes;
        if let Some(open) = routes.route(&case.job) {
            return Some(open.clone());
        }
        let draining = routes.draining(&case.job)?;
        if held || case.is_no_new_one() {
            return Some(draining.clone());
        }
        case.job.delegation.as_ref()?;
        routes.draining_at(&parents_topic(case.record)?, &case.job).cloned()
    }

    /// The fact of a job that was judged.
    pub(crate) fn conclude(&self, case: Case<'_>, decision: Decision) -> KernelFact {
        // Of an event's headers no more is said than this.
        let of_event = if self.config.topics.cloudevents { cloudevents::MOST_BYTES } else { 0 };
        let most = self.config.max_record_bytes.saturating_sub(of_event);
        if let Some(bytes) = messages::too_large(&case.job, &decision, case.payload, case.record, most) {
            let detail = format!("the judged job would have {bytes} bytes, a record here has at most {most}");
            return case.rejected(DeadReason::TooLarge, detail);
        }
        if self.config.source.observe() {
            let pool = decision.verdict.permits().then(|| self.pool(&case, false)).flatten();
            return decided(case, decision, pool, true);
        }
        match decision.verdict {
            Verdict::Allow | Verdict::AllowWithConstraints => match self.pool(&case, false) {
                Some(pool) => {
                    let expires = (case.at + self.config.ticket_ttl).millis();
                    let chain_ends = case.job.delegation.as_ref().map(|delegation| delegation.expires_ms);
                    let expires = chain_ends.map_or(expires, |ends| ends.min(expires));
                    let before = case.replaces().map_or((0, 0), |replaced| (replaced.leases, replaced.strikes));
                    let decision =
                        Decision { expires_ms: Some(expires), leases: before.0, strikes: before.1, ..decision };
                    decided(case, decision, Some(pool), false)
                }
                None => {
                    let draining = self.config.routes.draining(&case.job);
                    let draining =
                        draining.map_or_else(String::new, |pool| format!("; pool `{pool}` would, but is draining"));
                    let detail = format!(
                        "no pool takes capability `{}` with its other requirements on topic `{}`{draining}",
                        quoted(case.job.capability.as_str()),
                        quoted(&case.job.topic)
                    );
                    case.rejected(DeadReason::Unroutable, detail)
                }
            },
            Verdict::Deny => decided(case, decision, None, false),
            Verdict::RequireApproval => self.ask(case, decision),
            Verdict::Throttle => match Deferral::for_throttle(case.kept, decision.clone(), case.at) {
                Some(deferral) => defer(case, deferral),
                None => denied(case, decision, "throttled for as long and as often as its rule lets it wait"),
            },
        }
    }
}

impl Kernel {
    /// People are asked, or have said enough already.
    fn ask(&self, case: Case<'_>, decision: Decision) -> KernelFact {
        let Some(approval) = decision.approval.as_deref() else {
            return denied(case, decision, "it asks for an approval without saying whose");
        };
        let hold = case.kept.and_then(|kept| kept.hold.as_ref()).filter(|hold| hold.carries_over(&decision));
        let enough = hold.is_some_and(|hold| hold.satisfies(approval));
        // One that is deferred although people have approved it and then needs more of them is asked for anew.
        let asked = case.kept.is_some_and(|kept| kept.asks_for().is_some());
        if let Some(hold) = hold.filter(|_| enough || asked) {
            if enough {
                let by = hold.counting(approval);
                return self.conclude(case, approved(decision, by));
            }
            let until = hold.until.min(approvals::end(approval, case.job.latest_ms(), case.at));
            return KernelFact::HoldRenewed { source: case.job.source, decision: Box::new(decision), until };
        }
        let people = self.config.people.approvers(&case.job.tenant, case.at.millis());
        if !can_be_given(approval, &case.job, &people) {
            return denied(case, decision, "nobody who could approve it is known here");
        }
        let was_held = case.kept.is_some_and(|kept| kept.kept_as() == KeptAs::Held);
        if !was_held && self.kept.is_full(KeptAs::Held) {
            return denied(case, decision, "there is no room for a further job that waits for approval");
        }
        let until = approvals::end(approval, case.job.latest_ms(), case.at);
        let pool = self.pool(&case, true);
        let (record, payload) = match case.kept_record() {
            Ok(kept) => kept,
            Err(Refusal { reason, detail }) => return case.rejected(reason, detail),
        };
        let replaces = case.replaces();
        KernelFact::JobHeld { job: case.job, decision, payload, record, until, replaces, pool }
    }
}

/// What enough people have approved may run, under the constraints it was shown with.
fn approved(decision: Decision, approved_by: Vec<PersonId>) -> Decision {
    let names: Vec<&str> = approved_by.iter().map(PersonId::as_str).collect();
    let reason = format!("approved by {}: {}", names.join(", "), decision.reason);
    let verdict = if decision.constraints.is_some() { Verdict::AllowWithConstraints } else { Verdict::Allow };
    Decision { verdict, reason, approved_by, ..decision }
}

fn decided(case: Case<'_>, mut decision: Decision, pool: Option<PoolName>, observed: bool) -> KernelFact {
    let replaces = case.replaces();
    // Only what goes to a pool takes of limits, or would.
    let taken = if decision.verdict.permits() && pool.is_some() { case.spends } else { Vec::new() };
    let (mut spends, mut would_take) = (Vec::new(), Vec::new());
    if observed {
        would_take.extend(taken.iter().map(WouldTake::of));
    } else {
        decision.settles = taken.iter().any(|wanted| wanted.definition.kind.settles());
        spends.extend(taken.iter().map(LimitUse::spend));
    }
    let Case { job, payload, .. } = case;
    KernelFact::JobDecided { job, decision, pool, payload, observed, replaces, spends, would_take }
}

/// What policy said, turned into a denial (I3).
pub(crate) fn denied(case: Case<'_>, decision: Decision, why: &str) -> KernelFact {
    let reason = format!("{why}: {}", decision.reason);
    decided(case, Decision { verdict: Verdict::Deny, reason, ..decision }, None, false)
}

/// The job waits.
pub(crate) fn defer(case: Case<'_>, deferral: Deferral) -> KernelFact {
    let (record, payload) = match case.kept_record() {
        Ok(kept) => kept,
        Err(Refusal { reason, detail }) => return case.rejected(reason, detail),
    };
    let Deferral { why, until, retry, throttled, waits_for, decision } = deferral;
    let replaces = case.replaces();
    KernelFact::JobDeferred {
        job: case.job,
        payload,
        record,
        why,
        until,
        retry,
        throttled,
        waits_for,
        decision,
        replaces,
    }
}

/// A record that cannot be a job here, or a job that cannot be handled.
pub(crate) fn rejected(
    source: SourcePosition,
    refusal: Refusal,
    input_hash: InputHash,
    job: Option<Job>,
    replaces: Option<Replaced>,
) -> KernelFact {
    let Refusal { reason, detail } = refusal;
    KernelFact::RecordRejected { source, reason, detail, input_hash, job: job.map(Box::new), replaces }
}
