use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use futures::executor::block_on;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::{
    group::{Done, Loaded},
    *,
};
use crate::primitives::{Bytes, Digest, GroupId, PeerId};

fn id(n: u64) -> GroupId {
    Digest::from(format!("group {n}").as_str())
}

/// An entry's bytes, which tell where and as which version they were written.
fn entry(group: u64, index: u64, version: u64) -> Bytes {
    let text = format!("{group}:{index}:{version}:");
    let filler = text.repeat(1 + usize::try_from(index % 9).unwrap());
    Bytes::from(format!("{text}{filler}"))
}

fn version_of(group: u64, index: u64, found: &[u8]) -> u64 {
    let text = std::str::from_utf8(found).unwrap();
    let version = text.split(':').nth(2).unwrap().parse().unwrap();
    assert_eq!(
        found,
        entry(group, index, version),
        "{group}/{index} is wrong"
    );
    version
}

fn entries(group: u64, range: std::ops::Range<u64>, version: u64) -> Vec<(u64, Bytes)> {
    range
        .map(|index| (index, entry(group, index, version)))
        .collect()
}

/// A callback, and what tells when it ran.
fn done() -> (Done, mpsc::Receiver<Result<(), StoreError>>) {
    let (tx, rx) = mpsc::channel();
    (
        Box::new(move |result| tx.send(result).unwrap_or_default()),
        rx,
    )
}

fn append(store: &GroupStore, entries: Vec<(u64, Bytes)>) {
    let (done, written) = done();
    block_on(store.append(entries, done)).unwrap();
    written.recv().unwrap().unwrap();
}

fn truncate(store: &GroupStore, first: u64) {
    block_on(store.truncate_from(first)).unwrap();
    block_on(store.flush()).unwrap();
}

fn open(dir: &Path) -> NodeStore {
    NodeStore::open(dir).unwrap()
}

fn purged(index: u64) -> Purged {
    Purged {
        index,
        state: Bytes::from(format!("up to {index}")),
    }
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made/on/demand");
    {
        let store = open(&dir);
        let group = store.group(id(1));
        assert_eq!(group.load().unwrap(), Loaded::default());
        append(&group, entries(1, 0..10, 1));
        append(&group, entries(1, 10..11, 1));
        block_on(group.save_meta([(MetaKey::Vote, Bytes::from_static(b"vote"))])).unwrap();
        block_on(group.save_meta([(MetaKey::Lineage, Bytes::from_static(b"lineage"))])).unwrap();
        group.note_meta(MetaKey::Committed, Bytes::from_static(b"5"));
        group.note_meta(MetaKey::Committed, Bytes::from_static(b"7"));
    }
    let store = open(&dir);
    assert_eq!(store.groups(), [id(1)]);
    let group = store.group(id(1));
    let loaded = group.load().unwrap();
    assert_eq!(loaded.entries, 0..11);
    assert_eq!(loaded.last, Some(entry(1, 10, 1)));
    assert_eq!(loaded.vote.as_deref(), Some(&b"vote"[..]));
    assert_eq!(loaded.lineage.as_deref(), Some(&b"lineage"[..]));
    assert_eq!(
        loaded.committed.as_deref(),
        Some(&b"7"[..]),
        "goes along with a close"
    );
    assert_eq!(group.read(0..11, usize::MAX).unwrap(), entries(1, 0..11, 1));
    assert_eq!(
        group.read(3..11, 1).unwrap(),
        entries(1, 3..4, 1),
        "at least one"
    );
    assert!(group.read(3..3, 1).unwrap().is_empty());
    assert!(group.read(11..12, 1).unwrap().is_empty());
}

