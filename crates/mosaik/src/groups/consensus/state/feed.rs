//! Observers that are fed from here, and the source of an observer; see [`follow`](crate::groups::consensus::follow).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::groups::{
    machine::preference::Preference,
    model::{lineage::MemberId, member_info::Feeds, member_stream::Gone},
};

/// Observers that one member or observer feeds, at most.
const MAX_CHILDREN: usize = 16;
/// Observers that a leader lets come to it: it has other things to do.
const LEADER_CHILDREN: usize = 4;
/// Observers between an observer and the membership, at most.
pub(crate) const MAX_DEPTH: usize = 8;

/// Children and source of a member or observer.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Says whether this is an observer, which gets its log from a source and not from the leader.
    preference: Arc<Preference>,
    /// Observers that are fed, by the number of their stream.
    children: Mutex<HashMap<u64, ChildState>>,
    /// Number of streams so far, in both directions.
    streams: AtomicU64,
    source: Mutex<Option<Source>>,
    /// Number of arrivals from sources.
    arrivals: AtomicU64,
    /// Time until which this observer asks for nothing more, so as not to exceed its rate.
    paused_until: Mutex<Option<Instant>>,
    /// It was reported that this observer can follow nobody.
    reported: AtomicBool,
    /// Changes when something was heard of the leader.
    signs: watch::Sender<()>,
}

/// An observer that is fed.
#[derive(Debug)]
struct ChildState {
    member: MemberId,
    /// The next entry that it lacks.
    next: u64,
    /// True of one that has not proven the write key that this member has.
    is_guest: bool,
    /// Set once its place is another one's.
    displaced: CancellationToken,
}

/// An observer that wants to be fed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applicant {
    pub(crate) member: MemberId,
    /// The next entry that it lacks.
    pub(crate) next: u64,
    pub(crate) is_guest: bool,
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
    transfer: Transfer,
    /// Set once another stream counts, or none.
    ended: CancellationToken,
}

/// State of a snapshot that an observer gets from its source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Transfer {
    #[default]
    None,
    /// The source is about to say which pieces there are. That may take it a while.
    Announced,
    /// The pieces are fetched.
    Described,
    /// All of them are here, and are taken in.
    Installing,
}

impl Feed {
    pub(crate) fn new(preference: Arc<Preference>) -> Self {
        Self {
            preference,
            children: Mutex::default(),
            streams: AtomicU64::new(0),
            source: Mutex::default(),
            arrivals: AtomicU64::new(0),
            paused_until: Mutex::default(),
            reported: AtomicBool::new(false),
            signs: watch::Sender::default(),
        }
    }

    pub(crate) fn observes(&self) -> bool {
        self.preference.observes()
    }

    /// Something was heard of the leader.
    pub(crate) fn sign(&self) {
        self.signs.send_replace(());
    }

    /// Notes that this observer asks for nothing more until then.
    pub(crate) fn pause_until(&self, until: Instant) {
        let mut paused = self.paused_until.lock();
        *paused = paused.max(Some(until));
    }

    /// Returns whether this observer asks for nothing at present.
    pub(crate) fn is_paused(&self) -> bool {
        let paused = *self.paused_until.lock();
        paused.is_some_and(|until| Instant::now() < until)
    }

    /// Returns whether that this observer can follow nobody is reported for the first time.
    pub(crate) fn is_first_report(&self) -> bool {
        !self.reported.swap(true, Ordering::Relaxed)
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
        let children = self.children.lock();
        let needs = children.values().map(|child| (child.member, child.next));
        needs.collect()
    }

    pub(crate) fn source(&self) -> Option<MemberId> {
        self.source.lock().as_ref().map(|source| source.member)
    }

