//! A persistent hash set of shared items: the content of the kinds without an order.
//!
//! A snapshot is one more reference; a write copies what snapshots still share, once, and never an
//! item. The structure is a trie over the bits of the hash, four at a level, whose leaves hold up
//! to [`LEAF`] items in the order of their hashes, which are found by interpolation. Against the hash
//! trie of `rpds` it was chosen for its memory: `benches/content` compares them.

use core::{borrow::Borrow, cmp::Ordering, hash::Hash, hint::black_box};
use std::sync::Arc;

use super::hash::hash_of;

/// Bits of the hash that select a child.
const BITS: u32 = 4;
/// Children of a branch.
const FANOUT: usize = 1 << BITS;
/// Items of a leaf at most, while there are bits left to tell them apart.
const LEAF: usize = 32;
/// The level at which a hash has no more bits: its leaves have no limit.
const DEPTH: u32 = u64::BITS / BITS;
/// Slots that a full leaf is enlarged by, so that not each insertion allocates.
const SPARE: usize = 4;
/// Keys that are looked up side by side in advance.
const LANES: usize = 32;

/// Items of a trie, each found by a key that it contains.
pub(crate) trait Keyed {
    type Key: Hash + Eq;

    fn key(&self) -> &Self::Key;

    /// The order of two items whose keys have one hash; must not depend on the platform.
    fn tie(&self, other: &Self) -> Ordering;
}

/// A persistent set of items with distinct keys.
pub(crate) struct Trie<T> {
    root: Node<T>,
    len: usize,
}

/// A leaf is one allocation and holds the hashes beside each other: a lookup misses the caches of
/// the processor once for the leaf and once for the item, which is nearly all that it costs.
enum Node<T> {
    Leaf(Arc<[Slot<T>]>),
    Branch(Arc<[Node<T>; FANOUT]>),
}

struct Slot<T> {
    hash: u64,
    /// `None` in the spare slots at the end of a leaf, which have the greatest hash, and in one that
    /// is about to be dropped.
    item: Option<Arc<T>>,
}

impl<T> Clone for Trie<T> {
    fn clone(&self) -> Self {
        Self {
            root: self.root.clone(),
            len: self.len,
        }
    }
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Leaf(slots) => Self::Leaf(slots.clone()),
            Self::Branch(children) => Self::Branch(children.clone()),
        }
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self {
            hash: self.hash,
            item: self.item.clone(),
        }
    }
}

impl<T> Slot<T> {
    const fn spare() -> Self {
        Self {
            hash: u64::MAX,
            item: None,
        }
    }

    const fn is_spare(&self) -> bool {
        self.item.is_none()
    }
}

impl<T: Keyed> Slot<T> {
    fn has_key<Q>(&self, key: &Q) -> bool
    where
        T::Key: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let item = self.item.as_ref();
        item.is_some_and(|item| item.key().borrow() == key)
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self::Leaf(Arc::default())
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self {
            root: Node::default(),
            len: 0,
        }
    }
}

