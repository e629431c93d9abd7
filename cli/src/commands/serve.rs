//! `tidegate serve`. SIGHUP has it read its configuration again, for its pools ([`tidegate_node::pools`]).

use tidegate_node::{Config, Node, serve};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{config_of, on_spine, runtime, told_to_stop};
use crate::args::{Global, Output, ServeArgs};
use crate::exit::{Exit, Failure};
use crate::output;

/// The configuration with what the command line says instead.
fn config(global: &Global, args: &ServeArgs) -> Result<Config, Failure> {
    let mut config = on_spine(config_of(global)?, args.spine.as_ref())?;
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if let Some(policy) = &args.policy {
        config.policy.clone_from(policy);
    }
    if let Some(name) = &args.instance_id {
        config.membership.instance = Some(name.clone());
    }
    Ok(config)
}

/// Every SIGHUP from now on; none where they cannot be listened for.
async fn hung_up(signals: &mut Option<Signal>) {
    let heard = match signals {
        Some(signals) => signals.recv().await,
        None => None,
    };
    if heard.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn reload(node: &mut Node, global: &Global, args: &ServeArgs) {
    let config = match config(global, args) {
        Ok(config) => config,
        Err(failure) => {
            let reason = format!("{:#}", failure.error);
            return tracing::error!(reason, "the configuration is not taken over; this process goes on as it was");
        }
    };
    match node.reload(&config).await {
        Ok(change) => {
            tracing::info!(%change, "the configuration was read again");
            for shard in &change.stand_still {
                tracing::error!(%shard, "the configuration was taken over, but this shard stands still: mend it and restart the process");
            }
            if change.gateway_wants_restart {
                tracing::warn!(
                    "the HTTP API of this process shows and leases the pools it began with: restart it for the others"
                );
            }
        }
        Err(refused) => {
            let cause = std::error::Error::source(&refused).map(ToString::to_string).unwrap_or_default();
            tracing::error!(%refused, cause, "the configuration is not taken over; this process goes on as it was");
        }
    }
}

pub(crate) fn run(global: &Global, args: &ServeArgs) -> Result<Exit, Failure> {
    let config = config(global, args)?;
    let roles = args.roles.iter().copied().collect();
    runtime()?.block_on(async {
        let mut stop = std::pin::pin!(told_to_stop());
        let mut hangups = signal(SignalKind::hangup()).ok();
        let node = tokio::select! {
            biased;
            () = &mut stop => return Ok(Exit::Done),
            node = serve(config, roles) => node?,
        };
        let mut node = node;
        let words: Vec<&str> = args.roles.iter().map(|role| role.word()).collect();
        let url = format!("http://{}", node.address());
        match global.output {
            Output::Json => output::json(&serde_json::json!({ "url": url, "roles": words })),
            Output::Text => {
                output::text_line(&format!("{} at {url}; `{url}/readyz` says when it is ready", words.join(", ")))
            }
        }
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = hung_up(&mut hangups) => {}
            }
            // With a broker away a reload takes long; what is under way then ends with the process.
            tokio::select! {
                biased;
                () = &mut stop => break,
                () = reload(&mut node, global, args) => {}
            }
        }
        node.stop().await;
        Ok(Exit::Done)
    })
}
