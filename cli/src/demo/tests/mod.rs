//! The demo as a whole, in this process, on the embedded spine.

mod own_stream;
mod real_traces;
mod refusals;

use std::path::{Path, PathBuf};

use super::{DemoArgs, Report, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the demo in `folder` and stops it.
async fn played(folder: &Path, input: Vec<PathBuf>, policy: Option<PathBuf>) -> Report {
    played_by(folder, input, policy, false).await
}

/// The same; with `answer` somebody plays the people who are asked.
async fn played_by(folder: &Path, input: Vec<PathBuf>, policy: Option<PathBuf>, answer: bool) -> Report {
    let data = Some(folder.join("data"));
    let args = DemoArgs { input, policy, data, rate: 2_000.0, answer, keep: false, listen: None };
    let demo = run(&args).await.unwrap_or_else(|failure| panic!("{:#}", failure.error));
    let report = demo.report.clone();
    demo.stop().await;
    assert_eq!(report.missing, [""; 0]);
    assert!(report.is_complete());
    assert_eq!(report.approved + report.denied + report.held + report.dead, report.submitted);
    report
}

fn names(calls: &[super::report::Call]) -> Vec<&str> {
    calls.iter().map(|call| call.id.as_str()).collect()
}
