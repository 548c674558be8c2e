//! Finds handlers that died without a word, long before the transport gives up.
//!
//! A process that is killed sends nothing, and the transport waits for seconds before it calls a
//! connection lost. While calls are in flight to a peer, its connection is watched: a silent one is
//! asked for a sign of life, which arrives after a round trip and the transport's acknowledgement
//! delay, and given up when nothing at all arrived for [`SILENT_TICKS`] ticks.

use std::{collections::HashMap, sync::Arc, time::Duration};

use iroh::endpoint::Connection;
use tokio::time::{Instant, sleep};

use super::attempt::probe;
use crate::{
    functions_layer::{core::Core, wire::FUNCTIONS_ALPN},
    net::link::path_rtt,
    primitives::{PeerId, ShortFmtExt},
};

/// How often connections are looked at while calls are in flight.
const TICK: Duration = Duration::from_millis(150);
/// A connection is given up after this many ticks without a packet, or after
/// [`SILENT_ROUND_TRIPS`] if those take longer.
const SILENT_TICKS: u32 = 5;
const SILENT_ROUND_TRIPS: u32 = 4;

/// What was last heard on a connection.
struct Heard {
    packets: u64,
    silent_ticks: u32,
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

/// One look at all busy connections; returns what was heard on those that are busy now.
fn look(
    core: &Arc<Core>,
    mut heard: HashMap<(PeerId, usize), Heard>,
) -> HashMap<(PeerId, usize), Heard> {
    let mut busy = HashMap::new();
    for route in core.routes.busy() {
        for connection in core.links.connections(FUNCTIONS_ALPN, &route.peer()) {
            let packets = connection.stats().udp_rx.datagrams;
            let key = (route.peer(), connection.stable_id());
            let silent_ticks = match heard.remove(&key) {
                Some(before) if before.packets == packets => before.silent_ticks + 1,
                _ => 0,
            };
            if is_given_up(silent_ticks, &connection) {
                tracing::debug!(peer = %route.peer().short(), "a handler fell silent");
                route.failed(Instant::now());
                core.links.give_up(&connection);
                continue;
            }
            if silent_ticks > 0 {
                let (core, peer) = (core.clone(), route.peer());
                let scope = core.scope.clone();
                scope.spawn(async move { probe(&core, peer).await });
            }
            busy.insert(
                key,
                Heard {
                    packets,
                    silent_ticks,
                },
            );
        }
    }
    busy
}

fn is_given_up(silent_ticks: u32, connection: &Connection) -> bool {
    let patience = path_rtt(connection).unwrap_or_default() * SILENT_ROUND_TRIPS;
    silent_ticks >= SILENT_TICKS && TICK * silent_ticks >= patience
}
