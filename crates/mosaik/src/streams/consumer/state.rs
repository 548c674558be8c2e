//! Choice of the producers that a consumer is subscribed to: the rules, without catalog or clock.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::primitives::{Digest, PeerId};

/// Time without a measurement after which a peer is measured on a connection of our own.
const MEASURE_AFTER: Duration = Duration::from_secs(1);
const MAX_MEASURE_INTERVAL: Duration = Duration::from_secs(30);
/// First interval at which refused tickets are judged again, doubled each time: they may not be
/// valid yet.
const MIN_TICKET_INTERVAL: Duration = Duration::from_secs(1);
const MAX_TICKET_INTERVAL: Duration = Duration::from_secs(8);
/// First pause after an ended subscription, unless an entry changes: growing by 2.
const MIN_REST: Duration = Duration::from_millis(500);
const MAX_REST: Duration = Duration::from_mins(1);
/// The longest wait between two attempts at a producer that has no room.
pub(super) const MAX_CAPACITY_WAIT: Duration = Duration::from_secs(1);

/// Current view of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It is not in the catalog, or doesn't produce the stream.
    Absent,
    /// It can't be judged before its round-trip time is known.
    Unmeasured,
    /// It fails a requirement.
    Unfit,
    /// Its tickets are not valid, which may change by itself.
    Unauthorized,
    /// It qualifies; the time at which that must be checked again.
    Fit { look_again: Option<Instant> },
}

/// Tells whether an entry changed: the run of its owner, and its content.
pub(super) type Fingerprint = (u64, Digest);

/// Outcome of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// True if the producer had accepted it.
    pub(super) established: bool,
    pub(super) end: End,
}

/// Reasons for which a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The producer doesn't want us.
    NotAllowed,
    /// The producer breaks the protocol: what it sends is not understood, or more than it may send.
    Violation,
    /// The producer has no room for another consumer, which may change at any time.
    NoCapacity,
    /// Anything else that another attempt right now would not change.
    Over,
}

/// Actions that follow from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Ask for a measurement of the round-trip time.
    Measure(PeerId),
    /// Measure on a connection of our own.
    MeasureByLink(PeerId),
    /// Look at the peer again, now.
    Look(PeerId),
    /// Subscribe; if `deliver`, hand over our own entry before.
    Open {
        peer: PeerId,
        generation: u64,
        deliver: bool,
    },
    /// End the subscription.
    Close { peer: PeerId },
}

/// The producers of the stream, and the state of this consumer with each.
#[derive(Debug, Default)]
pub(super) struct Book {
    records: BTreeMap<PeerId, Record>,
    /// Counts the changes of our own entry.
    own_version: u64,
    generations: u64,
}

#[derive(Debug)]
struct Record {
    fingerprint: Fingerprint,
    standing: Standing,
    /// The version of our own entry that this peer was handed.
    delivered: Option<u64>,
    rest: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    New,
    Unfit,
    Unauthorized {
        again: Instant,
        interval: Duration,
    },
    Measuring {
        again: Instant,
        interval: Duration,
    },
    /// Subscriptions are told apart by generation: the late end of one must not touch the next.
    Active {
        generation: u64,
        look_again: Option<Instant>,
    },
    Ended {
        retry: Instant,
        /// True if the peer has to receive this node's current entry first.
        deliver: bool,
    },
}

impl Book {
    /// Takes in the current view of a peer.
    pub(super) fn observe(
        &mut self,
        peer: PeerId,
        sight: Sight,
        fingerprint: Fingerprint,
        now: Instant,
    ) -> Vec<Effect> {
        if sight == Sight::Absent {
            let record = self.records.remove(&peer);
            return close(peer, record.map(|record| record.standing));
        }
        let record = self.records.entry(peer).or_insert(Record {
            fingerprint,
            standing: Standing::New,
            delivered: None,
            rest: MIN_REST,
        });
        let entry_changed = core::mem::replace(&mut record.fingerprint, fingerprint) != fingerprint;
        match (sight, record.standing) {
            (Sight::Absent, _) => Vec::new(),
            (Sight::Unmeasured, standing) => record.measure(peer, standing, now),
            (Sight::Unfit, standing) => {
                record.standing = Standing::Unfit;
                close(peer, Some(standing))
            }
            (Sight::Unauthorized, Standing::Unauthorized { again, .. })
                if now < again && !entry_changed =>
            {
                Vec::new()
            }
            (Sight::Unauthorized, standing) => {
                let interval = match standing {
                    Standing::Unauthorized { interval, .. } => interval * 2,
                    _ => MIN_TICKET_INTERVAL,
                };
                let interval = interval.min(MAX_TICKET_INTERVAL);
                let again = now + interval;
                record.standing = Standing::Unauthorized { again, interval };
                close(peer, Some(standing))
            }
            (Sight::Fit { look_again }, Standing::Active { generation, .. }) => {
                record.standing = Standing::Active {
                    generation,
                    look_again,
                };
                Vec::new()
            }
            (Sight::Fit { .. }, Standing::Ended { retry, .. }) if now < retry && !entry_changed => {
                Vec::new()
            }
            (Sight::Fit { look_again }, standing) => {
                let deliver = matches!(standing, Standing::Ended { deliver: true, .. });
                vec![self.open(peer, look_again, deliver)]
            }
        }
    }

