//! Reads and writes slots.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use futures::StreamExt;
use iroh::dns::DnsResolver;
use mainline::{Dht, MutableItem, async_dht::AsyncDht, errors::PutMutableError};
use pkarr::{PublicKey, SignedPacket};
use tokio::sync::Semaphore;

use super::{
    Record, Slot,
    error::{OpenError, ResolveError, WriteError},
    record::withdrawal,
};

/// The public nodes to start from.
const PUBLIC_NODES: [&str; 4] = mainline::DEFAULT_BOOTSTRAP_NODES;
/// Timeout for looking up the name of a node.
const NAME_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for reading or writing a slot.
const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Slots that are read at once; more wait. The answers to more would overflow the receive buffer
/// of the socket when they come all at once.
const MAX_QUERIES: usize = 6;
/// The sequence number that a free slot is expected to have. Nodes that hold nothing take any,
/// nodes that hold somebody's record refuse.
const NEVER_WRITTEN: i64 = 0;

/// A client of the DHT, with a socket and a thread of its own that end when the last clone is
/// dropped.
#[derive(Clone)]
pub struct Client {
    dht: AsyncDht,
    queries: Arc<Semaphore>,
}

/// Content of a slot, and the sequence number that a write must replace.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) sequence: i64,
    pub(super) record: Result<Option<Record>, ResolveError>,
}

impl Client {
    /// Opens a client that starts from the given nodes (`host:port`), or from the public ones.
    ///
    /// Bound to loopback when all nodes are there, else to all interfaces. Takes 5 s at most.
    ///
    /// # Errors
    ///
    /// When no node has an address, or the socket can't be bound.
    pub async fn open(nodes: &[String]) -> Result<Self, OpenError> {
        Self::open_with(nodes, &DnsResolver::new()).await
    }

    pub(super) async fn open_with(
        nodes: &[String],
        names: &DnsResolver,
    ) -> Result<Self, OpenError> {
        let nodes = if nodes.is_empty() {
            &PUBLIC_NODES.map(String::from)[..]
        } else {
            nodes
        };
        let lookups = nodes.iter().map(|node| lookup(node, names));
        let nodes = futures::future::join_all(lookups).await.concat();
        if nodes.is_empty() {
            return Err(OpenError::NoNodes);
        }
        let build = move || {
            let mut builder = Dht::builder();
            builder.bootstrap(&nodes);
            if nodes.iter().all(|node| node.ip().is_loopback()) {
                builder.bind_address(Ipv4Addr::LOCALHOST);
            }
            builder.build()
        };
        let built = tokio::task::spawn_blocking(build).await;
        let dht = built
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(OpenError::Bind)?;
        Ok(Self {
            dht: dht.as_async(),
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
        })
    }

    /// Reads a slot; `None` if it is free. Takes 10 s at most; of more than 6 at once, some wait.
    ///
    /// The record is what somebody who knows the network id wrote, and proves nothing.
    ///
    /// # Errors
    ///
    /// When no DHT node answers, or the slot holds something else than a record.
    pub async fn resolve(&self, slot: &Slot) -> Result<Option<Record>, ResolveError> {
        self.read(slot).await?.record
    }

    pub(super) async fn read(&self, slot: &Slot) -> Result<Content, ResolveError> {
        let key = slot.public_key();
        // The semaphore is never closed.
        let _permit = self
            .queries
            .acquire()
            .await
            .map_err(|_| ResolveError::NoAnswer)?;
        let query = async {
            let query = self.dht.get_mutable_detailed(&key, None, None);
            let latest = query.items.fold(None, |latest: Option<MutableItem>, item| {
                std::future::ready(match latest {
                    Some(latest) if order(&latest) >= order(&item) => Some(latest),
                    _ => Some(item),
                })
            });
            (latest.await, query.outcome.recv().await)
        };
        match tokio::time::timeout(QUERY_TIMEOUT, query).await {
            Ok((Some(item), _)) => Ok(Content {
                sequence: item.seq(),
                record: decode(&item),
            }),
            Ok((None, outcome)) if outcome.responded() > 0 => Ok(Content {
                sequence: NEVER_WRITTEN,
                record: Ok(None),
            }),
            _ => Err(ResolveError::NoAnswer),
        }
    }

    /// Writes a record if the slot still has the sequence number `expected`; returns the new one.
    pub(super) async fn write(
        &self,
        slot: &Slot,
        record: &mut Record,
        expected: i64,
    ) -> Result<i64, WriteError> {
        let sequence = next_sequence(expected)?;
        self.put(&record.sign(slot, sequence)?, sequence, expected)
            .await
    }

    /// Marks a slot as free if it still has the sequence number `expected`.
    pub(super) async fn withdraw(&self, slot: &Slot, expected: i64) -> Result<i64, WriteError> {
        let sequence = next_sequence(expected)?;
        self.put(&withdrawal(slot, sequence)?, sequence, expected)
            .await
    }

    async fn put(
        &self,
        packet: &SignedPacket,
        sequence: i64,
        expected: i64,
    ) -> Result<i64, WriteError> {
        let item = MutableItem::new_signed_unchecked(
            packet.public_key().to_bytes(),
            packet.signature().to_bytes(),
            &packet.encoded_packet(),
            sequence,
            None,
        );
        let put = self.dht.put_mutable(item, Some(expected));
        match tokio::time::timeout(QUERY_TIMEOUT, put).await {
            Ok(Ok(_)) => Ok(sequence),
            Ok(Err(PutMutableError::Concurrency(_))) => Err(WriteError::Taken),
            Ok(Err(PutMutableError::Query(error))) => Err(WriteError::Query(error.to_string())),
            Err(_) => Err(WriteError::NoAnswer),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// Sort key of two items of a slot: the later one, as the DHT sees it, is the greater.
fn order(item: &MutableItem) -> (i64, &[u8]) {
    (item.seq(), item.value())
}

/// Reads what the DHT holds for a slot; anybody who knows the network's id can have written it.
pub(super) fn decode(item: &MutableItem) -> Result<Option<Record>, ResolveError> {
    let invalid = ResolveError::Invalid("it is no signed packet");
    let key = PublicKey::try_from(item.key()).map_err(|_| invalid.clone())?;
    let payload = [
        &item.signature()[..],
        &item.seq().to_be_bytes(),
        item.value(),
    ]
    .concat();
    let packet = SignedPacket::from_relay_payload(&key, &payload.into()).map_err(|_| invalid)?;
    Record::read(&packet)
}

/// The sequence number is the time in microseconds, unless the slot is ahead of this clock.
fn next_sequence(previous: i64) -> Result<i64, WriteError> {
    let next = previous.checked_add(1).ok_or(WriteError::Exhausted)?;
    Ok(next.max(Utc::now().timestamp_micros()))
}

/// The IPv4 addresses of a node; the DHT has no others.
async fn lookup(node: &str, names: &DnsResolver) -> Vec<SocketAddrV4> {
    if let Ok(addr) = node.parse() {
        return vec![addr];
    }
    let Some((host, Ok(port))) = node.rsplit_once(':').map(|(h, port)| (h, port.parse())) else {
        return Vec::new();
    };
    match names.lookup_ipv4(host, NAME_TIMEOUT).await {
        Ok(ips) => ips
            .filter_map(|ip| match SocketAddr::new(ip, port) {
                SocketAddr::V4(addr) => Some(addr),
                SocketAddr::V6(_) => None,
            })
            .collect(),
        Err(error) => {
            tracing::debug!(node, %error, "DHT node has no address");
            Vec::new()
        }
    }
}
