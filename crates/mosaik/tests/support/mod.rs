//! Common parts of all tests: nodes on loopback, and waits that end.

pub mod bonded;
pub mod intruder;
pub mod member;
pub mod metrics;
pub mod tickets;

use std::{
    future::Future,
    panic::Location,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use mosaik::{
    Digest, Network, NetworkId, discovery,
    iroh::{EndpointAddr, RelayMode, endpoint::EndpointHooks},
    network::NetworkBuilder,
};

/// A network id that no other test uses.
pub fn random_network() -> NetworkId {
    Digest::random()
}

/// A node on loopback without relay and DHT.
pub fn builder(network: NetworkId, discovery: discovery::ConfigBuilder) -> NetworkBuilder {
    logging();
    Network::builder(network)
        .with_relay_mode(RelayMode::Disabled)
        .with_addresses(["127.0.0.1:0".parse().unwrap()])
        .with_discovery(discovery.no_dht_bootstrap())
        .with_endpoint(|endpoint| endpoint.hooks(Watched(tokio::ends::held())))
}

/// Dropped with the sockets of a node, which must not outlive the test.
#[derive(Debug)]
struct Watched(#[allow(dead_code, reason = "it counts")] tokio::ends::Held);

impl EndpointHooks for Watched {}

/// A node that knows nobody.
pub async fn node(network: NetworkId) -> Network {
    builder(network, discovery::Config::builder())
        .build()
        .await
        .unwrap()
}

/// A node that knows one other.
pub async fn node_at(network: NetworkId, bootstrap: EndpointAddr) -> Network {
    let discovery = discovery::Config::builder().with_bootstrap(bootstrap);
    builder(network, discovery).build().await.unwrap()
}

/// This many seconds, as the environment scales them.
pub fn bound(seconds: u64) -> Duration {
    Duration::from_secs(seconds).mul_f64(patience())
}

/// Waits for a future, and fails at the caller's line when it takes longer.
///
/// `MOSAIK_TEST_PATIENCE` multiplies all bounds.
#[track_caller]
pub fn within<F: Future>(seconds: u64, future: F) -> impl Future<Output = F::Output> {
    let caller = Location::caller();
    let limit = bound(seconds);
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("not within {limit:?} at {caller}"),
        }
    }
}

/// Waits until a condition holds that nothing announces.
#[track_caller]
pub fn eventually(seconds: u64, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(seconds, async move {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
}

/// Waits until the catalog of a node satisfies a condition.
#[track_caller]
pub fn until_catalog(
    seconds: u64,
    node: &Network,
    mut condition: impl FnMut(&discovery::Catalog) -> bool,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    let limit = bound(seconds);
    let mut watch = node.discovery().catalog_watch();
    async move {
        let met = watch.wait_for(|catalog| condition(catalog));
        let outcome = tokio::time::timeout(limit, met)
            .await
            .map(|met| drop(met.unwrap()));
        if outcome.is_err() {
            panic!(
                "catalog not as expected within {limit:?} at {caller}: {:?}",
                *watch.borrow()
            );
        }
    }
}

fn patience() -> f64 {
    static PATIENCE: OnceLock<f64> = OnceLock::new();
    *PATIENCE.get_or_init(|| {
        std::env::var("MOSAIK_TEST_PATIENCE")
            .ok()
            .and_then(|p| p.parse().ok())
            .unwrap_or(1.0)
    })
}

/// Log of the library on this thread while a function runs, beside the function's result.
pub fn logged<R>(run: impl FnOnce() -> R) -> (R, String) {
    let text = Arc::new(Mutex::new(Vec::new()));
    let log = text.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Written(log.clone()))
        .finish();
    let returned = tracing::subscriber::with_default(subscriber, run);
    let text = String::from_utf8_lossy(&text.lock().unwrap()).into_owned();
    (returned, text)
}

struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Shows the library's logs as `RUST_LOG` asks.
fn logging() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_test_writer()
            .try_init();
    });
}
