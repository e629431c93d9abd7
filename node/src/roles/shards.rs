//! Holding the shards a group gives: one run per shard, started when it is assigned, stopped when it is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Change, MemberOptions, Membership, SpineError};
use tidegate_stage::{Ended, Reached, Run, ShardEvent, ShardSpec, Stage, Watch};
use tokio::task::{JoinHandle, JoinSet};

use super::lag::{Behind, Latest, Positions};
use super::{Ground, Role};
use crate::checkpoint_file::CheckpointFile;
use crate::readiness::{Board, Standing};

/// Longest wait for a shard to stop in order; its successor fences it anyway.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause before joining is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// A role cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Names in the configuration make no topics or senders.
    #[error("role {role} cannot begin: {reason}")]
    Made {
        /// The role.
        role: Role,
        /// Why.
        reason: String,
    },
    /// Its group cannot be joined.
    #[error("role {role} cannot join its group")]
    Join {
        /// The role.
        role: Role,
        /// Why.
        source: SpineError,
    },
}

/// A role at work; ends when its `stop` is dropped or used.
pub(crate) struct Hosting {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    telling: mpsc::UnboundedSender<Told>,
    latest: Latest,
}

impl Hosting {
    /// Lets its shards go in order and takes them over again, as they are made from now on. The group does not notice. When it
    /// returns nobody decides by what was before. It gives those that could not be taken over again.
    pub(crate) async fn renew(&self) -> Vec<StandsStill> {
        let (done, renewed) = oneshot::channel();
        // A role that has ended has nothing to renew.
        let _ = self.telling.unbounded_send(Told::Renew(done));
        renewed.await.unwrap_or_default()
    }

    /// The latest positions of its shards.
    pub(crate) fn latest(&self) -> &Latest {
        &self.latest
    }

    /// Stops its shards in order and leaves the group.
    pub(crate) async fn stop(mut self) {
        self.stop.take();
        // A task that panicked has stopped as well; its shards are taken over by claim and fence.
        let _ = self.task.await;
    }
}

/// How a shard is run, from one look at what its role is made from: what it claims fits what its stages do.
pub(crate) struct Begun<S> {
    pub(crate) spec: ShardSpec,
    /// Makes a stage for an ownership.
    pub(crate) make: Box<dyn Fn() -> S + Send + Sync>,
}

/// A shard that stands still after a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shard {shard} of role {role} stands still: {reason}")]
pub struct StandsStill {
    /// The role.
    pub role: Role,
    /// The shard.
    pub shard: u32,
    /// Why.
    pub reason: String,
}

/// Makes the stages of a role.
pub(crate) trait Shards: Send + Sync + 'static {
    type Stage: Stage + Send + 'static;

    /// The role, for people and metrics.
    const ROLE: Role;

    /// What the shard reads and writes, and its stages, both by what the role is made from now.
    fn begin(self: &Arc<Self>, shard: u32) -> Result<Begun<Self::Stage>, String>;

    /// Where signals for the shard come from.
    fn signals(&self, shard: u32) -> mpsc::UnboundedReceiver<<Self::Stage as Stage>::Signal>;

    /// The shard is no longer ours.
    fn released(&self, shard: u32);

    /// How far the shards here were found behind their inputs, every few seconds.
    fn looked(&self, found: &[Behind]) {
        let _ = found;
    }
}

/// Joins `group` on the facts topic and holds what it is given.
pub(crate) async fn hold<M: Shards>(
    ground: Ground,
    group: String,
    facts: TopicName,
    shards: Arc<M>,
) -> Result<Hosting, RoleError> {
    let role = M::ROLE;
    let options = MemberOptions {
        group,
        topic: facts,
        instance: ground.config.membership.instance.clone(),
        session_timeout_ms: ground.config.membership.session_timeout_ms,
    };
    ground.board.expect(role, &options.group);
    let membership = ground.spine.join(options.clone()).await.map_err(|source| {
        ground.board.forget(&options.group);
        RoleError::Join { role, source }
    })?;
    let (stop, stopped) = oneshot::channel();
    let (telling, told) = mpsc::unbounded();
    let told_of = Arc::clone(&shards);
    let positions = Positions::new(Arc::clone(&ground.spine), move |found| told_of.looked(found));
    let latest = positions.latest();
    let holder = Holder {
        ground,
        options,
        shards,
        given: BTreeSet::new(),
        running: BTreeMap::new(),
        telling: telling.clone(),
        told,
        positions,
        trims: JoinSet::new(),
    };
    let task = tokio::spawn(holder.run(membership, stopped));
    Ok(Hosting { stop: Some(stop), task, telling, latest })
}

struct Holder<M: Shards> {
    ground: Ground,
    options: MemberOptions,
    shards: Arc<M>,
    /// What the group has given, running or not.
    given: BTreeSet<u32>,
    running: BTreeMap<u32, Running>,
    telling: mpsc::UnboundedSender<Told>,
    told: mpsc::UnboundedReceiver<Told>,
    positions: Positions,
    trims: JoinSet<()>,
}

