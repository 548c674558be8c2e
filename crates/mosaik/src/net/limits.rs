//! Limits and timeouts of the transport.

use std::time::Duration;

/// Largest frame of a link unless its protocol says otherwise.
pub(crate) const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;
/// Largest frame while the other side is still unproven.
pub(crate) const MAX_HANDSHAKE_FRAME_BYTES: usize = 1024;
/// Streams that one peer may have open at once on one connection.
pub(crate) const MAX_STREAMS_PER_CONNECTION: u32 = 1024;
/// Incoming connections whose handshakes are not finished, in all.
pub(crate) const MAX_HALF_OPEN: usize = 512;
/// Limit on those from one address and port.
pub(crate) const MAX_HALF_OPEN_PER_SOURCE: usize = 32;
/// Limit on those of one peer.
pub(crate) const MAX_HALF_OPEN_PER_PEER: usize = 16;
/// Connections that one peer may have open towards this node for one protocol.
pub(crate) const MAX_CONNECTIONS_PER_PEER: usize = 8;
/// Incoming connections of a protocol that brings its own framing, of all peers.
pub(crate) const MAX_WHOLE_CONNECTIONS: usize = 1024;
/// Timeout for dialing a peer.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for each step of a handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for opening a link, dial and handshake together.
pub(crate) const OPEN_TIMEOUT: Duration = CONNECT_TIMEOUT.saturating_add(HANDSHAKE_TIMEOUT);
/// Timeout for a peer to allow another stream on its connection.
pub(crate) const STREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for writing a close record; the stream is reset after it.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Minimum throughput of a peer that takes a large message; a slower one is given up.
pub(crate) const MIN_BYTES_PER_SECOND: u64 = 256 * 1024;
/// Time within which two new connections between the same nodes are taken for dials that have
/// crossed.
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
/// this size is used up before. A writer of many small parts must not run further ahead of the
/// reader than that in writes either.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1536 * 1024;
/// Flow-control window of a connection whose other side is still unproven: for the handshake.
pub(crate) const UNPROVEN_WINDOW_BYTES: u32 = 16 * 1024;
/// Streams of one direction that a peer may have open at once for a protocol that brings its own
/// framing.
pub(crate) const MAX_UNI_STREAMS_PER_CONNECTION: u32 = 100;
/// Flow-control window of one connection, and what may be sent and not yet acknowledged.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Streams of this node's own on one connection that the window above suffices for, when nobody
/// reads from any of them.
pub(crate) const OWN_LINKS_COVERED: usize = 8;
/// Bytes by which each further own link enlarges the connection's window, so that streams which
/// nobody reads never block the others: the window of a stream, and a third more, as the transport
/// announces new room only once it is an eighth of the connection's window.
const BYTES_PER_OWN_LINK: u32 = 2 * 1024 * 1024;

/// The window of a connection on which this node has this many streams of its own open. What peers
/// open adds nothing, as the side that accepts a stream reads it.
pub(crate) fn connection_window_bytes(own_links: usize) -> u32 {
    let links = own_links.min(MAX_STREAMS_PER_CONNECTION as usize);
    let links = u32::try_from(links).unwrap_or(MAX_STREAMS_PER_CONNECTION);
    CONNECTION_WINDOW_BYTES + links * BYTES_PER_OWN_LINK
}
