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
    report::{NodeReport, OBSERVER_TAG, RefusalCount, Report, TagReport},
    sources::Sources,
    wire::{Page, Section},
};
use crate::{
    collections_layer::{CollectionReport, Described},
    net::LinkReport,
    primitives::{Bytes, Tag, names, record},
    tickets::{MAX_ENTRY_BYTES, PeerEntry},
};

/// Tags that are reported; an entry has no more.
const MAX_TAGS: usize = 1024;
/// Bytes of tags that are reported: with all else that is told of the node, they fit one answer.
const MAX_TAG_BYTES: usize = 128 * 1024;
/// Age of an encounter with another process of the same key that is told: one that was ended does not
/// come back.
const DUPLICATE_AGE_MS: u64 = 300_000;

/// The sections of a node as they were described last.
pub(super) struct Descriptions {
    sources: Sources,
    sequence: AtomicU64,
    sections: [DescribedOnce; Section::ALL.len()],
}

/// The latest description of a section, and the lock of who makes the next one.
#[derive(Default)]
struct DescribedOnce {
    latest: Mutex<Option<DescribedSection>>,
    describing: Mutex<()>,
}

/// The section that one asker is reading: its pages are of one moment.
#[derive(Default)]
pub(super) struct View(Option<(Section, DescribedSection)>);

/// A section as it was described.
#[derive(Clone)]
struct DescribedSection {
    at: Instant,
    sequence: u64,
    items: Arc<[Bytes]>,
    left_off: u64,
    /// The node, whose clock is told as it is when it answers.
    node: Option<Arc<NodeReport>>,
}

impl Descriptions {
    pub(super) fn new(sources: Sources) -> Self {
        Self {
            sources,
            sequence: AtomicU64::new(0),
            sections: Section::ALL.map(|_| DescribedOnce::default()),
        }
    }

    /// A page of a section, of which the first items are passed over.
    pub(super) fn page(&self, section: u8, skip: u32, view: &mut View) -> Page {
        let Some(section) = Section::of(section) else {
            return Page {
                sequence: 0,
                available: 0,
                left_off: 0,
                items: Vec::new(),
            };
        };
        let described = match view.0.take() {
            Some((viewed, described)) if viewed == section && skip > 0 => described,
            _ => self.section(section),
        };
        let described = &view.0.insert((section, described)).1;
        let items_now = described
            .node
            .as_ref()
            .map(|node| self.at_this_moment(node));
        let available = items_now.as_ref().unwrap_or(&described.items);
        let mut room = MAX_PAGE_BYTES;
        let mut items = Vec::new();
        for item in available.iter().skip(skip as usize) {
            if !items.is_empty() && item.len() > room {
                break;
            }
            room = room.saturating_sub(item.len());
            items.push(item.clone());
        }
        Page {
            sequence: described.sequence,
            available: u32::try_from(available.len()).unwrap_or(u32::MAX),
            left_off: described.left_off,
            items,
        }
    }

    /// The node with the times of now: its clock is compared with that of the asker.
    fn at_this_moment(&self, node: &NodeReport) -> Arc<[Bytes]> {
        let node = NodeReport {
            uptime_ms: millis(self.sources.started.elapsed()),
            clock_ms: self.sources.discovery.now_ms(),
            ..node.clone()
        };
        encoded(&[node]).0
    }

    /// The section, described anew unless that was done a moment ago.
    fn section(&self, section: Section) -> DescribedSection {
        let kept = &self.sections[section as usize];
        let latest = || kept.latest.lock().clone();
        let is_fresh = |described: &DescribedSection| described.at.elapsed() < PAGE_AGE;
        if let Some(described) = latest().filter(is_fresh) {
            return described;
        }
        // Many askers cost one description, and whoever comes meanwhile has the former one: it would
        // hold up a worker of the runtime.
        let _describing = match (kept.describing.try_lock(), latest()) {
            (Some(describing), _) => describing,
            (None, Some(former)) => return former,
            (None, None) => kept.describing.lock(),
        };
        if let Some(described) = latest().filter(is_fresh) {
            return described;
        }
        let mut node = None;
        let (items, left_off) = match section {
            Section::Node => {
                node = Some(Arc::new(self.sources.node()));
                (Arc::default(), 0)
            }
            Section::Links => encoded(&self.sources.links()),
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
            node,
        };
        *kept.latest.lock() = Some(described.clone());
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
            links: self.links(),
            streams: self.streams.all(),
            functions: self.functions.all(),
            groups: self.groups.reports(),
            collections: self.collections(),
            left_off: 0,
        }
    }

    fn links(&self) -> Vec<LinkReport> {
        let catalog = self.discovery.catalog();
        let mut links = self.links.reports();
        for link in &mut links {
            link.observes = observes(catalog.get(&link.peer));
        }
        links
    }

    fn node(&self) -> NodeReport {
        let catalog = self.discovery.catalog();
        let entry = catalog.local();
        let figures = self.discovery.figures();
        let address = entry.address();
        let refused = figures.refused.into_iter().filter(|(_, count)| *count > 0);
        let duplicate = self.discovery.duplicate();
        let ago_ms = self.discovery.duplicate_ago_ms();
        let is_recent = ago_ms.is_some_and(|ago_ms| ago_ms < DUPLICATE_AGE_MS);
        let duplicate = duplicate.borrow().clone();
        let duplicate = duplicate.filter(|other| other.shut_out || is_recent);
        let neighbours = figures.neighbors.iter();
        let (has_storage, storage_failure) = self.groups.store_state();
        NodeReport {
            peer: *entry.id(),
            build: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_ms: millis(self.started.elapsed()),
            clock_ms: self.discovery.now_ms(),
            clock_ahead_ms: None,
            asked_us: None,
            tags: tags(entry.tags().iter()),
            addresses: address.ip_addrs().map(ToString::to_string).collect(),
            relay: address.relay_urls().next().map(ToString::to_string),
            peers: catalog.peers().filter(|peer| !observes(Some(peer))).count() as u64,
            neighbours: neighbours.filter(|id| !observes(catalog.get(id))).count() as u64,
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

/// Returns whether an entry says that its node only looks on. Those come and go with each look at the
/// network, and would hide that a node has nobody else.
fn observes(entry: Option<&PeerEntry>) -> bool {
    entry.is_some_and(|entry| {
        let offers = !entry.streams().is_empty()
            || !entry.functions().is_empty()
            || !entry.groups().is_empty();
        !offers && entry.tags().contains(&Tag::from(OBSERVER_TAG))
    })
}

fn tags<'t>(all: impl Iterator<Item = &'t Tag>) -> Vec<TagReport> {
    let mut room = MAX_TAG_BYTES;
    let described = all.take(MAX_TAGS).map(|tag| TagReport {
        tag: *tag,
        label: names::tag_name(tag.as_bytes()),
    });
    described
        .map_while(|tag| {
            let len = 40 + tag.label.as_ref().map_or(0, String::len);
            room = room.checked_sub(len)?;
            Some(tag)
        })
        .collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
