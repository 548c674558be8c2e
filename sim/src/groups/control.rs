//! Messages between the simulator and a member in a process of its own: frames on its standard
//! input and output, each a length (four bytes, little endian) and a postcard message.

use std::{collections::BTreeSet, io, net::SocketAddr, path::PathBuf};

use mosaik::{Digest, NetworkId};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Answer, Command, Query};

/// Larger than the longest list of commands that is ever asked for.
const MAX_FRAME_BYTES: u32 = 64 * 1024 * 1024;

/// Settings of a group; alike on all members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSetup {
    /// The group's key.
    pub key: Digest,
    /// Number of members that found it together.
    pub founders: usize,
    /// Number of commands between two snapshots.
    pub snapshot_interval: u64,
    /// Time for which a member waits at most for others before it founds, in milliseconds.
    pub bootstrap_delay_ms: u64,
    /// Time after which an unreachable member is removed, in milliseconds.
    pub evict_after_ms: u64,
    /// Limit on the voters.
    pub max_voters: usize,
    /// True if newcomers are brought up to date with the log alone.
    pub replayed: bool,
    /// Time that a command takes to be applied, in microseconds.
    pub pace_us: u64,
}

/// Beliefs of a member about the group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Belief {
    pub(super) online: bool,
    pub(super) leads: bool,
    pub(super) leader: Option<[u8; 32]>,
    pub(super) voters: BTreeSet<[u8; 32]>,
    pub(super) learners: BTreeSet<[u8; 32]>,
}

/// Settings of a member in a process of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Its network.
    pub network: NetworkId,
    /// Its secret key.
    pub secret: [u8; 32],
    /// The ids of all members.
    pub peers: Vec<[u8; 32]>,
    /// Way in which it reaches the others.
    pub wiring: Wiring,
    /// Directory of its part of the group; in memory without one.
    pub storage: Option<PathBuf>,
    /// Lead of its clock, in milliseconds.
    pub skew_ms: i64,
    /// True if it neither votes nor leads.
    pub observes: bool,
    /// The group.
    pub group: GroupSetup,
}

/// Ways in which a member in a process of its own reaches the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wiring {
    /// Its bridge to the hub.
    Hub(SocketAddr),
    /// UDP.
    Udp {
        /// Address on which it listens.
        own: SocketAddr,
        /// Addresses of the others, in the order of their ids.
        others: Vec<SocketAddr>,
    },
}

/// A request to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    Execute(u64, Command),
    Feed(u64, Command),
    Believe(u64),
    Query(u64, Query, bool),
    Leave,
    Join,
    Reform,
    Skew(i64),
}

/// Messages of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// The node runs and has joined the group.
    Ready,
    /// The index of a command that was acknowledged, or only accepted; none when its outcome is
    /// unknown.
    Executed(u64, Option<u64>),
    /// Its beliefs.
    Believed(u64, Belief),
    /// The answer to a query, with the position of the state that it was made from.
    Answered(u64, Option<(Answer, u64)>),
    /// It leads.
    Leads(Tenure),
}

/// A leadership: that of the leader of this term of this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Tenure {
    pub(super) history: [u8; 32],
    pub(super) term: u64,
}

/// Reads one frame; `None` at the end.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let len = match from.read_u32_le().await {
        Ok(len) => len,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if len > MAX_FRAME_BYTES {
        return Err(io::Error::other("the frame is too large"));
    }
    let mut frame = vec![0; len as usize];
    from.read_exact(&mut frame).await?;
    postcard::from_bytes(&frame)
        .map(Some)
        .map_err(io::Error::other)
}

/// Writes one frame.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
) -> io::Result<()> {
    let mut frame = vec![0; 4];
    frame = postcard::to_extend(message, frame).map_err(io::Error::other)?;
    let len = u32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&len.to_le_bytes());
    to.write_all(&frame).await?;
    to.flush().await
}
