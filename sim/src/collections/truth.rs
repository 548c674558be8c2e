//! True changes, put together from all reports of the watchers.

use std::collections::BTreeMap;

use super::watcher::{Delta, Note, Part, Record};
use crate::invariants::Violation;

/// The changes of each version.
#[derive(Debug, Default)]
pub(super) struct Truth(BTreeMap<u64, Vec<Delta>>);

impl Truth {
    /// Collects the changes that the watchers of everything were told.
    pub(super) fn of(records: &[Record]) -> Result<Self, Violation> {
        let mut truth = Self::default();
        for record in records.iter().filter(|record| record.part == Part::All) {
            for note in &record.notes {
                if let Note::Changed(version, changes) = note {
                    let known = truth.0.entry(*version).or_insert_with(|| changes.clone());
                    if known != changes {
                        return Err(Violation(format!(
                            "version {version} changed {known:?}, and at place {} {changes:?}",
                            record.place
                        )));
                    }
                }
            }
        }
        Ok(truth)
    }

    /// The versions after one, up to another, that changed anything in a part, with the changes
    /// there.
    pub(super) fn between(
        &self,
        after: u64,
        last: u64,
        part: Part,
    ) -> impl Iterator<Item = (u64, Vec<Delta>)> {
        let range = (after < last).then(|| self.0.range(after + 1..=last));
        range
            .into_iter()
            .flatten()
            .filter_map(move |(version, changes)| {
                let there = changes.iter().filter(|change| part.has(change.key));
                let there: Vec<_> = there.cloned().collect();
                (!there.is_empty()).then_some((*version, there))
            })
    }

    /// The changes of a version.
    pub(super) fn at(&self, version: u64) -> Option<&[Delta]> {
        self.0.get(&version).map(Vec::as_slice)
    }

    /// Number of entries that expired.
    pub(super) fn expired(&self) -> usize {
        let changes = self.0.values().flatten();
        changes.filter(|change| change.expired).count()
    }
}
