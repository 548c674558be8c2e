//! Waiting for many catalogs at once.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use futures::future::join_all;
use mosaik::{Network, discovery::Catalog};

use crate::stats::Spread;

/// A limit, as the environment scales it: `MOSAIK_TEST_PATIENCE` multiplies all of them, for
/// machines that are busy with other things.
pub fn bound(limit: Duration) -> Duration {
    static PATIENCE: OnceLock<f64> = OnceLock::new();
    let patience = *PATIENCE.get_or_init(|| {
        let set = std::env::var("MOSAIK_TEST_PATIENCE").ok();
        let set = set.and_then(|factor| factor.parse().ok());
        set.filter(|factor| (0.1..=1000.0).contains(factor))
            .unwrap_or(1.0)
    });
    limit.mul_f64(patience)
}

/// Some catalogs did not become as expected in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Late {
    /// Limit that they were given.
    pub limit: Duration,
    /// Catalogs of the first few of them.
    pub catalogs: Vec<String>,
    /// Number of late ones.
    pub count: usize,
}

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            limit,
            catalogs,
            count,
        } = self;
        write!(
            f,
            "{count} catalogs not as expected after {limit:?}, such as: {catalogs:#?}"
        )
    }
}

impl std::error::Error for Late {}

/// Waits until every node's catalog satisfies a condition; returns when each did, from the call.
///
/// # Errors
///
/// When that takes longer than the limit.
pub async fn each_until(
    nodes: impl IntoIterator<Item = &Network>,
    limit: Duration,
    condition: impl Fn(&Catalog) -> bool + Send + Sync + 'static,
) -> Result<Spread, Late> {
    let started = Instant::now();
    let condition = Arc::new(condition);
    let waits = nodes.into_iter().map(|node| {
        let mut watch = node.discovery().catalog_watch();
        let condition = condition.clone();
        async move {
            let met = watch.wait_for(|catalog| condition(catalog));
            let met = tokio::time::timeout(limit, met)
                .await
                .is_ok_and(|met| met.is_ok());
            if met {
                Ok(started.elapsed())
            } else {
                Err(describe(&watch.borrow()))
            }
        }
    });
    let (mut times, mut late) = (Vec::new(), Vec::new());
    for outcome in join_all(waits).await {
        match outcome {
            Ok(time) => times.push(time),
            Err(catalog) => late.push(catalog),
        }
    }
    if late.is_empty() {
        return Ok(times.into_iter().collect());
    }
    let count = late.len();
    late.truncate(3);
    Err(Late {
        limit,
        catalogs: late,
        count,
    })
}

/// Duration of a future, with its output.
pub async fn timed<F: Future>(future: F) -> (Duration, F::Output) {
    let started = Instant::now();
    let output = future.await;
    (started.elapsed(), output)
}

fn describe(catalog: &Catalog) -> String {
    let local = catalog.local_id().fmt_short();
    let peers: Vec<_> = catalog
        .peers()
        .map(|peer| peer.id().fmt_short().to_string())
        .collect();
    format!("{local} knows {}: {}", peers.len(), peers.join(" "))
}
