//! Claims of a member about others, as third parties see them.

use std::time::Duration;

use mosaik::{
    Network, PeerId, SecretKey,
    discovery::{Config, Event},
};

use crate::support::{
    builder,
    intruder::Intruder,
    member::{Member, SUSPICION, Topic, encoded, now_ms, version},
    metrics::{count, counted},
    node, node_at, random_network, until_catalog, within,
};

/// More than everybody watches, so that most have the victim from hearsay alone.
const NODES: usize = 10;

async fn fleet(first: &Network) -> Vec<Network> {
    let id = *first.network_id();
    let starts = (1..NODES).map(|_| node_at(id, first.local().addr()));
    mosaik::futures::future::join_all(starts).await
}

/// Nobody sees a peer go within some seconds: longer than a suspicion lasts.
async fn stays(peer: PeerId, nodes: &[Network]) {
    let mut events: Vec<_> = nodes.iter().map(|n| n.discovery().events()).collect();
    let gone = events.iter_mut().map(|events| {
        Box::pin(async move { while events.recv().await.unwrap() != Event::PeerDeparted(peer) {} })
    });
    let gone = tokio::time::timeout(
        Duration::from_secs(4),
        mosaik::futures::future::select_all(gone),
    );
    assert!(gone.await.is_err(), "one gives it up");
}

/// Regression: receivers suspected the peer at the version that was claimed, and buried it there:
/// no entry that it could sign brought it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_suspicion_removes_nobody() {
    count();
    let id = random_network();
    let first = node(id).await;
    let mut nodes = fleet(&first).await;
    nodes.push(first);
    for node in &nodes {
        until_catalog(20, node, |c| c.signed_peers_count() == NODES - 1).await;
    }
    let key = SecretKey::generate();
    let victim = |key: &SecretKey| {
        let discovery = Config::builder().with_bootstrap(nodes[0].local().addr());
        builder(id, discovery).with_secret_key(key.clone()).build()
    };
    let first_run = victim(&key).await.unwrap();
    let peer = first_run.local().id();
    for node in &nodes {
        until_catalog(20, node, |c| c.get(&peer).is_some()).await;
    }
    let intruder = Intruder::member(id).await;
    let topic = Topic::join(&intruder, &nodes[0]).await;
    let member = Member::join(&nodes[1]).await;
    let now = now_ms();
    // Impossible ones, and ones that only the accused may take for impossible.
    for claimed in [
        version(u64::MAX, u64::MAX),
        version(now + 60_000, now + 60_000),
        version(now + 8000, now + 9000),
    ] {
        topic.broadcast(encoded(&(SUSPICION, peer, claimed))).await;
        member.sync(&(0u8, 0u8, 0u8, (1u8, peer, claimed))).await;
    }
    stays(peer, &nodes).await;
    let refused = "mosaik.discovery.entries.refused";
    assert!(counted(&id, refused, Some("future_dated")) > 0);
    first_run.discovery().add_tags("x");
    for node in &nodes {
        until_catalog(5, node, |c| {
            c.get(&peer).is_some_and(|e| e.tags().len() == 1)
        })
        .await;
    }

    // Its next run is welcome.
    first_run.shutdown().await;
    for node in &nodes {
        until_catalog(10, node, |c| c.get(&peer).is_none()).await;
    }
    topic
        .broadcast(encoded(&(SUSPICION, peer, version(u64::MAX, u64::MAX))))
        .await;
    let _second_run = victim(&key).await.unwrap();
    for node in &nodes {
        until_catalog(10, node, |c| c.get(&peer).is_some()).await;
    }
}

/// Regression: a ping took the peer into the catalog, whose probes and syncs made this node known.
#[tokio::test(flavor = "multi_thread")]
async fn a_ping_makes_nobody_known() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    let mut events = a.discovery().events();
    let entry = within(5, b.discovery().ping(a.local().addr()))
        .await
        .unwrap();
    assert_eq!(entry.id(), &a.local().id());
    // A peer that is known is probed and synced with within about two seconds.
    let event = tokio::time::timeout(Duration::from_secs(3), events.recv()).await;
    assert!(event.is_err(), "{event:?}");
    assert_eq!(b.discovery().catalog().peers_count(), 0);
}

/// Regression: a full catalog differs from every other, and so everybody synced with it each second,
/// for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_smaller_than_its_network_costs_little() {
    count();
    let id = random_network();
    let first = node(id).await;
    let mut nodes = fleet(&first).await;
    let options = Config::builder()
        .with_bootstrap(first.local().addr())
        .with_max_peers(4);
    let small = builder(id, options).build().await.unwrap();
    nodes.push(first);
    for node in &nodes {
        until_catalog(20, node, |c| c.signed_peers_count() == NODES).await;
    }
    until_catalog(20, &small, |c| c.signed_peers_count() == 4).await;
    let syncs = || counted(&id, "mosaik.discovery.catalog.syncs", None);
    // Each node syncs with a random one every 15 s on average; both sides count. With what follows
    // on joining there are more at first.
    within(20, async {
        loop {
            let before = syncs();
            // What is measured takes time.
            tokio::time::sleep(Duration::from_secs(3)).await;
            if syncs() - before < 22 {
                return;
            }
        }
    })
    .await;
}

/// Regression: two locks were taken in opposite orders.
#[tokio::test(flavor = "multi_thread")]
async fn handles_of_a_node_that_has_ended_do_not_block_each_other() {
    let id = random_network();
    let (a, b) = (node(id).await, node(id).await);
    let (watched, changed) = (a.discovery().clone(), a.discovery().clone());
    let entry = b.discovery().me();
    let peer = *entry.id();
    a.shutdown().await;
    let watching = tokio::task::spawn_blocking(move || {
        for _ in 0..30_000 {
            drop(watched.catalog_watch());
        }
    });
    let changing = tokio::task::spawn_blocking(move || {
        for _ in 0..30_000 {
            changed.insert(entry.clone());
            changed.remove(peer);
        }
    });
    let (one, other) = within(30, async { tokio::join!(watching, changing) }).await;
    one.unwrap();
    other.unwrap();
}
