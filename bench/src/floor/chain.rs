//! The chain of appends that a governed job takes, bare.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_protocol::headers::{EPOCH, SENDER, SOURCE, STAMP};
use tokio::task::JoinHandle;

use crate::board::{Board, Milestone};

use super::bare::{Bare, BareNew, BareRecord, BareSender};

/// Average sizes of what the Tidegate side appended, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// A kernel fact in its group.
    pub(crate) fact: usize,
    /// What a verdict record has besides the raw one.
    pub(crate) verdict: usize,
    /// A lease fact, payload included.
    pub(crate) lease: usize,
    /// The fact of a job's end.
    pub(crate) end: usize,
    /// A record in a lane.
    pub(crate) assignment: usize,
    /// A worker's result.
    pub(crate) report: usize,
    /// A `finished` record.
    pub(crate) finished: usize,
}

/// What a link tells the board of.
pub(crate) enum Marks {
    None,
    /// Acknowledged groups, and the acknowledged verdicts after them.
    Kernel(Board),
    /// What it reads: there a handler would be called.
    Worker(Board),
}

/// A link: what it reads, where its groups go, where what follows goes.
pub(crate) struct Link {
    pub(crate) name: &'static str,
    pub(crate) marks: Marks,
    pub(crate) from: Vec<TopicPartition>,
    /// Groups are appended here and acknowledged before what follows; `None`: nothing to wait for (a worker).
    pub(crate) groups: Option<TopicPartition>,
    pub(crate) fact: usize,
    /// Which topic, with how many partitions, and of what size (`raw` bytes of the record read count besides).
    pub(crate) to: TopicName,
    pub(crate) partitions: u32,
    pub(crate) size: usize,
    pub(crate) carries: bool,
    /// The first link names sources by what it reads, later ones pass them on.
    pub(crate) first: bool,
}

/// Bounds of a group: Tidegate's, and below what the client takes as one record.
const GROUP_FACTS: usize = 2_000;
const GROUP_BYTES: usize = 700 << 10;

type Sent = BoxFuture<'static, anyhow::Result<()>>;

/// Runs a link until aborted.
pub(crate) fn spawn(bare: Arc<dyn Bare>, link: Link) -> JoinHandle<()> {
    tokio::spawn(async move {
        let name = link.name;
        if let Err(error) = run(bare, link).await {
            tracing::error!(%error, name, "a link of the floor stopped");
        }
    })
}

async fn run(bare: Arc<dyn Bare>, link: Link) -> anyhow::Result<()> {
    let mut reader = bare.reader(&link.from).await?;
    let mut sender = bare.sender().await?;
    let mut gathered: Vec<BareRecord> = Vec::new();
    let mut flying: Option<(Sent, Vec<BareRecord>)> = None;
    let mut sending: VecDeque<Sent> = VecDeque::new();
    loop {
        if flying.is_none() && !gathered.is_empty() {
            let most = (GROUP_BYTES / link.fact.max(1)).clamp(1, GROUP_FACTS);
            let rest = gathered.split_off(gathered.len().min(most));
            let batch = std::mem::replace(&mut gathered, rest);
            match &link.groups {
                Some(groups) => {
                    let group = BareNew { value: group(&batch, link.fact), headers: vec![(SENDER, "floor".into())] };
                    flying = Some((sender.send(groups, vec![group]), batch));
                }
                None => follow(&link, sender.as_mut(), batch, &mut sending),
            }
        }
        let landed = async {
            match &mut flying {
                Some((sent, _)) => sent.await,
                None => std::future::pending().await,
            }
        };
        let done = async {
            match sending.front_mut() {
                Some(sent) => sent.await,
                None => std::future::pending().await,
            }
        };
        let mut arrived = Vec::new();
        tokio::select! {
            result = landed => {
                result?;
                if let Some((_, batch)) = flying.take() {
                    if let Marks::Kernel(board) = &link.marks {
                        let decided = batch.iter().map(|record| (record.partition, record.offset));
                        board.seen(Milestone::Decided, board.now_us(), decided);
                    }
                    follow(&link, sender.as_mut(), batch, &mut sending);
                }
            }
            result = done => {
                result?;
                sending.pop_front();
            }
            result = reader.next(&mut arrived) => result?,
        }
        if let Marks::Worker(board) = &link.marks {
            arrived.iter().filter_map(|record| position(record.source.as_deref()?)).for_each(|of| board.started(of));
        }
        gathered.append(&mut arrived);
    }
}

/// A group's bytes: per fact what it settles, filled up to the size of ours.
fn group(batch: &[BareRecord], fact: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(batch.len() * fact + 300);
    value.extend_from_slice(&[b' '; 250]);
    for record in batch {
        let before = value.len();
        value.extend_from_slice(format!(r#""in":[0,{}]"#, record.offset).as_bytes());
        value.resize((before + fact).max(value.len()), b'.');
    }
    value
}

/// What goes to one partition, and the source each record is about.
type Out = (Vec<BareNew>, Vec<(u32, Offset)>);

fn follow(link: &Link, sender: &mut dyn BareSender, batch: Vec<BareRecord>, sending: &mut VecDeque<Sent>) {
    let mut outs: Vec<Out> = Vec::new();
    outs.resize_with(link.partitions as usize, Default::default);
    for (number, record) in batch.into_iter().enumerate() {
        let source = match record.source {
            Some(source) if !link.first => source,
            _ => format!("floor/{}@{}", record.partition, record.offset),
        };
        let mut value = if link.carries { record.value } else { Vec::new() };
        value.resize(value.len() + link.size, b'.');
        let headers = vec![
            (SOURCE, source),
            (SENDER, "floor".to_owned()),
            (EPOCH, "1".to_owned()),
            (STAMP, format!("{number} {number} 0")),
        ];
        let to = usize::try_from(record.offset % u64::from(link.partitions)).unwrap_or(0);
        if let Some((out, sources)) = outs.get_mut(to) {
            sources.push((record.partition, record.offset));
            out.push(BareNew { value, headers });
        }
    }
    for (partition, (out, sources)) in (0..link.partitions).zip(outs) {
        if out.is_empty() {
            continue;
        }
        let sent = sender.send(&link.to.partition(partition), out);
        sending.push_back(match &link.marks {
            Marks::Kernel(board) => {
                let board = board.clone();
                sent.inspect(move |_| board.readable(board.now_us(), sources)).boxed()
            }
            Marks::None | Marks::Worker(_) => sent,
        });
    }
}

/// What [`follow`] names a source.
fn position(source: &str) -> Option<(u32, Offset)> {
    let (partition, offset) = source.rsplit_once('/')?.1.split_once('@')?;
    Some((partition.parse().ok()?, offset.parse().ok()?))
}
