//! Exit codes, after `sysexits.h` where it has one, and how a failure is told.

use std::ffi::OsString;
use std::process::ExitCode;

use tidegate_node::StartError;
use tidegate_node::spine::OpenError;
use tidegate_node::topics::WantedError;
use tidegate_spine::SpineError;

use crate::args::Output;
use crate::output;

/// Shown below `--help`.
pub(crate) const CODES: &str = "Exit codes:
  0   done
  1   a job did not succeed, a case failed, topics differ (`topics plan`), verdicts differ
      (`policy diff`), rules can never decide (`policy check`), something is to be mended (`doctor`), a command to a job or
      a worker was refused, or something that was asked for is not there; jobs were lost or doubled, or a signal stopped it before it had figures (`bench`)
  2   the command line is wrong
  3   the audit log was tampered with (`audit verify`, `audit export`)
  4   no record is bad, and whether all are there cannot be said (the same)
  65  the input is wrong
  69  the spine, the gateway or the address is not available
  70  a defect, or a failure without a code of its own
  78  the configuration, the policy, the credentials or the topics are wrong";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Unsuccessful = 1,
    Usage = 2,
    Tampered = 3,
    CannotSay = 4,
    Data = 65,
    Unavailable = 69,
    Software = 70,
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    pub(crate) fn say(exit: Exit, text: impl std::fmt::Display) -> Self {
        Self { exit, error: anyhow::anyhow!("{text}") }
    }

    pub(crate) fn tell(&self, format: Output) -> Exit {
        let mut told = String::new();
        for cause in self.error.chain() {
            let text = cause.to_string();
            // Transparent errors repeat what their source says.
            if !told.ends_with(&text) {
                if !told.is_empty() {
                    told.push_str(": ");
                }
                told.push_str(&text);
            }
        }
        eprintln!("error: {told}");
        if format == Output::Json {
            output::json(&serde_json::json!({ "error": told, "exit": self.exit as u8 }));
        }
        self.exit
    }
}

/// Tells what clap says: a wrong command line, or the help or version that was asked for. Where the words ask for JSON a wrong command
/// line is a document too.
pub(crate) fn of_words(error: &clap::Error, words: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A stream that cannot be written to has nobody to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done.into();
    }
    if asks_for_json(words) {
        let told = error.render().to_string();
        let told = told.trim().trim_start_matches("error: ");
        output::json(&serde_json::json!({ "error": told, "exit": Exit::Usage as u8 }));
    }
    Exit::Usage.into()
}

/// As far as it can be seen in words that are no command line. What stands behind `--` is somebody else's.
fn asks_for_json(words: impl IntoIterator<Item = OsString>) -> bool {
    let mut before = OsString::new();
    for word in words {
        if word == "--" {
            return false;
        }
        if word == "--output=json" || (before == "--output" && word == "json") {
            return true;
        }
        before = word;
    }
    false
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<StartError>() {
            Ok(start) => start.into(),
            Err(error) => Self { exit: Exit::Software, error },
        }
    }
}

impl From<tidegate_node::ConfigRefused> for Failure {
    fn from(error: tidegate_node::ConfigRefused) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(of_opening(&error), error)
    }
}

impl From<SpineError> for Failure {
    fn from(error: SpineError) -> Self {
        Self::new(of_spine(&error), error)
    }
}

impl From<WantedError> for Failure {
    fn from(error: WantedError) -> Self {
        Self::new(of_wanted(&error), error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let exit = match &error {
            StartError::Open(OpenError::Spine(spine)) | StartError::Look(spine) => of_spine(spine),
            StartError::Wanted(wanted) => of_wanted(wanted),
            StartError::Role(tidegate_node::roles::RoleError::Join { source, .. }) => of_spine(source),
            StartError::Listen { .. } => Exit::Unavailable,
            StartError::Open(_)
            | StartError::Topics { .. }
            | StartError::Rights { .. }
            | StartError::Apply(_)
            | StartError::Role(_)
            | StartError::Key(_)
            | StartError::Keys(_)
            | StartError::Data { .. }
            | StartError::Payloads { .. }
            | StartError::Worker { .. } => Exit::Config,
            StartError::Metrics(_) => Exit::Software,
        };
        Self::new(exit, error)
    }
}

/// A spine that cannot be opened.
pub(crate) const fn of_opening(error: &OpenError) -> Exit {
    match error {
        OpenError::Spine(spine) => of_spine(spine),
        OpenError::Setting(_) | OpenError::Url(_) | OpenError::NoSettings { .. } => Exit::Config,
    }
}

fn of_wanted(error: &WantedError) -> Exit {
    match error {
        WantedError::Spine(spine) => of_spine(spine),
        WantedError::Name(_) | WantedError::NoForeignTopic { .. } => Exit::Config,
    }
}

const fn of_spine(error: &SpineError) -> Exit {
    match error {
        SpineError::Unavailable { .. } | SpineError::InUse { .. } => Exit::Unavailable,
        SpineError::Denied { .. } | SpineError::UnknownTopic { .. } | SpineError::Invalid { .. } => Exit::Config,
        SpineError::Fatal { .. } => Exit::Software,
    }
}
