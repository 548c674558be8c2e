//! A persistent sequence of shared elements: the content of `Vec`.
//!
//! Elements lie in chunks of up to [`CHUNK`], which snapshots share. A write copies the list of
//! chunks and one chunk when a snapshot still shares them, and never an element.

use core::ops::Range;
use std::{collections::VecDeque, sync::Arc};

/// Elements of a chunk at most.
const CHUNK: usize = 512;

type Chunk<T> = Arc<VecDeque<Arc<T>>>;

/// A persistent sequence.
pub(crate) struct Chunks<T> {
    /// No chunk is empty.
    chunks: Arc<VecDeque<Chunk<T>>>,
    len: usize,
}

impl<T> Clone for Chunks<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            len: self.len,
        }
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
        }
    }
}

impl<T> Chunks<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Arc<T>> {
        let (chunk, offset) = self.find(index)?;
        self.chunks[chunk].get(offset)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<T>> + Send
    where
        T: Send + Sync,
    {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The elements of a range of indices; what is out of range is passed over.
    pub(crate) fn range(&self, range: Range<usize>) -> impl Iterator<Item = &Arc<T>> + Send
    where
        T: Send + Sync,
    {
        let (at, offset) = self.find(range.start).unwrap_or((self.chunks.len(), 0));
        let mut chunks = self.chunks.range(at..);
        let first = chunks.next().into_iter();
        first
            .flat_map(move |chunk| chunk.range(offset..))
            .chain(chunks.flat_map(|chunk| chunk.iter()))
            .take(range.len())
    }

    pub(crate) fn push_back(&mut self, element: Arc<T>) {
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.back_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push_back(element),
            _ => chunks.push_back(Arc::new(VecDeque::from([element]))),
        }
        self.len += 1;
    }

    pub(crate) fn push_front(&mut self, element: Arc<T>) {
        let chunks = Arc::make_mut(&mut self.chunks);
        match chunks.front_mut() {
            Some(first) if first.len() < CHUNK => Arc::make_mut(first).push_front(element),
            _ => chunks.push_front(Arc::new(VecDeque::from([element]))),
        }
        self.len += 1;
    }

    /// Inserts before `index`; returns whether that is at most the length.
    pub(crate) fn insert(&mut self, index: usize, element: Arc<T>) -> bool {
        if index == self.len {
            self.push_back(element);
            return true;
        }
        let Some((at, offset)) = self.find(index) else {
            return false;
        };
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        chunk.insert(offset, element);
        if chunk.len() > CHUNK {
            let rest = chunk.split_off(CHUNK / 2);
            chunks.insert(at + 1, Arc::new(rest));
        }
        self.len += 1;
        true
    }

    /// Replaces the element at `index`; returns the former one.
    pub(crate) fn replace(&mut self, index: usize, element: Arc<T>) -> Option<Arc<T>> {
        let (at, offset) = self.find(index)?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let place = Arc::make_mut(&mut chunks[at]).get_mut(offset)?;
        Some(core::mem::replace(place, element))
    }

    /// Inserts many before `index`, which is at most the length.
    pub(crate) fn insert_all(&mut self, index: usize, elements: &[Arc<T>]) {
        let Some((at, offset)) = self.find(index).filter(|_| elements.len() > 1) else {
            for (n, element) in elements.iter().enumerate() {
                self.insert(index + n, element.clone());
            }
            return;
        };
        let chunks = Arc::make_mut(&mut self.chunks);
        let rest = (offset > 0).then(|| Arc::make_mut(&mut chunks[at]).split_off(offset));
        let after = chunks.split_off(at + usize::from(offset > 0));
        let runs = elements.chunks(CHUNK);
        chunks.extend(runs.map(|run| Arc::new(run.iter().cloned().collect())));
        chunks.extend(rest.map(Arc::new));
        chunks.extend(after);
        self.len += elements.len();
    }

    /// Removes the elements of a range of indices; what is out of range is passed over.
    pub(crate) fn remove_range(&mut self, range: Range<usize>) {
        let end = range.end.min(self.len);
        let Some(last) = end.checked_sub(1).filter(|last| range.start <= *last) else {
            return;
        };
        let (Some((first, from)), Some((last, to))) = (self.find(range.start), self.find(last))
        else {
            return;
        };
        let chunks = Arc::make_mut(&mut self.chunks);
        if first == last {
            Arc::make_mut(&mut chunks[first]).drain(from..=to);
        } else {
            Arc::make_mut(&mut chunks[first]).truncate(from);
            Arc::make_mut(&mut chunks[last]).drain(..=to);
            chunks.drain(first + 1..last);
        }
        // What is left of the two, now side by side.
        for at in [first + 1, first] {
            if chunks.get(at).is_some_and(|chunk| chunk.is_empty()) {
                chunks.remove(at);
            }
        }
        self.len -= end - range.start;
    }

    /// Removes the elements with these indices, in ascending order; returns those that there were.
    pub(crate) fn remove_all(&mut self, indices: &[usize]) -> Vec<Arc<T>> {
        let mut removed = Vec::new();
        let mut indices = indices.iter().copied().peekable();
        let mut begin = 0;
        let chunks = Arc::make_mut(&mut self.chunks);
        for chunk in chunks.iter_mut() {
            let end = begin + chunk.len();
            if indices.peek().is_some_and(|index| *index < end) {
                let mut kept = VecDeque::with_capacity(chunk.len());
                for (index, element) in (begin..).zip(chunk.iter()) {
                    if indices.next_if_eq(&index).is_some() {
                        removed.push(element.clone());
                    } else {
                        kept.push_back(element.clone());
                    }
                }
                *chunk = Arc::new(kept);
            }
            begin = end;
        }
        chunks.retain(|chunk| !chunk.is_empty());
        self.len -= removed.len();
        removed
    }

