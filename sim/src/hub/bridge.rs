//! Carries the packets of a node that runs in another process.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    task::Poll,
};

use bytes::Bytes;
use mosaik::PeerId;
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

use super::{handle::Hub, inbox::Packet, port::Port};
use crate::task::Task;

/// Length of the id in front of each packet: that of its receiver, or of its sender.
pub(super) const ID_BYTES: usize = 32;
/// More than any packet on the way between a hub and a node.
pub(super) const MAX_DATAGRAM_BYTES: usize = 64 * 1024;

/// The place at a hub of a node in another process. Ends on drop.
#[derive(Debug)]
pub struct Bridge {
    address: SocketAddr,
    _tasks: [Task; 2],
}

impl Bridge {
    /// Address to which the node has to send.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Hub {
    /// Opens a place for a node in another process, instead of the one that a former run of it
    /// had. The first that sends to it is taken for the node.
    ///
    /// # Errors
    ///
    /// When no socket can be bound on loopback.
    pub async fn bridge(&self, id: PeerId) -> io::Result<Bridge> {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?);
        let address = socket.local_addr()?;
        let port = self.open_port(id);
        let node = Arc::new(OnceLock::new());
        let up = carry_up(self.clone(), port.clone(), socket.clone(), node.clone());
        let down = carry_down(port, socket, node);
        Ok(Bridge {
            address,
            _tasks: [Task::spawn(up), Task::spawn(down)],
        })
    }
}

/// From the node to the hub.
async fn carry_up(
    hub: Hub,
    port: Arc<Port>,
    socket: Arc<UdpSocket>,
    node: Arc<OnceLock<SocketAddr>>,
) {
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        // An error concerns one datagram: a node that is gone, for instance.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if *node.get_or_init(|| from) != from {
            continue;
        }
        if let Some((to, payload)) = buffer[..len].split_at_checked(ID_BYTES)
            && let Some(to) = hub.port(to)
        {
            hub.send(&port, &to, Bytes::copy_from_slice(payload));
        }
    }
}

/// From the hub to the node.
async fn carry_down(port: Arc<Port>, socket: Arc<UdpSocket>, node: Arc<OnceLock<SocketAddr>>) {
    let mut datagram = Vec::with_capacity(MAX_DATAGRAM_BYTES);
    loop {
        let packet = next(&port).await;
        let Some(node) = node.get() else { continue };
        datagram.clear();
        datagram.extend_from_slice(packet.from.as_bytes());
        datagram.extend_from_slice(&packet.payload);
        // A full buffer or a node that is gone loses the packet, as a network would.
        let _ = socket.try_send_to(&datagram, *node);
    }
}

/// The next packet for a node, once it is due.
async fn next(port: &Port) -> Packet {
    loop {
        let due = poll_fn(|cx| {
            let mut inbox = port.inbox.lock();
            match inbox.pop(Instant::now()) {
                Some(packet) => Poll::Ready(Ok(packet)),
                None => match inbox.next_due(cx.waker()) {
                    Some(due) => Poll::Ready(Err(due)),
                    None => Poll::Pending,
                },
            }
        });
        match due.await {
            Ok(packet) => return packet,
            // An earlier one may arrive meanwhile.
            Err(due) => tokio::select! {
                () = sleep_until(due) => {}
                () = earlier(port, due) => {}
            },
        }
    }
}

/// Resolves once a packet is due before this instant.
async fn earlier(port: &Port, than: Instant) {
    poll_fn(|cx| match port.inbox.lock().next_due(cx.waker()) {
        Some(due) if due < than => Poll::Ready(()),
        _ => Poll::Pending,
    })
    .await;
}
