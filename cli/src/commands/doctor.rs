//! `tidegate doctor`.

use tidegate_node::doctor::{Asked, Level, Report, examine};

use super::{config_of, on_spine, runtime};
use crate::args::{DoctorArgs, Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, args: &DoctorArgs) -> Result<Exit, Failure> {
    let config = on_spine(config_of(global)?, args.spine.spine.as_ref())?;
    let asked = Asked { roles: args.roles.iter().copied().collect(), write: args.write, patience: args.within };
    let report = runtime()?.block_on(examine(&config, &asked));
    match global.output {
        Output::Json => output::json(&report),
        Output::Text => show(&report),
    }
    Ok(match (report.reached, report.level()) {
        (false, _) => Exit::Unavailable,
        (true, Level::Bad) => Exit::Unsuccessful,
        (true, Level::Ok | Level::Note) => Exit::Done,
    })
}

fn show(report: &Report) {
    for finding in &report.findings {
        output::text_line(&format!("{:5} {:7} {}", finding.level.word(), finding.check, finding.what));
        if !finding.remedy.is_empty() {
            output::text_line(&format!("{:13} -> {}", "", finding.remedy));
        }
    }
    let bad = report.findings.iter().filter(|finding| finding.level == Level::Bad).count();
    let notes = report.findings.iter().filter(|finding| finding.level == Level::Note).count();
    output::text_line(&match (bad, notes) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, notes) => format!("nothing is wrong, {notes} to be known"),
        (bad, notes) => format!("{bad} to be mended, {notes} to be known"),
    });
}
