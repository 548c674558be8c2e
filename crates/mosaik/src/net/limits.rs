//! How much of anything the transport accepts, and how long it waits.

use std::time::Duration;

/// Largest frame of a link unless its protocol says otherwise.
pub(crate) const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Largest frame while the other side is still unproven.
pub(crate) const MAX_HANDSHAKE_FRAME_BYTES: usize = 1024;
/// Streams that one peer may have open at once on one connection.
pub(crate) const MAX_STREAMS_PER_CONNECTION: u32 = 1024;
/// Connections that are being accepted at once; more wait in the endpoint's own queue.
pub(crate) const MAX_PENDING_ACCEPTS: usize = 512;
/// Connections that one peer may have open towards this node for one protocol.
pub(crate) const MAX_CONNECTIONS_PER_PEER: usize = 8;
/// How long dialing a peer may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long each step of a handshake may take.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a close record may take to be written before the stream is reset instead.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that this node dialed and that carried no link for this long is closed.
pub(crate) const IDLE_CONNECTION: Duration = Duration::from_secs(20);
/// The connection is lost when nothing was heard for this long.
pub(crate) const MAX_SILENCE: Duration = Duration::from_secs(5);
/// Something is sent at least this often on an otherwise silent connection.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// The round-trip time that is assumed before the first is measured. A lost first packet is sent
/// again after three times this; the usual 333 ms would cost a second.
pub(crate) const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Flow-control window of one stream.
///
/// The transport (noq 1.4) gives a connection up when one of its streams holds more than 2048
/// received and unread packets, as it doesn't merge packets that are nearly full: the window must
/// be smaller than that many of the smallest full packets (1200 bytes). It still takes streams to
/// be read without delay, since packets may be smaller.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Flow-control window of one connection, and what may be sent and not yet acknowledged.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
