//! `tidegate policy bench`.

use tidegate_policy_bench::{ENGINES, PolicyBenchArgs, Report, Row};

use crate::args::{Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(super) fn run(global: &Global, args: &PolicyBenchArgs) -> Result<Exit, Failure> {
    let report = tidegate_policy_bench::run(args, ENGINES)?;
    match global.output {
        Output::Json => output::json(&report),
        Output::Text => {
            let rows: Vec<_> = report.rows.iter().map(Row::cells).collect();
            output::text_line(&output::table(Report::HEAD, &rows));
        }
    }
    Ok(Exit::Done)
}
