//! Signs of life between two nodes: one for all groups that they share.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use iroh::endpoint::Connection;
use parking_lot::Mutex;
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::wire::{ALPN, Opening};
use crate::{
    net::{Link, Links},
    primitives::{PeerId, Scope},
};

/// Sends beats to peers and notes theirs. One per node.
#[derive(Clone)]
pub(crate) struct KeepAlive(Arc<Inner>);

struct Inner {
    links: Links,
    scope: Scope,
    peers: Mutex<HashMap<PeerId, Peer>>,
}

struct Peer {
    heard: Instant,
    /// The rhythms of those who want beats, as long as they do; the latest comes last.
    rhythms: Vec<Weak<Rhythm>>,
    beating: bool,
}

/// Heartbeat interval that a peer wants, for as long as this value exists.
#[derive(Debug)]
pub(crate) struct Rhythm {
    connection: Connection,
    interval: Duration,
    jitter: Duration,
}

impl KeepAlive {
    pub(crate) fn new(links: Links, scope: Scope) -> Self {
        Self(Arc::new(Inner {
            links,
            scope,
            peers: Mutex::default(),
        }))
    }

    /// Begins to send beats to the peer of this connection, until the returned rhythm is dropped.
    pub(crate) fn begin(
        &self,
        connection: Connection,
        interval: Duration,
        jitter: Duration,
    ) -> Arc<Rhythm> {
        let peer = connection.remote_id();
        let rhythm = Arc::new(Rhythm {
            connection,
            interval,
            jitter,
        });
        let mut peers = self.0.peers.lock();
        let entry = peers.entry(peer).or_insert_with(|| Peer {
            heard: Instant::now(),
            rhythms: Vec::new(),
            beating: false,
        });
        entry.heard = Instant::now();
        entry.rhythms.push(Arc::downgrade(&rhythm));
        let silent = !core::mem::replace(&mut entry.beating, true);
        drop(peers);
        if silent {
            let beats = self.clone();
            self.0.scope.spawn(async move { beats.beat(peer).await });
        }
        rhythm
    }

    /// Time since a peer was last heard of.
    pub(crate) fn silence(&self, peer: &PeerId) -> Duration {
        let peers = self.0.peers.lock();
        peers
            .get(peer)
            .map_or(Duration::MAX, |peer| peer.heard.elapsed())
    }

    /// Notes that the peer was heard of.
    pub(crate) fn heard(&self, peer: &PeerId) {
        if let Some(peer) = self.0.peers.lock().get_mut(peer) {
            peer.heard = Instant::now();
        }
    }

    /// Takes a peer's beats, until it ends the stream.
    pub(crate) async fn listen(&self, mut link: Link) {
        let peer = link.peer();
        while link.receiver.recv_bytes().await.is_ok() {
            self.heard(&peer);
        }
    }

    async fn beat(&self, peer: PeerId) {
        let mut link: Option<Link> = None;
        while let Some((connection, pause)) = self.next_beat(&peer) {
            // Of a peer that was started again, an earlier connection may still seem to stand.
            link.take_if(|link| link.connection().stable_id() != connection.stable_id());
            if link.is_none() {
                link = self.open(&connection).await;
            }
            if let Some(open) = &mut link
                && (open.sender.queue_bytes(&[]).is_err() || open.sender.flush().await.is_err())
            {
                link = None;
            }
            sleep(pause).await;
        }
    }

    async fn open(&self, connection: &Connection) -> Option<Link> {
        let mut link = self.0.links.open_beside(ALPN, connection).await?;
        link.sender.queue(&Opening::KeepAlive).ok()?;
        Some(link)
    }

    /// Connection of the next heartbeat, and the pause after it; `None` when nobody wants
    /// heartbeats any more.
    fn next_beat(&self, peer: &PeerId) -> Option<(Connection, Duration)> {
        let mut peers = self.0.peers.lock();
        let entry = peers.get_mut(peer)?;
        entry.rhythms.retain(|rhythm| rhythm.strong_count() > 0);
        let rhythms: Vec<_> = entry.rhythms.iter().filter_map(Weak::upgrade).collect();
        let fastest = rhythms.iter().min_by_key(|rhythm| rhythm.interval);
        let (Some(fastest), Some(latest)) = (fastest, rhythms.last()) else {
            peers.remove(peer);
            return None;
        };
        let jitter = fastest.jitter.mul_f64(rand::rng().random());
        let pause = fastest.interval.saturating_sub(jitter);
        Some((latest.connection.clone(), pause))
    }
}
