//! View of the catalog by a program, and its wake-ups.

use std::time::{Duration, Instant};

use mosaik::discovery::{Config, Event, PeerEntry};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::support::{
    builder,
    member::{Member, dated, now_ms, version},
    metrics::{count, counted, until_counted},
    node, node_at, random_network, until_catalog, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_slow_is_hidden_as_soon_as_that_is_known() {
    let id = random_network();
    // Everybody is slower than that.
    let options = Config::builder().with_max_rtt(Duration::from_nanos(1));
    let a = builder(id, options).build().await.unwrap();
    let b = node(id).await;
    let (discovery, b_id) = (a.discovery(), b.local().id());
    assert!(discovery.feed(b.discovery().me()));
    let before = discovery.catalog();
    assert!(before.get(&b_id).is_some(), "nobody has measured it");
    let mut watch = discovery.catalog_watch();
    within(5, discovery.ping(b_id)).await.unwrap();
    within(5, watch.wait_for(|c| c.get(&b_id).is_none()))
        .await
        .unwrap();
    let catalog = discovery.catalog();
    assert!(catalog.get_signed(&b_id).is_none());
    assert_eq!((catalog.peers_count(), catalog.peers().count()), (0, 0));
    assert_eq!((catalog.len(), catalog.iter_signed().count()), (2, 2));
    assert_eq!(before.peers_count(), 1, "a snapshot stays what it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_becomes_stale_is_hidden_at_once_and_gone_within_a_second() {
    let id = random_network();
    let age = Duration::from_secs(1);
    let options = Config::builder().with_purge_after(age);
    let a = builder(id, options).build().await.unwrap();
    let (peer, now) = (mosaik::SecretKey::generate(), now_ms());
    let mut events = a.discovery().events();
    assert!(a.discovery().feed(dated(id, &peer, version(now, now))));
    let earlier = a.discovery().catalog();
    assert!(matches!(
        events.recv().await,
        Ok(Event::PeerDiscovered(entry)) if *entry.id() == peer.public()
    ));
    let departed = within(5, events.recv()).await;
    assert_eq!(departed, Ok(Event::PeerDeparted(peer.public())));
    let since = now_ms() - now;
    assert!((1000..2000).contains(&since), "after {since} ms");
    // Earlier snapshots hide it too.
    assert!(earlier.get(&peer.public()).is_none());
    assert_eq!((earlier.peers_count(), earlier.len()), (0, 1));
    // The own entry never becomes stale.
    assert_eq!(a.discovery().catalog().local().id(), &a.local().id());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lags_behind_the_events_is_told_and_reads_the_catalog() {
    let id = random_network();
    let options = Config::builder().with_events_backlog(2);
    let a = builder(id, options).build().await.unwrap();
    let mut events = a.discovery().events();
    let now = now_ms();
    for n in 0..5 {
        let peer = mosaik::SecretKey::generate();
        let entry = dated(id, &peer, version(now + n, now + n));
        assert!(a.discovery().feed(entry));
    }
    assert_eq!(events.recv().await, Err(RecvError::Lagged(3)));
    assert_eq!(a.discovery().catalog().peers_count(), 5);
    for _ in 0..2 {
        assert!(matches!(events.recv().await, Ok(Event::PeerDiscovered(_))));
    }
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialed_peer_delivers_its_streams_within_two_seconds() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    let _producer = b.streams().produce::<u64>();
    let consumer = a.streams().consume::<u64>();
    let started = Instant::now();
    a.discovery().dial(b.local().addr());
    within(2, consumer.when().subscribed()).await;
    eprintln!("subscribed {:?} after the dial", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_of_life_wakes_nobody() {
    let id = random_network();
    let a = node(id).await;
    let member = Member::join(&a).await;
    let peer = mosaik::SecretKey::generate();
    let now = now_ms();
    let first = dated(id, &peer, version(now, now));
    assert_eq!(member.push(&first).await, Some(200));
    let mut events = a.discovery().events();
    let watch = a.discovery().catalog_watch();
    for n in 1..10 {
        let again = dated(id, &peer, version(now, now + n));
        assert_eq!(member.push(&again).await, Some(200));
        let catalog = a.discovery().catalog();
        assert_eq!(catalog.get_signed(&peer.public()), Some(&again));
    }
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));
    assert!(!watch.has_changed().unwrap());
    // A change of content does.
    let mut changed: PeerEntry = first.into();
    changed.tags.insert("new".into());
    changed.version = version(now, now + 10);
    let changed = changed.sign(&peer).unwrap();
    assert_eq!(member.push(&changed).await, Some(200));
    assert_eq!(events.try_recv(), Ok(Event::PeerUpdated(changed.into())));
    assert!(watch.has_changed().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_counts_what_it_does() {
    count();
    let id = random_network();
    let a = node(id).await;
    let syncs = counted(&id, "mosaik.discovery.catalog.syncs", None);
    assert_eq!(syncs, 0);
    let b = node_at(id, a.local().addr()).await;
    let (a_id, b_id) = (a.local().id(), b.local().id());
    until_catalog(5, &a, |c| c.get(&b_id).is_some()).await;
    until_catalog(5, &b, |c| c.get(&a_id).is_some()).await;
    within(5, a.discovery().sync_with(b_id)).await.unwrap();
    let at_least = |name, least| until_counted(5, &id, name, move |count| count >= least);
    let exactly = |name, value| until_counted(5, &id, name, move |count| count == value);
    // Both sides of each sync count it.
    at_least("mosaik.discovery.catalog.syncs", 2).await;
    at_least("mosaik.discovery.sync.bytes", 500).await;
    at_least("mosaik.discovery.announce.bytes", 200).await;
    at_least("mosaik.discovery.gossip.neighbors", 1).await;
    exactly("mosaik.discovery.peers.discovered", 2).await;
    exactly("mosaik.discovery.catalog.size", 1).await;

    a.discovery().add_tags("changed");
    until_catalog(5, &b, |c| c.get(&a_id).is_some_and(|e| e.tags().len() == 1)).await;
    at_least("mosaik.discovery.peers.updated", 1).await;
    b.shutdown().await;
    until_catalog(5, &a, |c| c.get(&b_id).is_none()).await;
    exactly("mosaik.discovery.peers.departed", 1).await;
    a.shutdown().await;
    exactly("mosaik.discovery.catalog.size", 0).await;
    exactly("mosaik.discovery.gossip.neighbors", 0).await;
}

/// Nobody listens there, now or ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_peer_that_is_not_there_is_counted_and_harms_nobody() {
    count();
    let id = random_network();
    let nobody = {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = mosaik::SecretKey::generate().public();
        mosaik::iroh::EndpointAddr::from(peer).with_ip_addr(socket.local_addr().unwrap())
    };
    let a = node_at(id, nobody).await;
    let b = node_at(id, a.local().addr()).await;
    let b_id = b.local().id();
    until_catalog(5, &a, |c| c.get(&b_id).is_some()).await;
    let failed = "mosaik.discovery.dials.failed";
    until_counted(15, &id, failed, |count| count >= 1).await;
}
