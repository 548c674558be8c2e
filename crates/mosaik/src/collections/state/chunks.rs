//! A persistent sequence of shared elements: the content of `Vec`.
//!
//! Elements lie in chunks of up to [`CHUNK`], which snapshots share. A write copies the list of
//! chunks and one chunk when a snapshot still shares them, and never an element.

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

    pub(crate) fn remove(&mut self, index: usize) -> Option<Arc<T>> {
        let (at, offset) = self.find(index)?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        let removed = chunk.remove(offset)?;
        if chunk.is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        Some(removed)
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
            if index < begin + chunk.len() {
                return Some((at, index - begin));
            }
            begin += chunk.len();
        }
        None
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
            match random.random_range(0..9) {
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
                    let removed = (index < model.len()).then(|| model.remove(index));
                    assert_eq!(chunks.remove(index).map(|e| *e), removed);
                }
                6 => {
                    let last = chunks
                        .len()
                        .checked_sub(1)
                        .and_then(|last| chunks.remove(last));
                    assert_eq!(last.map(|e| *e), model.pop());
                }
                7 => {
                    let removed = (!model.is_empty()).then(|| model.remove(0));
                    assert_eq!(chunks.remove(0).map(|e| *e), removed);
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
