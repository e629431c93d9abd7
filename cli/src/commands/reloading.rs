//! SIGHUP: a process reads its configuration again, for its pools ([`tidegate_node::pools`]). One without a configuration ends with
//! its terminal ([`terminal_closed`]).

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

    /// None will be heard.
    pub(super) const fn none() -> Self {
        Self(None)
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

/// Resolves at the first SIGHUP; never where this process was started to ignore it (`nohup`).
pub(super) async fn terminal_closed() {
    let ignored = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangups(&status));
    let mut hangups = if ignored { Hangups::none() } else { Hangups::listen() };
    hangups.next().await;
}

/// By what Linux says of a process: signal 1 is the lowest bit of those that are ignored.
fn ignores_hangups(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
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
            let reason = format!("{:#}", anyhow::Error::new(refused));
            tracing::error!(reason, "the configuration is not taken over; this process goes on as it was");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_started_to_ignore_sighup_is_known_by_its_status() {
        let status = |mask: &str| {
            format!("Name:\ttidegate\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t0000000000000001\n")
        };
        assert!(ignores_hangups(&status("0000000000001001")));
        assert!(!ignores_hangups(&status("0000000000001000")));
        assert!(!ignores_hangups(""));
    }
}
