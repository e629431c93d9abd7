//! Signs of progress on their way from running jobs to the worker's loop: bounded in number and in bytes, whatever jobs tell.
//! Best effort: what has no room is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tidegate_protocol::fleet::Partial;
use tokio::sync::mpsc;

use crate::session::{JobKey, PARTIAL, partial};

/// Signs that may wait for the loop.
const SIGNS: usize = 1_024;

/// A sign of progress.
#[derive(Debug)]
pub(crate) struct Sign {
    pub(crate) shard: usize,
    pub(crate) job: JobKey,
    pub(crate) said: Said,
}

/// What is said.
#[derive(Debug)]
pub(crate) enum Said {
    /// How far it is.
    Progress { fraction: Option<f64>, note: String },
    /// A piece of its output.
    Partial(Partial),
}

impl Said {
    /// Bytes of output.
    fn bytes(&self) -> usize {
        match self {
            Self::Progress { .. } => 0,
            Self::Partial(piece) => piece.text.len(),
        }
    }
}

/// Where jobs tell. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Signs {
    to: mpsc::Sender<Sign>,
    /// Bytes of output on their way.
    bytes: Arc<AtomicUsize>,
}

/// Where the loop hears.
#[derive(Debug)]
pub(crate) struct Heard {
    from: mpsc::Receiver<Sign>,
    bytes: Arc<AtomicUsize>,
}

pub(crate) fn signs() -> (Signs, Heard) {
    let ((to, from), bytes) = (mpsc::channel(SIGNS), Arc::<AtomicUsize>::default());
    (Signs { to, bytes: Arc::clone(&bytes) }, Heard { from, bytes })
}

impl Signs {
    /// Tells, unless too much waits already: progress is the first thing a busy loop may lose. Of a larger piece than is sent at
    /// once its beginning goes.
    pub(crate) fn say(&self, mut sign: Sign) {
        if let Said::Partial(piece) = &mut sign.said {
            piece.text.truncate(partial::head(&piece.text).len());
        }
        let bytes = sign.said.bytes();
        let room = |waiting: usize| waiting.checked_add(bytes).filter(|all| *all <= PARTIAL.1);
        if self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_ok() && self.to.try_send(sign).is_err()
        {
            self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
    }
}

impl Heard {
    /// The next; never the end, since the loop keeps a [`Signs`] to give to jobs.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Sign>> {
        let polled = self.from.poll_recv(cx);
        if let Poll::Ready(Some(sign)) = &polled {
            self.bytes.fetch_sub(sign.said.bytes(), Ordering::AcqRel);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tidegate_protocol::facts::Token;

    use super::*;

    #[test]
    fn no_more_output_waits_than_is_sent_at_once_however_large_the_pieces() {
        let (signs, mut heard) = signs();
        let job = JobKey { source: "jobs/0@1".parse().unwrap(), token: Token { epoch: 1, attempt: 1 } };
        let said = |bytes: usize| Said::Partial(Partial { at: 0, text: "x".repeat(bytes) });
        for _ in 0..100 {
            signs.say(Sign { shard: 0, job: job.clone(), said: said(1 << 20) });
        }
        let mut cx = Context::from_waker(Waker::noop());
        let mut waited = 0;
        while let Poll::Ready(Some(sign)) = heard.poll(&mut cx) {
            assert_eq!(sign.said.bytes(), PARTIAL.0, "a piece is cut");
            waited += sign.said.bytes();
        }
        assert_eq!(waited, PARTIAL.1);
        signs.say(Sign { shard: 0, job, said: said(1) });
        assert!(heard.poll(&mut cx).is_ready(), "there is room again");
    }
}
