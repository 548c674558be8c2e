//! One link: both directions of a QUIC stream.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use iroh::{
    TransportAddr,
    endpoint::{ApplicationClose, Connection, ConnectionError, ReadError, VarInt, WriteError},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Closed, LinkReceiver, LinkSender, RecvError, SendError};
use crate::{
    net::{
        activity::Activity,
        close,
        metrics::{TransportMetrics, Violation},
    },
    primitives::{PeerId, Scope},
};

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

/// State shared by both halves of a link.
#[derive(Debug)]
pub(crate) struct LinkState {
    connection: Connection,
    scope: Scope,
    drop_code: AtomicU32,
    pub(super) metrics: TransportMetrics,
    _activity: Activity,
}

impl LinkState {
    pub(crate) fn new(
        connection: Connection,
        scope: Scope,
        metrics: TransportMetrics,
        activity: Activity,
    ) -> Arc<Self> {
        let cancelled = ApplicationClose::from(close::Cancelled)
            .error_code
            .into_inner();
        Arc::new(Self {
            connection,
            scope,
            drop_code: AtomicU32::new(u32::try_from(cancelled).unwrap_or_default()),
            metrics,
            _activity: activity,
        })
    }

    /// The code that a half ends with when it is dropped unclosed.
    pub(super) fn drop_code(&self) -> VarInt {
        VarInt::from_u32(self.drop_code.load(Ordering::Relaxed))
    }

    /// Notes that the peer broke the rules: whatever is closed from now on says so.
    pub(super) fn violated(&self, violation: Violation) {
        if violation != Violation::Silent {
            self.set_drop_code(&close::ProtocolViolation.into());
        }
        self.metrics.link_violated(violation);
        tracing::debug!(peer = %self.peer().fmt_short(), reason = violation.label(),
            "a peer broke the protocol");
    }

    /// Returns whether this node ended the connection as it shuts down. It also closes connections
    /// that are idle or silent: for a link still in use, that is a loss like any other.
    fn is_shutdown(&self, error: &ConnectionError) -> bool {
        matches!(error, ConnectionError::LocallyClosed) && self.scope.is_cancelled()
    }

    pub(super) fn recv_error(&self, error: ReadError) -> RecvError {
        match &error {
            ReadError::ConnectionLost(end) if self.is_shutdown(end) => RecvError::Cancelled,
            _ => error.into(),
        }
    }

    pub(super) fn send_error(&self, error: WriteError) -> SendError {
        match &error {
            WriteError::ConnectionLost(end) if self.is_shutdown(end) => SendError::Cancelled,
            _ => error.into(),
        }
    }

    pub(super) fn set_drop_code(&self, reason: &ApplicationClose) {
        let code = u32::try_from(reason.error_code.into_inner()).unwrap_or(u32::MAX);
        self.drop_code.store(code, Ordering::Relaxed);
    }
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

impl LinkState {
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn peer(&self) -> PeerId {
        self.connection.remote_id()
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
