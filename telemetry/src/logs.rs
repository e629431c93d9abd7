//! Logs to stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

impl Format {
    /// Text when stderr is a terminal, else JSON.
    #[must_use]
    pub fn of_stderr() -> Self {
        if std::io::stderr().is_terminal() { Self::Text } else { Self::Json }
    }
}

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter is wrong.
    #[error("log filter `{filter}` cannot be read; write e.g. `info` or `warn,tidegate_kernel=debug`")]
    Filter {
        /// As written.
        filter: String,
        /// Why.
        source: ParseError,
    },
    /// Somebody set logs up already.
    #[error("logs are already set up: {reason}")]
    Twice {
        /// The words of `tracing`.
        reason: String,
    },
}

/// Sets up logging for the process, once. `filter` is a level or `tracing` directives.
///
/// # Errors
/// [`LogsError`] when `filter` cannot be read or logs are set up already.
pub fn install(format: Format, filter: &str) -> Result<(), LogsError> {
    let parsed =
        EnvFilter::try_new(filter).map_err(|source| LogsError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr);
    let installed = match format {
        Format::Text => builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|e| LogsError::Twice { reason: e.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let error = install(Format::Json, "tidegate=loud").unwrap_err();
        assert!(error.to_string().starts_with("log filter `tidegate=loud` cannot be read"), "{error}");
    }
}