impl<T: Keyed> Trie<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The item with this key, given in any borrowed form that hashes and compares alike.
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&Arc<T>>
    where
        T::Key: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash_of(key);
        let (slots, level) = self.root.leaf_of(hash);
        let begin = lower_bound(slots, hash, level);
        slots[begin..]
            .iter()
            .take_while(|slot| slot.hash == hash)
            .find(|slot| slot.has_key(key))
            .and_then(|slot| slot.item.as_ref())
    }

    /// Brings the leaves of keys that are about to be changed into the processor's caches. A lookup
    /// mostly waits for memory; here up to [`LANES`] wait at the same time, which nearly halves the
    /// time of a batch of insertions among a million items.
    pub(crate) fn prefetch<'k>(&self, keys: impl IntoIterator<Item = &'k T::Key>)
    where
        T::Key: 'k,
    {
        let mut keys = keys.into_iter();
        loop {
            let mut lanes: [(u64, &Node<T>); LANES] = [(0, &self.root); LANES];
            let mut used = 0;
            for (lane, key) in lanes.iter_mut().zip(keys.by_ref()) {
                lane.0 = hash_of(key);
                used += 1;
            }
            if used < 2 {
                return;
            }
            let lanes = &mut lanes[..used];
            // Level by level, so that the loads of one level don't depend on each other.
            for level in 0..=DEPTH {
                let mut is_leaf = true;
                for (hash, node) in &mut *lanes {
                    match *node {
                        Node::Branch(children) => {
                            *node = &children[child(*hash, level)];
                            is_leaf = false;
                        }
                        Node::Leaf(slots) => {
                            black_box(slots.get(slots.len() / 2).map(|slot| slot.hash));
                        }
                    }
                }
                if is_leaf {
                    break;
                }
            }
        }
    }

    /// Adds an item; returns the one with the same key that it replaces.
    pub(crate) fn insert(&mut self, item: Arc<T>) -> Option<Arc<T>> {
        let hash = hash_of(item.key());
        let replaced = self.root.insert(0, hash, item);
        self.len += usize::from(replaced.is_none());
        replaced
    }

    /// Removes the item with this key.
    pub(crate) fn remove(&mut self, key: &T::Key) -> Option<Arc<T>> {
        // Looked up first: a miss must not copy what a snapshot shares.
        self.get(key)?;
        let removed = self.root.remove(0, hash_of(key), key)?;
        self.len -= 1;
        Some(removed)
    }

    /// All items, in an order that depends on the content alone.
    pub(crate) fn iter(&self) -> Iter<'_, T> {
        Iter {
            branches: Vec::new(),
            node: Some(&self.root),
            leaf: [].iter(),
        }
    }
}

impl<T> Node<T> {
    /// The leaf that a hash belongs to, and its level.
    fn leaf_of(&self, hash: u64) -> (&[Slot<T>], u32) {
        let (mut node, mut level) = (self, 0);
        loop {
            match node {
                Self::Branch(children) => {
                    node = &children[child(hash, level)];
                    level += 1;
                }
                Self::Leaf(slots) => return (slots, level),
            }
        }
    }
}

impl<T: Keyed> Node<T> {
    fn insert(&mut self, level: u32, hash: u64, item: Arc<T>) -> Option<Arc<T>> {
        match self {
            Self::Branch(children) => {
                let child = &mut Arc::make_mut(children)[child(hash, level)];
                child.insert(level + 1, hash, item)
            }
            Self::Leaf(slots) => {
                let (begin, end) = range_of(slots, hash, level);
                let same = (begin..end).find(|at| slots[*at].has_key(item.key()));
                if let Some(at) = same {
                    return Arc::make_mut(slots)[at].item.replace(item);
                }
                let smaller = slots[begin..end]
                    .iter()
                    .filter_map(|slot| slot.item.as_ref())
                    .take_while(|other| other.tie(&item).is_lt());
                let at = begin + smaller.count();
                let slot = Slot {
                    hash,
                    item: Some(item),
                };
                if let Some(own) = Arc::get_mut(slots)
                    && own.last().is_some_and(Slot::is_spare)
                {
                    own[at..].rotate_right(1);
                    own[at] = slot;
                    return None;
                }
                let mut slots = owned(slots);
                slots.insert(at, slot);
                *self = if slots.len() > LEAF && level < DEPTH {
                    Self::split(slots, level)
                } else {
                    Self::leaf(slots)
                };
                None
            }
        }
    }

    fn split(slots: Vec<Slot<T>>, level: u32) -> Self {
        let mut children: [Vec<Slot<T>>; FANOUT] = Default::default();
        for slot in slots {
            children[child(slot.hash, level)].push(slot);
        }
        Self::Branch(Arc::new(children.map(|slots| {
            if slots.len() > LEAF && level + 1 < DEPTH {
                Self::split(slots, level + 1)
            } else {
                Self::leaf(slots)
            }
        })))
    }

