//! Entries that don't belong in the catalog, from a member that tries every way in.

use mosaik::{
    Digest, NetworkId, PeerId, SecretKey, Signature,
    discovery::{Event, PeerEntry},
};
use tokio::sync::broadcast::error::TryRecvError;

use crate::support::{
    intruder::Intruder,
    member::{ENTRY, Member, Raw, Topic, dated, encoded, now_ms, version},
    metrics::{count, counted},
    node, random_network, until_catalog,
};

/// Number of entries that a network's nodes have refused for a reason.
fn refused(id: &NetworkId, reason: &str) -> u64 {
    counted(id, "mosaik.discovery.entries.refused", Some(reason))
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_refused_by_every_way_in() {
    count();
    let id = random_network();
    let a = node(id).await;
    let member = Member::join(&a).await;
    let victim = SecretKey::generate();
    let now = now_ms();
    let drift = 60_000;
    let five_minutes = 300_000;

    let good = dated(id, &victim, version(now - 1000, now));
    let (mut forged, signature): (PeerEntry, Signature) = good.clone().into();
    forged.tags.insert("admin".into());
    let foreign = dated(random_network(), &victim, version(now, now));
    let future = dated(id, &victim, version(now, now + drift));
    let upside_down = dated(id, &victim, version(now + 500, now));
    let stale = dated(id, &victim, version(0, now - five_minutes - 1000));
    let mut large = PeerEntry::new(id, victim.public());
    large.tags = (0..1025u32).map(Digest::from_u32).collect();
    let large = large.sign(&victim).unwrap();

    let mut events = a.discovery().events();
    let cases = [
        ("different_network", postcard::to_stdvec(&foreign).unwrap()),
        ("future_dated", postcard::to_stdvec(&future).unwrap()),
        ("future_dated", postcard::to_stdvec(&upside_down).unwrap()),
        ("stale", postcard::to_stdvec(&stale).unwrap()),
        (
            "bad_signature",
            postcard::to_stdvec(&(forged, signature)).unwrap(),
        ),
    ];
    for (reason, bytes) in &cases {
        let before = refused(&id, reason);
        let raw = Raw(bytes);
        assert_eq!(member.push(&raw).await, Some(200), "{reason}");
        assert_eq!(refused(&id, reason), before + 1, "{reason}, pushed");
        member.give(&raw).await;
        assert_eq!(refused(&id, reason), before + 2, "{reason}, synced");
    }
    // Its encoding is over the limit already: not even read.
    let large = postcard::to_stdvec(&large).unwrap();
    assert_eq!(member.push(&Raw(&large)).await, Some(400));
    for fed in [&foreign, &future, &upside_down, &stale] {
        assert!(!a.discovery().feed(fed.clone()));
    }
    assert_eq!(a.discovery().catalog().peers_count(), 0);
    assert_eq!(events.try_recv(), Err(TryRecvError::Empty));

    assert_eq!(member.push(&good).await, Some(200));
    assert_eq!(events.try_recv(), Ok(Event::PeerDiscovered(good.into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_entries_change_nothing() {
    count();
    let id = random_network();
    let a = node(id).await;
    let member = Member::join(&a).await;
    let victim = SecretKey::generate();
    let now = now_ms();
    let older = dated(id, &victim, version(now - 2000, now - 1000));
    let newer = dated(id, &victim, version(now - 2000, now));
    assert_eq!(member.push(&newer).await, Some(200));
    for replayed in [&older, &newer] {
        assert_eq!(member.push(replayed).await, Some(200));
        member.give(replayed).await;
        assert!(!a.discovery().feed(replayed.clone()));
    }
    assert!(refused(&id, "not_newer") >= 6);
    let catalog = a.discovery().catalog();
    assert_eq!(catalog.get_signed(&victim.public()), Some(&newer));
}

#[tokio::test(flavor = "multi_thread")]
async fn goodbyes_count_from_their_owner_only() {
    count();
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    a.discovery().sync_with(b.local().addr()).await.unwrap();
    let member = Member::join(&a).await;
    let now = now_ms();
    let own = dated(id, &member.intruder.secret, version(now, now));
    assert_eq!(member.push(&own).await, Some(200));

    let newest = version(now + 1000, now + 1000);
    let by_the_intruder = |peer: PeerId, network: NetworkId, time_ms: u64| {
        let signature = member.intruder.secret.sign(b"goodbye");
        (peer, network, newest, time_ms, signature)
    };
    let (own_id, b_id) = (member.intruder.id(), b.local().id());
    // In another's name; of another network; long ago; not signed.
    assert_eq!(
        member.leave(&by_the_intruder(b_id, id, now)).await,
        Some(200)
    );
    let foreign = by_the_intruder(own_id, random_network(), now);
    assert_eq!(member.leave(&foreign).await, Some(200));
    assert_eq!(refused(&id, "different_network"), 1);
    let late = by_the_intruder(own_id, id, now - 60_000);
    assert_eq!(member.leave(&late).await, Some(200));
    assert_eq!(refused(&id, "future_dated"), 1);
    assert_eq!(
        member.leave(&by_the_intruder(own_id, id, now)).await,
        Some(200)
    );
    assert_eq!(refused(&id, "bad_signature"), 1);
    let catalog = a.discovery().catalog();
    assert!(catalog.get(&b_id).is_some() && catalog.get(&own_id).is_some());
}

/// A member of the topic broadcasts what is no announcement, and forged ones.
#[tokio::test(flavor = "multi_thread")]
async fn announcements_are_refused() {
    count();
    let id = random_network();
    let a = node(id).await;
    let intruder = Intruder::member(id).await;
    let topic = Topic::join(&intruder, &a).await;

    let victim = SecretKey::generate();
    let now = now_ms();
    let good = dated(id, &victim, version(now, now));
    let (mut forged, signature): (PeerEntry, Signature) = good.clone().into();
    forged.tags.insert("admin".into());
    let late = now - 60_000;
    let messages: [(&str, Vec<u8>); 4] = [
        ("undecodable", vec![0xff; 100]),
        ("bad_signature", encoded(&(ENTRY, now, (forged, signature)))),
        ("stale", encoded(&(ENTRY, late, &good))),
        (
            "future_dated",
            encoded(&(ENTRY, now, dated(id, &victim, version(now, now + 60_000)))),
        ),
    ];
    for (reason, message) in messages {
        let before = refused(&id, reason);
        topic.broadcast(message).await;
        topic.is_heard_by(&a).await;
        assert_eq!(refused(&id, reason), before + 1, "{reason}");
    }
    assert!(a.discovery().catalog().get(&victim.public()).is_none());
    topic.broadcast(encoded(&(ENTRY, now_ms(), &good))).await;
    until_catalog(5, &a, |c| c.get(&victim.public()).is_some()).await;
}
