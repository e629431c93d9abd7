//! `tidegate bench`.

use tidegate_bench::{BenchArgs, Stopped};
use tidegate_node::spine::OpenError;

use super::{config_of, on_spine, runtime, told_to_stop};
use crate::args::{Global, Output};
use crate::exit::{Exit, Failure, of_opening};
use crate::output;

pub(crate) fn run(global: &Global, args: &BenchArgs) -> Result<Exit, Failure> {
    let settings = on_spine(config_of(global)?, Some(&args.spine))?.spine.settings;
    let runtime = runtime()?;
    let (lost, doubled) = if args.features {
        let features = runtime.block_on(tidegate_bench::features(args, &settings, told_to_stop())).map_err(failed)?;
        match global.output {
            Output::Json => output::json(&features),
            Output::Text => output::text_line(features.text().trim_end()),
        }
        (features.lost, features.doubled)
    } else if args.overload.is_some() {
        let isolation = runtime.block_on(tidegate_bench::isolation(args, &settings, told_to_stop())).map_err(failed)?;
        match global.output {
            Output::Json => output::json(&isolation),
            Output::Text => output::text_line(isolation.text().trim_end()),
        }
        (isolation.lost, isolation.doubled)
    } else {
        let report = runtime.block_on(tidegate_bench::run(args, &settings, told_to_stop())).map_err(failed)?;
        match global.output {
            Output::Json => output::json(&report),
            Output::Text => output::text_line(report.text().trim_end()),
        }
        (report.lost, report.doubled)
    };
    Ok(if lost == 0 && doubled == 0 { Exit::Done } else { Exit::Unsuccessful })
}

fn failed(error: anyhow::Error) -> Failure {
    let exit = match error.downcast_ref::<OpenError>() {
        _ if error.is::<Stopped>() => Exit::Unsuccessful,
        Some(closed) => of_opening(closed),
        None => Exit::Software,
    };
    Failure { exit, error }
}
