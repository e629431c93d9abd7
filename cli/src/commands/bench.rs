//! `tidegate bench`.

use super::runtime;
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, args: &tidegate_bench::BenchArgs) -> Result<Exit, Failure> {
    let report = runtime()?.block_on(tidegate_bench::run(args))?;
    match global.output {
        Output::Json => output::json(&report),
        Output::Text => output::text_line(report.text().trim_end()),
    }
    Ok(if report.lost == 0 && report.doubled == 0 { Exit::Done } else { Exit::Unsuccessful })
}