#[test]
fn truncated_entries_can_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let group = open(dir.path()).group(id(1));
        append(&group, entries(1, 0..20, 1));
        truncate(&group, 12);
        assert_eq!(group.load().unwrap().entries, 0..12);
        append(&group, entries(1, 12..15, 2));
    }
    let group = open(dir.path()).group(id(1));
    assert_eq!(group.load().unwrap().entries, 0..15);
    assert_eq!(group.read(11..12, 1).unwrap(), entries(1, 11..12, 1));
    assert_eq!(
        group.read(12..15, usize::MAX).unwrap(),
        entries(1, 12..15, 2)
    );
    truncate(&group, 0);
    assert_eq!(group.load().unwrap(), Loaded::default());
}

#[test]
fn a_purged_log_goes_on_behind_its_border() {
    let dir = tempfile::tempdir().unwrap();
    {
        let group = open(dir.path()).group(id(1));
        append(&group, entries(1, 0..5000, 1));
        block_on(group.purge(&purged(4990))).unwrap();
        block_on(group.flush()).unwrap();
        assert_eq!(group.load().unwrap().entries, 4991..5000);
    }
    {
        let store = open(dir.path());
        let group = store.group(id(1));
        let loaded = group.load().unwrap();
        assert_eq!(loaded.purged, Some(purged(4990)));
        assert_eq!(loaded.entries, 4991..5000);
        append(&group, entries(1, 5000..5001, 1));
        block_on(group.continue_after(&purged(9000))).unwrap();
        block_on(group.flush()).unwrap();
        assert_eq!(group.load().unwrap().entries, 9001..9001);
        append(&group, entries(1, 9001..9003, 3));
    }
    let group = open(dir.path()).group(id(1));
    assert_eq!(group.load().unwrap().entries, 9001..9003);
}

#[test]
fn purged_rows_are_deleted_in_time() {
    let dir = tempfile::tempdir().unwrap();
    {
        let group = open(dir.path()).group(id(1));
        append(&group, entries(1, 0..5000, 1));
        block_on(group.purge(&purged(4999))).unwrap();
    }
    // Whatever was not deleted before the store was closed is deleted now.
    let group = open(dir.path()).group(id(1));
    append(&group, entries(1, 5000..5001, 1));
    let swept = (0..1000).any(|_| {
        block_on(group.flush()).unwrap();
        group.has_only(5000..5001)
    });
    assert!(swept, "the space is never given back");
}

/// A snapshot with its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Whole {
    meta: Bytes,
    chunks: Vec<Bytes>,
}

fn save_snapshot(group: &GroupStore, snapshot: Whole) {
    let mut writer = group.begin_snapshot();
    for chunk in snapshot.chunks {
        block_on(writer.add([chunk])).unwrap();
    }
    block_on(writer.finish(snapshot.meta)).unwrap();
}

fn load_snapshot(group: &GroupStore) -> Result<Option<Whole>, StoreError> {
    let Some(stored) = group.snapshot()? else {
        return Ok(None);
    };
    let mut chunks = Vec::new();
    while let Some(from) = u32::try_from(chunks.len())
        .ok()
        .filter(|n| *n < stored.chunks)
    {
        chunks.extend(group.read_chunks(&stored, from, 1000)?);
    }
    Ok(Some(Whole {
        meta: stored.meta,
        chunks,
    }))
}

#[test]
fn a_second_handle_in_a_row_counts_snapshots_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let chunks = |text: &'static str| (0..3).map(|n| Bytes::from(format!("{text} {n}"))).collect();
    let whole = Whole {
        meta: Bytes::from_static(b"old"),
        chunks: chunks("old"),
    };
    save_snapshot(&store.group(id(1)), whole.clone());
    // The group has ended and is joined again, and ends in the middle of its next snapshot.
    let group = store.group(id(1));
    let mut writer = group.begin_snapshot();
    block_on(writer.add([Bytes::from_static(b"new 0")])).unwrap();
    drop(writer);
    assert_eq!(load_snapshot(&group).unwrap(), Some(whole));
}

#[test]
fn a_handle_that_wrote_nothing_registers_no_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    drop(store.group(id(1)));
    append(&store.group(id(1)), entries(1, 0..5, 1));
    drop(store);
    let group = open(dir.path()).group(id(1));
    assert_eq!(group.load().unwrap().entries, 0..5);
}