    /// Exchanges two elements; returns whether both exist.
    pub(crate) fn swap(&mut self, i: usize, j: usize) -> bool {
        let (Some(first), Some(second)) = (self.get(i).cloned(), self.get(j).cloned()) else {
            return false;
        };
        self.replace(i, second);
        self.replace(j, first);
        true
    }

    /// The chunk of an element, and its place there.
    fn find(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        // From the nearer end: queues look at both.
        if index >= self.len / 2 {
            let mut end = self.len;
            for (at, chunk) in self.chunks.iter().enumerate().rev() {
                steps::count();
                let begin = end - chunk.len();
                if index >= begin {
                    return Some((at, index - begin));
                }
                end = begin;
            }
            return None;
        }
        let mut begin = 0;
        for (at, chunk) in self.chunks.iter().enumerate() {
            steps::count();
            if index < begin + chunk.len() {
                return Some((at, index - begin));
            }
            begin += chunk.len();
        }
        None
    }
}

/// Chunks that were passed over in search of an element, which tests count.
pub(crate) mod steps {
    #[cfg(test)]
    thread_local!(static STEPS: core::cell::Cell<usize> = const { core::cell::Cell::new(0) });

    #[cfg(test)]
    pub(super) fn count() {
        STEPS.set(STEPS.get() + 1);
    }

    #[cfg(not(test))]
    pub(super) const fn count() {}

    /// The number of them on this thread since the last call.
    #[cfg(test)]
    pub(crate) fn taken() -> usize {
        STEPS.take()
    }
}

/// Iterates over the elements of a snapshot that it keeps alive.
pub(crate) struct IntoIter<T> {
    chunks: Arc<VecDeque<Chunk<T>>>,
    chunk: usize,
    offset: usize,
}

impl<T> IntoIterator for Chunks<T> {
    type Item = Arc<T>;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter {
            chunks: self.chunks,
            chunk: 0,
            offset: 0,
        }
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = Arc<T>;

    fn next(&mut self) -> Option<Arc<T>> {
        loop {
            let chunk = self.chunks.get(self.chunk)?;
            if let Some(element) = chunk.get(self.offset) {
                self.offset += 1;
                return Some(element.clone());
            }
            (self.chunk, self.offset) = (self.chunk + 1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn content(chunks: &Chunks<u32>) -> Vec<u32> {
        assert!(chunks.chunks.iter().all(|chunk| !chunk.is_empty()));
        let content: Vec<_> = chunks.iter().map(|element| **element).collect();
        assert!(
            content.iter().eq(chunks
                .clone()
                .into_iter()
                .collect::<Vec<_>>()
                .iter()
                .map(|e| &**e))
        );
        content
    }

    #[test]
    fn random_operations_match_a_model_and_leave_snapshots_alone() {
        let mut random = StdRng::seed_from_u64(9);
        let (mut chunks, mut model) = (Chunks::default(), Vec::new());
        let mut snapshots = Vec::new();
        for n in 0..20_000u32 {
            let index = random.random_range(0..=model.len() + 1);
            match random.random_range(0..12) {
                0 | 1 => {
                    chunks.push_back(Arc::new(n));
                    model.push(n);
                }
                2 => {
                    chunks.push_front(Arc::new(n));
                    model.insert(0, n);
                }
                3 | 4 => {
                    assert_eq!(chunks.insert(index, Arc::new(n)), index <= model.len());
                    if index <= model.len() {
                        model.insert(index, n);
                    }
                }
                5 => {
                    chunks.remove_range(index..index + 1);
                    if index < model.len() {
                        model.remove(index);
                    }
                }
                6 => {
                    if let Some(last) = chunks.len().checked_sub(1) {
                        chunks.remove_range(last..usize::MAX);
                    }
                    model.pop();
                }
                7 => {
                    chunks.remove_range(0..1);
                    model.drain(..model.len().min(1));
                }
                8 => {
                    let count = random.random_range(0..4) * random.random_range(0..400);
                    let many: Vec<_> = (n..n + count).map(Arc::new).collect();
                    let index = index.min(model.len());
                    chunks.insert_all(index, &many);
                    model.splice(index..index, n..n + count);
                }
                9 => {
                    let count = random.random_range(0..4) * random.random_range(0..400);
                    let end = (index + count).min(model.len());
                    let start = index.min(end);
                    let range = chunks.range(index..index + count).map(|e| **e);
                    assert!(range.eq(model[start..end].iter().copied()));
                    chunks.remove_range(index..index + count);
                    model.drain(start..end);
                }
                10 => {
                    let step = random.random_range(1..500);
                    let gone: Vec<_> = (index..index + 900).step_by(step).collect();
                    let removed = chunks.remove_all(&gone);
                    let mut expected = Vec::new();
                    for index in gone.into_iter().rev() {
                        if index < model.len() {
                            expected.insert(0, model.remove(index));
                        }
                    }
                    assert!(removed.iter().map(|e| **e).eq(expected));
                }
                _ => {
                    let other = random.random_range(0..=model.len());
                    let both = index < model.len() && other < model.len();
                    assert_eq!(chunks.swap(index, other), both);
                    if both {
                        model.swap(index, other);
                    }
                }
            }
            assert_eq!(chunks.len(), model.len());
            assert_eq!(chunks.get(index).map(|e| **e), model.get(index).copied());
            if n % 2000 == 0 {
                snapshots.push((chunks.clone(), model.clone()));
            }
        }
        for (chunks, model) in snapshots {
            assert_eq!(content(&chunks), model);
        }
    }
}