/// What a holder is asked for, by a shard's runner or by whoever holds its [`Hosting`].
enum Told {
    Renew(oneshot::Sender<Vec<StandsStill>>),
    Positions(u32, Vec<Reached>),
    Trim(TopicPartition, Offset),
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    name: String,
    inputs: Vec<TopicPartition>,
}

impl<M: Shards> Holder<M> {
    async fn run(mut self, mut membership: Box<dyn Membership>, mut stopped: oneshot::Receiver<()>) {
        loop {
            let change = tokio::select! {
                biased;
                _ = &mut stopped => break,
                change = poll_fn(|cx| membership.poll_change(cx)) => change,
                Some(told) = self.told.next() => {
                    match told {
                        // What a shard has said last comes when it is somebody else's: then it is theirs to tell.
                        Told::Positions(shard, _) if !self.running.contains_key(&shard) => {}
                        Told::Positions(_, reached) => {
                            let positions: Vec<_> = reached.iter().map(|of| (of.input.clone(), of.position)).collect();
                            membership.commit(&positions);
                            self.positions.moved(reached);
                        }
                        Told::Trim(partition, before) => self.trim(partition, before),
                        Told::Renew(done) => {
                            let given: Vec<u32> = self.given.iter().copied().collect();
                            self.stop(&given).await;
                            let mut still = Vec::new();
                            for shard in given {
                                still.extend(self.start(shard).await.err());
                            }
                            // Whoever waited may have gone.
                            let _ = done.send(still);
                        }
                    }
                    continue;
                }
            };
            match change {
                Ok(Change::Assigned(partitions)) => {
                    self.ground.board.joined(&self.options.group);
                    for partition in partitions {
                        self.given.insert(partition);
                        // Said where it happens.
                        let _ = self.start(partition).await;
                    }
                }
                Ok(Change::Revoked { partitions, released }) => {
                    self.given.retain(|shard| !partitions.contains(shard));
                    self.stop(&partitions).await;
                    drop(released);
                }
                Ok(Change::Lost(partitions)) => {
                    self.given.retain(|shard| !partitions.contains(shard));
                    self.stop(&partitions).await;
                }
                Err(error) => {
                    self.lost(&error);
                    self.given.clear();
                    self.stop_all().await;
                    match self.join_again(&mut stopped).await {
                        Some(new) => membership = new,
                        None => return self.close().await,
                    }
                }
            }
        }
        self.stop_all().await;
        membership.leave().await;
        self.close().await;
    }

    /// Ends what goes on beside the shards.
    async fn close(mut self) {
        self.trims.shutdown().await;
        self.ground.board.forget(&self.options.group);
        self.positions.stop().await;
    }

    /// Says why the group is joined again. Of a right that was taken away it was said at the start that it must be there; it may come back.
    fn lost(&self, error: &SpineError) {
        let group = &self.options.group;
        if matches!(error, SpineError::Denied { .. }) {
            tracing::error!(
                role = %M::ROLE, group, error = %error,
                "this process may not join its group, and holds none of its shards until it may: `kafka-acls.sh --add --operation Read --group {group}` with its principal allows it; it is tried again"
            );
        } else {
            tracing::warn!(role = %M::ROLE, group, error = %error, "the group was lost; joining it again");
        }
    }

    async fn join_again(&self, stopped: &mut oneshot::Receiver<()>) -> Option<Box<dyn Membership>> {
        loop {
            tokio::select! {
                biased;
                _ = &mut *stopped => return None,
                () = tokio::time::sleep(PAUSE) => {}
            }
            match self.ground.spine.join(self.options.clone()).await {
                Ok(membership) => return Some(membership),
                Err(error) => tracing::warn!(role = %M::ROLE, error = %error, "the group cannot be joined yet"),
            }
        }
    }

    /// Runs a shard, or says why it stands still.
    async fn start(&mut self, shard: u32) -> Result<(), StandsStill> {
        // Assigned again without having been revoked: the old run ends first.
        self.stop(&[shard]).await;
        let still = |reason: String| StandsStill { role: M::ROLE, shard, reason };
        let Begun { spec, make } = self.shards.begin(shard).map_err(|reason| {
            tracing::error!(role = %M::ROLE, shard, reason, "a shard cannot be run: its topics and the configuration differ; run `tidegate topics plan`");
            still(reason)
        })?;
        let name = spec.sender.to_string();
        let inputs = spec.inputs.iter().map(|input| input.partition.clone()).collect();
        let signer = self.ground.keys.signer().map_err(|error| {
            tracing::error!(role = %M::ROLE, shard, %error, "a shard cannot be run");
            still(error.to_string())
        })?;
        let (stop, stopped) = oneshot::channel();
        let run = Run {
            spec,
            spine: Arc::clone(&self.ground.spine),
            clock: Arc::new(self.ground.clock),
            make,
            signals: self.shards.signals(shard),
            stop: stopped,
            signer,
            trust: self.ground.keys.trust(),
            watch: Arc::new(Watcher {
                board: Arc::clone(&self.ground.board),
                role: M::ROLE,
                number: shard,
                telling: self.telling.clone(),
                checkpoints: self.ground.checkpoints.clone(),
            }),
            rules: tidegate_stage::Rules::default(),
        };
        self.ground.board.shard(M::ROLE, &name, Standing::TakingOver);
        let task = tokio::spawn(run.run());
        self.running.insert(shard, Running { stop, task, name, inputs });
        Ok(())
    }

