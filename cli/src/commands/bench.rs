//! `tidegate bench`.

use super::runtime;
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, args: &tidegate_bench::BenchArgs) -> Result<Exit, Failure> {
    if args.features {
        let features = runtime()?.block_on(tidegate_bench::features(args))?;
        match global.output {
            Output::Json => output::json(&features),
            Output::Text => output::text_line(features.text().trim_end()),
        }
        return Ok(if features.lost == 0 && features.doubled == 0 { Exit::Done } else { Exit::Unsuccessful });
    }
    let report = runtime()?.block_on(tidegate_bench::run(args))?;
    match global.output {
        Output::Json => output::json(&report),
        Output::Text => output::text_line(report.text().trim_end()),
    }
    Ok(if report.lost == 0 && report.doubled == 0 { Exit::Done } else { Exit::Unsuccessful })
}
