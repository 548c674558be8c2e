//! Admission of consumers by producers, and choice of producers by consumers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::SinkExt;
use mosaik::{
    Ticket, UniqueId, id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

use super::{deserted, eventually, joined, pair};
use crate::support::{bound, node, random_network, tickets::Moody, until_catalog, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_admits_and_puts_out_by_tags() {
    let (a, b) = pair().await;
    let producer = a.streams().producer::<u8>();
    let producer = producer.require(|peer| peer.tags.contains(&"authorized".into()));
    let producer = producer
        .require(|peer| peer.rtt().is_some())
        .build()
        .unwrap();
    let consumer = b.streams().consume::<u8>();
    until_catalog(5, &b, |c| {
        c.peers()
            .any(|p| p.streams().contains(producer.stream_id()))
    })
    .await;
    for _ in 0..2 {
        b.discovery().add_tags("authorized");
        within(2, producer.when().subscribed()).await;
        within(1, consumer.when().subscribed()).await;
        b.discovery().remove_tags("authorized");
        within(2, producer.when().offline()).await;
        within(1, consumer.when().unsubscribed()).await;
        assert_eq!(producer.consumers().count(), 0);
    }
    deserted(&consumer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_picks_and_leaves_by_tags() {
    let (a, b) = pair().await;
    let evaluated = Arc::new(AtomicUsize::new(0));
    let counter = evaluated.clone();
    let consumer = b.streams().consumer::<u8>();
    let consumer = consumer
        .require(move |peer| {
            assert!(peer.rtt().is_some(), "never before it is measured");
            counter.fetch_add(1, Ordering::SeqCst);
            peer.tags().contains(&"primary".into())
        })
        .build();
    let mut producer = a.streams().produce::<u8>();
    eventually(3, || evaluated.load(Ordering::SeqCst) > 0).await;
    assert_eq!(consumer.producers().count(), 0);
    a.discovery().add_tags("primary");
    within(2, producer.send(1)).await.unwrap();
    a.discovery().remove_tags("primary");
    within(2, consumer.when().unsubscribed()).await;
    within(1, producer.when().unsubscribed()).await;
    let slow = b
        .streams()
        .consumer::<u8>()
        .require(|peer| peer.rtt_below(Duration::ZERO))
        .build();
    a.discovery().add_tags("primary");
    within(2, consumer.when().subscribed()).await;
    assert_eq!(slow.producers().count(), 0);
}

/// Accepts tickets that say for how many milliseconds from now they are valid.
struct Days {
    validated: Arc<AtomicUsize>,
}

const CLASS: TicketClass = id!("test.days");

impl TicketValidator for Days {
    fn class(&self) -> TicketClass {
        CLASS
    }

    fn signature(&self) -> UniqueId {
        id!("test.days.validator")
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        self.validated.fetch_add(1, Ordering::SeqCst);
        let moment = std::str::from_utf8(ticket).map_err(|_| InvalidTicket)?;
        let moment: i64 = moment.parse().map_err(|_| InvalidTicket)?;
        let moment = chrono::DateTime::from_timestamp_millis(moment).ok_or(InvalidTicket)?;
        Ok(Expiration::At(moment))
    }
}

/// Valid for this long.
fn ticket(valid: Duration) -> Ticket {
    let until = chrono::Utc::now() + valid;
    Ticket::new(
        CLASS,
        until.timestamp_millis().to_string().into_bytes().into(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_admit_until_they_expire_or_are_removed() {
    let (a, b) = pair().await;
    let validated = Arc::new(AtomicUsize::new(0));
    let days = Days {
        validated: validated.clone(),
    };
    let producer = a
        .streams()
        .producer::<u8>()
        .require_ticket(days)
        .build()
        .unwrap();
    let consumer = b.streams().consume::<u8>();

    // Already in the past: invalid, not eternal.
    b.discovery().add_ticket(Ticket::new(CLASS, "0".into()));
    eventually(5, || validated.load(Ordering::SeqCst) > 0).await;
    assert!(!producer.is_online());

    // Long enough to be used before it ends, on a busy machine too.
    let short = bound(3) / 2;
    b.discovery().replace_ticket(ticket(short));
    within(2, consumer.when().subscribed()).await;
    let started = std::time::Instant::now();
    within(4, producer.when().unsubscribed()).await;
    assert!(started.elapsed() < short + bound(1));

    // Renewed before the end: no interruption.
    b.discovery().replace_ticket(ticket(short));
    within(2, producer.when().subscribed()).await;
    let channel = producer.consumers().next().unwrap();
    let renewed = ticket(Duration::from_secs(60));
    let renewed_id = renewed.id();
    b.discovery().replace_ticket(renewed);
    until_catalog(2, &a, |c| {
        c.get(&b.local().id())
            .is_some_and(|entry| entry.tickets().contains_key(&renewed_id))
    })
    .await;
    let outlived = tokio::time::timeout(short * 2, channel.disconnected()).await;
    assert!(outlived.is_err(), "the renewed ticket holds");

    b.discovery().remove_tickets_of(CLASS);
    within(2, channel.disconnected()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_checks_tickets_of_producers() {
    let (a, b) = pair().await;
    let validated = Arc::default();
    let consumer = b
        .streams()
        .consumer::<u8>()
        .require_ticket(Days { validated })
        .build();
    let producer = a.streams().produce::<u8>();
    until_catalog(5, &b, |c| {
        c.peers()
            .any(|p| p.streams().contains(producer.stream_id()))
    })
    .await;
    assert_eq!(consumer.producers().count(), 0);
    a.discovery().add_ticket(ticket(bound(3) / 2));
    within(2, consumer.when().subscribed()).await;
    within(4, consumer.when().unsubscribed()).await;
    within(1, producer.when().unsubscribed()).await;

    a.discovery()
        .replace_ticket(ticket(Duration::from_secs(60)));
    within(3, consumer.when().subscribed()).await;
    a.discovery().remove_tickets_of(CLASS);
    within(2, consumer.when().unsubscribed()).await;
    within(1, producer.when().unsubscribed()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freed_place_is_taken_by_one_that_waits() {
    let id = random_network();
    let a = node(id).await;
    let (b, c) = (joined(id, &a).await, joined(id, &a).await);
    let producer = a
        .streams()
        .producer::<u8>()
        .with_max_consumers(1)
        .build()
        .unwrap();
    let first = b.streams().consume::<u8>();
    within(5, first.when().subscribed()).await;
    let second = c.streams().consume::<u8>();
    eventually(5, || second.producers().count() > 0).await;
    assert!(!second.producers().next().unwrap().is_connected());
    assert_eq!(producer.consumers().count(), 1);
    drop(first);
    within(3, second.when().subscribed()).await;
    assert_eq!(
        *producer.consumers().next().unwrap().consumer_id(),
        c.local().id()
    );

    let none = a
        .streams()
        .producer::<u16>()
        .with_max_consumers(0)
        .build()
        .unwrap();
    let never = c.streams().consume::<u16>();
    let subscribed = tokio::time::timeout(Duration::from_secs(1), never.when().subscribed()).await;
    assert!(subscribed.is_err() && !none.is_online());
}

/// Regression: a panic killed the stream, whose id stayed advertised.
#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_predicate_refuses_the_peer_and_harms_nothing() {
    let id = random_network();
    let a = node(id).await;
    let (b, c) = (joined(id, &a).await, joined(id, &a).await);
    c.discovery().add_tags("good");
    let good = |entry: &PeerEntry| {
        assert!(
            entry.tags().contains(&"good".into()),
            "a panic in the user's code"
        );
        true
    };
    let producer = a.streams().producer::<u8>().require(move |peer| good(peer));
    let mut producer = producer.build().unwrap();
    let refused = b.streams().consume::<u8>();
    let mut admitted = c.streams().consume::<u8>();
    within(5, producer.send(1)).await.unwrap();
    assert_eq!(within(1, admitted.recv()).await, Some(1));
    assert!(!refused.producers().any(|channel| channel.is_connected()));
    let counted = producer.when().subscribed().with_predicate(move |entry| {
        assert!(
            !entry.tags().contains(&"good".into()),
            "a panic in the user's code"
        );
        true
    });
    assert!(counted == false);
}

/// Accepts any ticket from some moment on.
struct From(std::time::Instant);

impl TicketValidator for From {
    fn class(&self) -> TicketClass {
        id!("test.from")
    }

    fn signature(&self) -> UniqueId {
        id!("test.from.validator")
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        if std::time::Instant::now() < self.0 {
            return Err(InvalidTicket);
        }
        Ok(Expiration::Never)
    }
}

/// Regression: a ticket that is valid from a later moment on was judged again only when something
/// else changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_not_valid_yet_is_looked_at_again() {
    let (a, b) = pair().await;
    a.discovery()
        .add_ticket(Ticket::new(id!("test.from"), "x".into()));
    let _producer = a.streams().produce::<u8>();
    let later = From(std::time::Instant::now() + Duration::from_secs(2));
    let consumer = b.streams().consumer::<u8>().require_ticket(later).build();
    within(6, consumer.when().subscribed()).await;
}

/// Regression: a validator that had accepted a ticket for ever was not asked again.
#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_changes_its_mind_ends_the_subscription() {
    let (a, b) = pair().await;
    a.discovery().add_ticket(Moody::ticket());
    b.discovery().add_ticket(Moody::ticket());
    let (producers, consumers) = (Moody::new(), Moody::new());
    let producer = a
        .streams()
        .producer::<u8>()
        .require_ticket(consumers.clone());
    let producer = producer.build().unwrap();
    let consumer = b.streams().consumer::<u8>();
    let consumer = consumer.require_ticket(producers.clone()).build();
    for validator in [consumers, producers] {
        within(5, consumer.when().subscribed()).await;
        validator.accept(false);
        within(4, consumer.when().unsubscribed()).await;
        within(1, producer.when().unsubscribed()).await;
        validator.accept(true);
    }
    within(9, consumer.when().subscribed()).await;
}
