//! `tidegate dev`. SIGHUP has it read its configuration again, for its pools, and without one ends it ([`super::reloading`]).

use std::time::Duration;

use tidegate_node::workers::offered;
use tidegate_node::{Dev, DevNode, dev};

use super::reloading::{self, Hangups};
use super::{runtime, told_to_stop, written_of};
use crate::args::{DevArgs, Global, Output};
use crate::exit::{Exit, Failure};
use crate::output;

/// When it is usually ready.
const SOON: Duration = Duration::from_secs(3);
/// Longest time to an answer of an MCP server.
const MCP_ANSWER: Duration = Duration::from_secs(600);

pub(crate) fn run(global: &Global, args: DevArgs) -> Result<Exit, Failure> {
    if let Some(folder) = args.policy.as_ref().filter(|folder| !folder.is_dir()) {
        return Err(Failure::say(
            Exit::Config,
            format!(
                "`--policy`: there is no folder `{}`; make it, or leave the option out for an example",
                folder.display()
            ),
        ));
    }
    let mut how = Dev {
        data: args.data.clone(),
        listen: args.listen,
        config: written_of(global)?,
        policy: args.policy,
        workers: args.workers,
        concurrency: args.concurrency,
        capabilities: args.capabilities,
        durability: args.durability,
    };
    let reloads = how.config.is_some();
    runtime()?.block_on(async {
        // Before anything starts, so that a signal during the start is not lost.
        let mut hangups = if reloads { Hangups::listen() } else { Hangups::none() };
        let mut stop = std::pin::pin!(async {
            tokio::select! {
                () = told_to_stop() => {}
                () = reloading::terminal_closed(), if !reloads => {}
            }
        });
        for server in args.mcp {
            how.workers.extend(tokio::select! {
                biased;
                () = &mut stop => return Ok(Exit::Done),
                tools = offered(server, None, MCP_ANSWER) => tools?,
            });
        }
        let mut node = tokio::select! {
            biased;
            () = &mut stop => return Ok(Exit::Done),
            node = dev(how) => node?,
        };
        let ready = tokio::select! {
            () = &mut stop => false,
            () = node.ready() => true,
            never = say_what_it_waits_for(&node) => match never {},
        };
        if ready {
            say(global, &args.data, &node);
            follow(&mut node, global, &mut hangups, stop).await;
        }
        node.stop().await;
        Ok(Exit::Done)
    })
}

/// Until it is told to stop. With much to take over a reload takes a while; what is under way then ends with the process.
async fn follow(
    node: &mut DevNode,
    global: &Global,
    hangups: &mut Hangups,
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
) {
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = hangups.next() => {}
        }
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = reload(node, global) => {}
        }
    }
}

async fn reload(node: &mut DevNode, global: &Global) {
    reloading::say(match written_of(global) {
        Ok(written) => Ok(node.reload_written(written.unwrap_or_default()).await),
        Err(failure) => Err(failure),
    });
}

/// Once, where it is not ready soon: else nothing but the log would say that something is wrong.
async fn say_what_it_waits_for(node: &DevNode) -> std::convert::Infallible {
    tokio::time::sleep(SOON).await;
    let url = format!("http://{}", node.address());
    eprintln!("not ready yet at {url}: {}; the log above says more", node.readiness().waits_for.join(", "));
    std::future::pending().await
}

fn say(global: &Global, data: &std::path::Path, node: &DevNode) {
    let url = format!("http://{}", node.address());
    if global.output == Output::Json {
        output::json(&serde_json::json!({
            "url": url, "data": data, "key": data.join("key"), "policy": node.config().policy,
        }));
        return;
    }
    let policy = node.config().policy.display();
    output::text_line(&format!(
        "Tidegate is ready at {url}\n  data    {}\n  key     {}\n  policy  {policy} (read again when you save a file; raise its revision)\n\n\
         Try, in another terminal:\n  \
         echo '{{\"tenant\":\"acme\",\"topic\":\"job.demo.hello\",\"capability\":\"echo\",\"payload\":{{\"name\":\"Ada\"}}}}' | tidegate submit\n  \
         tidegate jobs list\n  tidegate worker --help\n\nCtrl-C stops it; nothing is lost.",
        data.display(),
        data.join("key").display(),
    ));
}
