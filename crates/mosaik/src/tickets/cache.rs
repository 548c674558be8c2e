//! Verdicts of validators, remembered.
//!
//! A peer is judged again on every change of the catalog and on every call, by every stream,
//! group and function; its tickets change hardly ever.

use core::{hash::Hash, panic::AssertUnwindSafe, time::Duration};
use std::{collections::HashMap, panic::catch_unwind, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tracing::error;

use crate::{
    primitives::{Digest, PeerId, Short, TicketClass, UniqueId},
    tickets::{CLOCK_LOOK, Expiration, InvalidTicket, PeerEntry, TicketValidator, Validity},
};

/// Number of verdicts that are kept at least, when there are more.
const DEFAULT_CAPACITY: usize = 16 * 1024;

/// Lifetime of a verdict that may change without the ticket: a refusal of a few tickets, as the token
/// may be valid from a later time on, and any verdict of a validator that isn't pure.
const SHORT_LIFE: Duration = CLOCK_LOOK;
/// Tickets that a refusal may cost in its lifetime. One that was asked of more is remembered longer,
/// so that a peer with many tickets that don't hold costs no more than one with a few.
const TICKETS_PER_LIFE: usize = 4;

/// Remembers what validators said about the tickets of peers. Shared by reference.
#[derive(Debug)]
pub(crate) struct TicketCache {
    verdicts: Mutex<Generations>,
}

impl TicketCache {
    /// Keeps at least `capacity` verdicts, and at most twice as many.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            verdicts: Mutex::new(Generations {
                capacity,
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    /// As [`PeerEntry::validate_tickets`]: all validators must accept. The answer says until when
    /// that holds.
    ///
    /// Validators run only if no verdict is known that still holds. One that panics refuses the
    /// peer. An expiration that has passed is a refusal, remembered or not.
    pub(crate) fn validate(
        &self,
        entry: &PeerEntry,
        validators: &[Arc<dyn TicketValidator>],
    ) -> Result<Validity, InvalidTicket> {
        self.validate_at(entry, validators, Utc::now(), Instant::now())
    }

    fn validate_at(
        &self,
        entry: &PeerEntry,
        validators: &[Arc<dyn TicketValidator>],
        wall: DateTime<Utc>,
        now: Instant,
    ) -> Result<Validity, InvalidTicket> {
        let mut validity = Validity::unconditional();
        for validator in validators {
            validity = validity.and(self.ask(entry, validator.as_ref(), wall, now)?);
        }
        Ok(validity)
    }

    fn ask(
        &self,
        entry: &PeerEntry,
        validator: &dyn TicketValidator,
        wall: DateTime<Utc>,
        now: Instant,
    ) -> Result<Validity, InvalidTicket> {
        let (key, is_pure) = guarded(entry, || {
            let is_pure = validator.is_pure();
            (Key::new(entry, validator, is_pure), is_pure)
        })?;
        let validity = |expires| Validity::new(expires, is_pure, now.into());
        // Neither lookup nor insertion is held over the validator: it may be slow, or ask others.
        if let Some(verdict) = self.verdicts.lock().get(&key)
            && verdict.holds(wall, now)
        {
            return verdict.outcome.map(validity);
        }
        let outcome = guarded(entry, || entry.validate_ticket(validator))
            .flatten()
            .and_then(|expiration| {
                let is_live = !expiration.is_expired_at(wall);
                is_live.then_some(expiration).ok_or(InvalidTicket)
            });
        let until = match outcome {
            Err(_) => {
                let life = guarded(entry, || refusal_life(entry, validator.class()));
                Some(now + life.unwrap_or(SHORT_LIFE))
            }
            Ok(_) => (!is_pure).then(|| now + SHORT_LIFE),
        };
        self.verdicts.lock().insert(key, Verdict { outcome, until });
        outcome.map(validity)
    }
}

impl Default for TicketCache {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

/// Lifetime of a refusal, by the number of tickets that were looked at.
fn refusal_life(entry: &PeerEntry, class: TicketClass) -> Duration {
    let tickets = entry.tickets_of(class).count();
    let lives = tickets.div_ceil(TICKETS_PER_LIFE).max(1);
    SHORT_LIFE * u32::try_from(lives).unwrap_or(u32::MAX)
}

/// All that a verdict follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    validator: UniqueId,
    peer: PeerId,
    subject: Digest,
}

impl Key {
    fn new(entry: &PeerEntry, validator: &dyn TicketValidator, is_pure: bool) -> Self {
        let subject = if is_pure {
            let class = validator.class();
            let mut hasher = blake3::Hasher::new();
            for (id, ticket) in &entry.tickets {
                if ticket.class == class {
                    hasher.update(id.as_bytes());
                }
            }
            Digest::from_hasher(&hasher)
        } else {
            entry.content_digest()
        };
        Self {
            validator: validator.verdict_id(),
            peer: *entry.id(),
            subject,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Verdict {
    outcome: Result<Expiration, InvalidTicket>,
    /// `None`: until it expires.
    until: Option<Instant>,
}

impl Verdict {
    fn holds(&self, wall: DateTime<Utc>, now: Instant) -> bool {
        let is_expired = self
            .outcome
            .is_ok_and(|expiration| expiration.is_expired_at(wall));
        !is_expired && self.until.is_none_or(|until| now < until)
    }
}

/// A bounded map that forgets what was not asked for in a while: once as many entries as fit were
/// put in, those that were not looked up since the last time are dropped.
#[derive(Debug)]
struct Generations {
    capacity: usize,
    young: HashMap<Key, Verdict>,
    old: HashMap<Key, Verdict>,
}

impl Generations {
    fn get(&mut self, key: &Key) -> Option<Verdict> {
        if let Some(verdict) = self.young.get(key) {
            return Some(*verdict);
        }
        let verdict = self.old.remove(key)?;
        self.insert(*key, verdict);
        Some(verdict)
    }

    fn insert(&mut self, key: Key, verdict: Verdict) {
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(key, verdict);
    }
}

/// Runs code of a user that must not take the caller down.
fn guarded<T>(entry: &PeerEntry, ask: impl FnOnce() -> T) -> Result<T, InvalidTicket> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|_| {
        error!(peer = %Short(entry.id()), "a ticket validator panicked, the peer is refused");
        InvalidTicket
    })
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
