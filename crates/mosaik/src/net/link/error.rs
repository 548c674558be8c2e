//! Errors of links, one type per operation.
//!
//! Beside what the transport reports there are variants for what only a link knows: that the peer
//! closed it with a reason, that time ran out, that a limit was reached.

use std::io;

use iroh::endpoint::{ApplicationClose, ConnectError, ConnectionError, ReadError, WriteError};

use crate::net::close;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any failure of a link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The link could not be opened.
    #[error("opening the link failed")]
    Open(#[source] OpenError),
    /// The link could not be accepted.
    #[error("accepting the link failed")]
    Accept(#[source] AcceptError),
    /// A message could not be received.
    #[error("receiving failed")]
    Recv(#[source] RecvError),
    /// A message could not be sent.
    #[error("sending failed")]
    Write(#[source] SendError),
    /// The link could not be closed in order.
    #[error("closing failed")]
    Close(#[source] CloseError),
    /// This node shuts down, or the operation was dropped.
    #[error("cancelled")]
    Cancelled,
}

/// Errors of opening a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer could not be reached.
    #[error("connecting to the peer failed")]
    Io(#[source] ConnectError),
    /// The connection was lost while the link was being opened.
    #[error("the connection was lost")]
    Lost(#[source] ConnectionError),
    /// The peer closed the connection.
    #[error("closed by the peer: {0}")]
    Closed(ApplicationClose),
    /// The peer did not answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// As many streams are open on the connection as the peer allows, and none ended in time.
    #[error("the peer takes no further stream on its connection")]
    TooManyStreams,
    /// The number of connections with the peer has reached the limit for one protocol.
    #[error("there are too many connections with the peer")]
    TooManyConnections,
    /// This node shuts down.
    #[error("cancelled")]
    Cancelled,
}

/// Errors of accepting a link.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// The connection failed before it was established.
    #[error("the connection was not established")]
    Io(#[source] iroh::protocol::AcceptError),
    /// The connection is for another protocol.
    #[error("expected protocol {}, received {}",
        String::from_utf8_lossy(.expected), String::from_utf8_lossy(.received))]
    InvalidAlpn {
        /// The protocol of the handler.
        expected: &'static [u8],
        /// The protocol of the connection.
        received: Vec<u8>,
    },
    /// The peer did not finish its handshake in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// This node shuts down.
    #[error("cancelled")]
    Cancelled,
}

/// Errors of receiving a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The stream or its connection failed.
    #[error("the stream failed")]
    Io(#[source] ReadError),
    /// The peer closed the link with this reason.
    #[error("closed by the peer: {0}")]
    Closed(ApplicationClose),
    /// The bytes are not a message of the expected type.
    #[error("undecodable message")]
    Decode(#[source] BoxError),
    /// A frame announces more bytes than are accepted here.
    #[error("frame of {len} bytes is larger than the accepted {max}")]
    FrameTooLarge {
        /// Length that the frame announces, in bytes.
        len: usize,
        /// Largest accepted length, in bytes.
        max: usize,
    },
    /// Nothing arrived in time.
    #[error("no message arrived in time")]
    TimedOut,
    /// Something else failed.
    #[error("receiving failed")]
    Unknown(#[source] io::Error),
    /// This node shuts down.
    #[error("cancelled")]
    Cancelled,
}

/// Errors of sending a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message has no encoding.
    #[error("the message can't be encoded")]
    Encode(#[source] BoxError),
    /// The message is larger than a frame may be.
    #[error("frame of {len} bytes is larger than the allowed {max}")]
    FrameTooLarge {
        /// The size of the message.
        len: usize,
        /// Largest allowed length, in bytes.
        max: usize,
    },
    /// The stream or its connection failed.
    #[error("the stream failed")]
    Io(#[source] WriteError),
    /// The peer stopped reading with this reason.
    #[error("closed by the peer: {0}")]
    Closed(ApplicationClose),
    /// The peer took nothing for too long.
    #[error("the peer took no data in time")]
    TimedOut,
    /// Something else failed.
    #[error("sending failed")]
    Unknown(#[source] io::Error),
    /// This node shuts down.
    #[error("cancelled")]
    Cancelled,
}

/// Errors of closing a link in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// It had ended before.
    #[error("already closed")]
    AlreadyClosed(#[source] ConnectionError),
    /// The peer closed it with another reason first.
    #[error("closed with another reason")]
    UnexpectedReason(#[source] ConnectionError),
    /// This node shuts down.
    #[error("cancelled")]
    Cancelled,
}

impl LinkError {
    /// Returns whether this node's own shutdown, or a dropped handle, is the cause.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The reason that the peer closed with, if that is the cause.
    pub const fn close_reason(&self) -> Option<&ApplicationClose> {
        match self {
            Self::Open(e) => e.close_reason(),
            Self::Accept(e) => e.close_reason(),
            Self::Recv(e) => e.close_reason(),
            Self::Write(e) => e.close_reason(),
            Self::Close(e) => e.close_reason(),
            Self::Cancelled => None,
        }
    }
}

const fn reason_of(error: &ConnectionError) -> Option<&ApplicationClose> {
    match error {
        ConnectionError::ApplicationClosed(reason) => Some(reason),
        _ => None,
    }
}

impl OpenError {
    /// Returns whether this node's own shutdown is the cause.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The reason that the peer closed with, if that is the cause.
    pub const fn close_reason(&self) -> Option<&ApplicationClose> {
        use iroh::endpoint::ConnectingError;

        match self {
            Self::Closed(reason) => Some(reason),
            Self::Lost(error) => reason_of(error),
            Self::Io(
                ConnectError::Connection { source, .. }
                | ConnectError::Connecting {
                    source: ConnectingError::ConnectionError { source, .. },
                    ..
                },
            ) => reason_of(source),
            _ => None,
        }
    }
}

impl From<ConnectionError> for OpenError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(reason) => Self::Closed(reason),
            error => Self::Lost(error),
        }
    }
}

impl AcceptError {
    /// Returns whether this node's own shutdown is the cause.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The reason that the peer closed with, if that is the cause.
    pub const fn close_reason(&self) -> Option<&ApplicationClose> {
        use iroh::{endpoint::ConnectingError, protocol::AcceptError};

        match self {
            Self::Io(
                AcceptError::Connection { source, .. }
                | AcceptError::Connecting {
                    source: ConnectingError::ConnectionError { source, .. },
                    ..
                },
            ) => reason_of(source),
            _ => None,
        }
    }
}

impl RecvError {
    /// Returns whether this node's own shutdown is the cause.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The reason that the peer closed with, if that is the cause.
    pub const fn close_reason(&self) -> Option<&ApplicationClose> {
        match self {
            Self::Closed(reason) => Some(reason),
            Self::Io(ReadError::ConnectionLost(error)) => reason_of(error),
            _ => None,
        }
    }

    /// Returns whether the peer sent something that it must not send.
    pub(crate) const fn is_violation(&self) -> bool {
        matches!(self, Self::Decode(_) | Self::FrameTooLarge { .. })
    }
}

impl From<ReadError> for RecvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Closed(close::from_reset(code)),
            ReadError::ConnectionLost(ConnectionError::ApplicationClosed(reason)) => {
                Self::Closed(reason)
            }
            error => Self::Io(error),
        }
    }
}

impl SendError {
    /// Returns whether this node's own shutdown is the cause.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The reason that the peer closed with, if that is the cause.
    pub const fn close_reason(&self) -> Option<&ApplicationClose> {
        match self {
            Self::Closed(reason) => Some(reason),
            Self::Io(WriteError::ConnectionLost(error)) => reason_of(error),
            _ => None,
        }
    }
}

impl From<WriteError> for SendError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Closed(close::from_code(code)),
            WriteError::ConnectionLost(ConnectionError::ApplicationClosed(reason)) => {
                Self::Closed(reason)
            }
            error => Self::Io(error),
        }
    }
}

