//! Compares embedded stores under the load of a node's log: durable appends of many groups.
//!
//! `storage [--dir DIR] [--entries N] [ENGINE…]` prints one table; a plain segment file and the
//! disk's own rate of durable appends stand beside the engines.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// Bytes in an entry; consensus adds its own bytes, engines their keys.
const ENTRY_BYTES: usize = 200;
/// Time for which each kind of write is repeated.
const SPAN: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let mut entries = 200_000;
    let mut dir = std::env::temp_dir();
    let mut names = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--entries" => entries = args.next().context("--entries needs a number")?.parse()?,
            "--dir" => dir = args.next().context("--dir needs a folder")?.into(),
            name => names.push(name.to_owned()),
        }
    }
    if names.is_empty() {
        names = ["file", "redb", "fjall", "raft-engine"]
            .map(Into::into)
            .to_vec();
    }
    raw_disk(&dir)?;
    println!(
        "\nbatch: entries in one durable write; ms: median / 99th percentile / processor time"
    );
    println!(
        "| engine | groups | batch 1, writes/s (ms) | batch 256, entries/s (ms) | vote, writes/s \
         | truncate 10 + append 10, /s | fill, entries/s | purge half, ms | reopen ms \
         | reopen after a kill, ms | read all, ms | size on disk, × payload |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for name in &names {
        for groups in [1, 10, 100] {
            let work = tempfile::tempdir_in(&dir)?;
            match name.as_str() {
                "file" => row::<PlainFile>(name, work.path(), groups, entries)?,
                "redb" => row::<Redb>(name, work.path(), groups, entries)?,
                "fjall" => row::<Fjall>(name, work.path(), groups, entries)?,
                "raft-engine" => row::<TikvEngine>(name, work.path(), groups, entries)?,
                other => bail!("no engine is named {other}"),
            }
        }
    }
    Ok(())
}

/// The disk alone: append to a file, then `fdatasync`.
fn raw_disk(dir: &Path) -> Result<()> {
    println!("| raw append + fdatasync | appends/s | median / 99th percentile, ms / processor |");
    println!("|---|---|---|");
    for bytes in [200, 4096, 65_536] {
        let mut file = tempfile::tempfile_in(dir)?;
        let data = vec![7; bytes];
        let times = repeat(|| {
            file.write_all(&data)?;
            Ok(file.sync_data()?)
        })?;
        println!("| {bytes} B | {} | {} |", times.rate(), times.millis());
    }
    Ok(())
}

struct Times {
    spans: Vec<Duration>,
    /// Processor time of all, with the kernel's share.
    cpu: Duration,
}

impl Times {
    fn rate(&self) -> u64 {
        self.rate_of(1)
    }

    fn rate_of(&self, each: u64) -> u64 {
        let total: Duration = self.spans.iter().sum();
        let rate =
            (self.spans.len() as u64 * each) as u128 * 1_000_000_000 / total.as_nanos().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    fn millis(&self) -> String {
        let mut sorted = self.spans.clone();
        sorted.sort();
        let at = |percent: usize| ms(sorted[(sorted.len() - 1) * percent / 100]);
        let cpu = self.cpu.as_micros() / self.spans.len().max(1) as u128;
        format!("{} / {} / {cpu} µs", at(50), at(99))
    }
}

fn ms(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

fn repeat(mut work: impl FnMut() -> Result<()>) -> Result<Times> {
    let mut spans = Vec::new();
    let cpu = cpu_time()?;
    let start = Instant::now();
    while start.elapsed() < SPAN {
        let begin = Instant::now();
        work()?;
        spans.push(begin.elapsed());
    }
    let cpu = cpu_time()? - cpu;
    Ok(Times { spans, cpu })
}

/// Processor time of this process so far, in the kernel's ticks of 10 ms.
fn cpu_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let mut fields = stat.split_whitespace().skip(13);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("short stat")?.parse()?) };
    Ok(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let begin = Instant::now();
    let value = work()?;
    Ok((value, begin.elapsed()))
}

enum Op {
    Append {
        group: u64,
        index: u64,
    },
    Vote {
        group: u64,
        term: u64,
    },
    /// Drops `from..end`.
    Truncate {
        group: u64,
        from: u64,
        end: u64,
    },
    /// Drops `first..end`.
    Purge {
        group: u64,
        first: u64,
        end: u64,
    },
}

