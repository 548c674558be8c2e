//! The worker that polls the slots and keeps this node's record in one of them.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use iroh::{Endpoint, EndpointAddr, Watcher};
use tokio::time::{Instant, sleep};

use super::{
    Client, Record, Slot,
    client::Content,
    error::{ResolveError, WriteError},
    slot::slots,
    state::{Publication, Sight, Step},
};
use crate::{
    discovery::{
        Config,
        bootstrap::{dialer::Dialer, status::Pending},
        config::pause,
        liveness::ping::{PING_TIMEOUT, Pinger},
        store::SharedStore,
    },
    primitives::{
        Scope, ShortFmtExt,
        backoff::{Backoff, ExponentialBackoff},
    },
};

/// Longest time between polls while this node knows nobody.
const ALONE_INTERVAL: Duration = Duration::from_secs(5);
/// Poll interval of the slots on a node that publishes but does not poll.
const PUBLISH_ONLY_INTERVAL: Duration = Duration::from_mins(1);
/// Waits after the DHT could not be reached.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_mins(1);
/// Mean wait before the slots are read again after a lost race.
const RACE_PAUSE: Duration = Duration::from_secs(1);
/// Time within which changes of the local address cause the slots to be read once.
const ADDRESS_SETTLES: Duration = Duration::from_secs(2);
/// Timeout for withdrawing the record at the end.
const WITHDRAW_TIMEOUT: Duration = Duration::from_millis(1500);

/// Finds peers through the DHT, and lets this node be found.
pub(crate) struct DhtWorker {
    slots: Vec<Slot>,
    nodes: Vec<String>,
    poll_interval: Option<Duration>,
    publication: Option<Publication>,
    /// The slot that this node's record is in for sure, and its sequence number.
    own: Option<(usize, i64)>,
    endpoint: Endpoint,
    store: SharedStore,
    pinger: Pinger,
    dialer: Dialer,
    pending: Option<Pending>,
}

/// Outcome of reading all slots.
enum Outcome {
    Done,
    LostRace,
    NoAnswer,
}

impl DhtWorker {
    /// A worker, unless the configuration switches the DHT off.
    pub(crate) fn new(
        config: &Config,
        endpoint: Endpoint,
        store: SharedStore,
        pinger: Pinger,
        dialer: Dialer,
        pending: Pending,
    ) -> Option<Self> {
        let (poll, publish) = (config.dht_poll_interval, config.dht_publish_interval);
        let enabled = !config.no_dht_bootstrap && (poll.is_some() || publish.is_some());
        enabled.then(|| Self {
            slots: slots(&store.catalog().network_id()),
            nodes: config.dht_nodes.clone(),
            poll_interval: poll,
            publication: publish.map(Publication::new),
            own: None,
            endpoint,
            store,
            pinger,
            dialer,
            // Who does not poll has no answer to wait for.
            pending: poll.map(|_| pending),
        })
    }

    /// Runs until the scope is cancelled, then withdraws the record.
    pub(crate) async fn run(mut self, scope: Scope) {
        let mut client = None;
        tokio::select! {
            biased;
            () = scope.cancelled() => {}
            () = self.work(&mut client) => {}
        }
        if let (Some(client), Some((slot, sequence))) = (client, self.own) {
            let withdrawal = client.withdraw(&self.slots[slot], sequence);
            let withdrawn = tokio::time::timeout(WITHDRAW_TIMEOUT, withdrawal).await;
            // If not, others replace the record when they find that nobody answers.
            let withdrawn = matches!(withdrawn, Ok(Ok(_)));
            tracing::debug!(slot, withdrawn, "leaving the DHT");
        }
    }

    async fn work(&mut self, client: &mut Option<Client>) {
        let mut backoff = ExponentialBackoff::endless(MIN_BACKOFF, MAX_BACKOFF);
        let mut address = self.endpoint.watch_addr();
        loop {
            // A fault of the DHT client must not end this worker.
            let round = AssertUnwindSafe(self.round(client)).catch_unwind();
            let outcome = round.await.unwrap_or_else(|_| {
                *client = None;
                Outcome::NoAnswer
            });
            if let Some(pending) = &self.pending {
                pending.answer();
            }
            let delay = match outcome {
                Outcome::Done => {
                    backoff.reset();
                    pause(self.interval(), 1.0 + rand::random::<f64>() / 3.0)
                }
                Outcome::LostRace => RACE_PAUSE.mul_f64(0.5 + rand::random::<f64>()),
                Outcome::NoAnswer => backoff.next_backoff().unwrap_or(MAX_BACKOFF),
            };
            tokio::select! {
                () = sleep(delay) => {}
                // The record is outdated now.
                Ok(_) = address.updated() => sleep(ADDRESS_SETTLES).await,
            }
        }
    }

    fn interval(&self) -> Duration {
        match self.poll_interval {
            Some(interval) if self.store.catalog().signed.is_empty() => {
                interval.min(ALONE_INTERVAL)
            }
            Some(interval) => interval,
            None => PUBLISH_ONLY_INTERVAL,
        }
    }

