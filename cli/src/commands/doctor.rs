//! `tidegate doctor`.

use tidegate_node::doctor::{Asked, Level, Report, examine};

use super::{config_file, config_of, on_spine, runtime};
use crate::args::{DoctorArgs, Global, Output};
use crate::backend::OverHttp;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, args: &DoctorArgs) -> Result<Exit, Failure> {
    let report = match running(global, args) {
        Some(gateway) => {
            let gateway = gateway?;
            tracing::info!(url = gateway.url(), "the process there looks at itself");
            gateway.doctor(args.write, args.within)?
        }
        // The default configuration is nobody's installation, and to look at it would make its folder.
        None if config_file(global).is_none() && args.spine.spine.is_none() => {
            let data = args.gateway.data.display();
            return Err(Failure::say(
                Exit::Unavailable,
                format!(
                    "no `tidegate dev` runs in `{data}`, and there is no configuration here; start one, or say what to look at with `--config`, `--spine` or `--url`"
                ),
            ));
        }
        None => from_here(global, args)?,
    };
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

/// The process that is to look at itself: the one that was named, else the `tidegate dev` of the data folder, unless a
/// configuration or a spine was named. Nobody else can open its spine.
fn running(global: &Global, args: &DoctorArgs) -> Option<Result<OverHttp, Failure>> {
    let gateway = &args.gateway;
    let elsewhere = global.config.is_some() || args.spine.spine.is_some();
    let runs_here = !elsewhere && gateway.data.join("address").is_file();
    (gateway.url.is_some() || runs_here).then(|| OverHttp::find(gateway))
}

fn from_here(global: &Global, args: &DoctorArgs) -> Result<Report, Failure> {
    let config = on_spine(config_of(global)?, args.spine.spine.as_ref())?;
    let asked = Asked { roles: args.roles.iter().copied().collect(), write: args.write, patience: args.within };
    Ok(runtime()?.block_on(examine(&config, &asked)))
}

fn show(report: &Report) {
    for (at, finding) in report.findings.iter().enumerate() {
        output::text_line(&format!("{:5} {:7} {}", finding.level.word(), finding.check, finding.what));
        // Once for findings that follow each other and are mended alike.
        let next = report.findings.get(at + 1);
        let again = next.is_some_and(|next| next.check == finding.check && next.remedy == finding.remedy);
        if !finding.remedy.is_empty() && !again {
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
