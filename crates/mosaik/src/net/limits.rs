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
/// Two connections between the same nodes that came to stand within this time are taken for dials
/// that have crossed.
pub(crate) const CROSSING: Duration = Duration::from_secs(1);
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
/// The transport keeps each packet's part of a stream until it is read, and gives the whole
/// connection up ("too many gaps in stream buffer") when a stream has more than 2048 of them, even
/// without a gap. Packets carry 1160 bytes at least when there is that much to send, so a window of
/// this size is used up before. Whoever writes little by little must not run further ahead of the
/// reader than that in writes either.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1536 * 1024;
/// Flow-control window of one connection, and what may be sent and not yet acknowledged.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
