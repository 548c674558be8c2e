//! Looks for peers: bootstrap peers at start, and everybody who vanished, for as long as the node
//! runs.
//!
//! A network that was cut heals from here: both sides keep trying the peers that they lost, also
//! when they have other neighbours.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use iroh::{EndpointAddr, TransportAddr};
use rand::seq::IteratorRandom;
use tokio::{sync::mpsc, time::Instant};

use super::status::Pending;
use crate::{
    discovery::{
        Config, Error, gossip_handle::GossipHandle, store::SharedStore, sync::exchange::Syncer,
    },
    net::Links,
    primitives::{
        PeerId, Scope,
        backoff::{Backoff, ExponentialBackoff},
    },
};

/// Interval of the check for missing peers.
const PERIOD: Duration = Duration::from_millis(250);
/// First wait after a failed attempt.
const MIN_BACKOFF: Duration = Duration::from_millis(250);
/// Longest wait between attempts.
const MAX_BACKOFF: Duration = Duration::from_mins(1);
/// Longest wait between attempts while this node knows nobody.
const MAX_BACKOFF_ALONE: Duration = Duration::from_secs(1);
/// The same for peers of a former run, which may be many and long gone.
const MAX_BACKOFF_REMEMBERED: Duration = Duration::from_secs(5);
/// Mean pause between the first attempts of all nodes at a peer that they gave up in the same
/// moment: one that lives is to be found, and not to be overwhelmed.
const FIRST_ATTEMPTS: Duration = Duration::from_millis(20);
/// The longest pause before the first attempt of one node.
const MAX_FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Peers that are dialed at once; one that answers tells of all others.
const MAX_ATTEMPTS: usize = 64;
/// Timeout for the lookup of a bootstrap peer's host name.
const NAME_TIMEOUT: Duration = Duration::from_secs(3);
/// Mean time between syncs with a random peer, against anything that gossip lost.
const ANTI_ENTROPY: Duration = Duration::from_secs(15);

/// The worker that looks for peers.
#[derive(Clone)]
pub(crate) struct PeerSearch {
    pub(crate) config: Config,
    pub(crate) store: SharedStore,
    pub(crate) links: Links,
    /// Addresses of peers in a former run.
    pub(crate) remembered: Vec<EndpointAddr>,
    pub(crate) syncer: Syncer,
    pub(crate) gossip: GossipHandle,
    pub(crate) scope: Scope,
    /// Answered once a bootstrap peer has.
    pub(crate) pending: Arc<Pending>,
}

/// State of the search for a missing peer.
struct Search {
    addr: EndpointAddr,
    backoff: ExponentialBackoff,
    next: Instant,
    running: bool,
    /// It answered last time, and is missing nevertheless.
    answered: bool,
}

impl Search {
    fn new(addr: EndpointAddr, pause: Duration) -> Self {
        Self {
            addr,
            backoff: ExponentialBackoff::endless(MIN_BACKOFF, MAX_BACKOFF),
            next: Instant::now() + pause,
            running: false,
            answered: false,
        }
    }
}

/// An attempt that is under way. It tells how it has ended, also when it was cut short.
struct Attempt {
    peer: PeerId,
    answered: bool,
    done: mpsc::Sender<(PeerId, bool)>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        // There is room for all that run at once; fails only when the seeker has ended.
        let _ = self.done.try_send((self.peer, self.answered));
    }
}

