//! The configuration file: as written ([`Written`], every default visible) → checked ([`Config`]).
//!
//! Paths are relative to the working directory. Secrets stand in files or environment variables (`{file: …}`,
//! `{env: …}`) and are read when the spine is opened, never shown.

mod checked;
mod keys;
mod lines;
mod payloads;
mod problem;
mod setting;
mod written;

use std::path::Path;

pub use checked::{Config, Membership, PoolConfig, RecordLimits, SpineConfig, Tickets, TopicSettings};
pub use keys::{Keys, KeysConfig, KeysError, SecretFrom, Signing, trusted_line, worker_key_line};
pub use payloads::{AddressUnread, KeptIn, Payloads, PayloadsWritten, RedisAddress, RedisWritten};
pub use problem::{ConfigRefused, Problem};
pub use setting::{Setting, SettingUnread, Settings};
pub use written::{
    AuditWritten, KeysWritten, LimitsWritten, MembershipWritten, PoolWritten, RetentionWritten, SigningWritten,
    SpineWritten, TicketsWritten, TopicsWritten, TrustedWritten, WorkerKeyWritten, Written,
};

/// The names under which a configuration is looked for when none is given.
pub const DEFAULT_FILES: [&str; 2] = ["tidegate.yaml", "tidegate.yml"];

impl Written {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigRefused`] with every problem that stops it from being read.
    pub fn read(file: &Path) -> Result<Self, ConfigRefused> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            ConfigRefused::one(Problem::new(
                &name,
                None,
                format!("the file cannot be read: {error}"),
                "give the path of a configuration with `--config`; `tidegate config show` prints one with every default",
            ))
        })?;
        Self::parse(&name, &text)
    }

    /// Reads text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigRefused> {
        // A file of comments is one that says nothing.
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        serde_saphyr::from_str_with_options(text, lines::options()).map_err(|error| {
            let line = error.location().map(|at| at.line());
            let reason = error.without_snippet().render();
            let reason = reason.lines().next().unwrap_or("unreadable").to_owned();
            ConfigRefused::one(Problem::new(
                name,
                line,
                reason,
                "correct it; `examples/tidegate.yaml` shows every field with its meaning",
            ))
        })
    }

    /// The file as YAML, every default shown, secrets left as references.
    ///
    /// # Errors
    /// When it cannot be written as YAML.
    pub fn show(&self) -> Result<String, serde_saphyr::ser::Error> {
        serde_saphyr::to_string(self)
    }
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigRefused`] with every problem found.
    pub fn read(file: &Path) -> Result<Self, ConfigRefused> {
        let name = file.display().to_string();
        let written = Written::read(file)?;
        let text = std::fs::read_to_string(file).unwrap_or_default();
        Self::check(&written, &name, &text)
    }

    /// Reads and checks text; `name` stands for the file in errors.
    ///
    /// # Errors
    /// [`ConfigRefused`] with every problem found.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigRefused> {
        Self::check(&Written::parse(name, text)?, name, text)
    }

    /// Checks what was written in code.
    ///
    /// # Errors
    /// [`ConfigRefused`] with every problem found.
    pub fn of(written: &Written) -> Result<Self, ConfigRefused> {
        Self::check(written, "configuration", "")
    }
}
