//! The ticket that a record presents as its parent's.

use serde::Deserialize;
use tidegate_protocol::address::TopicName;
use tidegate_protocol::delegation::{Ancestor, Delegation, Scope};
use tidegate_protocol::job::Job;
use tidegate_protocol::outcome::DeadReason;
use tidegate_protocol::proof::{Checker, Ticket};
use tidegate_protocol::returned::Work;
use tidegate_protocol::time::Timestamp;
use tidegate_spine::Record;

use crate::kernel::Kernel;
use crate::reading::{Refusal, quoted};
use crate::sources::ParentTickets;

/// Most bytes of a delegation as JSON: with it every fact stays far below a record's limit.
const MOST_DELEGATION_BYTES: usize = 32 << 10;

fn forged(detail: impl Into<String>) -> Refusal {
    Refusal::new(DeadReason::ParentTicketForged, detail)
}

fn mismatch(detail: impl Into<String>) -> Refusal {
    Refusal::new(DeadReason::ParentTicketMismatch, detail)
}

impl Kernel {
    /// Makes a job the child that its record says it is, or leaves it the root that it is.
    pub(crate) fn delegate(
        &self,
        job: &mut Job,
        presented: Option<&str>,
        at: Timestamp,
        tickets: &mut Checker,
    ) -> Result<(), Refusal> {
        let wanted = self.config.source.parent_tickets();
        let Some(text) = presented else {
            if wanted == ParentTickets::Required {
                let detail = "this source takes delegated jobs alone: present the parent's record as `parent_ticket`";
                return Err(Refusal::new(DeadReason::ParentTicketMissing, detail));
            }
            return Ok(());
        };
        if wanted == ParentTickets::Refused {
            let detail = "this source takes no delegated jobs: submit it elsewhere, or leave `parent_ticket` out";
            return Err(Refusal::new(DeadReason::ParentTicketRefused, detail));
        }
        let parent = self.open(text, at, tickets)?;
        let delegation = handed_on(job, parent.job, &parent.decision, at)?;
        let bytes = serde_json::to_vec(&delegation).map_or(usize::MAX, |text| text.len());
        if bytes > MOST_DELEGATION_BYTES {
            let detail = format!("its chain has {bytes} bytes, more than {MOST_DELEGATION_BYTES}");
            return Err(Refusal::new(DeadReason::TooLarge, detail));
        }
        job.delegation = Some(delegation);
        Ok(())
    }

    /// The record inside, when a kernel of this installation has allowed its job.
    fn open(&self, text: &str, at: Timestamp, tickets: &mut Checker) -> Result<Work, Refusal> {
        let not_signed = |why: &dyn std::fmt::Display| forged(format!("its parent's ticket proves nothing: {why}"));
        let Ticket { sender, epoch, to, .. } =
            tickets.ticket(text.as_bytes(), at.millis()).map_err(|refused| not_signed(&refused))?;
        let work = Work::read(text).map_err(|error| not_signed(&error))?;
        let parent = &work.job;
        let kernel = |source, shard| format!("kernel.{source}/{shard}");
        if sender.as_str() != kernel(parent.source.source.as_str(), parent.source.partition) {
            return Err(forged(format!("its parent's ticket is of `{sender}`, which is not its parent's kernel")));
        }
        let own = kernel(self.config.source.name().as_str(), self.config.shard);
        if sender.as_str() == own && epoch > self.epoch {
            return Err(forged(format!("its parent's ticket is of epoch {epoch}, which is still to come")));
        }
        if !self.config.routes.has(&to) {
            return Err(mismatch(format!("its parent's ticket is for `{to}`, which belongs to no pool here")));
        }
        if !work.decision.verdict.permits() {
            return Err(mismatch(format!("its parent's verdict is `{}`", work.decision.verdict.word())));
        }
        Ok(work)
    }
}

/// Where the job was sent whose ticket this record presents: which pool runs it. The ticket was proven when the record was
/// read, which is the same for as long as the record is kept.
pub(crate) fn parents_topic(record: &Record) -> Option<TopicName> {
    #[derive(Deserialize)]
    struct Presents {
        parent_ticket: String,
    }
    #[derive(Deserialize)]
    struct Ticketed {
        ticket: Ticket,
    }
    let presents: Presents = serde_json::from_slice(record.value.as_deref()?).ok()?;
    let parent: Ticketed = serde_json::from_str(&presents.parent_ticket).ok()?;
    Some(parent.ticket.to.topic)
}

/// What the parent hands on to this child; the child's deadline is no later than its parent's.
fn handed_on(
    child: &mut Job,
    parent: Job,
    decision: &tidegate_protocol::decision::Decision,
    at: Timestamp,
) -> Result<Box<Delegation>, Refusal> {
    let id = quoted(parent.id.as_str());
    if parent.tenant != child.tenant {
        return Err(mismatch(format!("its parent's ticket is of job `{id}` of another tenant")));
    }
    match &child.parent {
        Some(named) if *named != parent.id => {
            let named = quoted(named.as_str());
            return Err(mismatch(format!("its parent is `{named}`, but the ticket is of `{id}`")));
        }
        Some(_) => {}
        None => child.parent = Some(parent.id.clone()),
    }
    let Some(ticket_ends) = decision.expires_ms else {
        return Err(mismatch(format!("its parent's ticket, of job `{id}`, has no end")));
    };
    let above = parent.delegation.as_deref();
    let ends = [Some(ticket_ends), parent.deadline, above.map(|above| above.expires_ms)];
    let expires_ms = ends.into_iter().flatten().min().unwrap_or(ticket_ends);
    if expires_ms <= at.millis() {
        let detail = format!("the time in which its parent `{id}` could delegate is over");
        return Err(Refusal::new(DeadReason::ParentTicketExpired, detail));
    }
    child.deadline = [child.deadline, parent.deadline].into_iter().flatten().min();
    let scope = Scope::handed_on_by(&parent);
    let constraints = decision.constraints.clone();
    let max_tokens = constraints.as_ref().and_then(|constraints| constraints.budgets.max_tokens);
    let Job { id: job, source, actor, delegation, .. } = parent;
    let mut chain = delegation.map_or_else(Vec::new, |above| above.chain);
    chain.push(Ancestor { job, source, actor, max_tokens });
    Ok(Box::new(Delegation { chain, scope, expires_ms, constraints }))
}
