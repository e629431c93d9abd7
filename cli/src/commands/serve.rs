//! `tidegate serve`.

use tidegate_node::serve;

use super::{config_of, on_spine, runtime, told_to_stop};
use crate::args::{Global, Output, ServeArgs};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) fn run(global: &Global, args: &ServeArgs) -> Result<Exit, Failure> {
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
    let roles = args.roles.iter().copied().collect();
    runtime()?.block_on(async {
        let mut stop = std::pin::pin!(told_to_stop());
        let node = tokio::select! {
            biased;
            () = &mut stop => return Ok(Exit::Done),
            node = serve(config, roles) => node?,
        };
        let words: Vec<&str> = args.roles.iter().map(|role| role.word()).collect();
        let url = format!("http://{}", node.address());
        match global.output {
            Output::Json => output::json(&serde_json::json!({ "url": url, "roles": words })),
            Output::Text => {
                output::text_line(&format!("{} at {url}; `{url}/readyz` says when it is ready", words.join(", ")))
            }
        }
        stop.await;
        node.stop().await;
        Ok(Exit::Done)
    })
}
