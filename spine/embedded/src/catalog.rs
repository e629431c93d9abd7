//! The topics of a folder: what they are (in `meta.redb`) and their open partitions.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};
use tidegate_protocol::address::{Offset, TopicName, TopicPartition};
use tidegate_spine::{Cleanup, CleanupFound, SpineError, TopicSettings, TopicSpec, TopicState};

use crate::options::EmbeddedOptions;
use crate::partition::{Gone, Memory, Opening, Partition, Settings, lock, make_folder};
use crate::recovery;

/// What a topic is: id, partitions, age limit in ms, largest record, broker time. The age limit is
/// [`NEVER`] or [`KEYED`] for topics that have none.
type Row = (u64, u32, u64, u64, bool);
const TOPICS: TableDefinition<'_, &str, Row> = TableDefinition::new("topics");
/// (topic id, partition) to the first offset that was not trimmed.
const STARTS: TableDefinition<'_, (u64, u32), Offset> = TableDefinition::new("starts");
/// `format` and `next_topic`.
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

const NEVER: u64 = u64::MAX;
const KEYED: u64 = u64::MAX - 1;
/// The layout of the folder; raised with every change that older code cannot read.
const FORMAT: u64 = 1;
/// The largest record a topic may be made for.
const LARGEST_RECORD: usize = 256 << 20;

struct Topic {
    id: u64,
    broker_time: bool,
    settings: Arc<Settings>,
    partitions: Vec<Arc<Partition>>,
}

/// See the module.
pub(crate) struct Catalog {
    url: String,
    options: EmbeddedOptions,
    writers: usize,
    memory: Memory,
    db: Database,
    topics: RwLock<BTreeMap<TopicName, Topic>>,
    /// Spreads partitions over the writer threads.
    opened: Mutex<usize>,
}

fn row(id: u64, spec: &TopicSpec) -> Row {
    let age = match spec.cleanup {
        Cleanup::Keyed => KEYED,
        Cleanup::Log { retention_ms } => retention_ms.map_or(NEVER, |age| age.min(KEYED - 1)),
    };
    (id, spec.partitions, age, spec.max_record_bytes as u64, spec.broker_time)
}

fn cleanup(age: u64) -> Cleanup {
    match age {
        KEYED => Cleanup::Keyed,
        NEVER => Cleanup::Log { retention_ms: None },
        age => Cleanup::Log { retention_ms: Some(age) },
    }
}

