//! `tidegate top`: pools and workers, again and again. Plain ANSI: a picture replaces the one before; Ctrl-C ends it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;
use tidegate_node::gateway::http::{PoolList, WorkerList};

use super::fleet::{POOLS, WORKERS, pool_row, worker_row};
use super::{runtime, told_to_stop};
use crate::args::{Global, Output, TopArgs};
use crate::backend::{Backend, reach};
use crate::exit::{Exit, Failure};
use crate::output;

/// Fewer than that a picture is not worth its questions.
const SHORTEST: Duration = Duration::from_millis(200);

/// One picture, as JSON.
#[derive(Serialize)]
struct Picture {
    #[serde(flatten)]
    pools: PoolList,
    #[serde(flatten)]
    workers: WorkerList,
}

pub(crate) fn run(global: &Global, args: &TopArgs) -> Result<Exit, Failure> {
    let backend = reach(global, &args.reach)?;
    let live = !args.once && global.output == Output::Text && std::io::stdout().is_terminal();
    if args.once {
        tell(global, &look(&*backend, args)?, args);
        return Ok(Exit::Done);
    }
    let runtime = runtime()?;
    let mut stop = Box::pin(told_to_stop());
    // Signals are heard from here on, so that the cursor comes back however soon one is sent.
    let at_once = std::future::poll_fn(|cx| std::task::Poll::Ready(stop.as_mut().poll(cx).is_ready()));
    if runtime.block_on(at_once) {
        return Ok(Exit::Done);
    }
    let shown = Screen::begin(live);
    loop {
        let picture = look(&*backend, args)?;
        shown.clear();
        tell(global, &picture, args);
        let interval = args.interval.max(SHORTEST);
        let stopped = runtime.block_on(async {
            tokio::select! {
                biased;
                () = &mut stop => true,
                () = tokio::time::sleep(interval) => false,
            }
        });
        if stopped {
            return Ok(Exit::Done);
        }
    }
}

fn look(backend: &dyn Backend, args: &TopArgs) -> Result<Picture, Failure> {
    let (pools, mut workers) = (backend.pools(args.pool.as_deref())?, backend.workers(args.pool.as_deref())?);
    // Stable: those with as many jobs stay in order of their names.
    workers.workers.sort_by_key(|worker| std::cmp::Reverse(worker.running));
    Ok(Picture { pools, workers })
}

fn tell(global: &Global, picture: &Picture, args: &TopArgs) {
    if global.output == Output::Json {
        return output::json(picture);
    }
    let (pools, workers) = (&picture.pools.pools, &picture.workers.workers);
    let rows: Vec<Vec<String>> = pools.iter().map(pool_row).collect();
    output::text_line(&output::table(&POOLS, &rows));
    output::text_line("");
    let rows: Vec<Vec<String>> = workers.iter().take(args.workers).map(worker_row).collect();
    output::text_line(&output::table(&WORKERS, &rows));
    if workers.len() > args.workers {
        output::text_line(&format!("and {} more; `tidegate workers list` has them all", workers.len() - args.workers));
    }
}

/// The terminal, which gets its cursor back when this ends.
struct Screen {
    live: bool,
}

impl Screen {
    fn begin(live: bool) -> Self {
        let screen = Self { live };
        screen.write("\x1b[?25l");
        screen
    }

    /// Home, and everything below it gone.
    fn clear(&self) {
        self.write("\x1b[H\x1b[J");
    }

    fn write(&self, code: &str) {
        if self.live {
            let mut out = std::io::stdout().lock();
            // Nobody is left to be shown anything.
            let _ = out.write_all(code.as_bytes()).and_then(|()| out.flush());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.write("\x1b[?25h");
    }
}