#[test]
fn a_snapshot_replaces_the_one_before() {
    let snapshot = |n: usize, len: usize| Whole {
        meta: Bytes::from(format!("snapshot {n}")),
        chunks: (0..len)
            .map(|place| Bytes::from(vec![u8::try_from(n).unwrap(); 100 * place]))
            .collect(),
    };
    let dir = tempfile::tempdir().unwrap();
    {
        let group = open(dir.path()).group(id(1));
        assert_eq!(load_snapshot(&group).unwrap(), None);
        save_snapshot(&group, snapshot(1, 30));
        assert_eq!(load_snapshot(&group).unwrap(), Some(snapshot(1, 30)));
        save_snapshot(&group, snapshot(2, 10));
    }
    let group = open(dir.path()).group(id(1));
    assert_eq!(load_snapshot(&group).unwrap(), Some(snapshot(2, 10)));
    save_snapshot(&group, snapshot(3, 0));
    assert_eq!(load_snapshot(&group).unwrap(), Some(snapshot(3, 0)));
}

#[test]
fn a_removed_group_starts_afresh() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        for n in 0..3 {
            let group = store.group(id(n));
            append(&group, entries(n, 0..50, 1));
        }
        let left = store.group(id(1));
        left.retire();
        let again = store.group(id(1));
        assert_eq!(again.load().unwrap(), Loaded::default());
        append(&again, entries(1, 0..5, 2));
        block_on(left.remove()).unwrap();
    }
    let store = open(dir.path());
    for (n, len) in [(0, 50), (1, 5), (2, 50)] {
        let group = store.group(id(n));
        assert_eq!(group.load().unwrap().entries, 0..len);
    }
}

#[test]
fn many_groups_write_at_once() {
    const GROUPS: u64 = 16;
    const EACH: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    thread::scope(|scope| {
        for n in 0..GROUPS {
            let group = store.group(id(n));
            scope.spawn(move || {
                let mut waiting = Vec::new();
                for index in 0..EACH {
                    let (done, written) = done();
                    let ticket = block_on(group.append(entries(n, index..index + 1, 1), done));
                    waiting.push((ticket.unwrap(), written));
                }
                for (ticket, written) in waiting {
                    written.recv().unwrap().unwrap();
                    assert!(
                        group.durable() >= ticket,
                        "acknowledged before it was durable"
                    );
                }
            });
        }
    });
    drop(store);
    let store = open(dir.path());
    for n in 0..GROUPS {
        let group = store.group(id(n));
        assert_eq!(
            group.read(0..EACH, usize::MAX).unwrap(),
            entries(n, 0..EACH, 1)
        );
    }
}

#[test]
fn a_closed_store_refuses_and_frees_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let group = store.group(id(1));
    let (written, acknowledged) = done();
    block_on(group.append(entries(1, 0..1, 1), written)).unwrap();
    store.close();
    acknowledged.recv().unwrap().unwrap();
    let (refused, _) = done();
    let error = block_on(group.append(entries(1, 1..2, 1), refused)).unwrap_err();
    assert!(matches!(error, StoreError::Closed { .. }), "{error}");
    assert!(matches!(
        *store.failure().borrow(),
        Some(StoreError::Closed { .. })
    ));
    let error = group.load().unwrap_err();
    assert!(matches!(error, StoreError::Closed { .. }), "{error}");
    open(dir.path());
}