    /// Notes that a source is followed from now on.
    pub(crate) fn follow(&self, member: MemberId) -> Following<'_> {
        let number = self.streams.fetch_add(1, Ordering::Relaxed);
        let source = Source {
            number,
            member,
            path: Vec::new(),
            transfer: Transfer::None,
            ended: CancellationToken::new(),
        };
        if let Some(before) = self.source.lock().replace(source) {
            before.ended.cancel();
        }
        Following { feed: self, number }
    }

    /// Begins to take a snapshot from a member; `None` unless it is the source, and gives none
    /// already.
    pub(crate) fn fetch_from(&self, member: MemberId) -> Option<Fetching<'_>> {
        let mut source = self.source.lock();
        let source = source
            .as_mut()
            .filter(|source| source.member == member && source.transfer == Transfer::None)?;
        source.transfer = Transfer::Announced;
        Some(Fetching {
            feed: self,
            number: source.number,
            ended: source.ended.clone(),
        })
    }

    /// Notes that the source has said which pieces its snapshot has.
    pub(crate) fn described(&self) {
        if let Some(source) = &mut *self.source.lock()
            && source.transfer == Transfer::Announced
        {
            source.transfer = Transfer::Described;
        }
    }

    /// Notes that all of the source's snapshot is here.
    pub(crate) fn fetched(&self) {
        if let Some(source) = &mut *self.source.lock()
            && source.transfer == Transfer::Described
        {
            source.transfer = Transfer::Installing;
        }
    }

    /// State of the snapshot that the source gives.
    pub(crate) fn transfer(&self) -> Transfer {
        let source = self.source.lock();
        source
            .as_ref()
            .map_or(Transfer::None, |source| source.transfer)
    }

    /// Offer to feed another observer; `None` if there is no room for one.
    pub(crate) fn offer(&self, own: MemberId, leads: bool) -> Option<Feeds> {
        let path = self.path(own).filter(|path| path.len() <= MAX_DEPTH)?;
        let children = self.children.lock();
        let most = max_children(leads);
        let proven = children.values().filter(|child| !child.is_guest).count();
        let depth = u8::try_from(path.len() - 1).ok()?;
        (proven < most).then(|| Feeds {
            depth,
            takes_guests: children.len() < most,
        })
    }

    /// Observers that are fed.
    pub(crate) fn children(&self) -> Vec<MemberId> {
        let children = self.children.lock();
        children.values().map(|child| child.member).collect()
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

    /// Gives an observer a place. Each peer has one, whatever it calls itself; one that has proven
    /// the write key takes that of a guest where there is none left.
    pub(crate) fn admit(&self, applicant: Applicant, leads: bool) -> Option<Child<'_>> {
        let Applicant {
            member,
            next,
            is_guest,
        } = applicant;
        let mut children = self.children.lock();
        let before = children.extract_if(|_, other| other.member.is_beside(&member));
        before.for_each(|(_, before)| before.displaced.cancel());
        if children.len() >= max_children(leads) {
            // Who came last has the least behind it.
            let guests = children.iter().filter(|(_, other)| other.is_guest);
            let last = guests.map(|(id, _)| *id).max().filter(|_| !is_guest)?;
            if let Some(guest) = children.remove(&last) {
                guest.displaced.cancel();
            }
        }
        let id = self.streams.fetch_add(1, Ordering::Relaxed);
        let displaced = CancellationToken::new();
        children.insert(
            id,
            ChildState {
                member,
                next,
                is_guest,
                displaced: displaced.clone(),
            },
        );
        Some(Child {
            feed: self,
            id,
            displaced,
        })
    }
}

/// Observers that are fed at a time, at most.
fn max_children(leads: bool) -> usize {
    if leads { LEADER_CHILDREN } else { MAX_CHILDREN }
}

/// A place among those who are fed, until it is dropped.
pub(crate) struct Child<'a> {
    feed: &'a Feed,
    id: u64,
    displaced: CancellationToken,
}

impl Child<'_> {
    /// Notes how far it has come; whoever has a later stream has lost its place here.
    pub(crate) fn set_next(&self, next: u64) -> Result<(), Gone> {
        let mut children = self.feed.children.lock();
        let child = children.get_mut(&self.id).ok_or(Gone)?;
        child.next = next.max(child.next);
        Ok(())
    }

    /// Resolves once the place is another one's.
    pub(crate) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Child<'_> {
    fn drop(&mut self) {
        self.feed.children.lock().remove(&self.id);
    }
}

/// A snapshot that an observer takes from its source, until this is dropped.
pub(crate) struct Fetching<'a> {
    feed: &'a Feed,
    number: u64,
    ended: CancellationToken,
}