    fn remove(&mut self, level: u32, hash: u64, key: &T::Key) -> Option<Arc<T>> {
        match self {
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let removed = children[child(hash, level)].remove(level + 1, hash, key);
                if let Some(joined) = Self::joined(children) {
                    *self = joined;
                }
                removed
            }
            Self::Leaf(slots) => {
                let (begin, end) = range_of(slots, hash, level);
                let at = (begin..end).find(|at| slots[*at].has_key(key))?;
                let Some(own) = Arc::get_mut(slots) else {
                    let mut slots = owned(slots);
                    let removed = slots.remove(at).item;
                    *self = Self::leaf(slots);
                    return removed;
                };
                let removed = core::mem::replace(&mut own[at], Slot::spare()).item;
                own[at..].rotate_left(1);
                let enough = own.len().saturating_sub(2 * SPARE);
                if own[0].is_spare() || (enough > 0 && own[enough].is_spare()) {
                    *self = Self::leaf(owned(slots));
                }
                removed
            }
        }
    }

    /// The children as one leaf, if they fit with their spare slots.
    fn joined(children: &mut [Self; FANOUT]) -> Option<Self> {
        let mut len = 0;
        for child in &*children {
            match child {
                Self::Leaf(slots) => len += slots.len(),
                Self::Branch(_) => return None,
            }
        }
        if len > LEAF {
            return None;
        }
        let mut joined = Vec::with_capacity(len);
        for child in children {
            if let Self::Leaf(slots) = child {
                joined.extend(owned(slots));
            }
        }
        Some(Self::leaf(joined))
    }
}

impl<T> Node<T> {
    fn leaf(mut slots: Vec<Slot<T>>) -> Self {
        let len = slots.len().next_multiple_of(SPARE);
        slots.resize_with(len, Slot::spare);
        Self::Leaf(slots.into())
    }
}

/// The slots of a leaf without the spare ones: moved out of it, or copied where a snapshot shares
/// it.
fn owned<T>(slots: &mut Arc<[Slot<T>]>) -> Vec<Slot<T>> {
    let mut moved = Vec::with_capacity(slots.len() + 1);
    match Arc::get_mut(slots) {
        Some(slots) => {
            let occupied = slots.iter_mut().take_while(|slot| !slot.is_spare());
            moved.extend(occupied.map(|slot| core::mem::replace(slot, Slot::spare())));
        }
        None => moved.extend(slots.iter().take_while(|slot| !slot.is_spare()).cloned()),
    }
    moved
}

/// The child of a branch at this level that a hash belongs to: the highest bits first, so that the
/// order of the trie is that of the hashes.
fn child(hash: u64, level: u32) -> usize {
    let shift = u64::BITS - BITS * (level + 1);
    usize::try_from((hash >> shift) & (FANOUT as u64 - 1)).expect("four bits")
}

/// Range of the slots that the items of this hash have, or would have.
fn range_of<T>(slots: &[Slot<T>], hash: u64, level: u32) -> (usize, usize) {
    let begin = lower_bound(slots, hash, level);
    let same = slots[begin..].iter().take_while(|slot| slot.hash == hash);
    (begin, begin + same.count())
}

/// The first slot with this hash or a greater one. Hashes are evenly spread, so it is near the place
/// that the bits behind those of the leaf's path point to.
fn lower_bound<T>(slots: &[Slot<T>], hash: u64, level: u32) -> usize {
    let rest = hash.checked_shl(BITS * level).unwrap_or(0) >> 32;
    let guess = (rest * slots.len() as u64) >> 32;
    let mut at = usize::try_from(guess).map_or(0, |guess| guess.min(slots.len()));
    while at > 0 && slots[at - 1].hash >= hash {
        at -= 1;
    }
    while at < slots.len() && slots[at].hash < hash {
        at += 1;
    }
    at
}

/// Iterates over the items of a snapshot that it keeps alive.
pub(crate) struct IntoIter<T> {
    branches: Vec<(Arc<[Node<T>; FANOUT]>, usize)>,
    node: Option<Node<T>>,
    leaf: Arc<[Slot<T>]>,
    at: usize,
}

impl<T> IntoIterator for Trie<T> {
    type Item = Arc<T>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter {
            branches: Vec::new(),
            node: Some(self.root),
            leaf: Arc::default(),
            at: 0,
        }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = Arc<T>;

    fn next(&mut self) -> Option<Arc<T>> {
        loop {
            if let Some(item) = self.leaf.get(self.at).and_then(|slot| slot.item.clone()) {
                self.at += 1;
                return Some(item);
            }
            match self.node.take() {
                Some(Node::Leaf(slots)) => (self.leaf, self.at) = (slots, 0),
                Some(Node::Branch(children)) => self.branches.push((children, 0)),
                None => {
                    let (children, next) = self.branches.last_mut()?;
                    self.node = children.get(*next).cloned();
                    *next += 1;
                    if self.node.is_none() {
                        self.branches.pop();
                    }
                }
            }
        }
    }
}

