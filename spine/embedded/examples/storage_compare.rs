//! Measures what could hold the records: fjall, redb, or plain segment files. Figures and choice are in
//! docs/decisions/0001-embedded-storage.md.
//!
//! `cargo run -p tidegate-embedded --features compare --example storage_compare -- [folder] [MiB a run]`
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement: prints, and stops at the first error")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

const PARTITIONS: usize = 4;
const RECORD: usize = 1024;
/// Records of one partition in one durable step.
const BATCH: usize = 64;

/// Appends `batch` records of every partition per step, from offset `first`; returns when durable as asked.
trait Candidate {
    fn append(&mut self, first: u64, batch: usize, record: &[u8], sync: bool);
    /// Reads every record of every partition, in order; returns how many.
    fn read(&self) -> usize;
}

struct Segments {
    folder: PathBuf,
    files: Vec<File>,
    buffer: Vec<u8>,
}

impl Segments {
    fn open(folder: &Path) -> Self {
        let files = (0..PARTITIONS).map(|p| File::create(folder.join(format!("{p}.log"))).unwrap()).collect();
        Self { folder: folder.to_owned(), files, buffer: Vec::new() }
    }
}

impl Candidate for Segments {
    fn append(&mut self, first: u64, batch: usize, record: &[u8], sync: bool) {
        for file in &mut self.files {
            self.buffer.clear();
            for n in 0..batch as u64 {
                self.buffer.extend_from_slice(&u32::try_from(record.len()).unwrap().to_le_bytes());
                self.buffer.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
                self.buffer.extend_from_slice(&(first + n).to_le_bytes());
                self.buffer.extend_from_slice(record);
            }
            file.write_all(&self.buffer).unwrap();
        }
        if sync {
            for file in &self.files {
                file.sync_data().unwrap();
            }
        }
    }

    fn read(&self) -> usize {
        let mut count = 0;
        for p in 0..PARTITIONS {
            let mut file = File::open(self.folder.join(format!("{p}.log"))).unwrap();
            let mut chunk = vec![0; (RECORD + 16) * 256];
            loop {
                let mut filled = 0;
                while filled < chunk.len() {
                    match file.read(chunk.get_mut(filled..).unwrap()).unwrap() {
                        0 => break,
                        n => filled += n,
                    }
                }
                if filled == 0 {
                    break;
                }
                for frame in chunk.get(..filled).unwrap().chunks(RECORD + 16) {
                    let crc = u32::from_le_bytes(frame.get(4..8).unwrap().try_into().unwrap());
                    assert_eq!(crc32fast::hash(frame.get(16..).unwrap()), crc);
                    count += 1;
                }
            }
        }
        count
    }
}

struct Fjall {
    db: fjall::Database,
    spaces: Vec<fjall::Keyspace>,
}

impl Fjall {
    fn open(folder: &Path) -> Self {
        let db = fjall::Database::builder(folder).open().unwrap();
        let spaces =
            (0..PARTITIONS).map(|p| db.keyspace(&format!("p{p}"), KeyspaceCreateOptions::default).unwrap()).collect();
        Self { db, spaces }
    }
}

impl Candidate for Fjall {
    fn append(&mut self, first: u64, batch: usize, record: &[u8], sync: bool) {
        let mode = if sync { PersistMode::SyncData } else { PersistMode::Buffer };
        let mut writes = self.db.batch().durability(Some(mode));
        for space in &self.spaces {
            for n in 0..batch as u64 {
                writes.insert(space, (first + n).to_be_bytes(), record);
            }
        }
        writes.commit().unwrap();
    }

    fn read(&self) -> usize {
        self.spaces
            .iter()
            .map(|s| s.iter().filter_map(|row| row.value().ok()).filter(|v| v.len() == RECORD).count())
            .sum()
    }
}

struct Redb {
    db: Database,
}

const TABLES: [TableDefinition<'_, u64, &[u8]>; PARTITIONS] =
    [TableDefinition::new("p0"), TableDefinition::new("p1"), TableDefinition::new("p2"), TableDefinition::new("p3")];

impl Candidate for Redb {
    fn append(&mut self, first: u64, batch: usize, record: &[u8], sync: bool) {
        let mut writes = self.db.begin_write().unwrap();
        writes.set_durability(if sync { Durability::Immediate } else { Durability::None }).unwrap();
        for definition in TABLES {
            let mut table = writes.open_table(definition).unwrap();
            for n in 0..batch as u64 {
                table.insert(first + n, record).unwrap();
            }
        }
        writes.commit().unwrap();
    }

    fn read(&self) -> usize {
        let reads = self.db.begin_read().unwrap();
        let rows = |definition: TableDefinition<'_, u64, &[u8]>| {
            let table = reads.open_table(definition).unwrap();
            table.iter().unwrap().filter(|row| row.as_ref().unwrap().1.value().len() == RECORD).count()
        };
        TABLES.into_iter().map(rows).sum()
    }
}

fn cpu_seconds() -> f64 {
    // Fields 14 and 15 of /proc/self/stat, in hundredths of a second on Linux.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    after.split_whitespace().skip(11).take(2).map(|t| t.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn measure(name: &str, mut candidate: impl Candidate, mib: usize) {
    // Half of it noise: engines that compress must not win by an all-zero payload.
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let record: Vec<u8> = (0..RECORD)
        .map(|n| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if n % 2 == 0 { b'a' } else { (seed >> 56) as u8 }
        })
        .collect();
    let mut next = 0;
    for (mode, sync, batch, steps) in
        [("os", false, BATCH, mib * 1024 / BATCH / PARTITIONS), ("os", false, 1, 20_000), ("fsync", true, BATCH, 200)]
    {
        let mut took = Vec::with_capacity(steps);
        let (start, cpu) = (Instant::now(), cpu_seconds());
        for _ in 0..steps {
            let begun = Instant::now();
            candidate.append(next, batch, &record, sync);
            next += batch as u64;
            took.push(begun.elapsed());
        }
        let seconds = start.elapsed().as_secs_f64();
        let cpu = cpu_seconds() - cpu;
        took.sort();
        let at = |q: f64| took.get(((took.len() - 1) as f64 * q) as usize).unwrap().as_secs_f64() * 1e3;
        let records = (steps * batch * PARTITIONS) as f64;
        println!(
            "{name:9} {mode:5} batch {batch:2}x{PARTITIONS}: {:8.0} records/s, step p50 {:.3} ms p99 {:.3} ms max {:.1} ms, cpu {:.1} us/record",
            records / seconds,
            at(0.5),
            at(0.99),
            at(1.0),
            cpu * 1e6 / records,
        );
    }
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let count = candidate.read();
    assert_eq!(count as u64, next * PARTITIONS as u64);
    println!(
        "{name:9} read back: {:8.0} records/s, cpu {:.1} us/record",
        count as f64 / start.elapsed().as_secs_f64(),
        (cpu_seconds() - cpu) * 1e6 / count as f64
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().unwrap_or_else(|| "storage-compare".into()));
    let mib = args.next().map_or(512, |n| n.parse().unwrap());
    let fresh = |name: &str| {
        let folder = folder.join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    measure("segments", Segments::open(&fresh("segments")), mib);
    measure("fjall", Fjall::open(&fresh("fjall")), mib);
    measure("redb", Redb { db: Database::create(fresh("redb").join("log.redb")).unwrap() }, mib);
    std::fs::remove_dir_all(&folder).unwrap();
}
