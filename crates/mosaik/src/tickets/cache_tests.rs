use core::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    Ticket, id,
    tickets::{Hs256, Jwt, JwtTicketBuilder, TicketClass},
};

const CLASS: TicketClass = id!("class");

/// Accepts `good` until a moment, and counts how often it was asked.
struct Counting {
    expiration: Expiration,
    is_pure: bool,
    asked: AtomicUsize,
}

impl Counting {
    fn new(expiration: Expiration, is_pure: bool) -> Arc<Self> {
        Arc::new(Self {
            expiration,
            is_pure,
            asked: AtomicUsize::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl TicketValidator for Counting {
    fn class(&self) -> TicketClass {
        CLASS
    }

    fn signature(&self) -> UniqueId {
        id!("counting")
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert_ne!(ticket, b"panic", "as told by the ticket");
        (ticket == b"good")
            .then_some(self.expiration)
            .ok_or(InvalidTicket)
    }

    fn is_pure(&self) -> bool {
        self.is_pure
    }
}

fn peer(data: &'static str) -> PeerEntry {
    let peer = iroh::SecretKey::from_bytes(&[1; 32]).public();
    PeerEntry::new(id!("network"), peer).add_ticket(Ticket::new(CLASS, data.into()))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_accepting_verdict_is_remembered_until_it_expires() {
    let (wall, now) = (Utc::now(), Instant::now());
    let expiration = Expiration::At(wall + chrono::Duration::seconds(60));
    let validator = Counting::new(expiration, true);
    let cache = TicketCache::default();
    let ask = |after| {
        let validators: [Arc<dyn TicketValidator>; 1] = [validator.clone()];
        let verdict = cache.validate_at(&peer("good"), &validators, wall + after, now + after);
        verdict.map(|validity| validity.expires())
    };
    assert_eq!(ask(seconds(0)), Ok(Some(expiration)));
    assert_eq!(ask(seconds(59)), Ok(Some(expiration)));
    assert_eq!(validator.asked(), 1);
    assert_eq!(ask(seconds(60)), Err(InvalidTicket), "past means now");
    assert_eq!(validator.asked(), 2);
}

#[test]
fn a_refusal_is_remembered_for_a_second() {
    let (wall, now) = (Utc::now(), Instant::now());
    let validator = Counting::new(Expiration::Never, true);
    let cache = TicketCache::default();
    let ask = |after| {
        let validators: [Arc<dyn TicketValidator>; 1] = [validator.clone()];
        cache.validate_at(&peer("bad"), &validators, wall, now + after)
    };
    for (millis, asked) in [(0, 1), (999, 1), (1000, 2)] {
        assert_eq!(ask(Duration::from_millis(millis)), Err(InvalidTicket));
        assert_eq!(validator.asked(), asked);
    }
}

/// Regression: 64 tickets that don't hold cost 64 verifications a second, for each validator.
#[test]
fn a_refusal_of_many_tickets_is_remembered_longer() {
    let (wall, now) = (Utc::now(), Instant::now());
    let entry = (1..64u8).fold(peer("bad"), |entry, n| {
        entry.add_ticket(Ticket::new(CLASS, vec![n].into()))
    });
    for is_pure in [true, false] {
        let validator = Counting::new(Expiration::Never, is_pure);
        let validators: [Arc<dyn TicketValidator>; 1] = [validator.clone()];
        let cache = TicketCache::default();
        for tenth in 0..600 {
            let at = now + Duration::from_millis(100 * tenth);
            let refused = cache.validate_at(&entry, &validators, wall, at);
            assert_eq!(refused, Err(InvalidTicket));
        }
        assert!(validator.asked() <= 4 * 60 + 64, "{}", validator.asked());
        // What may admit the peer is another case, and looked at at once.
        let good = entry.clone().add_ticket(Ticket::new(CLASS, "good".into()));
        assert!(cache.validate_at(&good, &validators, wall, now).is_ok());
    }
}

#[test]
fn an_impure_validator_is_asked_again_after_a_second_or_a_change() {
    let (wall, now) = (Utc::now(), Instant::now());
    let validator = Counting::new(Expiration::Never, false);
    let cache = TicketCache::default();
    let ask = |peer: &PeerEntry, after| {
        let validators: [Arc<dyn TicketValidator>; 1] = [validator.clone()];
        let verdict = cache.validate_at(peer, &validators, wall, now + after);
        let verdict = verdict.map(|validity| validity.expires());
        assert_eq!(verdict, Ok(Some(Expiration::Never)));
        validator.asked()
    };
    let plain = peer("good");
    assert_eq!(ask(&plain, seconds(0)), 1);
    assert_eq!(
        ask(&plain.clone().bumped(u64::MAX), seconds(0)),
        1,
        "a sign of life"
    );
    assert_eq!(ask(&plain.clone().add_tags("tag"), seconds(0)), 2);
    assert_eq!(ask(&plain, seconds(1)), 3);
}

#[test]
fn other_tickets_other_peers_and_other_validators_are_other_cases() {
    let pure = Counting::new(Expiration::Never, true);
    let cache = TicketCache::default();
    let ask = |peer: &PeerEntry| {
        let validators: [Arc<dyn TicketValidator>; 1] = [pure.clone()];
        let accepted = cache.validate(peer, &validators).is_ok();
        (accepted, pure.asked())
    };
    let good = peer("good");
    assert_eq!(ask(&good), (true, 1));
    assert_eq!(ask(&good.clone().add_tags("tag")), (true, 1));
    let unrelated = Ticket::new(id!("other"), "good".into());
    assert_eq!(ask(&good.clone().add_ticket(unrelated)), (true, 1));
    assert_eq!(ask(&peer("bad")), (false, 2));
    let mut other = good.clone();
    other.address.id = iroh::SecretKey::from_bytes(&[2; 32]).public();
    assert_eq!(ask(&other), (true, 3));
    let revoked = good.remove_tickets_of(CLASS);
    assert_eq!(ask(&revoked), (false, 3), "nothing to show");
    assert_eq!(cache.validate(&revoked, &[]), Ok(Validity::unconditional()));
}

#[test]
fn all_must_accept_and_the_earliest_counts() {
    let key = Hs256::random();
    let (peer, good) = (*peer("good").id(), peer("good"));
    let soon = Expiration::in_1h();
    let token = JwtTicketBuilder::new(key).expires_at(soon).build(&peer);
    let entry = good.clone().add_ticket(token);
    let validators: [Arc<dyn TicketValidator>; 2] = [
        Counting::new(Expiration::Never, true),
        Arc::new(Jwt::with_key(key)),
    ];
    let cache = TicketCache::default();
    for _ in 0..2 {
        let earliest = cache
            .validate(&entry, &validators)
            .unwrap()
            .expires()
            .unwrap();
        assert!(earliest <= soon, "whole seconds");
        assert_eq!(cache.validate(&good, &validators), Err(InvalidTicket));
    }
}

#[test]
fn a_panic_is_a_refusal() {
    let validator = Counting::new(Expiration::Never, true);
    let validators: [Arc<dyn TicketValidator>; 1] = [validator.clone()];
    let cache = TicketCache::default();
    assert_eq!(
        cache.validate(&peer("panic"), &validators),
        Err(InvalidTicket)
    );
    assert_eq!(
        cache.validate(&peer("panic"), &validators),
        Err(InvalidTicket)
    );
    assert_eq!(validator.asked(), 1, "remembered like any refusal");
    assert!(cache.validate(&peer("good"), &validators).is_ok());
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_asked_for() {
    let validator = Counting::new(Expiration::Never, true);
    let validators: [Arc<dyn TicketValidator>; 1] = [validator.clone()];
    let cache = TicketCache::new(8);
    let numbered = |n: u8| {
        let mut entry = peer("good");
        entry.address.id = iroh::SecretKey::from_bytes(&[n; 32]).public();
        entry
    };
    for n in 1..100 {
        cache.validate(&numbered(n), &validators).unwrap();
        cache.validate(&numbered(1), &validators).unwrap();
    }
    assert_eq!(validator.asked(), 99);
    let verdicts = cache.verdicts.lock();
    assert!(verdicts.young.len() <= 8 && verdicts.old.len() <= 8);
}

#[test]
fn a_key_that_was_taken_away_admits_nobody_any_more() {
    let (old, new) = (Hs256::random(), Hs256::random());
    let named = |key| -> [Arc<dyn TicketValidator>; 1] {
        [Arc::new(Jwt::with_key(key).with_identity("ops"))]
    };
    let entry = peer("good");
    let token = JwtTicketBuilder::new(old).expires_at(Expiration::in_24h());
    let entry = entry.clone().add_ticket(token.build(entry.id()));
    let cache = TicketCache::default();
    assert!(cache.validate(&entry, &named(old)).is_ok());
    assert_eq!(named(old)[0].signature(), named(new)[0].signature());
    assert_eq!(cache.validate(&entry, &named(new)), Err(InvalidTicket));
    assert!(cache.validate(&entry, &named(old)).is_ok());
}