/// Iterates over the items of a [`Trie`].
pub(crate) struct Iter<'a, T> {
    branches: Vec<core::slice::Iter<'a, Node<T>>>,
    node: Option<&'a Node<T>>,
    leaf: core::slice::Iter<'a, Slot<T>>,
}

impl<'a, T> Iterator for Iter<'a, T> {
    type Item = &'a Arc<T>;

    fn next(&mut self) -> Option<&'a Arc<T>> {
        loop {
            // The spare slots come last.
            if let Some(item) = self.leaf.next().and_then(|slot| slot.item.as_ref()) {
                return Some(item);
            }
            match self.node.take() {
                Some(Node::Leaf(slots)) => self.leaf = slots.iter(),
                Some(Node::Branch(children)) => self.branches.push(children.iter()),
                None => {
                    let children = self.branches.last_mut()?;
                    self.node = children.next();
                    if self.node.is_none() {
                        self.branches.pop();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Pair(u32, u64);

    impl Keyed for Pair {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }

        fn tie(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
        }
    }

    fn content(trie: &Trie<Pair>) -> BTreeMap<u32, u64> {
        let content: BTreeMap<_, _> = trie.iter().map(|pair| (pair.0, pair.1)).collect();
        assert_eq!(content.len(), trie.len(), "each key once");
        assert!(
            trie.iter()
                .eq(&trie.clone().into_iter().collect::<Vec<_>>())
        );
        content
    }

    #[test]
    fn random_operations_match_a_model_and_leave_snapshots_alone() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut trie, mut model) = (Trie::default(), BTreeMap::new());
        let mut snapshots = Vec::new();
        for n in 0..60_000u64 {
            let key = random.random_range(0..4000);
            if random.random_bool(if n < 30_000 { 0.7 } else { 0.3 }) {
                let old = trie.insert(Arc::new(Pair(key, n))).map(|pair| pair.1);
                assert_eq!(old, model.insert(key, n));
            } else {
                let old = trie.remove(&key).map(|pair| pair.1);
                assert_eq!(old, model.remove(&key));
            }
            assert_eq!(trie.len(), model.len());
            if n % 5000 == 0 {
                snapshots.push((trie.clone(), model.clone()));
            }
        }
        for key in 0..4000 {
            trie.remove(&key);
        }
        assert!(
            matches!(&trie.root, Node::Leaf(slots) if slots.is_empty()),
            "what is empty takes no memory"
        );
        for (trie, model) in snapshots {
            assert_eq!(content(&trie), model);
            for key in 0..4000 {
                assert_eq!(trie.get(&key).map(|pair| &pair.1), model.get(&key));
            }
        }
    }

    #[test]
    fn the_order_depends_on_the_content_alone() {
        let mut grown = Trie::default();
        for key in 0..1000 {
            grown.insert(Arc::new(Pair(key, 0)));
        }
        let mut shrunk = Trie::default();
        for key in (0..5000).rev() {
            shrunk.insert(Arc::new(Pair(key, 0)));
        }
        for key in 1000..5000 {
            shrunk.remove(&key);
        }
        let keys = |trie: &Trie<Pair>| trie.iter().map(|pair| pair.0).collect::<Vec<_>>();
        assert_eq!(keys(&grown), keys(&shrunk));
    }

    #[derive(PartialEq, Eq, Debug)]
    struct Collides(u32);

    impl Hash for Collides {
        fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
            state.write_u8(1);
        }
    }

    impl Keyed for Collides {
        type Key = Self;

        fn key(&self) -> &Self {
            self
        }

        fn tie(&self, other: &Self) -> Ordering {
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn equal_hashes_are_told_apart() {
        let mut trie = Trie::default();
        for n in (0..200).rev() {
            assert!(trie.insert(Arc::new(Collides(n))).is_none());
        }
        let order: Vec<_> = trie.iter().map(|item| item.0).collect();
        assert!(order.is_sorted(), "by the tie, not by history");
        assert_eq!(trie.len(), 200);
        for n in 0..200 {
            assert_eq!(trie.get(&Collides(n)).unwrap().0, n);
            assert!(trie.remove(&Collides(n)).is_some());
        }
        assert_eq!((trie.len(), trie.iter().count()), (0, 0));
    }
}
