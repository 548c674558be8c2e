//! Descriptions of the node: assembled from what its subsystems keep, and encoded section by section.

use core::time::Duration;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    limits::{MAX_ITEMS, MAX_PAGE_BYTES, PAGE_AGE},
    report::{NodeReport, RefusalCount, Report, TagReport},
    sources::Sources,
    wire::{Page, Section},
};
use crate::{
    collections_layer::{CollectionReport, Described},
    primitives::{Bytes, names, record},
    tickets::MAX_ENTRY_BYTES,
};

/// Tags that are reported; an entry has no more.
const MAX_TAGS: usize = 1024;

/// The sections of a node as they were described last.
pub(super) struct Descriptions {
    sources: Sources,
    sequence: AtomicU64,
    sections: [Mutex<Option<DescribedSection>>; Section::ALL.len()],
}

/// A section as it was described.
#[derive(Clone)]
struct DescribedSection {
    at: Instant,
    sequence: u64,
    items: Arc<[Bytes]>,
    left_off: u64,
}

impl Descriptions {
    pub(super) fn new(sources: Sources) -> Self {
        Self {
            sources,
            sequence: AtomicU64::new(0),
            sections: Section::ALL.map(|_| Mutex::default()),
        }
    }

    /// A page of a section, of which the first items are passed over.
    pub(super) fn page(&self, section: u8, skip: u32) -> Page {
        let Some(section) = Section::of(section) else {
            return Page {
                sequence: 0,
                available: 0,
                left_off: 0,
                items: Vec::new(),
            };
        };
        let described = self.section(section);
        let mut room = MAX_PAGE_BYTES;
        let mut items = Vec::new();
        for item in described.items.iter().skip(skip as usize) {
            if !items.is_empty() && item.len() > room {
                break;
            }
            room = room.saturating_sub(item.len());
            items.push(item.clone());
        }
        Page {
            sequence: described.sequence,
            available: u32::try_from(described.items.len()).unwrap_or(u32::MAX),
            left_off: described.left_off,
            items,
        }
    }

    /// The section, described anew unless that was done a moment ago.
    fn section(&self, section: Section) -> DescribedSection {
        // Held meanwhile, so that many askers cost one description.
        let mut kept = self.sections[section as usize].lock();
        if let Some(described) = &*kept
            && described.at.elapsed() < PAGE_AGE
        {
            return described.clone();
        }
        let (items, left_off) = match section {
            Section::Node => encoded(&[self.sources.node()]),
            Section::Links => encoded(&self.sources.links.reports()),
            Section::Streams => encoded(&self.sources.streams.all()),
            Section::Functions => encoded(&self.sources.functions.all()),
            Section::Groups => encoded(&self.sources.groups.reports()),
            Section::Collections => encoded(&self.sources.collections()),
        };
        let described = DescribedSection {
            at: Instant::now(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed) + 1,
            items,
            left_off,
        };
        *kept = Some(described.clone());
        described
    }
}

/// Items as they are sent, and the number of those that are not.
fn encoded<T: Serialize>(items: &[T]) -> (Arc<[Bytes]>, u64) {
    let left_off = items.len().saturating_sub(MAX_ITEMS);
    // Plain data has an encoding.
    let encoded = items
        .iter()
        .take(MAX_ITEMS)
        .filter_map(|item| record::encode(item).ok());
    (encoded.map(Bytes::from).collect(), left_off as u64)
}

impl Sources {
    /// Describes everything.
    pub(super) fn report(&self) -> Report {
        Report {
            node: self.node(),
            links: self.links.reports(),
            streams: self.streams.all(),
            functions: self.functions.all(),
            groups: self.groups.reports(),
            collections: self.collections(),
            left_off: 0,
        }
    }

    fn node(&self) -> NodeReport {
        let catalog = self.discovery.catalog();
        let entry = catalog.local();
        let figures = self.discovery.figures();
        let address = entry.address();
        let refused = figures.refused.into_iter().filter(|(_, count)| *count > 0);
        let duplicate = self.discovery.duplicate();
        let duplicate = duplicate.borrow().clone();
        let (has_storage, storage_failure) = self.groups.store_state();
        NodeReport {
            peer: *entry.id(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: millis(self.started.elapsed()),
            clock_ms: self.discovery.now_ms(),
            clock_ahead_ms: None,
            asked_us: None,
            tags: entry
                .tags()
                .iter()
                .take(MAX_TAGS)
                .map(|tag| TagReport {
                    tag: *tag,
                    label: names::tag_name(tag.as_bytes()),
                })
                .collect(),
            addresses: address.ip_addrs().map(ToString::to_string).collect(),
            relay: address.relay_urls().next().map(ToString::to_string),
            peers: catalog.peers_count() as u64,
            neighbours: figures.neighbors as u64,
            entry_bytes: entry.encoded_len() as u64,
            max_entry_bytes: MAX_ENTRY_BYTES as u64,
            tickets: entry.tickets().len() as u64,
            refused_entries: refused
                .map(|(reason, count)| RefusalCount {
                    reason: reason.to_owned(),
                    count,
                })
                .collect(),
            max_clock_drift_ms: millis(self.discovery.max_time_drift()),
            identity_conflicts: figures.conflicts,
            duplicate: duplicate.map(|other| {
                let addresses = other.address.ip_addrs().map(ToString::to_string);
                addresses.collect::<Vec<_>>().join(", ")
            }),
            has_storage,
            storage_failure,
        }
    }

    fn collections(&self) -> Vec<CollectionReport> {
        let contents = self.groups.contents();
        let described = contents.iter().filter_map(|content| {
            let collection = content.description.downcast_ref::<Described>()?;
            collection.describe(content.group, content.label.as_deref(), content.observes)
        });
        described.collect()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
