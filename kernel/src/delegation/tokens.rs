//! Spending rolls up: what a job may use of model tokens is reserved against every ancestor whose constraints bound them.
//!
//! An ancestor with `budgets.max_tokens` shares them out: all jobs below it together use no more. That is a limit like those of
//! policy, of kind `budget`, kept by the limits stage: a job reserves what its own constraints let it use, and when it ends what
//! its worker reports takes the place of that. It counts for the longest time of a ticket of any source, which is as long as anything of the chain may
//! start, so the sum over the ancestor's life is bounded wherever its descendants are judged. (What the ancestor uses itself
//! comes on top: that is between its handler and its own constraint.)
//!
//! Limits of policy roll up by themselves: every principal of the chain is judged as if it had asked, so a limit by actor is
//! taken of once for each of them, and one that several of them share once.

use std::sync::Arc;
use std::time::Duration;

use tidegate_protocol::constraints::Constraints;
use tidegate_protocol::delegation::Ancestor;
use tidegate_protocol::job::Job;
use tidegate_protocol::limits::{Amount, BudgetOf, LimitDefinition, LimitId, LimitKind, LimitUse};

/// A larger budget is kept as this many, far more than any job uses.
const MOST: u64 = 1_000_000_000;

/// What a job under these constraints takes of its ancestors' budgets. No ticket is valid for longer than `ttl`.
pub(crate) fn tokens(job: &Job, constraints: Option<&Constraints>, ttl: Duration) -> Vec<LimitUse> {
    let Some(delegation) = job.delegation.as_deref() else { return Vec::new() };
    // Merged to the tightest along the chain: where an ancestor has a bound, the job has one too.
    let own = constraints.and_then(|constraints| constraints.budgets.max_tokens);
    delegation.chain.iter().filter_map(|ancestor| of(job, ancestor, own?, ttl)).collect()
}

fn of(job: &Job, ancestor: &Ancestor, own: u64, ttl: Duration) -> Option<LimitUse> {
    let whole = ancestor.max_tokens?.min(MOST);
    let definition = LimitDefinition {
        budget: Some(BudgetOf::Tokens),
        ..LimitDefinition::new(LimitKind::Budget, Amount::units(whole)?, ttl)
    };
    let (tenant, source) = (job.tenant.as_str(), ancestor.source.to_string());
    Some(LimitUse {
        limit: LimitId::new(format!("delegation:tokens:{whole}:{}", definition.window_ms)).ok()?,
        definition: Arc::new(definition),
        key: format!("{}:{tenant}{}:{source}", tenant.len(), source.len()).into(),
        amount: Amount::units(own.min(MOST))?,
        member: None,
    })
}