impl CloseError {
    /// Returns whether this node's own shutdown is the cause.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    /// The reason that the peer closed with, if that is the cause.
    pub const fn close_reason(&self) -> Option<&ApplicationClose> {
        match self {
            Self::AlreadyClosed(error) | Self::UnexpectedReason(error) => reason_of(error),
            Self::Cancelled => None,
        }
    }

    /// Returns whether the link had ended before it was closed here.
    pub const fn was_already_closed(&self) -> bool {
        matches!(self, Self::AlreadyClosed(_))
    }
}

macro_rules! into_link_error {
    ($($error:ident => $variant:ident),*) => {$(
        impl From<$error> for LinkError {
            fn from(error: $error) -> Self {
                if error.is_cancelled() { Self::Cancelled } else { Self::$variant(error) }
            }
        }
    )*};
}

into_link_error!(
    OpenError => Open, AcceptError => Accept, RecvError => Recv, SendError => Write,
    CloseError => Close
);

#[cfg(test)]
mod tests {
    use iroh::endpoint::ConnectingError;

    use super::*;

    #[test]
    fn a_dial_that_the_peer_closed_tells_its_reason() {
        let reason = ApplicationClose::from(close::DifferentNetwork);
        let closed = || ConnectionError::ApplicationClosed(reason.clone());
        let connecting = || ConnectError::from(ConnectingError::from(closed()));
        for error in [ConnectError::from(closed()), connecting()] {
            assert_eq!(OpenError::Io(error).close_reason(), Some(&reason));
        }
        let link = LinkError::Open(OpenError::Io(connecting()));
        assert_eq!(link.close_reason(), Some(&reason));
        let lost = ConnectError::from(ConnectionError::TimedOut);
        assert!(OpenError::Io(lost).close_reason().is_none());
    }
}
