//! Set reconciliation: finds the entries that two catalogs do not share, by comparing fingerprints
//! of ever smaller ranges of ids.
//!
//! Range-based set reconciliation (A. Meyer, "Range-Based Set Reconciliation", 2023,
//! arXiv:2212.13567): a range whose fingerprints agree is done; one with few entries is listed in
//! full; any other is split. Catalogs that differ in k of n entries exchange O(k log n)
//! summaries. The fingerprint of a set is the sum of its members' hashes, modulo 2^128: members
//! of a network are trusted not to look for collisions.
//!
//! Versions are compared, not contents. An owner that signs two contents with one version leaves
//! two halves of a network with one each until its next version; syncs because of that change
//! nothing, and get rarer (see `liveness`).

use crate::{
    discovery::wire::{Item, MAX_LISTED, Range, Summary},
    primitives::{Digest, PeerId},
    tickets::PeerEntryVersion,
};

/// A range is split in this many parts.
const SPLIT: usize = 16;

/// One side's entries at the start of a sync.
#[derive(Debug)]
pub(crate) struct Reconciler {
    /// Ordered by id.
    items: Vec<Item>,
    /// `sums[i]` is the fingerprint of the first `i` items.
    sums: Vec<u128>,
}

/// Reply to the other side's ranges.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Still to be compared.
    pub(crate) ranges: Vec<Range>,
    /// The other side has these newer, or alone.
    pub(crate) want: Vec<Item>,
    /// This side has these newer, or alone.
    pub(crate) offer: Vec<PeerId>,
}

impl Reconciler {
    pub(crate) fn new(items: impl IntoIterator<Item = Item>) -> Self {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        let mut sums = Vec::with_capacity(items.len() + 1);
        let mut sum = 0u128;
        sums.push(sum);
        for item in &items {
            sum = sum.wrapping_add(hash(item));
            sums.push(sum);
        }
        Self { items, sums }
    }

    /// The first move: everything this side holds.
    pub(crate) fn opening(&self) -> Vec<Range> {
        vec![self.range([0; 32], None)]
    }

    /// Compares the other side's ranges, which are ascending and disjoint, with this side's
    /// entries. So no entry is offered twice, and no more ranges are left than there were ranges
    /// and are entries.
    pub(crate) fn answer(&self, ranges: &[Range]) -> Answer {
        let mut answer = Answer::default();
        for range in ranges {
            match &range.summary {
                Summary::List(theirs) => self.compare(range, theirs, &mut answer),
                Summary::Fingerprint { count, sum } => {
                    let (start, end) = self.extent(&range.from, range.to.as_ref());
                    let own = (end - start) as u64;
                    if (own, self.sum(start, end)) != (*count, *sum) {
                        self.split(range, start, end, &mut answer.ranges);
                    }
                }
            }
        }
        answer
    }

    fn compare(&self, range: &Range, theirs: &[Item], answer: &mut Answer) {
        let (start, end) = self.extent(&range.from, range.to.as_ref());
        let own = &self.items[start..end];
        for (id, version) in theirs {
            match find(own, id) {
                Some(known) if known >= *version => {}
                _ => answer.want.push((*id, *version)),
            }
        }
        for (id, version) in own {
            if find(theirs, id).is_none_or(|known| known < *version) {
                answer.offer.push(*id);
            }
        }
    }

    fn split(&self, range: &Range, start: usize, end: usize, ranges: &mut Vec<Range>) {
        let count = end - start;
        if count <= MAX_LISTED {
            ranges.push(self.range(range.from, range.to));
            return;
        }
        let mut from = range.from;
        for part in 1..=SPLIT {
            let to = if part == SPLIT {
                range.to
            } else {
                Some(*self.items[start + count * part / SPLIT].0.as_bytes())
            };
            ranges.push(self.range(from, to));
            if let Some(to) = to {
                from = to;
            }
        }
    }

    fn range(&self, from: [u8; 32], to: Option<[u8; 32]>) -> Range {
        let (start, end) = self.extent(&from, to.as_ref());
        let summary = if end - start <= MAX_LISTED {
            Summary::List(self.items[start..end].to_vec())
        } else {
            Summary::Fingerprint {
                count: (end - start) as u64,
                sum: self.sum(start, end),
            }
        };
        Range { from, to, summary }
    }

    fn extent(&self, from: &[u8; 32], to: Option<&[u8; 32]>) -> (usize, usize) {
        let start = self.items.partition_point(|(id, _)| id.as_bytes() < from);
        let end = to.map_or(self.items.len(), |to| {
            self.items.partition_point(|(id, _)| id.as_bytes() < to)
        });
        (start, end.max(start))
    }

    fn sum(&self, start: usize, end: usize) -> u128 {
        self.sums[end].wrapping_sub(self.sums[start])
    }
}

/// The version of a peer among items that are ordered by id.
fn find(items: &[Item], id: &PeerId) -> Option<PeerEntryVersion> {
    let place = items.binary_search_by(|(other, _)| other.as_bytes().cmp(id.as_bytes()));
    place.ok().map(|place| items[place].1)
}

