//! True changes, put together from all reports of the watchers.

use std::collections::BTreeMap;

use super::{
    content::{Content, Delta, Part},
    watcher::{Note, Record},
};
use crate::invariants::Violation;

/// The changes of each version, and the content that they lead to.
#[derive(Debug)]
pub(super) struct Truth {
    empty: Content,
    changes: BTreeMap<u64, Vec<Delta>>,
    contents: BTreeMap<u64, Content>,
}

impl Truth {
    /// Builds the truth from the events of the watchers of everything, and from an empty collection;
    /// with the contradictions among them.
    pub(super) fn of(empty: Content, records: &[Record]) -> (Self, Vec<Violation>) {
        let mut broken = Vec::new();
        let mut changes: BTreeMap<u64, Vec<Delta>> = BTreeMap::new();
        for record in records.iter().filter(|record| record.part == Part::All) {
            for note in &record.notes {
                if let Note::Changed(version, told) = note {
                    let known = changes.entry(*version).or_insert_with(|| told.clone());
                    if known != told {
                        broken.push(Violation(format!(
                            "one truth: version {version} changed {known:?}, and at place {} \
                             {told:?}",
                            record.place
                        )));
                    }
                }
            }
        }
        let (mut content, mut contents) = (empty.clone(), BTreeMap::new());
        for (version, deltas) in &changes {
            let before = content.clone();
            let mut fits = true;
            for delta in deltas {
                fits &= content.follow(delta);
            }
            if !fits {
                broken.push(Violation(format!(
                    "one truth: version {version} changed {deltas:?}, and before it there was \
                     {before:?}"
                )));
            }
            if let Some(mark) = content.repeated() {
                broken.push(Violation(format!(
                    "once: {mark} was inserted again by version {version}: {deltas:?}"
                )));
            }
            contents.insert(*version, content.clone());
        }
        let truth = Self {
            empty,
            changes,
            contents,
        };
        (truth, broken)
    }

    /// The versions after one, up to another, that changed anything in a part, with the changes
    /// there.
    pub(super) fn between(
        &self,
        after: u64,
        last: u64,
        part: Part,
    ) -> impl Iterator<Item = (u64, Vec<Delta>)> {
        let range = (after < last).then(|| self.changes.range(after + 1..=last));
        range
            .into_iter()
            .flatten()
            .filter_map(move |(version, changes)| {
                let there = changes.iter().filter(|change| part.has(change));
                let there: Vec<_> = there.cloned().collect();
                (!there.is_empty()).then_some((*version, there))
            })
    }

    /// The changes of a version.
    pub(super) fn at(&self, version: u64) -> Option<&[Delta]> {
        self.changes.get(&version).map(Vec::as_slice)
    }

    /// The content of a version.
    pub(super) fn content(&self, version: u64) -> &Content {
        let last = self.contents.range(..=version).next_back();
        last.map_or(&self.empty, |(_, content)| content)
    }

    /// All changes, with their versions.
    pub(super) fn all(&self) -> impl Iterator<Item = (u64, &Delta)> {
        let changes = self.changes.iter();
        changes.flat_map(|(version, deltas)| deltas.iter().map(|delta| (*version, delta)))
    }

    /// The version that first wrote each mark.
    pub(super) fn written(&self) -> BTreeMap<u32, u64> {
        let mut written = BTreeMap::new();
        for (version, delta) in self.all() {
            for mark in delta.marks() {
                written.entry(mark).or_insert(version);
            }
        }
        written
    }

    /// Number of entries that expired.
    pub(super) fn expired(&self) -> usize {
        let expired = self.all().filter(|(_, delta)| delta.expired().is_some());
        expired.count()
    }
}