trait Engine: Sized {
    fn open(dir: &Path) -> Result<Self>;
    /// Returns when all of it is on disk.
    fn write(&mut self, ops: &[Op]) -> Result<()>;
    /// Reads every entry and returns the count.
    fn read_all(&mut self, groups: u64) -> Result<u64>;
    /// Gives back the space of purged entries, if the engine must be told.
    fn collect(&mut self) -> Result<()> {
        Ok(())
    }
}

/// An entry's bytes: random to a compressor, and telling where they belong.
fn payload(group: u64, index: u64) -> Vec<u8> {
    let mut state = group << 40 | index | 1 << 63;
    let mut bytes = index.to_le_bytes().to_vec();
    while bytes.len() < ENTRY_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

fn row<E: Engine>(name: &str, dir: &Path, groups: u64, entries: u64) -> Result<()> {
    let live = dir.join("live");
    fs::create_dir(&live)?;
    let mut engine = E::open(&live)?;
    let mut next = vec![1; usize::try_from(groups)?];
    let mut turn = 0;
    let mut take = |count: u64| {
        let mut ops = Vec::new();
        for _ in 0..count {
            let group = turn % groups;
            turn += 1;
            let index = &mut next[usize::try_from(group).unwrap_or(0)];
            ops.push(Op::Append {
                group,
                index: *index,
            });
            *index += 1;
        }
        ops
    };

    let single = repeat(|| engine.write(&take(1)))?;
    let batch = repeat(|| engine.write(&take(256)))?;
    let mut term = 0;
    let vote = repeat(|| {
        term += 1;
        engine.write(&[Op::Vote {
            group: term % groups,
            term,
        }])
    })?;
    let mut written = (single.spans.len() + 256 * batch.spans.len()) as u64;
    let (filled, fill) = timed(|| {
        let mut filled = 0_u64;
        while written < entries || filled < 20_000 {
            engine.write(&take(1000))?;
            written += 1000;
            filled += 1000;
        }
        Ok(filled)
    })?;
    let mut group = 0;
    let rewrite = repeat(|| {
        group = (group + 1) % groups;
        let end = next[usize::try_from(group)?];
        let from = end.saturating_sub(10).max(1);
        let mut ops = vec![Op::Truncate { group, from, end }];
        ops.extend((from..end).map(|index| Op::Append { group, index }));
        engine.write(&ops)
    })?;
    let total: u64 = next.iter().map(|next| next - 1).sum();
    let size = disk_bytes(&live)?;

    // What a kill leaves behind is what other programs see while the engine runs.
    let killed = dir.join("killed");
    copy(&live, &killed)?;
    let ((), close) = timed(|| {
        drop(engine);
        Ok(())
    })?;
    let (mut engine, reopen) = timed(|| E::open(&live))?;
    let (found, read) = timed(|| engine.read_all(groups))?;
    ensure!(found == total, "{name} returned {found} of {total} entries");
    let (mut crashed, recover) = timed(|| E::open(&killed))?;
    let found = crashed.read_all(groups)?;
    ensure!(
        found == total,
        "{name} returned {found} of {total} entries after a kill"
    );
    drop(crashed);

    let ((), purge) = timed(|| {
        let ops: Vec<_> = (0..groups)
            .map(|group| Op::Purge {
                group,
                first: 1,
                end: next[usize::try_from(group).unwrap_or(0)] / 2,
            })
            .collect();
        engine.write(&ops)?;
        engine.collect()
    })?;
    #[expect(clippy::cast_precision_loss, reason = "a ratio to two digits")]
    let ratio = size as f64 / (total * ENTRY_BYTES as u64) as f64;
    println!(
        "| {name} | {groups} | {} ({}) | {} ({}) | {} | {} | {} | {} | {} (close {}) | {} | {} | \
         {ratio:.2} ({} MB, {total}) |",
        single.rate(),
        single.millis(),
        batch.rate_of(256),
        batch.millis(),
        vote.rate(),
        rewrite.rate(),
        u128::from(filled) * 1_000_000_000 / fill.as_nanos().max(1),
        ms(purge),
        ms(reopen),
        ms(close),
        ms(recover),
        ms(read),
        size / 1_000_000,
    );
    Ok(())
}

fn disk_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for item in fs::read_dir(dir)? {
        let item = item?;
        let meta = item.metadata()?;
        bytes += if meta.is_dir() {
            disk_bytes(&item.path())?
        } else {
            meta.blocks() * 512
        };
    }
    Ok(bytes)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let target = to.join(item.file_name());
        if item.file_type()?.is_dir() {
            copy(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), target)?;
        }
    }
    Ok(())
}

