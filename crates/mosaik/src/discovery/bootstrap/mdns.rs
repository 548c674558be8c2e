//! Finding peers on the local segment by multicast DNS.
//!
//! Nodes advertise a service whose name is derived from the network id, so that only nodes of one
//! network see each other, and the id itself is not shown to the segment.
//!
//! Anybody on the segment can advertise peers that don't exist. Each is dialed ever more rarely, and
//! only so many of all at once; those that were tried the least come first.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use iroh::{
    Endpoint, EndpointAddr, EndpointId,
    address_lookup::{self, AddressLookup, EndpointData, Item},
};
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{dialer::Dialer, status::Pending};
use crate::{
    discovery::store::SharedStore,
    primitives::{NetworkId, PeerId},
};

const NAME_CONTEXT: &str = "mosaik 2026-11 mdns service name";
/// With the prefix, the 15 characters that a service name may have (RFC 6335).
const NAME_BYTES: usize = 6;
/// First redial interval for peers that are on the segment but not in the catalog, doubled each
/// time.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const MAX_RETRY: Duration = Duration::from_mins(5);
/// Interval at which peers are looked for that are to be dialed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Peers that are dialed at once.
const MAX_DIALS: usize = 64;
/// Timeout for the first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// Peers on the segment that are remembered; more are found through the others.
const MAX_PEERS: usize = 1024;

/// Advertises this node on the local segment and joins the peers found there.
///
/// Without multicast it logs that and ends.
pub(crate) async fn start_mdns(
    endpoint: Endpoint,
    store: SharedStore,
    dialer: Dialer,
    pending: Arc<Pending>,
) {
    let name = service_name(&store.catalog().network_id());
    let service = MdnsAddressLookup::builder()
        .service_name(name)
        .build(endpoint.id());
    let service = match service {
        Ok(service) => service,
        Err(error) => {
            tracing::warn!(%error, "can't look for peers on the local segment");
            return;
        }
    };
    let mut events = service.subscribe().await;
    let detachable = Detachable(Arc::new(Mutex::new(Some(service))));
    let _guard = DetachOnDrop(detachable.clone());
    match endpoint.address_lookup() {
        Ok(services) => services.add(detachable),
        // Fails when the endpoint is closed already.
        Err(_) => return,
    }
    let mut segment = Segment::default();
    let dials = Arc::new(Semaphore::new(MAX_DIALS));
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first_answer = std::pin::pin!(sleep(FIRST_ANSWER));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(DiscoveryEvent::Discovered { endpoint_info, .. }) => {
                    if segment.found(endpoint_info.into_endpoint_addr(), Instant::now()) {
                        dial_due(&mut segment, &dials, &store, &dialer);
                    }
                }
                Some(DiscoveryEvent::Expired { endpoint_id }) => segment.lost(&endpoint_id),
                Some(_) => {}
                None => return,
            },
            _ = looks.tick() => dial_due(&mut segment, &dials, &store, &dialer),
            () = &mut first_answer, if !pending.is_answered() => pending.answer(),
        }
    }
}

fn dial_due(segment: &mut Segment, dials: &Arc<Semaphore>, store: &SharedStore, dialer: &Dialer) {
    let (catalog, own) = (store.catalog(), dialer.links.id());
    let is_known = |peer: &PeerId| *peer == own || catalog.signed.contains_key(peer);
    for addr in segment.due(Instant::now(), dials.available_permits(), is_known) {
        if let Ok(place) = dials.clone().try_acquire_owned() {
            dialer.dial_holding(addr, place);
        }
    }
}

/// The peers on the segment, and when each is dialed: rules without network or clock.
#[derive(Debug, Default)]
struct Segment {
    peers: HashMap<PeerId, Found>,
}

/// A peer on the segment.
#[derive(Debug)]
struct Found {
    addr: EndpointAddr,
    /// True until it is dialed at this address.
    is_fresh: bool,
    next: Instant,
    /// Pause after the next dial: the longer, the more were in vain.
    pause: Duration,
}

impl Segment {
    /// Takes in a peer or its address; `true` if that is to be dialed.
    fn found(&mut self, addr: EndpointAddr, now: Instant) -> bool {
        let (peer, is_full) = (addr.id, self.peers.len() >= MAX_PEERS);
        match self.peers.get_mut(&peer) {
            Some(found) if found.addr == addr => return false,
            Some(found) => (found.addr, found.is_fresh, found.next) = (addr, true, now),
            None if is_full => return false,
            None => {
                let found = Found {
                    addr,
                    is_fresh: true,
                    next: now,
                    pause: FIRST_RETRY,
                };
                self.peers.insert(peer, found);
            }
        }
        true
    }

