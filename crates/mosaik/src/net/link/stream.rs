//! One link: both directions of a QUIC stream.

use std::time::Duration;

use iroh::{
    TransportAddr,
    endpoint::{ApplicationClose, Connection},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Closed, LinkReceiver, LinkSender, RecvError, SendError};
use crate::{net::metrics::Violation, primitives::PeerId};

/// Names a protocol by the string that is negotiated when a connection is made.
pub trait Protocol {
    /// The name on the wire.
    const ALPN: &'static [u8];
}

/// A bidirectional stream of messages with a peer, on a connection that both have proven to
/// belong to this network.
///
/// Dropping a link without closing it ends both directions with `Cancelled` (102), or with
/// `ProtocolViolation` (400) when the peer sent something undecodable.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) sender: LinkSender,
    pub(crate) receiver: LinkReceiver,
}

impl Link {
    pub(crate) const fn new(sender: LinkSender, receiver: LinkReceiver) -> Self {
        Self { sender, receiver }
    }

    /// The peer at the other end, authenticated by the transport.
    pub(crate) fn peer(&self) -> PeerId {
        self.sender.state.connection.remote_id()
    }

    /// The connection under this link.
    pub(crate) fn connection(&self) -> &Connection {
        &self.sender.state.connection
    }

    /// The current round-trip time of the path in use.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        path_rtt(self.connection())
    }

    /// Sends one message.
    pub(crate) async fn send<T: Serialize + Sync>(&mut self, message: &T) -> Result<(), SendError> {
        self.sender.send(message).await
    }

    /// Receives one message.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn recv<T: DeserializeOwned>(&mut self) -> Result<T, RecvError> {
        self.receiver.recv().await
    }

    /// Receives one message, or fails when none is complete within `limit`.
    pub(crate) async fn recv_within<T: DeserializeOwned>(
        &mut self,
        limit: Duration,
    ) -> Result<T, RecvError> {
        if let Ok(received) = tokio::time::timeout(limit, self.recv()).await {
            return received;
        }
        self.note_silence();
        Err(RecvError::TimedOut)
    }

    /// Notes that the peer sent nothing where a message was due.
    pub(crate) fn note_silence(&self) {
        self.sender.state.violated(Violation::Silent);
    }

    /// The two directions, to be used by two tasks.
    pub(crate) fn split(self) -> (LinkSender, LinkReceiver) {
        (self.sender, self.receiver)
    }

    /// Closes the link with a reason, in the background: what was sent before still arrives.
    pub(crate) fn close(self, reason: impl Into<ApplicationClose>) {
        let reason = reason.into();
        self.receiver.stop(&reason);
        self.sender.close(reason);
    }

    /// Closes the link with a reason and waits until it is written, for a bounded time.
    pub(crate) async fn close_now(self, reason: impl Into<ApplicationClose>) -> Closed {
        let reason = reason.into();
        self.receiver.stop(&reason);
        self.sender.close_now(&reason).await
    }

    /// Ends both directions at once with the code of a reason; what was not delivered is lost.
    pub(crate) fn abort(self, reason: impl Into<ApplicationClose>) {
        self.receiver.stop(&reason.into());
        // The sender resets with the code that it shares with the receiver.
    }

    /// Closes the link with a reason, and gives what is queued before it this long to be written.
    pub(crate) async fn close_within(
        self,
        reason: impl Into<ApplicationClose>,
        limit: Duration,
    ) -> Closed {
        let reason = reason.into();
        self.receiver.stop(&reason);
        self.sender.close_within(&reason, limit).await
    }
}

/// The round-trip time of the path that a connection currently sends on.
pub(crate) fn path_rtt(connection: &Connection) -> Option<Duration> {
    let paths = connection.paths();
    let selected = paths.iter().find(|path| path.is_selected());
    selected
        .or_else(|| {
            paths
                .iter()
                .find(|path| !matches!(path.remote_addr(), TransportAddr::Relay(_)))
        })
        .map(|path| path.rtt())
}