    /// In the background: a broker that is slow to trim must not keep shards from being let go.
    fn trim(&mut self, partition: TopicPartition, before: Offset) {
        while self.trims.try_join_next().is_some() {}
        let spine = Arc::clone(&self.ground.spine);
        self.trims.spawn(async move {
            if let Err(error) = spine.trim(&partition, before).await {
                tracing::warn!(partition = %partition, before, error = %error, "records that are done cannot be trimmed");
            }
        });
    }

    async fn stop_all(&mut self) {
        let all: Vec<u32> = self.running.keys().copied().collect();
        self.stop(&all).await;
    }

    async fn stop(&mut self, shards: &[u32]) {
        let mut stopping = Vec::new();
        for shard in shards {
            if let Some(running) = self.running.remove(shard) {
                // Told first, all of them, then waited for.
                let _ = running.stop.send(());
                stopping.push((*shard, running.task, running.name, running.inputs));
            }
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for (shard, mut task, name, inputs) in stopping {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                tracing::warn!(shard = name, "a shard did not stop in time and is dropped; its next owner fences it");
                task.abort();
            }
            self.ground.board.gone(M::ROLE, &name);
            self.shards.released(shard);
            self.positions.forget(&inputs);
        }
    }
}

struct Watcher {
    board: Arc<Board>,
    role: Role,
    number: u32,
    telling: mpsc::UnboundedSender<Told>,
    checkpoints: Option<CheckpointFile>,
}

impl Watcher {
    /// A holder that has gone needs no telling.
    fn tell(&self, told: Told) {
        let _ = self.telling.unbounded_send(told);
    }
}

impl Watch for Watcher {
    fn event(&self, shard: &tidegate_protocol::ids::SenderId, event: &ShardEvent) {
        match event {
            ShardEvent::Owning { epoch, replayed, emitted_again } => {
                self.board.shard(self.role, shard.as_str(), Standing::Owned);
                tracing::info!(shard = %shard, epoch, replayed, emitted_again, "shard taken over");
            }
            ShardEvent::FenceStalls { output } => {
                tracing::error!(shard = %shard, output = %output, "an output takes no fence: the shard waits for it");
            }
            ShardEvent::InputLost { partition, from, start } => {
                tracing::error!(
                    shard = %shard, partition = %partition, from, start,
                    "records of an input are gone before they were settled: the shard stands still until they are there again or given up: `tidegate sources accept-loss --shard {shard} {partition}`"
                );
            }
            ShardEvent::LossAccepted { partition, from, to, by } => {
                tracing::warn!(shard = %shard, partition = %partition, from, to, by, "records of an input are given up");
            }
            ShardEvent::Checkpoint { text } => {
                if let Some(file) = &self.checkpoints {
                    file.append(text);
                }
            }
            ShardEvent::Positions(reached) => self.tell(Told::Positions(self.number, reached.clone())),
            ShardEvent::TrimWanted { partition, before } => self.tell(Told::Trim(partition.clone(), *before)),
            ShardEvent::Ended(ended) => {
                self.board.shard(self.role, shard.as_str(), Standing::TakingOver);
                let cause = std::error::Error::source(ended).map(ToString::to_string).unwrap_or_default();
                match ended {
                    Ended::Stopped => tracing::info!(shard = %shard, "shard let go"),
                    Ended::Superseded { by } => tracing::info!(shard = %shard, by, "a newer owner has the shard"),
                    Ended::Chain(_)
                    | Ended::FactsLost { .. }
                    | Ended::InputLost { .. }
                    | Ended::Unclaimed { .. }
                    | Ended::Untrusted { .. }
                    | Ended::Unheard { .. }
                    | Ended::Clock { .. } => {
                        tracing::error!(shard = %shard, reason = %ended, cause, "the shard stands still until this is mended");
                    }
                    Ended::Append(_)
                    | Ended::Read(_)
                    | Ended::Spine(_)
                    | Ended::Keyed(_)
                    | Ended::LateClaim
                    | Ended::Codec { .. } => {
                        tracing::warn!(shard = %shard, reason = %ended, cause, "ownership ended; it is taken over again");
                    }
                }
            }
        }
    }
}

/// Sends signals to shards that come and go.
pub(crate) struct Relay<T: Clone + Send + 'static> {
    to: std::sync::Mutex<Vec<mpsc::UnboundedSender<T>>>,
}

impl<T: Clone + Send + 'static> Relay<T> {
    pub(crate) const fn new() -> Self {
        Self { to: std::sync::Mutex::new(Vec::new()) }
    }

    pub(crate) fn subscribe(&self) -> mpsc::UnboundedReceiver<T> {
        let (sender, receiver) = mpsc::unbounded();
        self.to.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(sender);
        receiver
    }

    pub(crate) fn send(&self, signal: &T) {
        let mut to = self.to.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        to.retain(|sender| sender.unbounded_send(signal.clone()).is_ok());
    }
}
