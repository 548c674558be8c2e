//! Observers that are fed from here, and the source of an observer; see [`follow`](crate::groups::consensus::follow).

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::groups::model::{lineage::MemberId, member_stream::Gone};

/// Observers that one member or observer feeds, at most.
const MAX_CHILDREN: usize = 16;
/// Observers that a leader lets come to it: it has other things to do.
const LEADER_CHILDREN: usize = 4;
/// Observers between an observer and the membership, at most.
pub(crate) const MAX_DEPTH: usize = 8;

/// Children and source of a member or observer.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// True of an observer, which gets its log from a source and not from the leader.
    observes: AtomicBool,
    /// Observers that are fed, each with the next entry that it lacks.
    children: Mutex<HashMap<u64, (MemberId, u64)>>,
    /// Number of streams so far, in both directions.
    streams: AtomicU64,
    source: Mutex<Option<Source>>,
    /// Number of arrivals from sources.
    arrivals: AtomicU64,
    /// Changes when something was heard of the leader.
    signs: watch::Sender<()>,
}

/// Source of an observer's log.
#[derive(Debug)]
struct Source {
    /// Of several streams, also to one source, the last one counts.
    number: u64,
    member: MemberId,
    /// Members and observers that the log comes through, the source last; empty before it has said
    /// so.
    path: Vec<MemberId>,
}

impl Feed {
    pub(crate) fn new(observes: bool) -> Self {
        Self {
            observes: AtomicBool::new(observes),
            ..Self::default()
        }
    }

    /// An observer has become a member.
    pub(crate) fn take_part(&self) {
        self.observes.store(false, Ordering::Relaxed);
    }

    pub(crate) fn observes(&self) -> bool {
        self.observes.load(Ordering::Relaxed)
    }

    /// Something was heard of the leader.
    pub(crate) fn sign(&self) {
        self.signs.send_replace(());
    }

    /// Notes that a part of the log or of a snapshot has arrived.
    pub(crate) fn arrived(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
    }

    /// The members and observers that a log comes through which this one hands on, itself last;
    /// `None` for an observer that is not fed.
    pub(crate) fn path(&self, own: MemberId) -> Option<Vec<MemberId>> {
        if !self.observes() {
            return Some(vec![own]);
        }
        let source = self.source.lock();
        let path = source.as_ref().map(|source| &source.path)?;
        (!path.is_empty()).then(|| path.iter().copied().chain([own]).collect())
    }

    /// The next entry that a child lacks, for all of them.
    pub(crate) fn needs(&self) -> Vec<(MemberId, u64)> {
        self.children.lock().values().copied().collect()
    }

    pub(crate) fn source(&self) -> Option<MemberId> {
        self.source.lock().as_ref().map(|source| source.member)
    }

    /// Notes that a source is followed from now on.
    pub(crate) fn follow(&self, member: MemberId) -> Following<'_> {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        *self.source.lock() = Some(Source {
            number,
            member,
            path: Vec::new(),
        });
        Following { feed: self, number }
    }

    /// Number of observers between the membership and one that would be fed from here; `None` if
    /// there is no room for another one.
    pub(crate) fn offer(&self, own: MemberId, leads: bool) -> Option<u8> {
        let path = self.path(own)?;
        let most = if leads { LEADER_CHILDREN } else { MAX_CHILDREN };
        let is_free = self.children.lock().len() < most && path.len() <= MAX_DEPTH;
        u8::try_from(path.len() - 1).ok().filter(|_| is_free)
    }

    /// Observers that are fed.
    pub(crate) fn children(&self) -> Vec<MemberId> {
        let children = self.children.lock();
        children.values().map(|(child, _)| *child).collect()
    }

    /// Number of arrivals from sources so far.
    pub(crate) fn arrivals(&self) -> u64 {
        self.arrivals.load(Ordering::Relaxed)
    }

    /// Changes when something was heard of the leader.
    pub(crate) fn signs(&self) -> watch::Receiver<()> {
        self.signs.subscribe()
    }

    /// Number of observers and members that the log comes through.
    pub(crate) fn steps(&self) -> u32 {
        let source = self.source.lock();
        let steps = source.as_ref().map_or(0, |source| source.path.len());
        u32::try_from(steps).unwrap_or(u32::MAX)
    }

    pub(crate) fn admit(&self, child: MemberId, next: u64) -> Option<Child<'_>> {
        let mut children = self.children.lock();
        children.retain(|_, (other, _)| *other != child);
        if children.len() >= MAX_CHILDREN {
            return None;
        }
        let id = self.streams.fetch_add(1, Ordering::Relaxed);
        children.insert(id, (child, next));
        Some(Child { feed: self, id })
    }
}

/// A place among those who are fed, until it is dropped.
pub(crate) struct Child<'a> {
    feed: &'a Feed,
    id: u64,
}

impl Child<'_> {
    /// Notes how far it has come; whoever has a later stream has lost its place here.
    pub(crate) fn set_next(&self, next: u64) -> Result<(), Gone> {
        let mut children = self.feed.children.lock();
        let (_, lacks) = children.get_mut(&self.id).ok_or(Gone)?;
        *lacks = next.max(*lacks);
        Ok(())
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        self.feed.children.lock().remove(&self.id);
    }
}

/// The source of an observer, until this is dropped.
pub(crate) struct Following<'a> {
    feed: &'a Feed,
    number: u64,
}

impl Following<'_> {
    /// Notes through whom the log comes.
    pub(crate) fn set_path(&self, path: &[MemberId]) {
        let mut source = self.feed.source.lock();
        if let Some(source) = source
            .as_mut()
            .filter(|source| source.number == self.number)
        {
            path.clone_into(&mut source.path);
        }
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        let mut source = self.feed.source.lock();
        source.take_if(|source| source.number == self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(n: u8) -> MemberId {
        MemberId::fresh(iroh::SecretKey::from_bytes(&[n; 32]).public())
    }

    #[test]
    fn no_more_than_so_many_are_fed_and_each_has_one_place() {
        let feed = Feed::new(false);
        let all: Vec<_> = (1..=17).map(member).collect();
        let mut places: Vec<_> = all[..MAX_CHILDREN]
            .iter()
            .map(|child| feed.admit(*child, 1).unwrap())
            .collect();
        assert!(feed.admit(all[MAX_CHILDREN], 1).is_none());
        // A second stream of the same one takes the place of its first.
        let again = feed.admit(all[0], 5).unwrap();
        assert_eq!(feed.needs().len(), MAX_CHILDREN);
        assert!(places[0].set_next(9).is_err());
        again.set_next(7).unwrap();
        assert!(feed.needs().contains(&(all[0], 7)));
        places.clear();
        assert_eq!(feed.needs(), [(all[0], 7)]);
    }

    #[test]
    fn an_observer_hands_on_what_it_gets_and_nothing_without_a_source() {
        let [own, source, root] = [1, 2, 3].map(member);
        assert_eq!(Feed::new(false).path(own), Some(vec![own]));
        let feed = Feed::new(true);
        assert_eq!(feed.path(own), None);
        let before = feed.follow(source);
        before.set_path(&[root, source]);
        assert_eq!(feed.path(own), Some(vec![root, source, own]));
        let again = feed.follow(source);
        assert_eq!(feed.path(own), None, "the source has said nothing yet");
        // The end of an earlier stream means nothing.
        before.set_path(&[root]);
        drop(before);
        assert_eq!((feed.source(), feed.path(own)), (Some(source), None));
        again.set_path(&[root, source]);
        assert_eq!(feed.path(own), Some(vec![root, source, own]));
    }
}