    /// Looks at all slots, joins who is there, and publishes if needed.
    async fn round(&mut self, client: &mut Option<Client>) -> Outcome {
        let client = match client {
            Some(client) => client,
            None => match self.open().await {
                Some(opened) => client.insert(opened),
                None => return Outcome::NoAnswer,
            },
        };
        let looks = self.slots.iter().map(|slot| self.look(client, slot));
        let (sequences, sights): (Vec<_>, Vec<_>) =
            futures::future::join_all(looks).await.into_iter().unzip();
        self.own = (0..sights.len()).find_map(|slot| {
            let own = matches!(sights[slot], Sight::Own { .. });
            Some((slot, sequences[slot].filter(|_| own)?))
        });
        if sights.iter().all(|sight| *sight == Sight::Unknown) {
            return Outcome::NoAnswer;
        }
        let Some(publication) = &mut self.publication else {
            return Outcome::Done;
        };
        let step = publication.next(&sights, Instant::now(), &mut rand::rng());
        match step {
            Step::Rest => Outcome::Done,
            Step::Refresh(slot) | Step::Claim(slot) => match sequences[slot] {
                Some(expected) => self.publish(&client.clone(), slot, expected).await,
                None => Outcome::Done,
            },
        }
    }

    async fn open(&self) -> Option<Client> {
        let names = self.endpoint.dns_resolver().ok()?;
        match Client::open_with(&self.nodes, names).await {
            Ok(client) => Some(client),
            Err(error) => {
                tracing::debug!(%error, "the DHT can't be used, trying again later");
                None
            }
        }
    }

    /// Reads a slot, finds out whether its peer is there, and joins it.
    async fn look(&self, client: &Client, slot: &Slot) -> (Option<i64>, Sight) {
        let (sequence, record) = match client.read(slot).await {
            Ok(Content { sequence, record }) => (sequence, record),
            Err(error) => {
                tracing::trace!(slot = slot.index(), %error, "slot can't be read");
                return (None, Sight::Unknown);
            }
        };
        let sight = match record {
            Ok(Some(record)) if record.peer == self.endpoint.id() => Sight::Own {
                current: record.agrees_with(&self.own_record(slot)),
            },
            Ok(Some(record)) if self.join(&record).await => Sight::Taken,
            Ok(_) | Err(ResolveError::Invalid(_)) => Sight::Free,
            Err(ResolveError::NoAnswer) => Sight::Unknown,
        };
        (Some(sequence), sight)
    }

    /// Joins the peer of a record if it is a member of this network and answers; returns whether it
    /// is.
    async fn join(&self, record: &Record) -> bool {
        if self.store.catalog().signed.contains_key(&record.peer) {
            return true;
        }
        let (peer, addr) = (record.peer, record.addr());
        if let Err(error) = self.pinger.ping(addr.clone(), PING_TIMEOUT).await {
            tracing::debug!(peer = %peer.short(), %error, "peer in the DHT does not answer");
            return false;
        }
        if let Some(pending) = &self.pending {
            match self.dialer.join(addr).await {
                // It knows everybody else: no other answer is needed.
                Ok(()) => pending.answer(),
                Err(error) => tracing::debug!(peer = %peer.short(), %error, "dialing failed"),
            }
        }
        true
    }

    async fn publish(&mut self, client: &Client, slot: usize, expected: i64) -> Outcome {
        let mut record = Record::new(&self.own_addr());
        let written = client.write(&self.slots[slot], &mut record, expected).await;
        let outcome = match written {
            Ok(sequence) => {
                self.own = Some((slot, sequence));
                self.confirm(client, slot).await
            }
            Err(WriteError::Taken) => Outcome::LostRace,
            Err(error) => {
                tracing::debug!(slot, %error, "publishing to the DHT failed");
                return Outcome::NoAnswer;
            }
        };
        let Some(publication) = &mut self.publication else {
            return outcome;
        };
        match outcome {
            Outcome::Done => publication.written(slot, Instant::now()),
            Outcome::LostRace => {
                tracing::debug!(slot, "another node was faster");
                publication.lost();
                self.own = None;
            }
            Outcome::NoAnswer => {}
        }
        outcome
    }

    /// Reads a slot back: of writes at the same instant each storing node takes the first, so two
    /// may both have been told that they won.
    async fn confirm(&self, client: &Client, slot: usize) -> Outcome {
        match client.resolve(&self.slots[slot]).await {
            Ok(Some(record)) if record.peer != self.endpoint.id() => Outcome::LostRace,
            // When it can't be seen yet, the next looks will tell.
            _ => Outcome::Done,
        }
    }

    fn own_addr(&self) -> EndpointAddr {
        self.store.catalog().local().address().clone()
    }

    /// The record of now, cut to what fits the slot.
    fn own_record(&self, slot: &Slot) -> Record {
        let mut record = Record::new(&self.own_addr());
        // Fails only if nothing fits, which publishing reports.
        let _ = record.sign(slot, i64::MAX);
        record
    }
}
