//! Finding peers on the local segment by multicast DNS.
//!
//! Nodes advertise a service whose name is derived from the network id, so that only nodes of one
//! network see each other, and the id itself is not shown to the segment.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use iroh::{
    Endpoint, EndpointAddr, EndpointId,
    address_lookup::{self, AddressLookup, EndpointData, Item},
};
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{dialer::Dialer, status::Pending};
use crate::{
    discovery::store::SharedStore,
    primitives::{NetworkId, PeerId},
};

const NAME_CONTEXT: &str = "mosaik 2026-11 mdns service name";
/// With the prefix, the 15 characters that a service name may have (RFC 6335).
const NAME_BYTES: usize = 6;
/// Redial interval for peers that are on the segment but not in the catalog.
const RETRY: Duration = Duration::from_secs(5);
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
    let mut present = HashMap::<PeerId, EndpointAddr>::new();
    let mut retries = interval(RETRY);
    retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut first_answer = std::pin::pin!(sleep(FIRST_ANSWER));
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(DiscoveryEvent::Discovered { endpoint_info, .. }) => {
                    let addr = endpoint_info.into_endpoint_addr();
                    if present.len() < MAX_PEERS || present.contains_key(&addr.id) {
                        present.insert(addr.id, addr.clone());
                        dial_unless_known(&store, &dialer, addr);
                    }
                }
                Some(DiscoveryEvent::Expired { endpoint_id }) => drop(present.remove(&endpoint_id)),
                Some(_) => {}
                None => return,
            },
            _ = retries.tick() => {
                for addr in present.values() {
                    dial_unless_known(&store, &dialer, addr.clone());
                }
            }
            () = &mut first_answer, if !pending.is_answered() => pending.answer(),
        }
    }
}

fn dial_unless_known(store: &SharedStore, dialer: &Dialer, addr: EndpointAddr) {
    if !store.catalog().signed.contains_key(&addr.id) {
        dialer.dial(addr);
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

    #[test]
    fn the_service_name_hides_the_network() {
        let network = Digest::from("example");
        let name = service_name(&network);
        assert_eq!(name, "mk-db726093e5a3");
        assert!(name.len() <= 15 && !network.to_string().contains(&name[3..]));
        assert_ne!(name, service_name(&Digest::from("other")));
    }
}
