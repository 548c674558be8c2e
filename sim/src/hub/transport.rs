//! The hub as a transport of iroh.

use std::{
    fmt, io,
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use iroh::{
    EndpointId, TransportAddr,
    address_lookup::{AddressLookup, EndpointData, EndpointInfo, Error as LookupError, Item},
    endpoint::{
        Builder, NetReportConfig, PortmapperConfig,
        transports::{CustomEndpoint, CustomSender, CustomTransport, RecvInfo, Transmit},
    },
};
use iroh_base::CustomAddr;
use mosaik::{PeerId, SecretKey, iroh::RelayMode, network::NetworkBuilder};
use n0_watcher::Watchable;
use noq_udp::RecvMeta;
use tokio::time::{Instant, Sleep};

use super::{handle::Hub, port::Port};

/// Names this kind of address among custom addresses ("mosaik", truncated).
pub(super) const TRANSPORT_ID: u64 = 0x6d6f_7361_696b;
/// Packets that are taken in one go.
const MAX_SEGMENTS: NonZeroUsize = NonZeroUsize::new(8).expect("eight is not zero");

impl Hub {
    /// Makes a node talk through this hub only, under the id of this key.
    pub fn attach(&self, builder: NetworkBuilder, secret: SecretKey) -> NetworkBuilder {
        let id = secret.public();
        let hub = self.clone();
        builder
            .with_secret_key(secret)
            .with_relay_mode(RelayMode::Disabled)
            .with_endpoint(move |endpoint| hub.plug_in(id, endpoint))
    }

    fn plug_in(&self, id: PeerId, endpoint: Builder) -> Builder {
        let port = self.open_port(id);
        endpoint
            .clear_ip_transports()
            .clear_relay_transports()
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(NetReportConfig::minimal())
            .add_custom_transport(Arc::new(HubTransport::new(self.clone(), port)))
            .address_lookup(HubLookup::new(self.clone()))
    }
}

/// One node's transport.
#[derive(Debug)]
pub(super) struct HubTransport {
    hub: Hub,
    port: Arc<Port>,
}

impl HubTransport {
    pub(super) const fn new(hub: Hub, port: Arc<Port>) -> Self {
        Self { hub, port }
    }
}

impl CustomTransport for HubTransport {
    fn bind(&self) -> io::Result<Box<dyn CustomEndpoint>> {
        Ok(Box::new(HubEndpoint {
            hub: self.hub.clone(),
            port: self.port.clone(),
            addrs: Watchable::new(vec![address(self.port.id)]),
            timer: None,
        }))
    }
}

/// The receiving side.
struct HubEndpoint {
    hub: Hub,
    port: Arc<Port>,
    addrs: Watchable<Vec<CustomAddr>>,
    /// Fires when the next packet is due.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HubEndpoint {
    /// Moves packets that have arrived into the buffers; returns how many.
    fn take(
        &self,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        infos: &mut [RecvInfo],
    ) -> usize {
        let own = address(self.port.id);
        let mut inbox = self.port.inbox.lock();
        let now = Instant::now();
        let mut filled = 0;
        while filled < bufs.len()
            && let Some(packet) = inbox.pop(now)
        {
            let len = packet.payload.len();
            // One that doesn't fit was never asked for: it is lost, as in a socket.
            if let Some(buf) = bufs[filled].get_mut(..len) {
                buf.copy_from_slice(&packet.payload);
                (metas[filled].len, metas[filled].stride) = (len, len);
                infos[filled] = RecvInfo::new(address(packet.from), Some(own.clone()));
                filled += 1;
            }
        }
        filled
    }
}

impl CustomEndpoint for HubEndpoint {
    fn watch_local_addrs(&self) -> n0_watcher::Direct<Vec<CustomAddr>> {
        self.addrs.watch()
    }

    fn create_sender(&self) -> Arc<dyn CustomSender> {
        Arc::new(HubSender {
            hub: self.hub.clone(),
            port: self.port.clone(),
        })
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        infos: &mut [RecvInfo],
    ) -> Poll<io::Result<usize>> {
        loop {
            let filled = self.take(bufs, metas, infos);
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
            let Some(due) = self.port.inbox.lock().next_due(cx.waker()) else {
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timer = None;
        }
    }

    fn max_transmit_segments(&self) -> NonZeroUsize {
        MAX_SEGMENTS
    }
}

impl fmt::Debug for HubEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubEndpoint")
            .field("id", &self.port.id)
            .finish_non_exhaustive()
    }
}

/// The sending side.
#[derive(Debug)]
struct HubSender {
    hub: Hub,
    port: Arc<Port>,
}

impl CustomSender for HubSender {
    fn is_valid_send_addr(&self, addr: &CustomAddr) -> bool {
        addr.id() == TRANSPORT_ID
    }

    fn poll_send(
        &self,
        _: &mut Context,
        to: &CustomAddr,
        _: Option<&CustomAddr>,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<()>> {
        // A network reports no error for a destination that doesn't exist.
        let Some(to) = self.hub.port(to.data()) else {
            return Poll::Ready(Ok(()));
        };
        let whole = transmit.contents.len();
        let segment = transmit.segment_size.unwrap_or(whole).max(1);
        for packet in transmit.contents.chunks(segment) {
            self.hub
                .send(&self.port, &to, Bytes::copy_from_slice(packet));
        }
        Poll::Ready(Ok(()))
    }
}

/// Finds every node of a hub by its id.
#[derive(Debug)]
pub(super) struct HubLookup(Hub);

impl HubLookup {
    pub(super) const fn new(hub: Hub) -> Self {
        Self(hub)
    }
}

impl AddressLookup for HubLookup {
    fn resolve(
        &self,
        endpoint_id: EndpointId,
    ) -> Option<BoxStream<'static, Result<Item, LookupError>>> {
        let addr = TransportAddr::Custom(address(endpoint_id));
        let info = EndpointInfo {
            endpoint_id,
            data: EndpointData::from_iter([addr]),
        };
        let item = || stream::iter([Ok(Item::new(info, "hub", None))]).boxed();
        self.0.port(endpoint_id.as_bytes()).map(|_| item())
    }
}

pub(super) fn address(peer: PeerId) -> CustomAddr {
    CustomAddr::from_parts(TRANSPORT_ID, peer.as_bytes())
}