/// Records in one file, with an index of all entries in memory: the least that can be done.
struct PlainFile {
    file: fs::File,
    entries: BTreeMap<(u64, u64), (u64, usize)>,
    end: u64,
}

impl PlainFile {
    fn apply(&mut self, kind: u8, group: u64, a: u64, b: u64, body: (u64, usize)) {
        match kind {
            0 => {
                self.entries.insert((group, a), body);
            }
            2 | 3 => (a..b).for_each(|index| {
                self.entries.remove(&(group, index));
            }),
            _ => {}
        }
    }
}

impl Engine for PlainFile {
    fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("log");
        let data = fs::read(&path).unwrap_or_default();
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)?;
        let mut log = Self {
            file,
            entries: BTreeMap::new(),
            end: data.len() as u64,
        };
        let mut at = 0;
        while at + 29 <= data.len() {
            let number = |from: usize| -> Result<u64> {
                Ok(u64::from_le_bytes(
                    data[at + from..at + from + 8].try_into()?,
                ))
            };
            let len = u32::from_le_bytes(data[at + 25..at + 29].try_into()?) as usize;
            let body = (at as u64 + 29, len);
            log.apply(data[at], number(1)?, number(9)?, number(17)?, body);
            at += 29 + len;
        }
        Ok(log)
    }

    fn write(&mut self, ops: &[Op]) -> Result<()> {
        let mut data = Vec::new();
        for op in ops {
            let (kind, group, a, b, body) = match *op {
                Op::Append { group, index } => (0, group, index, 0, payload(group, index)),
                Op::Vote { group, term } => (1, group, term, 0, Vec::new()),
                Op::Truncate { group, from, end } => (2, group, from, end, Vec::new()),
                Op::Purge { group, first, end } => (3, group, first, end, Vec::new()),
            };
            data.push(kind);
            for number in [group, a, b] {
                data.extend_from_slice(&number.to_le_bytes());
            }
            data.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
            let place = (self.end + data.len() as u64, body.len());
            data.extend_from_slice(&body);
            self.apply(kind, group, a, b, place);
        }
        self.file.write_all(&data)?;
        self.file.sync_data()?;
        self.end += data.len() as u64;
        Ok(())
    }

    fn read_all(&mut self, _: u64) -> Result<u64> {
        Ok(self.entries.len() as u64)
    }
}

const LOG: redb::TableDefinition<'_, (u64, u64), &[u8]> = redb::TableDefinition::new("log");
const META: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("meta");

struct Redb(redb::Database);

impl Engine for Redb {
    fn open(dir: &Path) -> Result<Self> {
        Ok(Self(
            redb::Database::builder()
                .set_cache_size(64 << 20)
                .create(dir.join("store"))?,
        ))
    }

    fn write(&mut self, ops: &[Op]) -> Result<()> {
        let tx = self.0.begin_write()?;
        {
            let mut log = tx.open_table(LOG)?;
            let mut meta = tx.open_table(META)?;
            for op in ops {
                match *op {
                    Op::Append { group, index } => {
                        log.insert((group, index), &payload(group, index)[..])?;
                    }
                    Op::Vote { group, term } => {
                        meta.insert(group, term)?;
                    }
                    Op::Truncate { group, from, end }
                    | Op::Purge {
                        group,
                        first: from,
                        end,
                    } => {
                        log.retain_in((group, from)..(group, end), |_, _| false)?;
                    }
                }
            }
        }
        Ok(tx.commit()?)
    }

    fn read_all(&mut self, _: u64) -> Result<u64> {
        use redb::{ReadableDatabase as _, ReadableTable as _};
        let log = self.0.begin_read()?.open_table(LOG)?;
        let mut count = 0;
        for item in log.iter()? {
            let (key, value) = item?;
            let (group, index) = key.value();
            ensure!(value.value() == payload(group, index), "wrong entry");
            count += 1;
        }
        Ok(count)
    }
}