impl PeerSearch {
    /// Runs until the node ends.
    pub(crate) async fn run(mut self) {
        let mut searches = HashMap::<PeerId, Search>::new();
        let (done, mut outcomes) = mpsc::channel(MAX_ATTEMPTS);
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut next_anti_entropy = Instant::now() + ANTI_ENTROPY.mul_f64(rand::random());
        if self.config.bootstrap_peers.is_empty() && self.config.bootstrap_hosts.is_empty() {
            self.pending.answer();
        }
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some((peer, answered)) = outcomes.recv() => self.on_outcome(&mut searches, peer, answered),
            }
            self.update(&mut searches);
            let running = searches.values().filter(|search| search.running).count();
            let now = Instant::now();
            let due = searches.iter_mut();
            let due = due.filter(|(_, search)| !search.running && search.next <= now);
            let mut due: Vec<_> = due.collect();
            due.sort_by_key(|(peer, search)| (!self.is_bootstrap(peer), search.next));
            for (peer, search) in due.into_iter().take(MAX_ATTEMPTS.saturating_sub(running)) {
                search.running = true;
                self.attempt(*peer, search, done.clone());
            }
            if next_anti_entropy <= Instant::now() {
                let factor = 0.5 + rand::random::<f64>();
                next_anti_entropy = Instant::now() + ANTI_ENTROPY.mul_f64(factor);
                let catalog = self.store.catalog();
                if let Some(peer) = catalog.signed.keys().choose(&mut rand::rng()) {
                    self.syncer.request((*peer).into());
                }
            }
        }
    }

    /// Starts to search for missing peers, and ends the search for those that are there.
    fn update(&mut self, searches: &mut HashMap<PeerId, Search>) {
        let catalog = self.store.catalog();
        let is_here = |peer: &PeerId| catalog.signed.contains_key(peer);
        // Found: from here on it is like any other.
        self.remembered.retain(|addr| !is_here(&addr.id));
        let bootstrap = self.config.bootstrap_peers.iter().cloned();
        let hosts = self.config.bootstrap_hosts.iter();
        let missing = self
            .remembered
            .iter()
            .cloned()
            .map(|addr| (addr, MAX_BACKOFF_REMEMBERED));
        let missing = missing.chain(
            bootstrap
                .chain(hosts.map(|(peer, _)| (*peer).into()))
                .chain(self.store.vanished())
                .map(|addr| (addr, MAX_BACKOFF_ALONE)),
        );
        let mut wanted = HashMap::<PeerId, (EndpointAddr, Duration)>::new();
        for (addr, patience) in missing {
            if addr.id != catalog.local_id() && !is_here(&addr.id) {
                let (known, shortest) = wanted
                    .entry(addr.id)
                    .or_insert_with(|| (addr.id.into(), patience));
                known.addrs.extend(addr.addrs);
                *shortest = patience.min(*shortest);
            }
        }
        let alone = catalog.signed.is_empty();
        let spread =
            FIRST_ATTEMPTS.saturating_mul(u32::try_from(catalog.signed.size()).unwrap_or(u32::MAX));
        let spread = spread.min(MAX_FIRST_PAUSE);
        let first_pause = |peer: &PeerId| {
            if self.is_bootstrap(peer) {
                return Duration::ZERO;
            }
            spread.mul_f64(rand::random())
        };
        searches.retain(|peer, search| search.running || wanted.contains_key(peer));
        for (peer, (addr, patience)) in wanted {
            let search = searches
                .entry(peer)
                .or_insert_with(|| Search::new(peer.into(), first_pause(&peer)));
            search.addr = addr;
            if alone {
                search.next = search.next.min(Instant::now() + patience);
            }
        }
    }

    fn attempt(&self, peer: PeerId, search: &Search, done: mpsc::Sender<(PeerId, bool)>) {
        let (seeker, mut addr) = (self.clone(), search.addr.clone());
        let mut attempt = Attempt {
            peer,
            answered: false,
            done,
        };
        self.scope.spawn(async move {
            seeker.look_up(&mut addr).await;
            let outcome = seeker.syncer.sync(addr).await;
            if let Err(error) = &outcome {
                seeker.on_failure(&peer, error);
            }
            attempt.answered = outcome.is_ok();
            drop(attempt);
        });
    }

    /// Adds the addresses that the names of a bootstrap peer resolve to now.
    async fn look_up(&self, addr: &mut EndpointAddr) {
        let mut hosts = self.config.bootstrap_hosts.iter();
        let endpoint = self.links.endpoint();
        while let Some((_, host)) = hosts.find(|(peer, _)| *peer == addr.id) {
            if let Ok(known) = host.parse() {
                addr.addrs.insert(TransportAddr::Ip(known));
                continue;
            }
            let (Some((name, Ok(port))), Some(Ok(names))) = (
                host.rsplit_once(':')
                    .map(|(name, port)| (name, port.parse())),
                endpoint.as_ref().map(|endpoint| endpoint.dns_resolver()),
            ) else {
                continue;
            };
            match names.lookup_ipv4_ipv6(name, NAME_TIMEOUT).await {
                Ok(ips) => addr
                    .addrs
                    .extend(ips.map(|ip| TransportAddr::Ip(SocketAddr::new(ip, port)))),
                Err(error) => {
                    tracing::debug!(host, %error, "a bootstrap peer's name can't be looked up");
                }
            }
        }
    }

    fn on_failure(&self, peer: &PeerId, error: &Error) {
        if !self.is_bootstrap(peer) {
            tracing::debug!(peer = %peer.fmt_short(), %error, "peer not found");
            return;
        }
        self.store.metrics.dial_failed();
        if self.store.may_warn() {
            tracing::warn!(peer = %peer.fmt_short(), %error, "a bootstrap peer can't be reached, \
                trying again");
        } else {
            tracing::debug!(peer = %peer.fmt_short(), %error, "a bootstrap peer can't be reached");
        }
    }

    fn is_bootstrap(&self, peer: &PeerId) -> bool {
        let (peers, hosts) = (&self.config.bootstrap_peers, &self.config.bootstrap_hosts);
        peers.iter().any(|addr| addr.id == *peer) || hosts.iter().any(|(host, _)| host == peer)
    }

    fn on_outcome(&self, searches: &mut HashMap<PeerId, Search>, peer: PeerId, answered: bool) {
        if answered && self.is_bootstrap(&peer) {
            self.pending.answer();
        }
        let Some(search) = searches.get_mut(&peer) else {
            return;
        };
        let news = answered && !search.answered;
        if news {
            self.gossip.join(vec![peer]);
            self.syncer.follow_up(peer);
        }
        // A peer can answer and yet be refused: until it has outlived its own departure, or for
        // good when clocks differ too much. So it is asked again, soon at first, then rarely.
        if answered && self.store.catalog().signed.contains_key(&peer) {
            searches.remove(&peer);
            return;
        }
        if news {
            search.backoff = ExponentialBackoff::endless(MIN_BACKOFF, MAX_BACKOFF);
        }
        search.answered = answered;
        search.running = false;
        search.next = Instant::now() + search.backoff.next_backoff().unwrap_or(MAX_BACKOFF);
    }
}