    fn lost(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// Peers to dial now, as many as there are places: each counts as dialed.
    fn due(
        &mut self,
        now: Instant,
        places: usize,
        is_known: impl Fn(&PeerId) -> bool,
    ) -> Vec<EndpointAddr> {
        let mut due = Vec::new();
        for (peer, found) in &mut self.peers {
            if is_known(peer) {
                // If it is lost again, it is looked for as one that was just found.
                (found.next, found.pause) = (now + FIRST_RETRY, FIRST_RETRY);
                found.is_fresh = false;
            } else if found.next <= now {
                due.push((found.pause, !found.is_fresh, found.next, *peer));
            }
        }
        // The fewer attempts, the sooner: whoever names ever new addresses comes behind the others.
        due.sort_unstable();
        due.truncate(places);
        let dialed = due.into_iter().filter_map(|(_, _, _, peer)| {
            let found = self.peers.get_mut(&peer)?;
            found.is_fresh = false;
            found.next = now + found.pause;
            found.pause = (found.pause * 2).min(MAX_RETRY);
            Some(found.addr.clone())
        });
        dialed.collect()
    }
}

/// The name under which nodes of a network advertise themselves.
fn service_name(network: &NetworkId) -> String {
    let derived = blake3::derive_key(NAME_CONTEXT, network.as_bytes());
    format!("mk-{}", hex::encode(&derived[..NAME_BYTES]))
}

/// An address lookup that can be taken out of an endpoint again, so that advertising ends with
/// the node although handles to its endpoint live on.
#[derive(Clone)]
struct Detachable(Arc<Mutex<Option<MdnsAddressLookup>>>);

impl AddressLookup for Detachable {
    fn publish(&self, data: &EndpointData) {
        if let Some(service) = &*self.0.lock() {
            service.publish(data);
        }
    }

    fn resolve(
        &self,
        endpoint_id: EndpointId,
    ) -> Option<BoxStream<'static, Result<Item, address_lookup::Error>>> {
        self.0.lock().as_ref()?.resolve(endpoint_id)
    }
}

impl fmt::Debug for Detachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Detachable")
    }
}

struct DetachOnDrop(Detachable);

impl Drop for DetachOnDrop {
    fn drop(&mut self) {
        self.0.0.lock().take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::Digest;

    fn made_up() -> EndpointAddr {
        iroh::SecretKey::generate().public().into()
    }

    /// Regression: each of 1024 peers that anybody can make up was dialed every 5 s.
    #[tokio::test(start_paused = true)]
    async fn who_can_not_be_reached_is_dialed_ever_more_rarely() {
        let (mut segment, start) = (Segment::default(), Instant::now());
        for _ in 0..2 * MAX_PEERS {
            segment.found(made_up(), start);
        }
        assert_eq!(segment.peers.len(), MAX_PEERS);
        let mut dials: HashMap<PeerId, Vec<u64>> = HashMap::new();
        for second in 0..1200 {
            let now = start + Duration::from_secs(second);
            for addr in segment.due(now, usize::MAX, |_| false) {
                dials.entry(addr.id).or_default().push(second);
            }
        }
        let expected = [0, 5, 15, 35, 75, 155, 315, 615, 915];
        assert_eq!(dials.len(), MAX_PEERS);
        assert!(dials.values().all(|seconds| *seconds == expected));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_never_dialed_comes_before_who_was_in_vain() {
        let (mut segment, start) = (Segment::default(), Instant::now());
        for _ in 0..100 {
            segment.found(made_up(), start);
        }
        let first = segment.due(start, 64, |_| false);
        assert_eq!(first.len(), 64, "as many as there are places");
        assert_eq!(segment.due(start, 64, |_| false).len(), 36);
        let later = start + Duration::from_mins(10);
        let new = made_up();
        assert!(segment.found(new.clone(), later));
        assert!(!segment.found(new.clone(), later), "heard already");
        assert_eq!(segment.due(later, 1, |_| false), [new.clone()]);
        // Another address is tried at once, and costs one more attempt.
        let moved = new.clone().with_ip_addr(([127, 0, 0, 1], 1).into());
        assert!(segment.found(moved.clone(), later));
        assert_eq!(segment.due(later, 1, |_| false), [moved]);
        segment.lost(&new.id);
        assert_eq!(segment.due(later, usize::MAX, |_| false).len(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_names_ever_new_addresses_keeps_nobody_waiting() {
        let (mut segment, now) = (Segment::default(), Instant::now());
        let (liar, other) = (made_up(), made_up());
        let at = |port| liar.clone().with_ip_addr(([127, 0, 0, 1], port).into());
        for port in 1..4 {
            assert!(segment.found(at(port), now));
            assert_eq!(segment.due(now, 1, |_| false), [at(port)]);
        }
        segment.found(other.clone(), now);
        assert_eq!(segment.due(now, 1, |_| false), [other.clone()]);
        // Both are due, and the other one was tried once.
        let later = now + FIRST_RETRY;
        segment.found(at(4), later);
        assert_eq!(segment.due(later, 1, |_| false), [other]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_and_lost_again_is_dialed_soon() {
        let (mut segment, start) = (Segment::default(), Instant::now());
        let peer = made_up();
        segment.found(peer.clone(), start);
        let minute = |n| start + Duration::from_mins(n);
        let dials = (0..10).map(|n| segment.due(minute(n), 1, |_| false).len());
        assert!(dials.sum::<usize>() < 8, "it is looked for rarely by now");
        assert!(segment.due(minute(10), 1, |_| true).is_empty());
        let soon = minute(10) + FIRST_RETRY;
        assert_eq!(segment.due(soon, 1, |_| false), [peer]);
    }

    #[test]
    fn the_service_name_hides_the_network() {
        let network = Digest::from("example");
        let name = service_name(&network);
        assert_eq!(name, "mk-db726093e5a3");
        assert!(name.len() <= 15 && !network.to_string().contains(&name[3..]));
        assert_ne!(name, service_name(&Digest::from("other")));
    }
}