#[test]
fn an_identity_is_kept_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = store.secret_key_or_create().unwrap();
    block_on(store.claim(key.public())).unwrap();
    drop(store);
    let store = open(dir.path());
    assert_eq!(
        store.secret_key_or_create().unwrap().to_bytes(),
        key.to_bytes()
    );
    block_on(store.claim(key.public())).unwrap();
    let other: PeerId = iroh::SecretKey::generate().public();
    let error = block_on(store.claim(other)).unwrap_err();
    assert!(matches!(error, StoreError::Owner { .. }), "{error}");
    let path = dir.path().join("secret.key");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mut text = fs::read_to_string(&path).unwrap();
    let flipped = if text.starts_with('0') { "1" } else { "0" };
    text.replace_range(..1, flipped);
    fs::write(&path, text).unwrap();
    let error = store.secret_key_or_create().unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_layout_from_the_future_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let marker = dir.path().join("version");
    fs::write(&marker, "mosaik store 2\n").unwrap();
    let error = NodeStore::open(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Version {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    fs::write(&marker, "something else").unwrap();
    let error = NodeStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_missing_file_is_noticed() {
    for name in ["store.redb", "watermark"] {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = NodeStore::open(dir.path()).unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{name}: {error}"
        );
        assert_eq!(error.path(), dir.path().join(name));
    }
}

#[test]
fn an_older_copy_of_the_database_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.redb");
    let older = dir.path().join("older");
    append(&open(dir.path()).group(id(1)), entries(1, 0..5, 1));
    fs::copy(&file, &older).unwrap();
    append(&open(dir.path()).group(id(1)), entries(1, 5..6, 1));
    fs::copy(&older, &file).unwrap();
    let error = NodeStore::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn an_interrupted_first_start_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::remove_file(dir.path().join("version")).unwrap();
    fs::write(dir.path().join("version.new"), "mosa").unwrap();
    drop(open(dir.path()));
    drop(open(dir.path()));
}

#[test]
fn an_unusable_directory_is_an_io_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let path = file.join("store");
    let error = NodeStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file/store"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_directory_without_permission_is_an_io_error() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("closed");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(path.join("probe"), "").is_ok() {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let error = NodeStore::open(&path).unwrap_err();
    assert!(
        matches!(&error, StoreError::Io { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied),
        "{error}"
    );
}

/// Three groups with all that a store can hold, and every byte of it.
#[derive(Debug, PartialEq, Eq)]
struct Content(BTreeMap<GroupId, GroupContent>);

type GroupContent = (Loaded, Vec<(u64, Bytes)>, Option<Whole>);

impl Content {
    fn write(store: &NodeStore, rng: &mut StdRng) {
        for n in 0..3 {
            let group = store.group(id(n));
            let mut next = 0;
            for round in 0..20 {
                let count = rng.random_range(1..20);
                append(&group, entries(n, next..next + count, round));
                next += count;
                if rng.random_bool(0.3) {
                    next -= rng.random_range(0..count);
                    truncate(&group, next);
                }
                let vote = Bytes::from(format!("vote {round}"));
                block_on(group.save_meta([(MetaKey::Vote, vote)])).unwrap();
            }
            let chunks = (0..4).map(|_| {
                let len = rng.random_range(0..6000);
                Bytes::from((0..len).map(|_| rng.random()).collect::<Vec<u8>>())
            });
            let snapshot = Whole {
                meta: Bytes::from_static(b"snapshot"),
                chunks: chunks.collect(),
            };
            save_snapshot(&group, snapshot);
            block_on(group.purge(&purged(next / 2))).unwrap();
            block_on(group.flush()).unwrap();
        }
    }

    fn read(store: &NodeStore) -> Result<Self, StoreError> {
        let read_group = |id: GroupId| {
            let group = store.group(id);
            let loaded = group.load()?;
            let entries = group.read(loaded.entries.clone(), usize::MAX)?;
            Ok((id, (loaded, entries, load_snapshot(&group)?)))
        };
        let groups = store.groups().into_iter().map(read_group);
        groups.collect::<Result<_, _>>().map(Self)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), to.join(item.file_name())).unwrap();
    }
}

