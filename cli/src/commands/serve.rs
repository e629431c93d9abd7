//! `tidegate serve`. SIGHUP has it read its configuration again, for its pools ([`super::reloading`]).

use tidegate_node::{Config, Node, serve};

use super::reloading::{self, Hangups};
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

async fn reload(node: &mut Node, global: &Global, args: &ServeArgs) {
    reloading::say(match config(global, args) {
        Ok(config) => Ok(node.reload(&config).await),
        Err(failure) => Err(failure),
    });
}

pub(crate) fn run(global: &Global, args: &ServeArgs) -> Result<Exit, Failure> {
    let config = config(global, args)?;
    let roles = args.roles.iter().copied().collect();
    runtime()?.block_on(async {
        let mut stop = std::pin::pin!(told_to_stop());
        let mut hangups = Hangups::listen();
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
                () = hangups.next() => {}
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
