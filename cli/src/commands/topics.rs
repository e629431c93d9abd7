//! `tidegate topics`.

use std::sync::Arc;

use tidegate_node::Config;
use tidegate_node::topics::{ApplyError, Export, Plan, apply, export, plan, wanted};
use tidegate_spine::Spine;

use super::{config_of, on_spine, runtime};
use crate::args::{ExportForm, Global, Output, SpineArgs, TopicsCommand};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, command: TopicsCommand) -> Result<Exit, Failure> {
    let (TopicsCommand::Plan(spine) | TopicsCommand::Apply(spine) | TopicsCommand::Export { spine, .. }) = &command;
    let config = opened(global, spine)?;
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
                let form = match format {
                    ExportForm::Text => Export::Text,
                    ExportForm::Json => Export::Json,
                    ExportForm::KafkaTopics => Export::KafkaTopics,
                    ExportForm::Strimzi => Export::Strimzi,
                    ExportForm::Terraform => Export::Terraform,
                    ExportForm::Acls => Export::Acls,
                };
                output::text_line(export(&config.prefix, &wanted(&config, &*spine).await?, form).trim_end());
                Ok(Exit::Done)
            }
        }
    })
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