/// Damages one file somewhere.
fn damage(dir: &Path, rng: &mut StdRng) -> String {
    let name = match rng.random_range(0..10) {
        0 => "watermark",
        1 => "version",
        _ => "store.redb",
    };
    let path = dir.join(name);
    let mut content = fs::read(&path).unwrap();
    if rng.random_bool(0.3) {
        let len = rng.random_range(0..content.len());
        content.truncate(len);
        fs::write(&path, content).unwrap();
        return format!("{name} cut to {len}");
    }
    let mut what = format!("{name} changed at");
    for _ in 0..rng.random_range(1..16) {
        // Most of the file is unused, so aim at its beginning half of the time.
        let end = if rng.random() {
            content.len()
        } else {
            content.len().min(64 * 1024)
        };
        let at = rng.random_range(0..end);
        content[at] ^= 1 << rng.random_range(0..8);
        let _ = write!(what, " {at}");
    }
    fs::write(&path, content).unwrap();
    what
}

/// For any damage to the files, the store serves what was acknowledged, or says that it can't.
#[test]
fn damage_is_noticed_or_harmless() {
    let scratch = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let live = scratch.path().join("live");
    let store = open(&live);
    Content::write(&store, &mut rng);
    let expected = Content::read(&store).unwrap();
    // What a kill leaves, and what a close does.
    let killed = scratch.path().join("killed");
    copy(&live, &killed);
    drop(store);
    let mut noticed = 0;
    for seed in 0..120 {
        let mut rng = StdRng::seed_from_u64(seed);
        let origin = if seed % 2 == 0 { &killed } else { &live };
        let dir = scratch.path().join(seed.to_string());
        copy(origin, &dir);
        let what = damage(&dir, &mut rng);
        let found = NodeStore::open(&dir).and_then(|store| Content::read(&store));
        match found {
            Ok(found) => assert_eq!(found, expected, "seed {seed}: {what}"),
            Err(StoreError::Corrupt { .. } | StoreError::Version { .. }) => noticed += 1,
            Err(error) => panic!("seed {seed}: {what}: {error:?}"),
        }
        fs::remove_dir_all(dir).unwrap();
    }
    assert!(noticed > 40, "only {noticed} were noticed");
}

/// Tells the child process of the tests below where to work.
const CHILD_DIR: &str = "MOSAIK_TEST_STORE_CHILD";
const CHILD_GROUPS: u64 = 4;

/// The process that [`everything_acknowledged_survives_a_kill`] starts and kills.
#[test]
#[ignore = "not a test by itself: the process that another one starts and kills"]
fn child_process() {
    let dir = std::env::var_os(CHILD_DIR).expect("set by the test that starts this process");
    let store = open(Path::new(&dir));
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        // The parent has killed this process if there is no one to tell.
        out.write_all(line.as_bytes())
            .and_then(|()| out.flush())
            .unwrap_or_default();
    };
    thread::scope(|scope| {
        for n in 0..CHILD_GROUPS {
            let group = store.group(id(n));
            scope.spawn(move || {
                let loaded = group.load().unwrap();
                let mut next = loaded.entries.end;
                let last = loaded.last.map_or(0, |last| version_of(n, next - 1, &last));
                for version in last + 1.. {
                    let count = 1 + version % 3;
                    append(&group, entries(n, next..next + count, version));
                    next += count;
                    say(format!("#put {n} {next} {version}\n"));
                    if version % 5 == 0 {
                        next -= 1;
                        say(format!("#cut {n} {next} {version}\n"));
                        truncate(&group, next);
                    }
                    let vote = Bytes::from(version.to_string());
                    block_on(group.save_meta([(MetaKey::Vote, vote)])).unwrap();
                    say(format!("#vote {n} 0 {version}\n"));
                }
            });
        }
    });
}

