//! The [`Spine`] itself.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Sender, bounded, unbounded};
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{
    Ends, MemberOptions, Membership, Producer, ProducerOptions, Reader, Spine, SpineError, TopicSpec, TopicState,
};

use crate::catalog::Catalog;
use crate::groups::{EmbeddedMembership, Groups};
use crate::keeper::{self, Duty};
use crate::options::{Durability, EmbeddedOptions};
use crate::partition::Partition;
use crate::producer::EmbeddedProducer;
use crate::reader::EmbeddedReader;
use crate::writer::{self, Desk};

/// Threads that write and sync: syncs wait for the disk and not for a core, so several let them overlap.
const SYNCING: usize = 8;

/// Who writes; see [`writer`].
enum Writing {
    /// With `os`: the appenders, and a thread for what they leave. Dropping its sender ends it.
    Desk(Arc<Desk>, Option<(Sender<()>, JoinHandle<()>)>),
    /// With `fsync`: threads, and where partitions are announced to each; `None` ends it.
    Threads(Vec<Syncing>),
}

/// Where partitions are announced to a thread that writes and syncs, and the thread.
type Syncing = (Sender<Option<Arc<Partition>>>, JoinHandle<()>);

/// What everything handed out shares; the folder is closed when the last of it is dropped.
pub(crate) struct Core {
    url: String,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) groups: Arc<Groups>,
    writing: Writing,
    keeper: Sender<Duty>,
    keeping: Option<JoinHandle<()>>,
}

impl Core {
    /// Something waits to be written at `partition`; when this returns with `durability=os`, it often is.
    pub(crate) fn announce(&self, partition: Arc<Partition>) {
        // A writer ends only when nobody is left to append.
        match &self.writing {
            Writing::Desk(desk, thread) => {
                if let Some((tell, _)) = thread
                    && desk.announce(partition)
                {
                    // One that is told already looks again.
                    let _ = tell.try_send(());
                }
            }
            Writing::Threads(threads) => {
                if let Some((announce, _)) = threads.get(partition.writer) {
                    drop(announce.send(Some(partition)));
                }
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let join = |thread: JoinHandle<()>| {
            // A waker may hold the last handle and be dropped by one of our own threads, which cannot wait for itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!(spine = self.url, "a thread of the embedded spine panicked");
            }
        };
        match &mut self.writing {
            Writing::Desk(_, thread) => {
                if let Some((tell, thread)) = thread.take() {
                    drop(tell);
                    join(thread);
                }
            }
            Writing::Threads(threads) => {
                for (announce, thread) in threads.drain(..) {
                    drop(announce.send(None));
                    join(thread);
                }
            }
        }
        drop(self.keeper.send(Duty::Stop));
        if let Some(thread) = self.keeping.take() {
            join(thread);
        }
    }
}

/// A spine in a folder of this process; cheap to clone.
///
/// Everything taken from it keeps the folder open. When the last of it is dropped, what was handed over is written,
/// the segments are closed and the folder is free for the next.
#[derive(Clone)]
pub struct EmbeddedSpine(Arc<Core>);

impl std::fmt::Debug for EmbeddedSpine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EmbeddedSpine").field(&self.0.url).finish()
    }
}

impl EmbeddedSpine {
    /// Opens the folder, made when it does not exist. Blocks while it recovers: an index is read for every closed
    /// segment, and what was written since the last clean end is walked (about 1 GiB/s).
    ///
    /// # Errors
    /// [`SpineError::InUse`] when another process, or another spine of this one, has it open;
    /// [`SpineError::Invalid`] when it cannot be made, read or understood.
    pub fn open(options: EmbeddedOptions) -> Result<Self, SpineError> {
        let url = options.url();
        let durability = options.durability;
        let catalog = Arc::new(Catalog::open(options, SYNCING)?);
        let no_thread =
            |error: std::io::Error| SpineError::Fatal { spine: url.clone(), reason: format!("no thread: {error}") };
        let (keeper, duties) = unbounded();
        let groups = Arc::new(Groups::new(keeper.clone()));
        let mut core = Core {
            url: url.clone(),
            catalog: Arc::clone(&catalog),
            groups: Arc::clone(&groups),
            writing: Writing::Threads(Vec::new()),
            keeper: keeper.clone(),
            keeping: None,
        };
        let keep = move || keeper::run(&duties, &catalog, &groups);
        core.keeping = Some(thread::Builder::new().name("spine-keeper".into()).spawn(keep).map_err(no_thread)?);
        let spawn = |name: String, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name).spawn(run).map_err(no_thread)
        };
        match durability {
            Durability::Os => {
                let desk = Arc::new(Desk::new(keeper.clone()));
                let ((tell, told), at) = (bounded(1), Arc::clone(&desk));
                let thread = spawn("spine-write".into(), Box::new(move || at.run(&told)))?;
                core.writing = Writing::Desk(desk, Some((tell, thread)));
            }
            Durability::Fsync => {
                let mut threads = Vec::new();
                for n in 0..SYNCING {
                    let ((announce, announced), keeper) = (unbounded(), keeper.clone());
                    let run = move || writer::run_synced(&announced, &keeper);
                    threads.push((announce, spawn(format!("spine-write-{n}"), Box::new(run))?));
                }
                core.writing = Writing::Threads(threads);
            }
        }
        Ok(Self(Arc::new(core)))
    }

    /// Runs retention and compaction now instead of at its next round, compaction also where it is not yet worth it.
    ///
    /// # Errors
    /// [`SpineError::Fatal`] when the background thread has ended.
    pub async fn clean(&self) -> Result<(), SpineError> {
        let clean = |catalog: &Catalog, _: &Arc<Groups>| {
            keeper::clean_all(catalog);
            Ok(())
        };
        keeper::ask(&self.0.keeper, &self.0.url, clean).await
    }

    /// The position a group's members last published for a partition.
    #[must_use]
    pub fn committed(&self, group: &str, of: &TopicPartition) -> Option<Offset> {
        self.0.groups.committed(group, of)
    }
}

