//! Nodes whose clocks are wrong.

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use mosaik::{NetworkId, discovery, primitives::Short};
use mosaik_sim::{Conditions, bound, each_until};
use tokio::sync::watch;

use crate::support::{Formed, PATIENCE, change_reaches, converged};

/// Far more than the ten seconds that clocks may differ by default.
const SKEW: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_ahead_is_refused_and_harms_nobody() {
    count_refusals();
    let mut formed = Formed::new(61, Conditions::default(), 4).await;
    let discovery = discovery::Config::builder().with_bootstrap(formed.ids(0..4));
    let builder = formed.fleet.builder(4, discovery);
    let ahead = builder.with_clock(|| SystemTime::now() + SKEW).build();
    let ahead = ahead.await.unwrap();
    // It has met the others when it knows them.
    let met = each_until([&ahead], bound(PATIENCE), |catalog| catalog.len() == 5);
    met.await.unwrap();
    ahead.discovery().add_tags("from the future");
    change_reaches(&formed.nodes[1], "as ever", &formed.nodes).await;
    formed.converged().await;
    assert!(formed.given_up().is_empty());
    refused(formed.fleet.network_id()).await;

    // Its next run, with the clock put right, is welcome at once.
    ahead.shutdown().await;
    formed
        .nodes
        .push(formed.fleet.start(4, &[0]).await.unwrap());
    formed.converged().await;
    formed.check_histories();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_behind_recovers_when_it_is_put_right() {
    count_refusals();
    let formed = Formed::new(62, Conditions::default(), 4).await;
    let behind_ms = Arc::new(AtomicU64::new(60_000));
    let skew = behind_ms.clone();
    let discovery = discovery::Config::builder().with_bootstrap(formed.ids([0]));
    let builder = formed.fleet.builder(4, discovery);
    let behind = builder
        .with_clock(move || SystemTime::now() - Duration::from_millis(skew.load(Ordering::Relaxed)))
        .build();
    let behind = behind.await.unwrap();
    change_reaches(&formed.nodes[1], "as ever", &formed.nodes).await;
    refused(formed.fleet.network_id()).await;
    assert_eq!(
        behind.discovery().catalog().peers_count(),
        0,
        "all the others are of the future"
    );
    assert!(formed.given_up().is_empty());
    // It tries again now and then, not all the time.
    let traffic = || formed.fleet.hub().traffic(&behind.local().id()).packets;
    let before = traffic();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let packets = traffic() - before;
    assert!(packets < 500, "{packets} packets within 2 s");

    behind_ms.store(0, Ordering::Relaxed);
    let mut nodes = formed.nodes;
    nodes.push(behind);
    let (right, ()) = mosaik_sim::timed(converged(&nodes)).await;
    eprintln!("one of all after {right:?}");
    for history in &formed.histories {
        history.check().unwrap();
    }
}

/// Waits until somebody in a network has refused an entry because of its time.
async fn refused(network: NetworkId) {
    let network = Short(network).to_string();
    let mut refusals = REFUSALS.subscribe();
    let counted = refusals.wait_for(|counts| counts.get(&network).is_some_and(|count| *count > 0));
    let counted = tokio::time::timeout(bound(PATIENCE), counted).await;
    counted.expect("refusals are counted").unwrap();
}

/// Number of entries refused because of their time, by network.
static REFUSALS: LazyLock<watch::Sender<HashMap<String, u64>>> =
    LazyLock::new(watch::Sender::default);

fn count_refusals() {
    // Fails when another test has done it.
    let _ = metrics::set_global_recorder(Refusals);
}

/// Counts refused entries, and ignores every other metric.
struct Refusals;

impl Recorder for Refusals {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let label = |name| key.labels().find(|label| label.key() == name);
        let future = label("reason").is_some_and(|reason| reason.value() == "future_dated");
        match label("network") {
            Some(network) if future && key.name() == "mosaik.discovery.entries.refused" => {
                Counter::from_arc(Arc::new(Refused(network.value().to_owned())))
            }
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// The counter of one network.
struct Refused(String);

impl CounterFn for Refused {
    fn increment(&self, value: u64) {
        REFUSALS.send_modify(|counts| *counts.entry(self.0.clone()).or_default() += value);
    }

    fn absolute(&self, value: u64) {
        REFUSALS.send_modify(|counts| *counts.entry(self.0.clone()).or_default() = value);
    }
}