fn start_child(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "groups::store::tests::child_process",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A process that is killed at any moment has lost nothing that it had said was written.
#[test]
fn everything_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(11);
    // By group: the end of the log and its version there, and the vote.
    let mut acknowledged: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
    for round in 0..8 {
        let mut child = start_child(dir.path());
        let lines = rng.random_range(1..300);
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        for count in 0.. {
            if count == lines {
                let error = NodeStore::open(dir.path()).unwrap_err();
                assert!(matches!(error, StoreError::Locked { .. }), "{error}");
                child.kill().unwrap();
            }
            let Some(Ok(line)) = out.next() else { break };
            let Some((_, line)) = line.split_once('#') else {
                continue;
            };
            let words: Vec<_> = line.split(' ').collect();
            let [what, numbers @ ..] = &words[..] else {
                continue;
            };
            let numbers: Vec<u64> = numbers
                .iter()
                .filter_map(|word| word.parse().ok())
                .collect();
            // The last line may be cut off.
            let &[group, end, version] = &numbers[..] else {
                break;
            };
            let group = acknowledged.entry(group).or_default();
            match *what {
                "put" => (group.0, group.1) = (end, version),
                "cut" => (group.0, group.1) = (end, group.1 - 1),
                _ => group.2 = version,
            }
        }
        child.wait().unwrap();
        let store = open(dir.path());
        for (n, (end, version, vote)) in &acknowledged {
            let group = store.group(id(*n));
            let loaded = group.load().unwrap();
            assert!(
                loaded.entries.end >= *end,
                "round {round}: group {n} lost entries"
            );
            let found = group.read(loaded.entries.clone(), usize::MAX).unwrap();
            let versions: Vec<_> = found
                .iter()
                .map(|(index, entry)| version_of(*n, *index, entry))
                .collect();
            assert!(versions.is_sorted(), "round {round}: group {n} is mixed up");
            let at_end = versions[usize::try_from(*end).unwrap() - 1];
            assert!(
                at_end >= *version,
                "round {round}: group {n} has old entries"
            );
            let found: u64 = std::str::from_utf8(&loaded.vote.unwrap_or_default())
                .unwrap()
                .parse()
                .unwrap_or(0);
            assert!(found >= *vote, "round {round}: group {n} lost a vote");
        }
    }
}

#[test]
fn a_disk_that_does_not_answer_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let group = store.group(id(1));
    append(&group, entries(1, 0..1, 1));
    // A callback holds the writer up, as the disk would.
    let (thaw, frozen) = mpsc::channel::<()>();
    let (freeze, freezing) = mpsc::channel();
    let hang = Box::new(move |_| {
        freeze.send(()).unwrap();
        frozen.recv().unwrap_or_default();
    });
    block_on(group.append(entries(1, 1..2, 1), hang)).unwrap();
    freezing.recv().unwrap();
    let (waiting, answered) = done();
    block_on(group.append(entries(1, 2..3, 1), waiting)).unwrap();
    let vote = (MetaKey::Vote, Bytes::from_static(b"vote"));
    let error = block_on(group.save_meta([vote])).unwrap_err();
    assert!(matches!(&error, StoreError::Io { .. }), "{error}");
    assert!(answered.recv().unwrap().is_err());
    let failure = store.failure().borrow().clone();
    assert!(matches!(failure, Some(StoreError::Io { .. })));
    // Nobody waits for it at the end either.
    store.close();
    drop(thaw);
}

#[test]
fn garbage_goes_as_fast_as_it_comes() {
    const ROUNDS: u64 = 40;
    const ROWS: u64 = 200;
    /// The next round begins within the one before: the writer is never idle.
    fn feed(group: &GroupStore, round: u64, finished: mpsc::Sender<u64>) {
        let next = group.clone();
        let done = Box::new(move |written: Result<(), StoreError>| {
            written.unwrap();
            if round == ROUNDS {
                finished.send(next.first_row()).unwrap();
            } else {
                feed(&next, round + 1, finished);
            }
        });
        let (first, end) = (round * ROWS, (round + 1) * ROWS);
        if round > 0 {
            block_on(group.purge(&purged(first - 1))).unwrap();
        }
        block_on(group.append(entries(1, first..end, 1), done)).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let group = open(dir.path()).group(id(1));
    let (tx, rx) = mpsc::channel();
    feed(&group, 0, tx);
    let behind = ROUNDS * ROWS - rx.recv().unwrap();
    assert!(behind < 4 * ROWS, "{behind} rows that nobody needs");
}

#[test]
fn a_database_that_is_mostly_empty_shrinks_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.redb");
    {
        let group = open(dir.path()).group(id(1));
        let rows = (0..1000).map(|index| (index, Bytes::from(vec![1; 16 * 1024])));
        append(&group, rows.collect());
        truncate(&group, 10);
    }
    let before = fs::metadata(&file).unwrap().len();
    let group = open(dir.path()).group(id(1));
    let after = fs::metadata(&file).unwrap().len();
    assert!(after * 4 < before, "{before}, then {after} bytes");
    assert_eq!(group.load().unwrap().entries, 0..10);
}

