//! Describes a collection for reports.

use core::time::Duration;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    collections_layer::{
        Mismatch,
        adverts::Advert,
        engine::{kind::Kind, mismatches::mismatches, replica::Replica},
        report::{CollectionReport, MismatchReport},
    },
    discovery::Discovery,
    primitives::{GroupId, names},
};

/// Mismatches of one collection that are reported.
const MAX_REPORTED_MISMATCHES: usize = 16;
/// Age at which mismatches are looked for again: that takes a look at every entry of the catalog.
const MISMATCHES_AGE: Duration = Duration::from_secs(10);

/// Description of a collection, as its group keeps it for whoever reports of the node.
pub(crate) struct Described(Arc<dyn Describe>);

impl Described {
    pub(crate) fn new(profile: Profile<impl Kind>) -> Self {
        Self(Arc::new(profile))
    }

    /// Describes the collection of a group; `None` once it is closed.
    pub(crate) fn describe(
        &self,
        group: GroupId,
        label: Option<&str>,
        reads_only: bool,
    ) -> Option<CollectionReport> {
        let facts = self.0.facts()?;
        let all = self.0.mismatches();
        let listed = all.iter().take(MAX_REPORTED_MISMATCHES);
        let mismatches = listed.map(|mismatch| MismatchReport {
            peer: mismatch.peer,
            differing: mismatch
                .ingredients
                .iter()
                .map(ToString::to_string)
                .collect(),
        });
        Some(CollectionReport {
            group,
            label: label.map(str::to_owned),
            kind: facts.kind.to_owned(),
            types: facts.types,
            reads_only,
            entries: facts.entries,
            version: facts.version,
            watchers: facts.watchers,
            mismatches: mismatches.collect(),
            left_off: all.len().saturating_sub(MAX_REPORTED_MISMATCHES) as u64,
        })
    }
}

/// Parts of a collection that reports need.
pub(crate) struct Profile<K: Kind> {
    replica: Weak<Replica<K>>,
    types: String,
    discovery: Discovery,
    advert: Advert,
    mismatches: Mutex<Option<(Instant, Arc<[Mismatch]>)>>,
}

impl<K: Kind> Profile<K> {
    pub(crate) fn new(
        replica: &Arc<Replica<K>>,
        types: &[&str],
        discovery: Discovery,
        advert: Advert,
    ) -> Self {
        let types: Vec<_> = types
            .iter()
            .map(|name| names::short_type_name(name))
            .collect();
        Self {
            replica: Arc::downgrade(replica),
            types: types.join(", "),
            discovery,
            advert,
            mismatches: Mutex::default(),
        }
    }
}

/// Figures of a collection.
struct Facts {
    kind: &'static str,
    types: String,
    entries: u64,
    version: u64,
    watchers: u64,
}

/// A collection without its types.
trait Describe: Send + Sync {
    fn facts(&self) -> Option<Facts>;

    fn mismatches(&self) -> Arc<[Mismatch]>;
}

impl<K: Kind> Describe for Profile<K> {
    fn facts(&self) -> Option<Facts> {
        let replica = self.replica.upgrade()?;
        let (entries, version) = replica.observe(|live, _| (K::len(&live.state), live.version));
        let watchers = replica.ring().watchers();
        Some(Facts {
            kind: K::NAME,
            types: self.types.clone(),
            entries: entries as u64,
            version: version.0.0,
            watchers: watchers as u64,
        })
    }

    fn mismatches(&self) -> Arc<[Mismatch]> {
        let mut known = self.mismatches.lock();
        if let Some((at, mismatches)) = &*known
            && at.elapsed() < MISMATCHES_AGE
        {
            return mismatches.clone();
        }
        let found: Arc<[_]> = mismatches(&self.discovery, &self.advert).into();
        *known = Some((Instant::now(), found.clone()));
        found
    }
}
