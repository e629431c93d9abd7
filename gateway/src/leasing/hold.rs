//! Watches one job from the shelf to its end. This is the handler that a crew's worker runs: while it runs, the worker has
//! the job.

use std::sync::Arc;

use tidegate_worker::handler::{Ending, Handler};
use tidegate_worker::{Cancel, Context};
use tokio::time::Instant;

use super::crew::Crew;
use super::desk::Lease;
use super::lease::Over;

/// Takes the lease out when this job's future is over, also when it is dropped because the worker waited long enough.
struct Here<'a> {
    crew: &'a Crew,
    lease: Arc<Lease>,
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.crew.gone(&self.lease);
    }
}

/// The handler of a crew's worker.
pub(super) struct Holding(pub(super) Arc<Crew>);

impl Handler for Holding {
    async fn run(&self, context: Context) -> Ending {
        hold(Arc::clone(&self.0), context).await
    }

    fn passed_over(&self) {
        self.0.passed_by();
    }
}

async fn hold(crew: Arc<Crew>, context: Context) -> Ending {
    if !crew.key.is_for(&context.job().tenant) {
        // The scheduler gives a crew its tenants' jobs alone; one that does not know of tenants might not.
        tracing::error!(crew = %crew.worker, job = %context.key(), "a job of another tenant came and goes back unseen");
        crew.passed_by();
        return Ending::GivenBack;
    }
    let (lease, mut ended) = match crew.shelve(&context) {
        Ok(shelved) => shelved,
        Err(error) => {
            tracing::error!(%error, "no randomness for a lease's id; the job goes back");
            crew.passed_by();
            return Ending::GivenBack;
        }
    };
    let here = Here { crew: &crew, lease };
    let lease = &here.lease;
    let mut told = false;
    loop {
        let until = lease.until();
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                // Its end is on its way.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ending = &mut ended => {
                crew.counts(if ending.is_ok() { "reported" } else { "lost" });
                return ending.unwrap_or(Ending::Abandoned);
            }
            why = context.cancelled(), if !told => {
                told = true;
                if why == Cancel::LeaseLost {
                    lease.lose(why.sentence());
                    crew.counts("lost");
                    return Ending::cancelled(why.sentence());
                }
                if why == Cancel::Draining {
                    lease.lose("the gateway is shutting down");
                    crew.counts("drained");
                    return Ending::GivenBack;
                }
                if !lease.cancel(why) {
                    return Ending::cancelled("no worker had taken it");
                }
            }
            () = over => match lease.over(Instant::now()) {
                Over::NotYet => {}
                Over::GiveBack => {
                    crew.counts("not_taken");
                    return Ending::GivenBack;
                }
                Over::Abandon => {
                    crew.counts("silent");
                    tracing::warn!(crew = %crew.worker, job = %context.key(), "an HTTP worker fell silent; its job runs elsewhere");
                    return Ending::Abandoned;
                }
            },
        }
    }
}
