//! State shared by both halves of a link.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use iroh::endpoint::{
    ApplicationClose, Connection, ConnectionError, ReadError, VarInt, WriteError,
};

use super::{RecvError, SendError};
use crate::{
    net::{
        activity::Activity,
        close,
        metrics::{TransportMetrics, Violation},
    },
    primitives::{PeerId, Scope},
};

/// State shared by both halves of a link.
#[derive(Debug)]
pub(crate) struct LinkState {
    pub(super) connection: Connection,
    pub(super) scope: Scope,
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

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    pub(super) fn peer(&self) -> PeerId {
        self.connection.remote_id()
    }
}
