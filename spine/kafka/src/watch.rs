//! What a client says besides answers: log lines and errors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::failure::{self, Failure};

/// Passes log lines on and remembers the latest error, so that a silence can be explained.
pub(crate) struct Watch {
    name: String,
    latest: Mutex<Latest>,
    all_down: AtomicBool,
}

/// A context with a watch.
pub(crate) trait Watched {
    fn watch(&self) -> &Watch;
}

impl Watched for Watch {
    fn watch(&self) -> &Watch {
        self
    }
}

#[derive(Default)]
struct Latest {
    error: Option<(Code, String)>,
    denied: Option<String>,
}

impl Watch {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), latest: Mutex::default(), all_down: AtomicBool::new(false) }
    }

    /// Why nobody answers, as far as the client has said.
    pub(crate) fn silence(&self) -> Failure {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match (&latest.denied, &latest.error) {
            (Some(reason), _) => Failure::Denied(reason.clone()),
            (None, Some((_, reason))) => Failure::Unavailable(reason.clone()),
            (None, None) => Failure::Unavailable("no broker has answered".into()),
        }
    }

    /// A broker has answered: what was said before explains nothing any more.
    pub(crate) fn heard(&self) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Latest::default();
    }

    /// Whether the client has said that all brokers are down, and nothing since says otherwise.
    pub(crate) fn all_down(&self) -> bool {
        self.all_down.load(Ordering::Relaxed)
    }

    /// None is connected, whatever was said.
    pub(crate) fn lost(&self) {
        self.all_down.store(true, Ordering::Relaxed);
    }

    /// A broker is connected again.
    pub(crate) fn connected(&self) {
        self.all_down.store(false, Ordering::Relaxed);
    }

    fn denied(&self) -> Option<String> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).denied.clone()
    }

    fn note(&self, code: Code, reason: &str) {
        if code == Code::AllBrokersDown {
            self.all_down.store(true, Ordering::Relaxed);
        }
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if failure::denied(code) {
            latest.denied = Some(reason.to_owned());
        }
        // That all are down says nothing about why; what came before it does.
        if code != Code::AllBrokersDown || latest.error.is_none() {
            latest.error = Some((code, reason.to_owned()));
        }
    }
}

impl ClientContext for Watch {
    fn log(&self, level: Level, facility: &str, line: &str) {
        let client = self.name.as_str();
        if facility == "FAIL" {
            // Of a listener that speaks another protocol this line alone tells: the error is that all brokers are down.
            self.note(Code::BrokerTransportFailure, &explained(line));
        }
        match level {
            // Settings of the other kind of client; we set some for all.
            _ if facility == "CONFWARN" => tracing::debug!(client, facility, "{line}"),
            Level::Emerg | Level::Alert | Level::Critical => tracing::error!(client, facility, "{line}"),
            // librdkafka goes on by itself; somebody should look if it lasts.
            Level::Error | Level::Warning => tracing::warn!(client, facility, "{line}"),
            Level::Notice => tracing::info!(client, facility, "{line}"),
            Level::Info | Level::Debug => tracing::debug!(client, facility, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = failure::code(&error);
        if matches!(code, Code::PartitionEOF | Code::AutoOffsetReset) {
            return;
        }
        if failure::denied(code) {
            tracing::error!(client = %self.name, "{reason}");
        } else {
            tracing::debug!(client = %self.name, %error, "{reason}");
        }
        self.note(code, reason);
    }
}

/// A broker that closes the connection before it has answered the first question does not understand it.
fn explained(line: &str) -> String {
    let hint = if line.contains("APIVERSION_QUERY") {
        "; a listener that wants TLS or a password closes like this: check `security.protocol`"
    } else {
        ""
    };
    format!("{line}{hint}")
}

/// Waits until `client` has heard from a broker. `serve` lets it report errors, for at most the time given.
pub(crate) fn reached<C: ClientContext>(
    client: &Client<C>,
    watch: &Watch,
    within: Duration,
    serve: impl Fn(),
) -> Result<(), Failure> {
    const SLICE: Duration = Duration::from_millis(20);
    let until = Instant::now() + within;
    loop {
        // Wakes as soon as the first metadata arrives.
        if client.fetch_cluster_id(SLICE).is_some() {
            return Ok(());
        }
        serve();
        if let Some(reason) = watch.denied() {
            return Err(Failure::Denied(reason));
        }
        if Instant::now() >= until {
            return Err(watch.silence());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_explained_by_the_line_that_says_most() {
        let watch = Watch::new("w");
        watch.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        watch.log(Level::Error, "FAIL", "Disconnected (after 1ms in state APIVERSION_QUERY)");
        watch.error(KafkaError::Global(Code::AllBrokersDown), "1/1 brokers are down");
        let Failure::Unavailable(reason) = watch.silence() else { unreachable!() };
        assert!(reason.contains("Disconnected") && reason.contains("`security.protocol`"), "{reason}");
        watch.heard();
        let Failure::Unavailable(reason) = watch.silence() else { unreachable!() };
        assert_eq!(reason, "no broker has answered");
    }
}