    /// Our own entry changed: who refused us may want us now. Whether we still want them is to be
    /// seen: nobody has looked at them while they rested.
    pub(super) fn own_entry_changed(&mut self, now: Instant) -> Vec<Effect> {
        self.own_version += 1;
        let mut looks = Vec::new();
        for (peer, record) in &mut self.records {
            if let Standing::Ended { retry, deliver } = &mut record.standing {
                (*retry, *deliver) = (now, true);
                looks.push(Effect::Look(*peer));
            }
        }
        looks
    }

    /// A subscription has ended by itself.
    pub(super) fn finished(
        &mut self,
        peer: PeerId,
        generation: u64,
        outcome: Outcome,
        now: Instant,
    ) -> Vec<Effect> {
        let own_version = self.own_version;
        let Some(record) = self.records.get_mut(&peer) else {
            return Vec::new();
        };
        let Standing::Active {
            generation: current,
            ..
        } = record.standing
        else {
            return Vec::new();
        };
        if current != generation {
            return Vec::new();
        }
        if outcome.end == End::NotAllowed && record.delivered != Some(own_version) {
            // It may have judged an entry of ours that is out of date.
            record.standing = Standing::Ended {
                retry: now,
                deliver: true,
            };
            return vec![Effect::Look(peer)];
        }
        if outcome.established {
            record.rest = MIN_REST;
        }
        let rest = match outcome.end {
            End::Violation => MAX_REST,
            // Each attempt costs little, and a place that is free shall not be so for long.
            End::NoCapacity => MAX_CAPACITY_WAIT,
            End::NotAllowed | End::Over => record.rest,
        };
        if outcome.end != End::NoCapacity {
            record.rest = (record.rest * 2).min(MAX_REST);
        }
        record.standing = Standing::Ended {
            retry: now + rest,
            deliver: false,
        };
        Vec::new()
    }

    /// Peers that are due for another check.
    pub(super) fn due(&self, now: Instant) -> Vec<PeerId> {
        let due = self.records.iter();
        let due = due.filter(|(_, record)| record.deadline().is_some_and(|at| at <= now));
        due.map(|(peer, _)| *peer).collect()
    }

    /// Time at which the next peer must be judged again.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.records.values().filter_map(Record::deadline).min()
    }

    /// All producers of the stream.
    pub(super) fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.records.keys()
    }

    fn open(&mut self, peer: PeerId, look_again: Option<Instant>, deliver: bool) -> Effect {
        self.generations += 1;
        let generation = self.generations;
        if let Some(record) = self.records.get_mut(&peer) {
            record.standing = Standing::Active {
                generation,
                look_again,
            };
            if deliver {
                record.delivered = Some(self.own_version);
            }
        }
        Effect::Open {
            peer,
            generation,
            deliver,
        }
    }
}

impl Record {
    fn deadline(&self) -> Option<Instant> {
        match self.standing {
            Standing::New | Standing::Unfit => None,
            Standing::Unauthorized { again, .. } | Standing::Measuring { again, .. } => Some(again),
            Standing::Active { look_again, .. } => look_again,
            Standing::Ended { retry, .. } => Some(retry),
        }
    }

    fn measure(&mut self, peer: PeerId, standing: Standing, now: Instant) -> Vec<Effect> {
        let (interval, effects) = match standing {
            Standing::Measuring { again, .. } if now < again => return Vec::new(),
            Standing::Measuring { interval, .. } => {
                // A peer that doesn't answer pings may still be reached.
                (
                    interval * 2,
                    vec![Effect::Measure(peer), Effect::MeasureByLink(peer)],
                )
            }
            standing => {
                let mut effects = close(peer, Some(standing));
                effects.push(Effect::Measure(peer));
                (MEASURE_AFTER, effects)
            }
        };
        let interval = interval.min(MAX_MEASURE_INTERVAL);
        self.standing = Standing::Measuring {
            again: now + interval,
            interval,
        };
        effects
    }
}

fn close(peer: PeerId, standing: Option<Standing>) -> Vec<Effect> {
    match standing {
        Some(Standing::Active { .. }) => vec![Effect::Close { peer }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
