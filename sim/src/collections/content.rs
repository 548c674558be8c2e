//! The content of a collection and its changes, in the structures of the standard library: one form
//! for all kinds, which the invariants judge.

use std::collections::BTreeMap;

use mosaik::{
    Bytes,
    collections::Cause,
    primitives::{Datum, encoding},
};

/// Keys of mutations of all ways.
pub(super) const KEYS: u8 = 24;
/// These and those behind them, which are written with a time to live only, and seldom: long enough
/// for it to end.
pub(super) const ALL_KEYS: u8 = KEYS + 8;

/// The value of a run: a mark that no other mutation writes, and bytes that only the encoding has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) mark: u32,
    pub(super) padding: u32,
}

impl Load {
    /// Bytes of a heavy one: as many as an element may have.
    const HEAVY: u32 = 1024 * 1024 - 8;

    pub(super) const fn light(mark: u32) -> Self {
        Self { mark, padding: 0 }
    }

    pub(super) const fn heavy(mark: u32) -> Self {
        Self {
            mark,
            padding: Self::HEAVY,
        }
    }
}

impl Datum for Load {
    type EncodeError = encoding::EncodeError;
    type DecodeError = encoding::DecodeError;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        let mut bytes = self.mark.to_le_bytes().to_vec();
        bytes.resize(4 + self.padding as usize, 0);
        Ok(bytes.into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        let bad = || encoding::DecodeError::DeserializeBadEncoding;
        let (mark, padding) = bytes.split_first_chunk().ok_or_else(bad)?;
        Ok(Self {
            mark: u32::from_le_bytes(*mark),
            padding: u32::try_from(padding.len()).map_err(|_| bad())?,
        })
    }
}

/// An entry behind its key: its priority, where there is one, and the mark of its value.
pub(super) type Entry = (u8, u32);

/// Content of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// By key; a place of one value has the key 0.
    Entries(BTreeMap<u8, Entry>),
    Elements(Vec<u32>),
}

impl Content {
    /// Carries out a change; returns whether it found what it says.
    pub(super) fn follow(&mut self, delta: &Delta) -> bool {
        match (self, delta) {
            (Self::Entries(entries), Delta::Entry { key, old, new, .. }) => {
                let known = match new {
                    Some(new) => entries.insert(*key, *new),
                    None => entries.remove(key),
                };
                known == *old
            }
            (
                Self::Elements(elements),
                Delta::Splice {
                    index,
                    removed,
                    inserted,
                },
            ) => {
                let start = elements.len().min(*index);
                let end = elements.len().min(start + removed.len());
                let fits = start == *index;
                let known = elements.splice(start..end, inserted.iter().copied());
                known.eq(removed.iter().copied()) && fits
            }
            _ => false,
        }
    }

    /// The part of it that a watch of a part shows.
    pub(super) fn part(&self, part: Part) -> Self {
        match self {
            Self::Entries(entries) => {
                let there = entries.iter().filter(|(key, _)| part.has_key(**key));
                Self::Entries(there.map(|(key, entry)| (*key, *entry)).collect())
            }
            Self::Elements(_) => self.clone(),
        }
    }

    /// An element that was inserted twice: each mark is written once, so none is there twice. Keys
    /// have one entry each in any case.
    pub(super) fn repeated(&self) -> Option<u32> {
        let Self::Elements(elements) = self else {
            return None;
        };
        let mut sorted = elements.clone();
        sorted.sort_unstable();
        let pair = sorted.windows(2).find(|pair| pair[0] == pair[1]);
        pair.map(|pair| pair[0])
    }
}

/// A change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delta {
    Entry {
        key: u8,
        old: Option<Entry>,
        new: Option<Entry>,
        created: bool,
        cause: Cause,
    },
    Splice {
        index: usize,
        removed: Vec<u32>,
        inserted: Vec<u32>,
    },
}

impl Delta {
    /// The key of an entry that expired.
    pub(super) fn expired(&self) -> Option<u8> {
        match self {
            Self::Entry {
                key,
                cause: Cause::Expired,
                ..
            } => Some(*key),
            _ => None,
        }
    }

    /// The marks that it brings in.
    pub(super) fn marks(&self) -> impl Iterator<Item = u32> {
        let (one, many): (_, &[u32]) = match self {
            Self::Entry { new, .. } => (new.map(|(_, mark)| mark), &[]),
            Self::Splice { inserted, .. } => (None, inserted),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

/// Part of a collection that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Key(u8),
    Range(u8, u8),
}

impl Part {
    pub(super) fn has_key(self, key: u8) -> bool {
        match self {
            Self::All => true,
            Self::Key(only) => key == only,
            Self::Range(start, end) => (start..end).contains(&key),
        }
    }

    pub(super) fn has(self, delta: &Delta) -> bool {
        match delta {
            Delta::Entry { key, .. } => self.has_key(*key),
            Delta::Splice { .. } => self == Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_find_what_they_say() {
        let mut content = Content::Elements(vec![1, 2, 3]);
        let splice = |index, removed: &[u32], inserted: &[u32]| Delta::Splice {
            index,
            removed: removed.to_vec(),
            inserted: inserted.to_vec(),
        };
        assert!(content.follow(&splice(1, &[2], &[7, 8])));
        assert_eq!(content, Content::Elements(vec![1, 7, 8, 3]));
        assert!(!content.follow(&splice(0, &[9], &[])), "another one");
        assert!(!content.follow(&splice(9, &[], &[5])), "out of range");
        assert_eq!(content, Content::Elements(vec![7, 8, 3, 5]));
        assert!(!content.follow(&splice(3, &[5, 6], &[7])), "too many");
        assert_eq!(content.repeated(), Some(7));
    }
}
