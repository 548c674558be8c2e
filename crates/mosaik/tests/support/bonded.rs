//! A member of a group that speaks its protocol by hand: it knows the group's key, and need not keep
//! to anything.

use hmac::{Hmac, KeyInit, Mac};
use mosaik::{
    Digest, Network,
    iroh::endpoint::{Connection, ReadError, ReadExactError, RecvStream, SendStream},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::Sha256;

use super::{
    intruder::{GROUPS_ALPN, Intruder, end_of, frame, say},
    member::{dated, encoded, now_ms, version},
    within,
};

const NONCE: [u8; 16] = [7; 16];
/// Numbers of messages.
const BOND: u8 = 0;
const CHANNEL: u8 = 1;
const CONTROL_MEMBER_INFO: u8 = 0;
const CONTROL_ASK: u8 = 3;
const CONTROL_ANSWER: u8 = 4;
const CONTROL_REMOVED: u8 = 6;
const CONTROL_DISSOLVED: u8 = 8;
/// Numbers of channels.
pub const APPEND: u8 = 0;
pub const SNAPSHOT: u8 = 1;
const FETCH: u8 = 2;
pub const FORWARD: u8 = 3;
const FOLLOW: u8 = 5;
/// Numbers of questions.
pub const HEARTBEAT: u8 = 0;
pub const PRE_VOTE: u8 = 2;
pub const READ_INDEX: u8 = 5;
/// The answer of a member that does not answer.
pub const REFUSED: u8 = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberId {
    pub peer: [u8; 32],
    pub incarnation: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Point {
    pub term: u64,
    pub index: u64,
}

/// Without a parent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Lineage {
    pub id: Digest,
    pub parent: Option<()>,
    pub committed: u64,
    pub last: Option<Point>,
    pub alive: bool,
    pub leading: bool,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Standing {
    pub member: MemberId,
    pub willingness: u8,
    pub catching_up: bool,
    pub lineage: Option<Lineage>,
    /// Distance from the membership, and whether guests are fed.
    pub feeds: Option<(u8, bool)>,
}

/// A bond with a node.
pub struct Bonded {
    pub intruder: Intruder,
    pub own: MemberId,
    /// Standing of the node when the bond was made.
    pub theirs: Standing,
    group: Digest,
    bond: Digest,
    connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl Bonded {
    /// Makes a bond, with a proof of the write key that is not one.
    pub async fn with(
        target: &Network,
        group: Digest,
        key: Digest,
        proof: Option<[u8; 32]>,
    ) -> Self {
        Self::introduced(target, group, key, proof, |_| {}).await
    }

    /// Likewise, and says of itself what the function makes of a newcomer's standing.
    pub async fn introduced(
        target: &Network,
        group: Digest,
        key: Digest,
        proof: Option<[u8; 32]>,
        pose: impl FnOnce(&mut Standing),
    ) -> Self {
        Self::by(Intruder::new().await, target, (group, key), proof, pose).await
    }

    /// Likewise, with an endpoint of its own kind.
    pub async fn by(
        intruder: Intruder,
        target: &Network,
        (group, key): (Digest, Digest),
        proof: Option<[u8; 32]>,
        pose: impl FnOnce(&mut Standing),
    ) -> Self {
        let mut begun = Begun::with(&intruder, target, (group, key)).await;
        let own = begun.introduce(&intruder, target, proof, pose).await;
        let established = received(&mut begun.recv).await;
        assert!(established.is_empty());
        let mut hasher = blake3::Hasher::new_keyed(&begun.secret);
        hasher
            .update(group.as_bytes())
            .update(&NONCE)
            .update(&begun.welcome.0);
        Self {
            intruder,
            own,
            theirs: begun.welcome.4,
            group,
            bond: Digest::from_bytes(blake3::Hasher::finalize(&hasher).into()),
            connection: begun.connection,
            send: begun.send,
            recv: begun.recv,
        }
    }

    /// Asks this many questions, and takes no answer but the first.
    pub async fn ask_in_vain(&mut self, count: u8) {
        let asked = (
            (
                CONTROL_ASK,
                9u64,
                Digest::random(),
                self.own,
                self.theirs.member,
            ),
            vec![PRE_VOTE],
        );
        let asked = frame(&asked).repeat(count.into());
        self.send.write_all(&asked).await.unwrap();
        while received(&mut self.recv).await[0] != CONTROL_ANSWER {}
    }
}

/// A peer that has introduced itself, and takes nothing more.
pub async fn introduced_in_vain(
    target: &Network,
    (group, key): (Digest, Digest),
) -> (Intruder, Connection) {
    let intruder = Intruder::new().await;
    let mut begun = Begun::with(&intruder, target, (group, key)).await;
    begun.recv.stop(0u8.into()).unwrap();
    begun.introduce(&intruder, target, None, |_| {}).await;
    (intruder, begun.connection)
}

/// Close code with which a node ends the handshake of a peer that says of itself what the function
/// makes of a newcomer's standing.
pub async fn refused(
    target: &Network,
    (group, key): (Digest, Digest),
    pose: impl FnOnce(&mut Standing),
) -> Option<u64> {
    let intruder = Intruder::new().await;
    let mut begun = Begun::with(&intruder, target, (group, key)).await;
    begun.introduce(&intruder, target, None, pose).await;
    end_of(&mut begun.recv).await
}

type Welcome = (
    [u8; 16],
    [u8; 32],
    mosaik::discovery::SignedPeerEntry,
    u64,
    Standing,
    Option<[u8; 32]>,
);

/// A handshake in which the node has said its part.
struct Begun {
    connection: Connection,
    secret: [u8; 32],
    welcome: Welcome,
    send: SendStream,
    recv: RecvStream,
}

impl Begun {
    async fn with(intruder: &Intruder, target: &Network, (group, key): (Digest, Digest)) -> Self {
        let connection = intruder.join(target, GROUPS_ALPN).await;
        let (local, remote) = (intruder.id(), target.local().id());
        let mut secret = [0; 32];
        let label = b"EXPORTER-mosaik-groups-bond-v1";
        connection
            .export_keying_material(&mut secret, label, GROUPS_ALPN)
            .unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(b"dialler ");
        for part in [
            &secret,
            group.as_bytes(),
            local.as_bytes(),
            remote.as_bytes(),
        ] {
            mac.update(part);
        }
        let member_proof: [u8; 32] = mac.finalize().into_bytes().into();
        let opening = (BOND, group, NONCE, member_proof);
        let (send, mut recv) = say(&connection, &frame(&opening)).await;
        let welcome = received(&mut recv).await;
        Self {
            connection,
            secret,
            welcome: decoded(&welcome),
            send,
            recv,
        }
    }

    /// Says the peer's part; returns as which member.
    async fn introduce(
        &mut self,
        intruder: &Intruder,
        target: &Network,
        proof: Option<[u8; 32]>,
        pose: impl FnOnce(&mut Standing),
    ) -> MemberId {
        let own = MemberId {
            peer: *intruder.id().as_bytes(),
            incarnation: 1,
        };
        let now = now_ms();
        let entry = dated(*target.network_id(), &intruder.secret, version(now, now));
        let mut standing = Standing {
            member: own,
            willingness: 0,
            catching_up: false,
            lineage: None,
            feeds: None,
        };
        pose(&mut standing);
        let introduction = frame(&(entry, 1u64, standing, proof));
        self.send.write_all(&introduction).await.unwrap();
        own
    }
}

impl Bonded {
    /// Says that it is another member by now, without a history.
    pub async fn comes_as(&mut self, incarnation: u64) {
        self.own.incarnation = incarnation;
        let standing = Standing {
            member: self.own,
            willingness: 0,
            catching_up: false,
            lineage: None,
            feeds: None,
        };
        let told = frame(&(CONTROL_MEMBER_INFO, incarnation, standing));
        self.send.write_all(&told).await.unwrap();
    }

    /// Says that the node's history was given up for one with more commands.
    pub async fn dissolve(&mut self, lineage: Digest) {
        let winner = Lineage {
            id: Digest::random(),
            parent: None,
            committed: u64::MAX,
            last: None,
            alive: true,
            leading: true,
        };
        let told = frame(&(CONTROL_DISSOLVED, lineage, u64::MAX, winner));
        self.send.write_all(&told).await.unwrap();
    }

    /// Says that a member is out of the membership; returns whether the bond still exists.
    pub async fn remove(&mut self, member: MemberId) -> bool {
        let told = frame(&(CONTROL_REMOVED, member));
        self.send.write_all(&told).await.is_ok()
    }

    /// Waits for the node's next question of a kind, and answers it.
    pub async fn answer(&mut self, kind: u8, response: &impl Serialize) {
        loop {
            let message = received(&mut self.recv).await;
            if message[0] != CONTROL_ASK {
                continue;
            }
            type Ask = (u8, u64, Digest, MemberId, MemberId, Vec<u8>);
            let (_, id, _, _, _, request): Ask = decoded(&message);
            if request[0] == kind {
                let answer = frame(&(CONTROL_ANSWER, id, Some(encoded(response))));
                self.send.write_all(&answer).await.unwrap();
                return;
            }
        }
    }

    /// Asks the node's consensus instance in a history; none without such an instance.
    pub async fn ask(&mut self, lineage: Digest, request: &impl Serialize) -> Option<Vec<u8>> {
        let asked = (
            (CONTROL_ASK, 9u64, lineage, self.own, self.theirs.member),
            encoded(request),
        );
        self.send.write_all(&frame(&asked)).await.unwrap();
        loop {
            let message = received(&mut self.recv).await;
            if message[0] == CONTROL_ANSWER {
                let (_, id, response): (u8, u64, Option<Vec<u8>>) = decoded(&message);
                assert_eq!(id, 9);
                return response;
            }
        }
    }

    /// Opens a stream of a kind in a history and says one thing.
    pub async fn open(&self, lineage: Digest, channel: u8, message: &impl Serialize) -> Reply {
        let head = (
            (CHANNEL, self.group, self.bond, lineage),
            (self.own, self.theirs.member, channel),
        );
        let mut bytes = if channel == FORWARD {
            frame(&(head, self.own))
        } else {
            frame(&head)
        };
        bytes.extend(frame(message));
        let (_send, mut recv) = say(&self.connection, &bytes).await;
        let mut header = [0; 4];
        match within(5, recv.read_exact(&mut header)).await {
            Ok(()) => {}
            Err(ReadExactError::ReadError(ReadError::Reset(code))) => {
                return Reply::Closed(code.into_inner());
            }
            Err(error) => panic!("{error}"),
        }
        if u32::from_le_bytes(header) & (1 << 31) == 0 {
            return Reply::Answered;
        }
        let mut code = [0; 4];
        within(5, recv.read_exact(&mut code)).await.unwrap();
        Reply::Closed(u32::from_le_bytes(code).into())
    }
}

impl Bonded {
    /// Asks to be fed as a reader, and waits until something comes, or the stream ends.
    pub async fn fed(&self, lineage: Digest) -> (SendStream, RecvStream) {
        let head = (
            (CHANNEL, self.group, self.bond, lineage),
            (self.own, self.theirs.member, FOLLOW),
        );
        let follow = (0u64, false);
        let bytes = [frame(&head), frame(&follow)].concat();
        let (send, mut recv) = say(&self.connection, &bytes).await;
        let _ = within(5, recv.read(&mut [0; 4])).await;
        (send, recv)
    }
}

impl Bonded {
    /// Breaks off so many attempts of the node to fetch the log; returns as which members it has made
    /// them.
    pub async fn break_off_fetches(&self, count: usize) -> Vec<MemberId> {
        type Head = ((u8, Digest, Digest, Digest), (MemberId, MemberId, u8));
        let (mut fetching, mut others) = (Vec::new(), Vec::new());
        while fetching.len() < count {
            let (mut send, mut recv) = within(10, self.connection.accept_bi()).await.unwrap();
            let opening = received(&mut recv).await;
            if opening[0] == CHANNEL {
                let (_, (from, _, channel)): Head = decoded(&opening);
                if channel == FETCH {
                    fetching.push(from);
                    let _ = send.reset(0u8.into());
                    continue;
                }
            }
            others.push((send, recv));
        }
        fetching
    }
}

/// Reaction of a node to a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Answered,
    Closed(u64),
}

/// A log entry's worth of commands, as they are forwarded to a leader.
pub fn forward(command: &[u8]) -> impl Serialize {
    let len = u32::try_from(command.len()).unwrap();
    let row = [&len.to_le_bytes()[..], command].concat();
    (1u64, 1u32, row, false)
}

/// The answer to a heartbeat of a member that has voted for somebody, or follows it.
pub fn higher_vote(term: u64, voted_for: MemberId) -> impl Serialize {
    // A result that is an error, and which one.
    ((HEARTBEAT, 1u8, 1u8), (term, Some(voted_for)), true)
}

fn decoded<T: DeserializeOwned>(bytes: &[u8]) -> T {
    postcard::from_bytes(bytes).unwrap()
}

/// The next message of a stream.
async fn received(recv: &mut RecvStream) -> Vec<u8> {
    let mut header = [0; 4];
    within(5, recv.read_exact(&mut header)).await.unwrap();
    let len = u32::from_le_bytes(header);
    assert!(len < 1 << 24, "a close record, or nonsense: {len:x}");
    let mut message = vec![0; len as usize];
    within(5, recv.read_exact(&mut message)).await.unwrap();
    message
}
