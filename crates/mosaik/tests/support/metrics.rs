//! Metrics of the nodes of this process.

use std::{sync::OnceLock, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use mosaik::{NetworkId, primitives::ShortFmtExt};

use super::within;

/// Counts from now on. Called before the nodes that are to be counted are built.
pub fn count() -> &'static PrometheusHandle {
    static COUNTS: OnceLock<PrometheusHandle> = OnceLock::new();
    COUNTS.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
}

/// The current value of a metric of a network, summed over its other labels, or of one reason.
pub fn counted(network: &NetworkId, name: &str, reason: Option<&str>) -> u64 {
    let name = format!("{}{{", name.replace('.', "_"));
    let network = format!("network=\"{}\"", network.short());
    let reason = reason.map(|reason| format!("reason=\"{reason}\""));
    let rendered = count().render();
    let samples = rendered.lines().filter(|line| {
        line.starts_with(&name)
            && line.contains(&network)
            && reason.as_ref().is_none_or(|reason| line.contains(reason))
    });
    let values = samples.map(|line| line.rsplit_once(' ').unwrap().1);
    values
        .map(|value| value.parse::<f64>().unwrap() as u64)
        .sum()
}

/// Waits until a metric of a network has a value that is accepted. What is counted wakes nobody, so
/// it is looked at again and again.
#[track_caller]
pub fn until_counted(
    seconds: u64,
    network: &NetworkId,
    name: &str,
    accepted: impl Fn(u64) -> bool,
) -> impl Future<Output = ()> {
    within(seconds, async move {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while !accepted(counted(network, name, None)) {
            looks.tick().await;
        }
    })
}