impl Fetching<'_> {
    /// Resolves once the source is none any more.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        let mut source = self.feed.source.lock();
        if let Some(source) = source
            .as_mut()
            .filter(|source| source.number == self.number)
        {
            source.transfer = Transfer::None;
        }
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
        if let Some(source) = source.take_if(|source| source.number == self.number) {
            source.ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::LeadershipPreference;

    fn feed(observes: bool) -> Feed {
        Feed::new(Arc::new(Preference::new(if observes {
            LeadershipPreference::Observer
        } else {
            LeadershipPreference::Normal
        })))
    }

    fn member(n: u8) -> MemberId {
        MemberId::fresh(iroh::SecretKey::from_bytes(&[n; 32]).public())
    }

    fn applicant(member: MemberId, next: u64, is_guest: bool) -> Applicant {
        Applicant {
            member,
            next,
            is_guest,
        }
    }

    #[test]
    fn no_more_than_so_many_are_fed_and_each_has_one_place() {
        let feed = feed(false);
        let all: Vec<_> = (1..=17).map(member).collect();
        let admit = |child, next| feed.admit(applicant(child, next, false), false);
        let mut places: Vec<_> = all[..MAX_CHILDREN]
            .iter()
            .map(|child| admit(*child, 1).unwrap())
            .collect();
        assert!(admit(all[MAX_CHILDREN], 1).is_none());
        // A second stream of the same one takes the place of its first.
        let again = admit(all[0], 5).unwrap();
        assert_eq!(feed.needs().len(), MAX_CHILDREN);
        assert!(places[0].set_next(9).is_err() && places[0].displaced.is_cancelled());
        again.set_next(7).unwrap();
        assert!(feed.needs().contains(&(all[0], 7)));
        places.clear();
        assert_eq!(feed.needs(), [(all[0], 7)]);
    }

    /// One peer could once take all places, by as many names.
    #[test]
    fn a_peer_has_one_place_whatever_it_calls_itself() {
        let feed = feed(false);
        let streams: Vec<_> = (0..17)
            .map(|_| feed.admit(applicant(member(1), 0, false), false).unwrap())
            .collect();
        assert_eq!(feed.children().len(), 1);
        let displaced = streams
            .iter()
            .filter(|place| place.displaced.is_cancelled());
        assert_eq!(displaced.count(), 16);
    }

    #[test]
    fn who_has_proven_the_key_takes_the_place_of_a_guest() {
        let feed = feed(false);
        let own = member(99);
        let admit = |n, is_guest| feed.admit(applicant(member(n), 0, is_guest), true);
        let offer = || feed.offer(own, true);
        let feeds = |takes_guests| {
            Some(Feeds {
                depth: 0,
                takes_guests,
            })
        };
        let guests: Vec<_> = (1..=4).map(|n| admit(n, true).unwrap()).collect();
        assert_eq!(offer(), feeds(false));
        assert!(admit(5, true).is_none(), "a leader feeds four");
        let mut proven = vec![admit(6, false).unwrap()];
        assert!(guests[3].displaced.is_cancelled() && !guests[0].displaced.is_cancelled());
        proven.extend((7..=9).map(|n| admit(n, false).unwrap()));
        assert_eq!(offer(), None);
        assert!(admit(10, false).is_none());
        drop(proven.pop());
        assert_eq!(offer(), feeds(true));
        // It led with fewer places than it has now.
        assert_eq!(feed.offer(own, false), feeds(true));
    }

    #[test]
    fn a_snapshot_comes_from_the_source_and_ends_with_it() {
        let feed = feed(true);
        let [source, other] = [1, 2].map(member);
        assert!(feed.fetch_from(source).is_none());
        let following = feed.follow(source);
        assert!(feed.fetch_from(other).is_none());
        let fetching = feed.fetch_from(source).unwrap();
        assert!(feed.fetch_from(source).is_none(), "one at a time");
        assert_eq!(feed.transfer(), Transfer::Announced);
        feed.described();
        assert_eq!(feed.transfer(), Transfer::Described);
        drop(fetching);
        let fetching = feed.fetch_from(source).unwrap();
        let _again = feed.follow(source);
        assert!(fetching.ended.is_cancelled());
        assert_eq!(feed.transfer(), Transfer::None);
        let fetching = feed.fetch_from(source).unwrap();
        drop(following);
        assert!(
            !fetching.ended.is_cancelled(),
            "it was of an earlier stream"
        );
    }

    #[test]
    fn an_observer_hands_on_what_it_gets_and_nothing_without_a_source() {
        let [own, source, root] = [1, 2, 3].map(member);
        assert_eq!(feed(false).path(own), Some(vec![own]));
        let feed = feed(true);
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