fn hash((id, version): &Item) -> u128 {
    let (start, update) = (
        version.start_ms().to_le_bytes(),
        version.update_ms().to_le_bytes(),
    );
    let digest = Digest::from_parts(&[id.as_ref(), &start, &update]);
    let mut half = [0; 16];
    half.copy_from_slice(&digest.as_bytes()[..16]);
    u128::from_le_bytes(half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        discovery::wire::SyncTurn,
        tickets::{SignedPeerEntry, UnverifiedEntry},
    };
    use iroh::SecretKey;
    use std::collections::BTreeMap;

    type Items = BTreeMap<[u8; 32], (PeerId, PeerEntryVersion)>;

    fn items(seeds: impl IntoIterator<Item = u32>) -> Items {
        let one = |seed: u32| {
            let id = SecretKey::from_bytes(blake3::hash(&seed.to_le_bytes()).as_bytes()).public();
            (*id.as_bytes(), (id, PeerEntryVersion::from_millis(1, 1)))
        };
        seeds.into_iter().map(one).collect()
    }

    /// Plays a whole sync; returns what each side wants, and the bytes exchanged.
    fn play(a: &Items, b: &Items) -> ([Vec<PeerId>; 2], usize) {
        let sides = [
            Reconciler::new(a.values().copied()),
            Reconciler::new(b.values().copied()),
        ];
        let mut wants = [Vec::new(), Vec::new()];
        let mut offers = [Vec::new(), Vec::new()];
        let mut ranges = sides[0].opening();
        let mut bytes = 0;
        for turn in 1.. {
            assert!(turn < 20, "no end");
            bytes += postcard::to_allocvec(&ranges).unwrap().len();
            let message = SyncTurn::<SignedPeerEntry> {
                ranges: ranges.clone(),
                ..SyncTurn::empty()
            };
            let encoded = postcard::to_allocvec(&message).unwrap();
            postcard::from_bytes::<SyncTurn<UnverifiedEntry>>(&encoded).expect("it is sound");
            let answer = sides[turn % 2].answer(&ranges);
            wants[turn % 2].extend(answer.want.iter().map(|(id, _)| *id));
            offers[turn % 2].extend(answer.offer);
            if answer.ranges.is_empty() {
                break;
            }
            ranges = answer.ranges;
        }
        let [mut want_a, mut want_b] = wants;
        let [offer_a, offer_b] = offers;
        want_a.extend(offer_b);
        want_b.extend(offer_a);
        want_a.sort();
        want_b.sort();
        ([want_a, want_b], bytes)
    }

    fn ids(items: &Items) -> Vec<PeerId> {
        let mut ids: Vec<_> = items.values().map(|(id, _)| *id).collect();
        ids.sort();
        ids
    }

    #[test]
    fn equal_catalogs_cost_one_fingerprint() {
        let all = items(0..1000);
        let ([a, b], bytes) = play(&all, &all);
        assert!(a.is_empty() && b.is_empty());
        assert!(bytes < 100, "{bytes}");
    }

    #[test]
    fn each_side_learns_what_it_lacks() {
        for (only_a, only_b, common) in [
            (0, 1, 0),
            (1, 0, 0),
            (1, 1000, 0),
            (1000, 1, 1),
            (3, 5, 1000),
            (40, 40, 400),
            (0, 0, 5),
        ] {
            let common_items = items(0..common);
            let extra_a = items(10_000..10_000 + only_a);
            let extra_b = items(20_000..20_000 + only_b);
            let a = common_items
                .clone()
                .into_iter()
                .chain(extra_a.clone())
                .collect();
            let b = common_items.into_iter().chain(extra_b.clone()).collect();
            let ([want_a, want_b], bytes) = play(&a, &b);
            assert_eq!(want_a, ids(&extra_b), "{only_a} {only_b} {common}");
            assert_eq!(want_b, ids(&extra_a), "{only_a} {only_b} {common}");
            if common == 1000 {
                assert!(bytes < 24_000, "8 of 1,000 differ, {bytes} bytes");
            }
        }
    }

    #[test]
    fn the_newer_version_is_wanted() {
        let (a, mut b) = (items(0..100), items(0..100));
        let newer = b.values_mut().nth(50).unwrap();
        newer.1 = PeerEntryVersion::from_millis(1, 2);
        let id = newer.0;
        let ([want_a, want_b], _) = play(&a, &b);
        assert_eq!((want_a, want_b), (vec![id], vec![]));
    }

    #[test]
    fn nonsense_ranges_do_no_harm() {
        let side = Reconciler::new(items(0..100).into_values());
        let answer = side.answer(&[
            Range {
                from: [255; 32],
                to: Some([0; 32]),
                summary: Summary::List(Vec::new()),
            },
            Range {
                from: [9; 32],
                to: Some([3; 32]),
                summary: Summary::Fingerprint {
                    count: u64::MAX,
                    sum: 7,
                },
            },
        ]);
        assert!(answer.want.is_empty() && answer.offer.is_empty());
    }
}
