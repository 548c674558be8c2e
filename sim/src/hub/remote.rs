//! The hub as a transport of a node in another process: every packet goes to its bridge.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, UdpSocket as StdSocket},
    num::NonZeroUsize,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::stream::{self, BoxStream, StreamExt};
use iroh::{
    EndpointId, TransportAddr,
    address_lookup::{AddressLookup, EndpointData, EndpointInfo, Error as LookupError, Item},
    endpoint::{
        NetReportConfig, PortmapperConfig,
        transports::{CustomEndpoint, CustomSender, CustomTransport, RecvInfo, Transmit},
    },
};
use iroh_base::CustomAddr;
use mosaik::{PeerId, SecretKey, iroh::RelayMode, network::NetworkBuilder};
use n0_watcher::Watchable;
use noq_udp::RecvMeta;
use tokio::{io::ReadBuf, net::UdpSocket};

use super::{
    bridge::{ID_BYTES, MAX_DATAGRAM_BYTES},
    transport::{TRANSPORT_ID, address},
};

/// Makes a node talk through a hub in another process only, under the id of this key.
pub fn attach_remote(
    builder: NetworkBuilder,
    secret: SecretKey,
    bridge: SocketAddr,
) -> NetworkBuilder {
    let id = secret.public();
    builder
        .with_secret_key(secret)
        .with_relay_mode(RelayMode::Disabled)
        .with_endpoint(move |endpoint| {
            endpoint
                .clear_ip_transports()
                .clear_relay_transports()
                .portmapper_config(PortmapperConfig::Disabled)
                .net_report_config(NetReportConfig::minimal())
                .add_custom_transport(Arc::new(RemoteTransport { id, bridge }))
                .address_lookup(Everybody)
        })
}

/// One node's transport.
#[derive(Debug)]
struct RemoteTransport {
    id: PeerId,
    bridge: SocketAddr,
}

impl CustomTransport for RemoteTransport {
    fn bind(&self) -> io::Result<Box<dyn CustomEndpoint>> {
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(self.bridge)?;
        Ok(Box::new(RemoteEndpoint {
            id: self.id,
            socket: Arc::new(UdpSocket::from_std(socket)?),
            addrs: Watchable::new(vec![address(self.id)]),
            buffer: vec![0; MAX_DATAGRAM_BYTES].into(),
        }))
    }
}

/// The receiving side.
#[derive(Debug)]
struct RemoteEndpoint {
    id: PeerId,
    socket: Arc<UdpSocket>,
    addrs: Watchable<Vec<CustomAddr>>,
    buffer: Box<[u8]>,
}

impl RemoteEndpoint {
    /// Receives one packet: its length and whom it is from.
    fn poll_packet(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Option<(usize, PeerId)>> {
        let mut datagram = ReadBuf::new(&mut self.buffer);
        if ready!(self.socket.poll_recv(cx, &mut datagram)).is_err() {
            // The hub is not there at the moment; it may come back.
            return Poll::Ready(None);
        }
        let packet = datagram.filled().split_first_chunk::<ID_BYTES>();
        let packet = packet.and_then(|(from, payload)| {
            buf.get_mut(..payload.len())?.copy_from_slice(payload);
            Some((payload.len(), PeerId::from_bytes(from).ok()?))
        });
        Poll::Ready(packet)
    }
}

impl CustomEndpoint for RemoteEndpoint {
    fn watch_local_addrs(&self) -> n0_watcher::Direct<Vec<CustomAddr>> {
        self.addrs.watch()
    }

    fn create_sender(&self) -> Arc<dyn CustomSender> {
        Arc::new(RemoteSender {
            socket: self.socket.clone(),
        })
    }

    fn poll_recv(
        &mut self,
        cx: &mut Context,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [RecvMeta],
        infos: &mut [RecvInfo],
    ) -> Poll<io::Result<usize>> {
        let own = address(self.id);
        let mut filled = 0;
        while filled < bufs.len() {
            match self.poll_packet(cx, &mut bufs[filled]) {
                Poll::Ready(Some((len, from))) => {
                    (metas[filled].len, metas[filled].stride) = (len, len);
                    infos[filled] = RecvInfo::new(address(from), Some(own.clone()));
                    filled += 1;
                }
                Poll::Ready(None) => {}
                Poll::Pending if filled == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(filled))
    }

    fn max_transmit_segments(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }
}

/// The sending side.
#[derive(Debug)]
struct RemoteSender {
    socket: Arc<UdpSocket>,
}

impl CustomSender for RemoteSender {
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
        let whole = transmit.contents.len();
        let segment = transmit.segment_size.unwrap_or(whole).max(1);
        for packet in transmit.contents.chunks(segment) {
            let datagram = [to.data(), packet].concat();
            // A full buffer loses the packet, as a network would.
            let _ = self.socket.try_send(&datagram);
        }
        Poll::Ready(Ok(()))
    }
}

/// Every peer is behind the hub.
#[derive(Debug)]
struct Everybody;

impl AddressLookup for Everybody {
    fn resolve(
        &self,
        endpoint_id: EndpointId,
    ) -> Option<BoxStream<'static, Result<Item, LookupError>>> {
        let addr = TransportAddr::Custom(address(endpoint_id));
        let info = EndpointInfo {
            endpoint_id,
            data: EndpointData::from_iter([addr]),
        };
        Some(stream::iter([Ok(Item::new(info, "hub", None))]).boxed())
    }
}
