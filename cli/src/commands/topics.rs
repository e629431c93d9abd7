//! `tidegate topics`.

use std::sync::Arc;

use clap::ValueEnum as _;
use serde_json::Value;
use tidegate_node::Config;
use tidegate_node::topics::{ApplyError, Export, Plan, Wanted, apply, export, plan, wanted, wanted_unasked};
use tidegate_spine::Spine;

use super::{config_of, on_spine, runtime};
use crate::args::{ExportForm, Global, Output, SpineArgs, TopicsCommand};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, command: TopicsCommand) -> Result<Exit, Failure> {
    let (TopicsCommand::Plan(spine) | TopicsCommand::Apply(spine) | TopicsCommand::Export { spine, .. }) = &command;
    let config = opened(global, spine)?;
    // Whoever makes the topics may have no broker yet, or none that is to be had from here.
    if let TopicsCommand::Export { format, .. } = &command
        && let Some(wanted) = wanted_unasked(&config)?
    {
        return told(global, &config, &wanted, *format);
    }
    runtime()?.block_on(async {
        let spine = tidegate_node::spine::open(&config.spine).await?;
        match command {
            TopicsCommand::Plan(_) => {
                let plan = made(&config, &spine).await?;
                let exit = if plan.is_clean() { Exit::Done } else { Exit::Unsuccessful };
                show(global, &plan, false);
                Ok(exit)
            }
            TopicsCommand::Apply(_) => {
                let plan = made(&config, &spine).await?;
                apply(&plan, &*spine).await.map_err(failed)?;
                show(global, &plan, true);
                Ok(Exit::Done)
            }
            TopicsCommand::Export { format, .. } => {
                let wanted = wanted(&config, &*spine).await?;
                told(global, &config, &wanted, format)
            }
        }
    })
}

fn told(global: &Global, config: &Config, wanted: &[Wanted], format: ExportForm) -> Result<Exit, Failure> {
    match global.output {
        Output::Text => output::text_line(export(&config.prefix, wanted, form(format)).trim_end()),
        Output::Json => output::json(&document(&config.prefix, wanted, format)?),
    }
    Ok(Exit::Done)
}

const fn form(format: ExportForm) -> Export {
    match format {
        ExportForm::Text => Export::Text,
        ExportForm::Json => Export::Json,
        ExportForm::KafkaTopics => Export::KafkaTopics,
        ExportForm::Strimzi => Export::Strimzi,
        ExportForm::Terraform => Export::Terraform,
        ExportForm::Acls => Export::Acls,
    }
}

/// The topics as one document; what other tools read stands in it as text, under `format`.
fn document(prefix: &str, wanted: &[Wanted], format: ExportForm) -> Result<Value, Failure> {
    match format {
        ExportForm::Text | ExportForm::Json => {
            let topics: Value = serde_json::from_str(&export(prefix, wanted, Export::Json))
                .map_err(|error| Failure::new(Exit::Software, error))?;
            Ok(serde_json::json!({ "format": "json", "topics": topics }))
        }
        ExportForm::KafkaTopics | ExportForm::Strimzi | ExportForm::Terraform | ExportForm::Acls => {
            let word = format.to_possible_value().map(|word| word.get_name().to_owned());
            Ok(serde_json::json!({ "format": word, "text": export(prefix, wanted, form(format)) }))
        }
    }
}

fn opened(global: &Global, spine: &SpineArgs) -> Result<Config, Failure> {
    on_spine(config_of(global)?, spine.spine.as_ref())
}

async fn made(config: &Config, spine: &Arc<dyn Spine>) -> Result<Plan, Failure> {
    Ok(plan(wanted(config, &**spine).await?, &**spine).await?)
}

fn show(global: &Global, plan: &Plan, applied: bool) {
    if global.output == Output::Json {
        output::json(&serde_json::json!({
            "topics": plan.wanted.len(), "applied": applied, "differences": plan.differences,
        }));
        return;
    }
    output::text_line(&plan.to_string());
    if !plan.is_clean() {
        output::text_line(if applied { "applied" } else { "`tidegate topics apply` makes it so" });
    }
}

fn failed(error: ApplyError) -> Failure {
    let exit = match &error {
        ApplyError::Impossible { .. } | ApplyError::Name(_) => Exit::Config,
        ApplyError::Topic { .. } | ApplyError::Terms(_) | ApplyError::TermNotWritten(_) | ApplyError::NoProducer(_) => {
            Exit::Unavailable
        }
    };
    Failure::new(exit, error)
}