#[test]
fn a_first_start_that_was_interrupted_anywhere_is_completed() {
    let whole = tempfile::tempdir().unwrap();
    drop(open(whole.path()));
    let database = fs::read(whole.path().join("store.redb")).unwrap();
    for len in [
        0,
        1,
        8,
        100,
        512,
        4096,
        4097,
        database.len() / 2,
        database.len(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("store.redb.new"), &database[..len]).unwrap();
        let store = NodeStore::open(dir.path());
        let store = store.unwrap_or_else(|error| panic!("after {len} bytes: {error}"));
        append(&store.group(id(1)), entries(1, 0..1, 1));
    }
}

#[test]
fn what_rides_along_is_written_under_a_load_that_never_ends() {
    let queue = queue::Queue::new();
    let row = Bytes::from(vec![0; 6 * 1024 * 1024]);
    for index in 0..2 {
        let change = disk::Change::Put((0, 1, index), row.clone());
        block_on(queue.submit(vec![change], None)).unwrap();
    }
    queue.ride((0, 0, 4), Bytes::from_static(b"committed"));
    let batch = queue.take(false).unwrap();
    assert_eq!(
        batch.requests.len(),
        1,
        "there is more than one commit takes"
    );
    assert_eq!(batch.riders.len(), 1);
}

#[test]
fn advice_never_destroys_the_only_copy() {
    let path = Path::new("/var/lib/node");
    let corrupt = StoreError::corrupt(path, "x").to_string();
    assert!(corrupt.contains("copy the whole directory"), "{corrupt}");
    let incompatible = StoreError::incompatible(path, "group 1: the machine panicked").to_string();
    assert!(
        incompatible.contains("the machine panicked"),
        "{incompatible}"
    );
    assert!(
        incompatible.contains("keep the directory"),
        "{incompatible}"
    );
    for word in ["move", "empty", "remove", "delete"] {
        assert!(!incompatible.contains(word), "{incompatible}");
    }
}

/// Regression: it took the chunks of every later snapshot as well.
#[test]
fn a_late_sweep_spares_the_snapshots_of_this_run() {
    const ROWS: u64 = 50_000;
    let dir = tempfile::tempdir().unwrap();
    {
        let group = open(dir.path()).group(id(1));
        for first in (0..ROWS).step_by(10_000) {
            let rows = (first..first + 10_000).map(|index| (index, Bytes::from_static(b"x")));
            append(&group, rows.collect());
        }
        block_on(group.purge(&purged(ROWS - 1))).unwrap();
    }
    let whole = Whole {
        meta: Bytes::from_static(b"new"),
        chunks: (0..3).map(|n| Bytes::from(format!("new {n}"))).collect(),
    };
    let group = open(dir.path()).group(id(1));
    save_snapshot(&group, whole.clone());
    append(&group, entries(1, ROWS..ROWS + 1, 1));
    let swept = (0..5000).any(|_| {
        block_on(group.flush()).unwrap();
        group.has_only(ROWS..ROWS + 1)
    });
    assert!(swept, "the rows are never swept");
    // Parts of snapshots come after them.
    for _ in 0..20 {
        append(&group, entries(1, ROWS..ROWS + 1, 1));
        block_on(group.flush()).unwrap();
    }
    assert_eq!(load_snapshot(&group).unwrap(), Some(whole));
}
