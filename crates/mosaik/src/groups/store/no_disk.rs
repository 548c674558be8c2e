//! Stands in for the database where the library is built without one: it can't be opened.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::StoreError;
use crate::primitives::{Bytes, GroupId};

pub(super) type Key = (u32, u8, u64);

pub(super) const STORE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) enum Change {
    Put(Key, Bytes),
    Delete(Range<Key>),
    Discard(Range<Key>),
    AddGroup(GroupId, u32),
    RemoveGroup(GroupId, u32),
}

pub(super) type Garbage = VecDeque<Range<Key>>;

/// There is none.
#[derive(Debug)]
pub(super) enum Disk {}

impl Disk {
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        Self::open(path)
    }

    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let error = io::Error::new(
            io::ErrorKind::Unsupported,
            "the library was built without its feature `storage`",
        );
        Err(StoreError::io(&path, "open")(error))
    }

    pub(super) fn path(&self) -> &Path {
        match *self {}
    }

    pub(super) fn commit<'a>(
        &self,
        _: u64,
        _: impl IntoIterator<Item = &'a Change>,
        _: &mut Garbage,
        _: usize,
    ) -> Result<(), StoreError> {
        match *self {}
    }

    pub(super) fn last_commit(&self) -> Result<u64, StoreError> {
        match *self {}
    }

    pub(super) fn groups(&self) -> Result<BTreeMap<GroupId, u32>, StoreError> {
        match *self {}
    }

    pub(super) fn get(&self, _: Key) -> Result<Option<Bytes>, StoreError> {
        match *self {}
    }

    pub(super) fn range(&self, _: Range<Key>, _: usize) -> Result<Vec<(Key, Bytes)>, StoreError> {
        match *self {}
    }

    pub(super) fn bounds(&self, _: Range<Key>) -> Result<Option<(Key, Key)>, StoreError> {
        match *self {}
    }
}
