//! Clocks that are wrong, and are put right.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use mosaik::{
    Network, NetworkId, PeerId, SecretKey,
    discovery::{self, ConfigBuilder},
    network::NetworkBuilder,
};

use crate::support::{
    builder,
    member::{Member, dated, now_ms, version},
    metrics::{count, counted, until_counted},
    node, node_at, random_network, until_catalog, within,
};

const HOUR: i64 = 3_600_000;

/// Lead of a clock over the right time, in milliseconds.
#[derive(Debug, Clone, Default)]
struct Ahead(Arc<AtomicI64>);

impl Ahead {
    fn by(ms: i64) -> Self {
        Self(Arc::new(AtomicI64::new(ms)))
    }

    fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    async fn node(&self, id: NetworkId, options: ConfigBuilder, key: SecretKey) -> Network {
        let builder = self.builder(id, options).with_secret_key(key);
        builder.build().await.unwrap()
    }

    fn builder(&self, id: NetworkId, options: ConfigBuilder) -> NetworkBuilder {
        let ahead = self.0.clone();
        let now = move || {
            let ms = ahead.load(Ordering::Relaxed);
            let by = Duration::from_millis(ms.unsigned_abs());
            if ms < 0 {
                SystemTime::now() - by
            } else {
                SystemTime::now() + by
            }
        };
        builder(id, options).with_clock(now)
    }
}

fn at(other: &Network) -> ConfigBuilder {
    discovery::Config::builder().with_bootstrap(other.local().addr())
}

async fn know_each_other(seconds: u64, nodes: &[&Network]) {
    for node in nodes {
        let others: Vec<PeerId> = nodes.iter().map(|other| other.local().id()).collect();
        until_catalog(seconds, node, |c| {
            others.iter().all(|id| c.get(id).is_some())
        })
        .await;
    }
}

/// A change of one node reaches the others.
async fn is_heard(seconds: u64, tag: &str, node: &Network, others: &[&Network]) {
    let id = node.local().id();
    node.discovery().add_tags(tag);
    for other in others {
        until_catalog(seconds, other, |c| {
            c.get(&id)
                .is_some_and(|entry| entry.tags().contains(&tag.into()))
        })
        .await;
    }
}