impl Catalog {
    /// Opens the folder, recovering every partition.
    ///
    /// # Errors
    /// [`SpineError::InUse`], or [`SpineError::Invalid`] with what is wrong with the folder.
    pub(crate) fn open(options: EmbeddedOptions, writers: usize) -> Result<Self, SpineError> {
        let url = options.url();
        let invalid = |reason: String| SpineError::Invalid { spine: url.clone(), reason };
        make_folder(&options.folder).map_err(|error| invalid(error.to_string()))?;
        let db = Database::create(options.folder.join("meta.redb")).map_err(|error| {
            if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
                SpineError::InUse { folder: options.folder.display().to_string() }
            } else {
                invalid(format!("`meta.redb` cannot be opened: {error}"))
            }
        })?;
        let memory = Memory::new(options.memory_bytes);
        let topics = RwLock::default();
        let catalog = Self { url: url.clone(), options, writers, memory, db, topics, opened: Mutex::default() };
        let rows = catalog.load().map_err(|error| invalid(format!("`meta.redb` cannot be read: {error}")))?;
        if let Some(other) = rows.format.filter(|format| *format != FORMAT) {
            return Err(invalid(format!("the folder has format {other}, this program reads {FORMAT}")));
        }
        for (name, row) in rows.topics {
            let name = TopicName::new(name).map_err(|error| invalid(error.to_string()))?;
            let topic = catalog
                .open_topic(&name, row, &rows.starts)
                .map_err(|error| invalid(format!("topic `{name}` cannot be opened: {error}")))?;
            catalog.write_topics().insert(name, topic);
        }
        Ok(catalog)
    }

    fn load(&self) -> Result<Rows, redb::Error> {
        let write = self.db.begin_write()?;
        {
            let mut about = write.open_table(ABOUT)?;
            if about.get("format")?.is_none() {
                about.insert("format", FORMAT)?;
            }
            write.open_table(TOPICS)?;
            write.open_table(STARTS)?;
        }
        write.commit()?;
        let read = self.db.begin_read()?;
        let mut rows = Rows { format: read.open_table(ABOUT)?.get("format")?.map(|v| v.value()), ..Rows::default() };
        for topic in read.open_table(TOPICS)?.iter()? {
            let (name, row) = topic?;
            rows.topics.push((name.value().to_owned(), row.value()));
        }
        for start in read.open_table(STARTS)?.iter()? {
            let (at, offset) = start?;
            rows.starts.insert(at.value(), offset.value());
        }
        Ok(rows)
    }

    fn folder_of(&self, topic: u64) -> PathBuf {
        self.options.folder.join("logs").join(topic.to_string())
    }

    fn open_topic(&self, name: &TopicName, row: Row, starts: &BTreeMap<(u64, u32), Offset>) -> io::Result<Topic> {
        let (id, partitions, age, largest, broker_time) = row;
        let settings = Arc::new(Settings {
            max_record_bytes: AtomicUsize::new(usize::try_from(largest).unwrap_or(usize::MAX)),
            cleanup: Mutex::new(cleanup(age)),
        });
        let mut topic = Topic { id, broker_time, settings, partitions: Vec::new() };
        self.open_partitions(name, &mut topic, partitions, starts)?;
        Ok(topic)
    }

    fn open_partitions(
        &self,
        name: &TopicName,
        topic: &mut Topic,
        up_to: u32,
        starts: &BTreeMap<(u64, u32), Offset>,
    ) -> io::Result<()> {
        let present = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        for partition in present..up_to {
            let at = name.partition(partition);
            let folder = self.folder_of(topic.id).join(partition.to_string());
            make_folder(&folder)?;
            let writer = {
                let mut opened = lock(&self.opened);
                *opened += 1;
                *opened % self.writers
            };
            let opening = Opening {
                segments: recovery::segments(&folder, &at)?,
                at,
                settings: Arc::clone(&topic.settings),
                writer,
                segment_bytes: self.options.segment_bytes,
                durability: self.options.durability,
                memory: self.memory.clone(),
                folder,
                trimmed: starts.get(&(topic.id, partition)).copied().unwrap_or(0),
            };
            topic.partitions.push(Arc::new(Partition::open(opening)?));
        }
        Ok(())
    }

    fn read_topics(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TopicName, Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_topics(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<TopicName, Topic>> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn partition(&self, at: &TopicPartition) -> Option<Arc<Partition>> {
        self.read_topics().get(&at.topic)?.partitions.get(at.partition as usize).cloned()
    }

    /// Every partition of every topic.
    pub(crate) fn all(&self) -> Vec<Arc<Partition>> {
        self.read_topics().values().flat_map(|topic| topic.partitions.iter().cloned()).collect()
    }

    #[expect(clippy::unused_self, reason = "asked of the catalog, like everything about topics")]
    pub(crate) fn cleanup_of(&self, partition: &Partition) -> Cleanup {
        *lock(&partition.settings.cleanup)
    }

    pub(crate) fn describe(&self, name: &TopicName) -> Option<TopicState> {
        let topics = self.read_topics();
        let topic = topics.get(name)?;
        Some(TopicState {
            name: name.clone(),
            partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
            settings: Ok(TopicSettings {
                cleanup: CleanupFound::Known(*lock(&topic.settings.cleanup)),
                retention_bytes: None,
                max_record_bytes: topic.settings.max_record_bytes.load(Ordering::Relaxed),
                broker_time: topic.broker_time,
            }),
        })
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<TopicName> {
        self.read_topics().keys().filter(|name| name.as_str().starts_with(prefix)).cloned().collect()
    }

    fn invalid(&self, reason: impl ToString) -> SpineError {
        SpineError::Invalid { spine: self.url.clone(), reason: reason.to_string() }
    }

    fn failed(&self, error: impl std::fmt::Display) -> SpineError {
        SpineError::Fatal { spine: self.url.clone(), reason: error.to_string() }
    }

    fn check(&self, spec: &TopicSpec) -> Result<(), SpineError> {
        if spec.partitions == 0 {
            return Err(self.invalid(format!("topic `{}` needs at least one partition", spec.name)));
        }
        if spec.max_record_bytes > LARGEST_RECORD {
            return Err(self.invalid(format!(
                "topic `{}` cannot take records of {} bytes, the most is {LARGEST_RECORD}",
                spec.name, spec.max_record_bytes
            )));
        }
        Ok(())
    }

    pub(crate) fn create(&self, spec: &TopicSpec) -> Result<(), SpineError> {
        self.check(spec)?;
        if self.read_topics().contains_key(&spec.name) {
            return Err(self.invalid(format!("topic `{}` exists already", spec.name)));
        }
        // The row comes last: files without a row are those of no topic, and their id is not used again.
        let id = self.next_id().map_err(|error| self.failed(error))?;
        let row = row(id, spec);
        let topic = self.open_topic(&spec.name, row, &BTreeMap::new()).map_err(|error| self.failed(error))?;
        self.save(&spec.name, row).map_err(|error| self.failed(error))?;
        self.write_topics().insert(spec.name.clone(), topic);
        Ok(())
    }

    pub(crate) fn alter(&self, spec: &TopicSpec) -> Result<(), SpineError> {
        self.check(spec)?;
        let mut topics = self.write_topics();
        let unknown = || SpineError::UnknownTopic { topic: spec.name.clone() };
        let topic = topics.get_mut(&spec.name).ok_or_else(unknown)?;
        if (spec.partitions as usize) < topic.partitions.len() {
            let has = topic.partitions.len();
            return Err(self.invalid(format!("topic `{}` has {has} partitions, none can be taken away", spec.name)));
        }
        self.open_partitions(&spec.name, topic, spec.partitions, &BTreeMap::new())
            .map_err(|error| self.failed(error))?;
        self.save(&spec.name, row(topic.id, spec)).map_err(|error| self.failed(error))?;
        topic.broker_time = spec.broker_time;
        topic.settings.max_record_bytes.store(spec.max_record_bytes, Ordering::Relaxed);
        *lock(&topic.settings.cleanup) = spec.cleanup;
        Ok(())
    }

    pub(crate) fn delete(&self, name: &TopicName) -> Result<(), SpineError> {
        let unknown = || SpineError::UnknownTopic { topic: name.clone() };
        let id = self.read_topics().get(name).map(|topic| topic.id).ok_or_else(unknown)?;
        self.forget(name, id).map_err(|error| self.failed(error))?;
        if let Some(topic) = self.write_topics().remove(name) {
            topic.partitions.iter().for_each(|partition| partition.end_use(Gone::Deleted));
        }
        std::fs::remove_dir_all(self.folder_of(id)).map_err(|error| self.failed(error))
    }

    /// Lets records below `before` go, as far as whole segments, and remembers the start.
    pub(crate) fn trim(&self, at: &TopicPartition, before: Offset) -> Result<(), SpineError> {
        let unknown = || SpineError::UnknownTopic { topic: at.topic.clone() };
        let partition = self.partition(at).ok_or_else(unknown)?;
        self.let_go(&partition, before).map_err(|error| self.failed(error))
    }

    /// As [`Self::trim`].
    pub(crate) fn let_go(&self, partition: &Partition, before: Offset) -> io::Result<()> {
        if before <= partition.ends().start {
            return Ok(());
        }
        let (start, gone) = partition.trim(before);
        let id = self.read_topics().get(&partition.at.topic).map(|topic| topic.id);
        if let Some(id) = id {
            self.save_start((id, partition.at.partition), start).map_err(io::Error::other)?;
        }
        gone.iter().try_for_each(|segment| segment.remove())
    }

    fn next_id(&self) -> Result<u64, redb::Error> {
        let write = self.db.begin_write()?;
        let id = {
            let mut about = write.open_table(ABOUT)?;
            let id = about.get("next_topic")?.map_or(1, |v| v.value());
            about.insert("next_topic", id + 1)?;
            id
        };
        write.commit()?;
        Ok(id)
    }

    fn save(&self, name: &TopicName, row: Row) -> Result<(), redb::Error> {
        let write = self.db.begin_write()?;
        write.open_table(TOPICS)?.insert(name.as_str(), row)?;
        Ok(write.commit()?)
    }

    fn forget(&self, name: &TopicName, id: u64) -> Result<(), redb::Error> {
        let write = self.db.begin_write()?;
        write.open_table(TOPICS)?.remove(name.as_str())?;
        write.open_table(STARTS)?.retain(|(topic, _), _| topic != id)?;
        Ok(write.commit()?)
    }

    fn save_start(&self, at: (u64, u32), start: Offset) -> Result<(), redb::Error> {
        let write = self.db.begin_write()?;
        write.open_table(STARTS)?.insert(at, start)?;
        Ok(write.commit()?)
    }
}

#[derive(Default)]
struct Rows {
    format: Option<u64>,
    topics: Vec<(String, Row)>,
    starts: BTreeMap<(u64, u32), Offset>,
}
