//! Measures how far away handlers are, on the connections that calls use.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{balance::reach, probe::exchange_probe};
use crate::functions_layer::{candidates::Candidate, core::Core, route::Route};

/// Exchanges of one measurement; the fastest counts.
const EXCHANGES: usize = 5;
/// Timeout for a measurement.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The round-trip times that the catalog has at first may be too large by this factor.
const FACTOR: u32 = 8;
/// Candidates that are measured at once.
const MAX_MEASURED: usize = 16;

/// Measures, now and then, those candidates among which calls may be spread. With one there is
/// nothing to decide, and far ones stay unconnected.
pub(super) fn measure_near(core: &Arc<Core>, candidates: &[Arc<Candidate>]) {
    if candidates.len() < 2 {
        return;
    }
    let Some(reach) = reach(candidates.iter()) else {
        return;
    };
    let near = candidates
        .iter()
        .filter(|candidate| candidate.route.distance().value <= reach * FACTOR);
    for candidate in near.take(MAX_MEASURED) {
        measure(core, candidate.route.clone());
    }
}

/// Measures a peer in the background, unless that was done a moment ago, or too many are being
/// measured: then it is up to the next occasion.
pub(super) fn measure(core: &Arc<Core>, route: Arc<Route>) {
    let Ok(permit) = core.measuring.clone().try_acquire_owned() else {
        return;
    };
    if !route.begin_measuring(Instant::now()) {
        return;
    }
    let measuring = core.clone();
    core.scope.spawn(async move {
        let (core, _permit) = (measuring, permit);
        let mut exchanges = Vec::with_capacity(EXCHANGES);
        let exchanging = async {
            while exchanges.len() < EXCHANGES {
                match exchange_probe(&core, route.peer()).await {
                    Some(time) => exchanges.push(time),
                    None => return,
                }
            }
        };
        // What was measured until then counts.
        let _ = timeout(TIMEOUT, exchanging).await;
        if let Some(fastest) = exchanges.iter().min() {
            core.discovery.record_rtt(route.peer(), *fastest);
        }
        route.measured(&mut exchanges, Instant::now());
    });
}
