//! A member of the network that says what it likes: it knows the network's id, and lies.

use mosaik::{
    Network, NetworkId, SecretKey,
    discovery::{PeerEntry, PeerEntryVersion, SignedPeerEntry},
    iroh::{
        endpoint::{Connection, SendStream},
        protocol::Router,
    },
};
use serde::Serialize;

use super::{
    intruder::{ANNOUNCE_ALPN, Intruder, PING_ALPN, SYNC_ALPN, end_of, frame, say},
    until_catalog, within,
};

/// The tags of gossip messages.
pub const ENTRY: u8 = 0;
pub const SUSPICION: u8 = 3;

pub fn now_ms() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap()
}

pub fn version(start_ms: u64, update_ms: u64) -> PeerEntryVersion {
    postcard::from_bytes(&encoded(&(start_ms, update_ms))).unwrap()
}

pub fn dated(network: NetworkId, secret: &SecretKey, version: PeerEntryVersion) -> SignedPeerEntry {
    let entry = PeerEntry {
        version,
        ..PeerEntry::new(network, secret.public())
    };
    entry.sign(secret).unwrap()
}

pub fn encoded(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message).unwrap()
}

/// A member that pushes what it likes.
pub struct Member {
    pub intruder: Intruder,
    pub pinging: Connection,
    pub syncing: Connection,
}

impl Member {
    pub async fn join(target: &Network) -> Self {
        let intruder = Intruder::new().await;
        Self {
            pinging: intruder.join(target, PING_ALPN).await,
            syncing: intruder.join(target, SYNC_ALPN).await,
            intruder,
        }
    }

    /// Asks to take an entry in, by a ping; returns how the stream ended.
    pub async fn push(&self, entry: &impl Serialize) -> Option<u64> {
        const PUSH: u8 = 3;
        let (_send, mut recv) = say(&self.pinging, &frame(&(PUSH, entry))).await;
        end_of(&mut recv).await
    }

    /// Announces the departure of a peer, in its name.
    pub async fn leave(&self, goodbye: &impl Serialize) -> Option<u64> {
        const LEAVE: u8 = 4;
        let (_send, mut recv) = say(&self.pinging, &frame(&(LEAVE, goodbye))).await;
        end_of(&mut recv).await
    }

    /// Gives an entry in a sync, and waits for the answer.
    pub async fn give(&self, entry: &impl Serialize) {
        self.sync(&(0u8, 0u8, (1u8, entry), 0u8)).await;
    }

    /// Makes a turn in a sync, and waits for the answer.
    pub async fn sync(&self, turn: &impl Serialize) {
        let (_send, mut recv) = say(&self.syncing, &frame(turn)).await;
        let mut header = [0; 4];
        within(5, recv.read_exact(&mut header)).await.unwrap();
    }
}

/// A member of the gossip topic that takes nothing of what it is sent. Held for as long as it is to
/// be one.
pub struct Deaf {
    _intruder: Intruder,
    _connection: Connection,
    _saying: SendStream,
}

impl Deaf {
    /// Becomes a neighbour of a node.
    pub async fn join(target: &Network) -> Self {
        const SWARM: u8 = 0;
        const JOIN: u8 = 0;
        let intruder = Intruder::member_with_window(*target.network_id(), 64).await;
        let connection = intruder.connect(target, ANNOUNCE_ALPN).await;
        let mut saying = connection.open_uni().await.unwrap();
        let join = encoded(&(SWARM, JOIN, None::<()>));
        for message in [target.network_id().as_bytes(), &join[..]] {
            let len = u32::try_from(message.len()).unwrap();
            saying.write_all(&len.to_be_bytes()).await.unwrap();
            saying.write_all(message).await.unwrap();
        }
        Self {
            _intruder: intruder,
            _connection: connection,
            _saying: saying,
        }
    }
}

/// A member of the gossip topic that broadcasts what it likes.
pub struct Topic {
    network: NetworkId,
    sender: iroh_gossip::api::GossipSender,
    _receiver: iroh_gossip::api::GossipReceiver,
    _router: Router,
}

impl Topic {
    pub async fn join(intruder: &Intruder, target: &Network) -> Self {
        let gossip = iroh_gossip::Gossip::builder()
            .alpn(ANNOUNCE_ALPN)
            .spawn(intruder.endpoint.clone());
        let router = Router::builder(intruder.endpoint.clone())
            .accept(ANNOUNCE_ALPN, gossip.clone())
            .spawn();
        // Makes the address known to the endpoint.
        let _connection = intruder.connect(target, PING_ALPN).await;
        let network = *target.network_id();
        let topic = iroh_gossip::TopicId::from_bytes(*network.as_bytes());
        let joining = gossip.subscribe_and_join(topic, vec![target.local().id()]);
        let (sender, receiver) = within(10, joining).await.unwrap().split();
        Self {
            network,
            sender,
            _receiver: receiver,
            _router: router,
        }
    }

    pub async fn broadcast(&self, message: Vec<u8>) {
        self.sender.broadcast(message.into()).await.unwrap();
    }

    /// Resolves once a node has taken in all that was broadcast before: what comes last is an
    /// entry that it admits.
    pub async fn is_heard_by(&self, node: &Network) {
        let (marker, now) = (SecretKey::generate(), now_ms());
        let entry = dated(self.network, &marker, version(now, now));
        self.broadcast(encoded(&(ENTRY, now, entry))).await;
        until_catalog(5, node, |c| c.get(&marker.public()).is_some()).await;
    }
}

/// Bytes that are encoded already.
pub struct Raw<'a>(pub &'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeTuple;
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}
