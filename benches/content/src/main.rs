//! Structures for the content of collections, with a million entries of a 16-byte key and a
//! 100-byte value, and a snapshot alive: time of an operation, and memory. Beside them the hash map
//! of the standard library, whose snapshot is a copy of the whole.

#[path = "../../../crates/mosaik/src/collections/state/hash.rs"]
mod hash;
#[path = "../../../crates/mosaik/src/collections/state/trie.rs"]
mod trie;

use std::{cmp::Ordering, collections::HashMap, hint::black_box, sync::Arc, time::Instant};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};
use trie::{Keyed, Trie};

const ENTRIES: usize = 1_000_000;
const CHANGES: usize = 300_000;
/// Insertions that a collection prepares for together.
const TOGETHER: usize = 256;

type Key = [u8; 16];

struct Entry {
    key: Key,
    value: [u8; 100],
    _version: u64,
    _size: u64,
}

impl Keyed for Entry {
    type Key = Key;

    fn key(&self) -> &Key {
        &self.key
    }

    fn tie(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

fn entry(key: &Key) -> Arc<Entry> {
    Arc::new(Entry {
        key: *key,
        value: [7; 100],
        _version: 1,
        _size: 116,
    })
}

/// One structure under test.
trait Content: Clone + Default {
    /// Prepares for changes of these keys.
    fn prefetch(&self, _keys: &[Key]) {}
    fn insert(&mut self, key: &Key);
    fn get(&self, key: &Key) -> Option<u8>;
    fn remove(&mut self, key: &Key);
    fn sum(&self) -> u64;
}

impl Content for Trie<Entry> {
    fn prefetch(&self, keys: &[Key]) {
        self.prefetch(keys);
    }

    fn insert(&mut self, key: &Key) {
        self.insert(entry(key));
    }

    fn get(&self, key: &Key) -> Option<u8> {
        self.get(key).map(|entry| entry.value[9])
    }

    fn remove(&mut self, key: &Key) {
        self.remove(key);
    }

    fn sum(&self) -> u64 {
        self.iter().map(|entry| u64::from(entry.value[9])).sum()
    }
}

#[derive(Clone, Default)]
struct Std(HashMap<Key, Arc<Entry>>);

impl Content for Std {
    fn insert(&mut self, key: &Key) {
        self.0.insert(*key, entry(key));
    }

    fn get(&self, key: &Key) -> Option<u8> {
        self.0.get(key).map(|entry| entry.value[9])
    }

    fn remove(&mut self, key: &Key) {
        self.0.remove(key);
    }

    fn sum(&self) -> u64 {
        self.0.values().map(|entry| u64::from(entry.value[9])).sum()
    }
}

macro_rules! rpds_map {
    ($name:ident, $map:ty, $new:expr) => {
        #[derive(Clone)]
        struct $name($map);

        impl Default for $name {
            fn default() -> Self {
                Self($new)
            }
        }

        impl Content for $name {
            fn insert(&mut self, key: &Key) {
                self.0.insert_mut(*key, entry(key));
            }

            fn get(&self, key: &Key) -> Option<u8> {
                self.0.get(key).map(|entry| entry.value[9])
            }

            fn remove(&mut self, key: &Key) {
                self.0.remove_mut(key);
            }

            fn sum(&self) -> u64 {
                self.0.values().map(|entry| u64::from(entry.value[9])).sum()
            }
        }
    };
}

rpds_map!(
    HashTrie,
    HashTrieMapSync<Key, Arc<Entry>, foldhash::fast::FixedState>,
    HashTrieMapSync::new_with_hasher_and_ptr_kind(foldhash::fast::FixedState::default())
);
rpds_map!(
    RedBlackTree,
    RedBlackTreeMapSync<Key, Arc<Entry>>,
    RedBlackTreeMapSync::new_sync()
);

/// Resident memory in MiB.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split(' ').nth(1)?.parse::<f64>().ok());
    pages.unwrap_or(f64::NAN) * 4096.0 / f64::from(1 << 20)
}

fn nanos(start: Instant, count: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / count as f64
}

fn measure<C: Content>(name: &str) {
    let mut random = SmallRng::seed_from_u64(1);
    let keys: Vec<Key> = (0..ENTRIES).map(|_| random.random()).collect();
    let mut shuffled = keys.clone();
    shuffled.shuffle(&mut random);
    let before = resident();
    let mut content = C::default();
    let start = Instant::now();
    for keys in keys.chunks(TOGETHER) {
        content.prefetch(keys);
        for key in keys {
            content.insert(key);
        }
    }
    let insert = nanos(start, ENTRIES);
    let memory = resident() - before;
    let start = Instant::now();
    for key in &shuffled {
        black_box(content.get(key));
    }
    let get = nanos(start, ENTRIES);
    let snapshot = content.clone();
    let start = Instant::now();
    for keys in shuffled[..CHANGES].chunks(TOGETHER) {
        content.prefetch(keys);
        for key in keys {
            content.insert(key);
        }
    }
    let replace = nanos(start, CHANGES);
    let with_snapshot = resident() - before;
    let start = Instant::now();
    black_box(snapshot.sum());
    let iterate = nanos(start, ENTRIES);
    let start = Instant::now();
    for key in &shuffled[..CHANGES] {
        content.remove(key);
    }
    let remove = nanos(start, CHANGES);
    println!(
        "{name:<16} insert {insert:6.0} ns   get {get:6.0} ns   replace under a snapshot \
         {replace:6.0} ns   remove {remove:6.0} ns   iterate {iterate:5.0} ns   {memory:4.0} MiB, \
         {with_snapshot:4.0} MiB with a snapshot alive"
    );
}

fn main() {
    // One process each, so that memory that one has given back is not the next one's.
    match std::env::args().nth(1).as_deref() {
        Some("trie") => measure::<Trie<Entry>>("ours"),
        Some("std") => measure::<Std>("std hash map"),
        Some("hash") => measure::<HashTrie>("rpds hash trie"),
        Some("tree") => measure::<RedBlackTree>("rpds tree"),
        _ => {
            for name in ["trie", "hash", "tree", "std"] {
                let program = std::env::current_exe().expect("this program");
                let run = std::process::Command::new(program).arg(name).status();
                assert!(run.is_ok_and(|status| status.success()), "{name} failed");
            }
        }
    }
}