/// Regression: for as long as their clocks had been ahead, the nodes refused every change of each
/// other, and all of them was refused by newcomers.
async fn a_fleet_is_set_back(by_ms: i64) {
    let (id, clock) = (random_network(), Ahead::by(by_ms));
    let key = SecretKey::generate;
    let a = clock.node(id, discovery::Config::builder(), key()).await;
    let b = clock.node(id, at(&a), key()).await;
    let c_key = key();
    let c = clock.node(id, at(&a), c_key.clone()).await;
    know_each_other(10, &[&a, &b, &c]).await;

    clock.set(0);
    is_heard(10, "new", &a, &[&b, &c]).await;
    is_heard(10, "new", &b, &[&a, &c]).await;
    let d = node_at(id, a.local().addr()).await;
    know_each_other(10, &[&a, &b, &c, &d]).await;
    c.shutdown().await;
    let c = clock.node(id, at(&a), c_key).await;
    know_each_other(10, &[&a, &b, &c, &d]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_set_back_an_hour_goes_on() {
    a_fleet_is_set_back(HOUR).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_set_back_half_a_minute_goes_on() {
    a_fleet_is_set_back(30_000).await;
}

/// Users of the catalog after the step: streams that are new, and members that come back.
#[cfg(feature = "storage")]
#[tokio::test(flavor = "multi_thread")]
async fn streams_and_durable_groups_outlast_a_step_back() {
    use mosaik::{
        Group, GroupKey,
        futures::SinkExt as _,
        groups::{ConsensusConfig, NoOp},
    };

    let (id, clock) = (random_network(), Ahead::by(HOUR));
    let (key, directory) = (GroupKey::random(), tempfile::tempdir().unwrap());
    let start = async |name: &str, bootstrap: Option<&Network>| {
        let options = bootstrap.map_or_else(discovery::Config::builder, at);
        let builder = clock.builder(id, options);
        let builder = builder.with_storage(directory.path().join(name));
        builder.build().await.unwrap()
    };
    let join = |node: &Network| -> Group<NoOp> {
        let consensus = ConsensusConfig::builder().with_min_members(3);
        node.groups()
            .with_key(key)
            .with_consensus_config(consensus.build().unwrap())
            .with_state_machine(NoOp)
            .durable()
            .unwrap()
            .join()
    };
    let a = start("a", None).await;
    let b = start("b", Some(&a)).await;
    let c = start("c", Some(&a)).await;
    let groups = [&a, &b, &c].map(join);
    for group in &groups {
        within(20, group.when().online()).await;
    }
    within(5, groups[0].execute(())).await.unwrap();

    clock.set(0);
    let mut producer = a.streams().produce::<u64>();
    let mut consumer = b.streams().consume::<u64>();
    within(10, producer.when().online()).await;
    within(5, producer.send(7)).await.unwrap();
    assert_eq!(within(5, consumer.recv()).await, Some(7));

    let [first, second, third] = groups;
    drop(third);
    c.shutdown().await;
    let c = start("c", Some(&a)).await;
    let third = join(&c);
    within(20, third.when().online()).await;
    for group in [&first, &second, &third] {
        within(10, group.execute(())).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_of_before_the_step_does_not_keep_the_next_run_out() {
    let (id, clock, key) = (random_network(), Ahead::by(HOUR), SecretKey::generate());
    let a = clock
        .node(id, discovery::Config::builder(), SecretKey::generate())
        .await;
    let b = clock.node(id, at(&a), key.clone()).await;
    know_each_other(10, &[&a, &b]).await;
    let gone = b.local().id();
    b.shutdown().await;
    until_catalog(10, &a, |c| c.get(&gone).is_none()).await;
    clock.set(0);
    let b = clock.node(id, at(&a), key).await;
    know_each_other(10, &[&a, &b]).await;
}

/// Regression: the node stayed invisible until it was started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_ahead_and_is_put_right_is_welcome() {
    count();
    let (id, clock) = (random_network(), Ahead::by(HOUR));
    let (a, c) = (node(id).await, Ahead::default());
    let b = c.node(id, at(&a), SecretKey::generate()).await;
    let ahead = clock.node(id, at(&a), SecretKey::generate()).await;
    let refused = "mosaik.discovery.entries.refused";
    let seen = || counted(&id, refused, Some("future_dated"));
    until_counted(5, &id, refused, |_| seen() > 0).await;
    assert!(a.discovery().catalog().get(&ahead.local().id()).is_none());
    clock.set(0);
    know_each_other(10, &[&a, &b, &ahead]).await;
}

/// Regression: others saw it after its next announcement, up to 22.5 s later.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_slept_shows_itself_at_once() {
    let (id, clock) = (random_network(), Ahead::by(-400_000));
    let a = node(id).await;
    let asleep = clock.node(id, at(&a), SecretKey::generate()).await;
    assert_eq!(a.discovery().catalog().peers_count(), 0);
    clock.set(0);
    know_each_other(5, &[&a, &asleep]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_to_and_fro_harms_nobody() {
    let (id, clock) = (random_network(), Ahead::default());
    let a = node(id).await;
    let b = node_at(id, a.local().addr()).await;
    let unsteady = clock.node(id, at(&a), SecretKey::generate()).await;
    know_each_other(10, &[&a, &b, &unsteady]).await;
    for round in 0..4 {
        let ahead = if round % 2 == 0 { HOUR } else { 0 };
        clock.set(ahead);
        // Until the step is noticed, and the entry dated by the clock of now.
        within(5, async {
            let now_ms = || i64::try_from(now_ms()).unwrap() + ahead;
            let dated_ms = || unsteady.discovery().me().version().updated_at();
            while (dated_ms().timestamp_millis() - now_ms()).abs() > HOUR / 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        is_heard(5, &format!("{round}"), &a, &[&b]).await;
    }
    know_each_other(10, &[&a, &b, &unsteady]).await;
    is_heard(10, "right", &unsteady, &[&a, &b]).await;
}

/// Regression: a tombstone was removed only when another entry became stale, which heartbeats
/// prevent.
#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_expires_while_the_network_is_well() {
    let options = || {
        discovery::Config::builder()
            .with_purge_after(Duration::from_secs(2))
            .with_announce_interval(Duration::from_millis(200))
    };
    let (id, key) = (random_network(), SecretKey::generate());
    let a = builder(id, options()).build().await.unwrap();
    let b = builder(id, options().with_bootstrap(a.local().addr()));
    let b = b.build().await.unwrap();
    let c = builder(id, options().with_bootstrap(a.local().addr()));
    let c = c.with_secret_key(key.clone()).build().await.unwrap();
    know_each_other(10, &[&a, &b, &c]).await;
    let gone = c.local().id();
    let start = c.discovery().me().version().started_at();
    let earlier = u64::try_from(start.timestamp_millis()).unwrap() - 1;
    c.shutdown().await;
    until_catalog(10, &a, |c| c.get(&gone).is_none()).await;
    let back = || dated(id, &key, version(earlier, now_ms()));
    assert!(!a.discovery().feed(back()), "it has just said goodbye");
    within(10, async {
        while !a.discovery().feed(back()) {
            // Expiry has no event.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// A member that echoes entries of a former run does not bring that back, nor make anybody believe
/// in a duplicate.
#[tokio::test(flavor = "multi_thread")]
async fn old_runs_are_not_brought_back() {
    count();
    let (id, clock) = (random_network(), Ahead::by(HOUR));
    let a = node(id).await;
    let b = clock.node(id, at(&a), SecretKey::generate()).await;
    let old = b.discovery().me();
    clock.set(0);
    know_each_other(10, &[&a, &b]).await;
    let new = b.discovery().me().version();
    for node in [&a, &b] {
        let member = Member::join(node).await;
        assert_eq!(member.push(&old).await, Some(200));
    }
    let current = a.discovery().catalog();
    assert!(current.get(&b.local().id()).unwrap().version() >= new);
    assert!(b.discovery().me().version() < old.version());
    assert_eq!(*b.discovery().duplicate().borrow(), None);
    assert_eq!(counted(&id, "mosaik.discovery.identity.conflicts", None), 0);
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
}