impl Spine for EmbeddedSpine {
    fn url(&self) -> &str {
        &self.0.url
    }

    fn producer(&self, options: ProducerOptions) -> BoxFuture<'_, Result<Box<dyn Producer>, SpineError>> {
        let producer: Box<dyn Producer> = Box::new(EmbeddedProducer::new(Arc::clone(&self.0), &options));
        ready(Ok(producer)).boxed()
    }

    fn reader(&self, _name: &str) -> BoxFuture<'_, Result<Box<dyn Reader>, SpineError>> {
        let reader: Box<dyn Reader> = Box::new(EmbeddedReader::new(Arc::clone(&self.0)));
        ready(Ok(reader)).boxed()
    }

    fn join(&self, options: MemberOptions) -> BoxFuture<'_, Result<Box<dyn Membership>, SpineError>> {
        let MemberOptions { group, topic, .. } = options;
        let Some(state) = self.0.catalog.describe(&topic) else {
            return ready(Err(SpineError::UnknownTopic { topic })).boxed();
        };
        let membership = EmbeddedMembership::join(Arc::clone(&self.0), group, topic, state.partitions);
        let membership: Box<dyn Membership> = Box::new(membership);
        ready(Ok(membership)).boxed()
    }

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Ends>, SpineError>> {
        let ends = |at: &TopicPartition| {
            let unknown = || SpineError::UnknownTopic { topic: at.topic.clone() };
            Ok(self.0.catalog.partition(at).ok_or_else(unknown)?.ends())
        };
        ready(of.iter().map(ends).collect()).boxed()
    }

    fn describe<'a>(&'a self, topics: &'a [TopicName]) -> BoxFuture<'a, Result<Vec<Option<TopicState>>, SpineError>> {
        ready(Ok(topics.iter().map(|name| self.0.catalog.describe(name)).collect())).boxed()
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<TopicName>, SpineError>> {
        ready(Ok(self.0.catalog.list(prefix))).boxed()
    }

    fn create<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        let spec = topic.clone();
        keeper::ask(&self.0.keeper, &self.0.url, move |catalog, _| catalog.create(&spec)).boxed()
    }

    fn alter<'a>(&'a self, topic: &'a TopicSpec) -> BoxFuture<'a, Result<(), SpineError>> {
        let spec = topic.clone();
        let alter = move |catalog: &Catalog, groups: &Arc<Groups>| {
            catalog.alter(&spec)?;
            groups.resized(&spec.name, spec.partitions);
            Ok(())
        };
        keeper::ask(&self.0.keeper, &self.0.url, alter).boxed()
    }

    fn delete<'a>(&'a self, topic: &'a TopicName) -> BoxFuture<'a, Result<(), SpineError>> {
        let name = topic.clone();
        let delete = move |catalog: &Catalog, groups: &Arc<Groups>| {
            catalog.delete(&name)?;
            groups.resized(&name, 0);
            Ok(())
        };
        keeper::ask(&self.0.keeper, &self.0.url, delete).boxed()
    }

    fn trim<'a>(&'a self, partition: &'a TopicPartition, before: Offset) -> BoxFuture<'a, Result<(), SpineError>> {
        let at = partition.clone();
        keeper::ask(&self.0.keeper, &self.0.url, move |catalog, _| catalog.trim(&at, before)).boxed()
    }
}