struct Fjall {
    db: fjall::Database,
    log: fjall::Keyspace,
    meta: fjall::Keyspace,
}

fn key(group: u64, index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&group.to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

impl Engine for Fjall {
    fn open(dir: &Path) -> Result<Self> {
        let db = fjall::Database::builder(dir)
            .worker_threads(1)
            .cache_size(64 << 20)
            .open()?;
        let log = db.keyspace("log", fjall::KeyspaceCreateOptions::default)?;
        let meta = db.keyspace("meta", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { db, log, meta })
    }

    fn write(&mut self, ops: &[Op]) -> Result<()> {
        let mut batch = self
            .db
            .batch()
            .durability(Some(fjall::PersistMode::SyncData));
        for op in ops {
            match *op {
                Op::Append { group, index } => {
                    batch.insert(&self.log, key(group, index), payload(group, index));
                }
                Op::Vote { group, term } => {
                    batch.insert(&self.meta, key(group, 0), term.to_be_bytes());
                }
                Op::Truncate { group, from, end }
                | Op::Purge {
                    group,
                    first: from,
                    end,
                } => {
                    for index in from..end {
                        batch.remove(&self.log, key(group, index));
                    }
                }
            }
        }
        Ok(batch.commit()?)
    }

    fn read_all(&mut self, _: u64) -> Result<u64> {
        let mut count = 0;
        for item in self.log.iter() {
            let (key, value) = item.into_inner()?;
            let (group, index) = key.split_at(8);
            let group = u64::from_be_bytes(group.try_into()?);
            let index = u64::from_be_bytes(index.try_into()?);
            ensure!(*value == payload(group, index), "wrong entry");
            count += 1;
        }
        Ok(count)
    }
}

struct TikvEngine(raft_engine::Engine);

/// Tells the engine an entry's index.
struct Indexed;

impl raft_engine::MessageExt for Indexed {
    type Entry = protobuf::well_known_types::BytesValue;

    fn index(entry: &Self::Entry) -> u64 {
        entry
            .value
            .first_chunk()
            .map_or(0, |index| u64::from_le_bytes(*index))
    }
}

impl Engine for TikvEngine {
    fn open(dir: &Path) -> Result<Self> {
        let config = raft_engine::Config {
            dir: PathBuf::from(dir).display().to_string(),
            batch_compression_threshold: raft_engine::ReadableSize::kb(0),
            target_file_size: raft_engine::ReadableSize::mb(16),
            purge_threshold: raft_engine::ReadableSize::mb(32),
            recovery_threads: 2,
            ..Default::default()
        };
        Ok(Self(raft_engine::Engine::open(config)?))
    }

    fn write(&mut self, ops: &[Op]) -> Result<()> {
        let mut batch = raft_engine::LogBatch::default();
        for op in ops {
            match *op {
                Op::Append { group, index } => {
                    let mut entry = protobuf::well_known_types::BytesValue::new();
                    entry.value = payload(group, index);
                    batch.add_entries::<Indexed>(group + 1, &[entry])?;
                }
                Op::Vote { group, term } => {
                    batch.put(group + 1, b"vote".to_vec(), term.to_be_bytes().to_vec())?;
                }
                // Overwriting does it.
                Op::Truncate { .. } => {}
                Op::Purge { group, end, .. } => {
                    let command = raft_engine::Command::Compact { index: end };
                    batch.add_command(group + 1, command);
                }
            }
        }
        self.0.write(&mut batch, true)?;
        Ok(())
    }

    fn read_all(&mut self, groups: u64) -> Result<u64> {
        let mut count = 0;
        for group in 1..=groups {
            let (Some(first), Some(last)) = (self.0.first_index(group), self.0.last_index(group))
            else {
                continue;
            };
            let mut found = Vec::new();
            self.0
                .fetch_entries_to::<Indexed>(group, first, last + 1, None, &mut found)?;
            for (index, entry) in (first..).zip(&found) {
                ensure!(entry.value == payload(group - 1, index), "wrong entry");
            }
            count += found.len() as u64;
        }
        Ok(count)
    }

    fn collect(&mut self) -> Result<()> {
        self.0.purge_expired_files()?;
        Ok(())
    }
}
