//! Failure detector for handlers that die silently, long before the transport gives up.
//!
//! A process that is killed sends nothing, and the transport waits for seconds before it calls a
//! connection lost. While calls are in flight to a peer, its connection is watched: a silent one is
//! asked for a sign of life, which arrives after a round trip and the transport's acknowledgement
//! delay, and given up when nothing at all arrived for
//! [`Config::silence_limit`](crate::functions::Config::silence_limit).
//!
//! A peer that could not be asked, as all streams of the connection are in use, need not have said
//! anything: then only the transport's own signs of life count.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use iroh::endpoint::Connection;
use tokio::time::{Instant, sleep, timeout};

use super::probe::Probe;
use crate::{
    functions_layer::{core::Core, wire::FUNCTIONS_ALPN},
    net::{limits::KEEP_ALIVE, link::path_rtt},
    primitives::{PeerId, ShortFmtExt},
};

/// Interval of the check on connections while calls are in flight.
const TICK: Duration = Duration::from_millis(150);
/// A connection is given up only after this many round trips, whatever the limit.
const SILENT_ROUND_TRIPS: u32 = 4;
/// The transport shows this many signs of life by itself before it counts that there is none.
const SILENT_KEEP_ALIVES: u32 = 2;

/// Timeout for a liveness probe, which occupies a stream until then.
const SIGN_TIMEOUT: Duration = Duration::from_secs(1);

/// Last packet count of a connection, and the time at which it changed.
struct Heard {
    packets: u64,
    at: Instant,
    /// True if a liveness probe was sent since.
    is_asked: Arc<AtomicBool>,
}

/// Watches the connections of calls in flight until the node ends.
pub(in crate::functions_layer) async fn watch_connections(core: Arc<Core>) {
    let mut heard = HashMap::new();
    loop {
        core.routes.until_busy().await;
        heard = look(&core, heard);
        let slept = Instant::now();
        sleep(TICK).await;
        if slept.elapsed() > TICK * 2 {
            // This node itself was stuck: what others sent was not taken in either.
            heard.clear();
        }
    }
}

/// Checks all busy connections; returns what was heard on those that are busy now.
fn look(
    core: &Arc<Core>,
    mut heard: HashMap<(PeerId, usize), Heard>,
) -> HashMap<(PeerId, usize), Heard> {
    let now = Instant::now();
    let mut busy = HashMap::new();
    for route in core.routes.busy() {
        for connection in core.links.connections(FUNCTIONS_ALPN, &route.peer()) {
            let packets = connection.stats().udp_rx.datagrams;
            let key = (route.peer(), connection.stable_id());
            let Some(before) = heard.remove(&key).filter(|heard| heard.packets == packets) else {
                let first = Heard {
                    packets,
                    at: now,
                    is_asked: Arc::default(),
                };
                busy.insert(key, first);
                continue;
            };
            let patience = patience(
                core.config.silence_limit,
                before.is_asked.load(Ordering::Relaxed),
                path_rtt(&connection).unwrap_or_default(),
            );
            if now - before.at >= patience {
                tracing::debug!(peer = %route.peer().short(), "a handler fell silent");
                route.failed(now);
                core.links.give_up(&connection);
                continue;
            }
            ask(core, connection, before.is_asked.clone());
            busy.insert(key, before);
        }
    }
    busy
}

/// Sends a liveness probe on a connection; it has done its work when it is sent.
fn ask(core: &Arc<Core>, connection: Connection, is_asked: Arc<AtomicBool>) {
    let asking = core.clone();
    core.scope.spawn(async move {
        let exchange = async {
            let link = asking
                .links
                .open_beside(FUNCTIONS_ALPN, &connection)
                .await?;
            let probe = Probe::send(link).await?;
            is_asked.store(true, Ordering::Relaxed);
            probe.answered().await
        };
        let _ = timeout(SIGN_TIMEOUT, exchange).await;
    });
}

/// Time for which a peer may be silent.
fn patience(limit: Duration, is_asked: bool, rtt: Duration) -> Duration {
    let limit = if is_asked {
        limit
    } else {
        limit.max(KEEP_ALIVE * SILENT_KEEP_ALIVES)
    };
    limit.max(rtt * SILENT_ROUND_TRIPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_asked_has_to_answer_soon() {
        let ms = Duration::from_millis;
        assert_eq!(patience(ms(750), true, ms(1)), ms(750));
        assert_eq!(patience(ms(750), true, ms(200)), ms(800));
        assert!(patience(ms(750), false, ms(1)) > KEEP_ALIVE);
        assert_eq!(patience(ms(4_000), false, ms(1)), ms(4_000));
    }
}
