//! SIGHUP: a process reads its configuration again, for its pools ([`tidegate_node::pools`]).

use tidegate_node::pools::{ReloadRefused, Reloaded};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// SIGHUPs from now on; until it is asked for them the signal would end the process.
pub(super) struct Hangups(Option<Signal>);

impl Hangups {
    /// Listens; none are heard where that cannot be.
    pub(super) fn listen() -> Self {
        Self(signal(SignalKind::hangup()).ok())
    }

    /// The next.
    pub(super) async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(signals) => signals.recv().await,
            None => None,
        };
        if heard.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Says what became of it.
pub(super) fn say(reloaded: Result<Result<Reloaded, ReloadRefused>, Failure>) {
    match reloaded {
        Err(failure) => {
            let reason = format!("{:#}", failure.error);
            tracing::error!(reason, "the configuration is not taken over; this process goes on as it was");
        }
        Ok(Ok(change)) => {
            tracing::info!(%change, "the configuration was read again");
            for shard in &change.stand_still {
                tracing::error!(%shard, "the configuration was taken over, but this shard stands still: mend it and have it read again");
            }
        }
        Ok(Err(refused)) => {
            let cause = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%refused, cause, "the configuration is not taken over; this process goes on as it was");
        }
    }
}
