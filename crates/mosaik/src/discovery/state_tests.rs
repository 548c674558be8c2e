use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use iroh::{SecretKey, TransportAddr};

use super::*;
use crate::{discovery::clock::Clock, primitives::NetworkId};

const NOW: u64 = 1_000_000_000;
const PURGE_AFTER: Duration = Duration::from_secs(300);

struct World {
    network: NetworkId,
    state: State,
    now: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let network = Digest::random();
        let now = Arc::new(AtomicU64::new(NOW));
        let source = now.clone();
        let clock = Clock::new(move || {
            std::time::UNIX_EPOCH + Duration::from_millis(source.load(Ordering::Relaxed))
        });
        let local = Peer::new(network).at(NOW, NOW);
        let max_rtt = Some(Duration::from_millis(100));
        let catalog = Catalog::new(local, PURGE_AFTER, max_rtt, clock);
        Self {
            network,
            state: State::new(catalog, Duration::from_secs(10), 3),
            now,
        }
    }

    fn peer(&self) -> Peer {
        Peer::new(self.network)
    }

    fn admit(&mut self, entry: &SignedPeerEntry) -> Result<Vec<Event>, Refusal> {
        let effects = self.state.admit(entry.clone(), self.now(), HashSet::new)?;
        Ok(events(effects))
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn advance(&self, by: Duration) {
        self.now
            .fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

struct Peer {
    secret: SecretKey,
    entry: PeerEntry,
}

impl Peer {
    fn new(network: NetworkId) -> Self {
        let secret = SecretKey::generate();
        let entry = PeerEntry::new(network, secret.public());
        Self { secret, entry }
    }

    fn tagged(mut self, tag: &str) -> Self {
        self.entry.tags.insert(tag.into());
        self
    }

    fn id(&self) -> PeerId {
        *self.entry.id()
    }

    fn at(&self, start: u64, update: u64) -> SignedPeerEntry {
        let version = PeerEntryVersion::from_millis(start, update);
        PeerEntry {
            version,
            ..self.entry.clone()
        }
        .signed_by(&self.secret)
        .unwrap()
    }
}

fn events(effects: Vec<Effect>) -> Vec<Event> {
    let event = |effect| match effect {
        Effect::Event(event) => Some(event),
        _ => None,
    };
    effects.into_iter().filter_map(event).collect()
}

#[test]
fn only_a_newer_version_replaces_an_older_one() {
    let mut world = World::new();
    let peer = world.peer();
    let first = peer.at(NOW, NOW + 1);
    assert!(
        matches!(&world.admit(&first).unwrap()[..], [Event::PeerDiscovered(e)] if *e == *first)
    );
    assert_eq!(world.admit(&first), Err(Refusal::NotNewer));
    assert_eq!(world.admit(&peer.at(NOW, NOW)), Err(Refusal::NotNewer));
    assert_eq!(
        world.admit(&peer.at(NOW, NOW + 2)),
        Ok(vec![]),
        "a sign of life is silent"
    );
    let tagged = peer.tagged("x").at(NOW, NOW + 3);
    assert!(matches!(
        &world.admit(&tagged).unwrap()[..],
        [Event::PeerUpdated(_)]
    ));
    assert_eq!(
        world.state.catalog().get(tagged.id()).unwrap().version(),
        tagged.version()
    );
}

#[test]
fn a_new_run_is_an_update_even_with_the_same_content() {
    let mut world = World::new();
    let peer = world.peer();
    world.admit(&peer.at(NOW, NOW + 1)).unwrap();
    let events = world.admit(&peer.at(NOW + 1, NOW + 1)).unwrap();
    assert!(matches!(&events[..], [Event::PeerUpdated(_)]));
}

#[test]
fn entries_that_do_not_belong_are_refused() {
    let mut world = World::new();
    let foreign = Peer::new(Digest::random()).at(NOW, NOW);
    assert_eq!(world.admit(&foreign), Err(Refusal::DifferentNetwork));
    let peer = world.peer();
    assert_eq!(
        world.admit(&peer.at(NOW, NOW + 10_001)),
        Err(Refusal::FutureDated)
    );
    assert!(
        world.admit(&peer.at(NOW, NOW + 10_000)).is_ok(),
        "the limit itself is fine"
    );
    let peer = world.peer();
    assert_eq!(
        world.admit(&peer.at(NOW + 5, NOW)),
        Err(Refusal::FutureDated),
        "start > update"
    );
    assert_eq!(world.admit(&peer.at(0, NOW - 300_001)), Err(Refusal::Stale));
    assert!(
        world.admit(&peer.at(0, NOW - 300_000)).is_ok(),
        "the limit itself is fine"
    );
    let own = world.state.catalog().local().clone();
    assert_eq!(world.admit(&own), Err(Refusal::OwnEntry));
    let mut large = world.peer();
    large.entry.tags = (0..5000u32).map(Digest::from_u32).collect();
    assert_eq!(world.admit(&large.at(NOW, NOW)), Err(Refusal::TooLarge));
}

#[test]
fn a_departure_leaves_a_tombstone() {
    let mut world = World::new();
    let peer = world.peer();
    let entry = peer.at(NOW, NOW + 5);
    world.admit(&entry).unwrap();
    let older = PeerEntryVersion::from_millis(NOW, NOW + 4);
    assert!(
        world
            .state
            .depart(peer.id(), older, Departure::Goodbye, NOW)
            .is_empty()
    );
    let gone = world
        .state
        .depart(peer.id(), entry.version(), Departure::Goodbye, NOW);
    assert_eq!(events(gone), [Event::PeerDeparted(peer.id())]);
    assert_eq!(world.admit(&entry), Err(Refusal::Departed), "a late copy");
    assert!(
        world.state.vanished().next().is_none(),
        "who says goodbye is not looked for"
    );
    let events = world.admit(&peer.at(NOW + 6, NOW + 6)).unwrap();
    assert!(
        matches!(&events[..], [Event::PeerDiscovered(_)]),
        "a new run is welcome at once"
    );
}

#[test]
fn who_vanishes_is_looked_for_until_found() {
    let mut world = World::new();
    let mut peer = world.peer();
    peer.entry
        .address
        .addrs
        .insert(TransportAddr::Ip("127.0.0.1:9".parse().unwrap()));
    let entry = peer.at(NOW, NOW);
    world.admit(&entry).unwrap();
    world
        .state
        .depart(peer.id(), entry.version(), Departure::Vanished, NOW);
    assert_eq!(world.state.vanished().next().unwrap(), entry.address());
    world.admit(&peer.at(NOW, NOW + 1)).unwrap();
    assert!(world.state.vanished().next().is_none());
}

#[test]
fn stale_entries_are_hidden_at_once_and_removed_when_due() {
    let mut world = World::new();
    let peer = world.peer();
    world.admit(&peer.at(NOW, NOW)).unwrap();
    let early = world.state.catalog().clone();
    assert_eq!(world.state.next_due_ms(), Some(NOW + 300_001));
    world.advance(PURGE_AFTER);
    assert_eq!(early.peers_count(), 1, "exactly at the limit it is visible");
    assert!(world.state.purge(world.now()).is_empty());
    world.advance(Duration::from_millis(1));
    assert_eq!(
        (early.peers_count(), early.len()),
        (0, 1),
        "hidden in older snapshots too"
    );
    let now = world.now();
    assert_eq!(
        events(world.state.purge(now)),
        [Event::PeerDeparted(peer.id())]
    );
    assert_eq!(world.state.next_due_ms(), Some(now + 300_000));
}

#[test]
fn unsigned_entries_are_local_and_give_way() {
    let mut world = World::new();
    let peer = world.peer();
    let unsigned = peer.at(NOW, NOW).into_unsigned();
    let effects = world.state.insert_unsigned(unsigned.clone()).unwrap();
    assert_eq!(events(effects), [Event::PeerDiscovered(unsigned)]);
    assert_eq!(world.state.catalog().unsigned_peers().count(), 1);
    let again = peer.at(NOW, NOW + 1).into_unsigned();
    let effects = world.state.insert_unsigned(again).unwrap();
    assert_eq!(events(effects), [], "nothing but its version is new");
    let restarted = peer.at(NOW + 2, NOW + 2).into_unsigned();
    let effects = world.state.insert_unsigned(restarted.clone()).unwrap();
    assert_eq!(events(effects), [Event::PeerUpdated(restarted)]);
    let effects = world
        .state
        .insert_unsigned(peer.at(NOW, NOW).into_unsigned());
    assert_eq!(events(effects.unwrap()).len(), 1, "another run again");
    assert_eq!(
        world.state.catalog().iter_signed().count(),
        1,
        "only the local one is signed"
    );
    let signed = peer.tagged("x").at(NOW, NOW + 1);
    assert!(matches!(
        &world.admit(&signed).unwrap()[..],
        [Event::PeerUpdated(_)]
    ));
    assert_eq!(world.state.catalog().unsigned_peers().count(), 0);
    assert!(
        world
            .state
            .insert_unsigned(signed.into_unsigned())
            .is_none()
    );
    let foreign = Peer::new(Digest::random()).entry;
    assert!(world.state.insert_unsigned(foreign).is_none());
    let other = world.peer();
    world.state.insert_unsigned(other.entry.clone()).unwrap();
    let gone = world.state.clear_unsigned().unwrap();
    assert_eq!(events(gone), [Event::PeerDeparted(other.id())]);
    assert!(world.state.clear_unsigned().is_none());
}

#[test]
fn slow_peers_are_hidden_from_peers_but_not_from_iter() {
    let mut world = World::new();
    let peer = world.peer();
    world.admit(&peer.at(NOW, NOW)).unwrap();
    assert_eq!(
        world.state.catalog().peers_count(),
        1,
        "unmeasured peers are visible"
    );
    let changed = world
        .state
        .record_rtt(peer.id(), Duration::from_millis(101));
    assert_eq!(changed, [Effect::Changed(peer.id())]);
    let catalog = world.state.catalog().clone();
    assert!(catalog.get(&peer.id()).is_none() && catalog.info(&peer.id()).is_none());
    assert_eq!(
        (
            catalog.peers_count(),
            catalog.signed_peers_count(),
            catalog.len()
        ),
        (0, 0, 2)
    );
    assert!(catalog.contains(&peer.id()), "hidden, but known");
    for _ in 0..20 {
        world.state.record_rtt(peer.id(), Duration::from_millis(10));
    }
    assert_eq!(world.state.catalog().peers_count(), 1);
}

#[test]
fn a_full_catalog_drops_the_longest_silent_peer() {
    let mut world = World::new();
    let peers: Vec<_> = (0..4).map(|_| world.peer()).collect();
    for (i, peer) in (0u64..).zip(&peers) {
        world.admit(&peer.at(NOW - 10 + i, NOW - 10 + i)).unwrap();
    }
    let catalog = world.state.catalog();
    assert_eq!(catalog.peers_count(), 3);
    assert!(!catalog.contains(&peers[0].id()));
    assert_eq!(
        world.state.departed(&peers[0].id(), NOW),
        None,
        "it may come back"
    );
    assert_eq!(world.state.vanished().count(), 0, "it is not looked for");
    assert_eq!(
        world.admit(&peers[0].at(NOW - 10, NOW - 10)),
        Err(Refusal::CatalogFull),
        "not in place of one that was heard of later"
    );
    world.admit(&peers[0].at(NOW - 10, NOW)).unwrap();
    assert!(!world.state.catalog().contains(&peers[1].id()));
}

#[test]
fn a_crowd_of_strangers_does_not_put_out_peers_in_use() {
    let mut world = World::new();
    let (measured, connected, idle) = (world.peer(), world.peer(), world.peer());
    for peer in [&measured, &connected, &idle] {
        world.admit(&peer.at(NOW - 1000, NOW - 1000)).unwrap();
    }
    world
        .state
        .record_rtt(measured.id(), Duration::from_millis(1));
    let in_use = HashSet::from([connected.id()]);
    for n in 0..100 {
        let stranger = world.peer().at(NOW + n, NOW + n);
        let now = world.now();
        world.state.admit(stranger, now, || in_use.clone()).unwrap();
    }
    let catalog = world.state.catalog().clone();
    assert!(catalog.contains(&measured.id()) && catalog.contains(&connected.id()));
    assert!(!catalog.contains(&idle.id()));
    assert_eq!((catalog.peers_count(), catalog.rtts.size()), (3, 1));

    let last = catalog.signed.values().max_by_key(|e| e.version());
    let last = *last.unwrap().id();
    world.state.record_rtt(last, Duration::from_millis(1));
    let stranger = world.peer().at(NOW + 200, NOW + 200);
    let refused = world.state.admit(stranger, NOW, || in_use.clone());
    assert_eq!(refused, Err(Refusal::CatalogFull), "all others are in use");
}

#[test]
fn nothing_is_kept_of_peers_that_are_not_in_the_catalog() {
    let mut world = World::new();
    let (peer, rtt) = (world.peer(), Duration::from_millis(1));
    assert_eq!(world.state.record_rtt(peer.id(), rtt), []);
    world.admit(&peer.at(NOW, NOW)).unwrap();
    assert_eq!(
        world.state.record_rtt(peer.id(), rtt),
        [Effect::Changed(peer.id())]
    );
    let version = PeerEntryVersion::from_millis(NOW, NOW);
    let effects = world
        .state
        .depart(peer.id(), version, Departure::Goodbye, NOW);
    assert!(effects.contains(&Effect::Forget(peer.id())));
    // Its goodbye is answered, and the answer is a sample.
    assert_eq!(world.state.record_rtt(peer.id(), rtt), []);
    assert_eq!(world.state.catalog().rtts.size(), 0);
    assert!(world.state.published_rtts.is_empty());
}

#[test]
fn the_fingerprint_follows_content_not_signs_of_life() {
    let (mut a, mut b) = (World::new(), World::new());
    b.network = a.network;
    b.state = State::new(
        Catalog::new(
            a.state.catalog().local().clone(),
            PURGE_AFTER,
            None,
            a.state.catalog().clock.clone(),
        ),
        Duration::from_secs(10),
        10,
    );
    let (one, two) = (a.peer(), a.peer());
    for entry in [one.at(NOW, NOW), two.at(NOW, NOW)] {
        a.admit(&entry).unwrap();
    }
    for entry in [two.at(NOW, NOW + 5), one.at(NOW, NOW + 7)] {
        b.admit(&entry).unwrap();
    }
    assert_eq!(a.state.content_fingerprint(), b.state.content_fingerprint());
    b.admit(&one.tagged("x").at(NOW, NOW + 8)).unwrap();
    assert_ne!(a.state.content_fingerprint(), b.state.content_fingerprint());
}

#[test]
fn catalogs_iterate_in_order_of_ids() {
    let mut world = World::new();
    for _ in 0..3 {
        let entry = world.peer().at(NOW, NOW);
        world.admit(&entry).unwrap();
    }
    let catalog = world.state.catalog();
    let ids: Vec<_> = catalog.iter().map(|(id, _)| *id).collect();
    let mut sorted = ids.clone();
    sorted.sort();
    assert_eq!(ids, sorted);
    assert_eq!(ids.len(), 4);
    let mut reversed: Vec<_> = catalog.iter().rev().map(|(id, _)| *id).collect();
    reversed.reverse();
    assert_eq!(reversed, ids);
}

#[test]
fn a_version_of_a_wrong_clock_stands_in_nobodys_way() {
    let mut world = World::new();
    let peer = world.peer();
    let ahead = peer.at(NOW, NOW + 5);
    world.admit(&ahead).unwrap();
    let set_back = |world: &World| {
        world.now.store(NOW - 3_600_000, Ordering::Relaxed);
    };
    set_back(&world);
    let now = world.now();
    // A claim of the future, a late copy, and an entry of now.
    assert_eq!(
        world.admit(&peer.at(NOW, NOW + 6)),
        Err(Refusal::FutureDated)
    );
    assert_eq!(
        world.admit(&peer.at(now - 600_000, now - 400_000)),
        Err(Refusal::Stale)
    );
    world.admit(&peer.at(now, now)).unwrap();
    assert_eq!(
        world.admit(&peer.at(now - 5, now + 5)),
        Err(Refusal::NotNewer),
        "an older run stays out once the clock is right"
    );

    world.advance(Duration::from_hours(1));
    let later = world.now();
    let peer = world.peer();
    world.admit(&peer.at(later, later)).unwrap();
    let version = PeerEntryVersion::from_millis(later, later);
    world
        .state
        .depart(peer.id(), version, Departure::Goodbye, later);
    set_back(&world);
    assert_eq!(world.state.departed(&peer.id(), world.now()), None);
    world.admit(&peer.at(now, now)).unwrap();
}

#[test]
fn a_claim_removes_the_very_version_that_is_held_or_none() {
    let mut world = World::new();
    let peer = world.peer();
    world.admit(&peer.at(NOW, NOW)).unwrap();
    let claimed = PeerEntryVersion::from_millis(u64::MAX, u64::MAX);
    assert!(
        world
            .state
            .depart(peer.id(), claimed, Departure::Vanished, NOW)
            .is_empty()
    );
    assert_eq!(world.state.departed(&peer.id(), NOW), None);
}

#[test]
fn a_tombstone_is_due_by_itself() {
    let mut world = World::new();
    let peer = world.peer();
    let version = PeerEntryVersion::from_millis(NOW, NOW);
    world.admit(&peer.at(NOW, NOW)).unwrap();
    world
        .state
        .depart(peer.id(), version, Departure::Goodbye, NOW);
    assert_eq!(world.state.next_due_ms(), Some(NOW + 300_000));
    world.advance(PURGE_AFTER);
    let now = world.now();
    world.state.purge(now);
    assert_eq!(world.state.next_due_ms(), None);
    assert_eq!(world.state.departed(&peer.id(), now), None);
}
