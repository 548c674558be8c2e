//! Names and tags of any length, what an entry can't hold, and options at their bounds.

use std::time::Duration;

use mosaik::{
    Digest, Ticket,
    discovery::{Config, ConfigBuilder, Error},
    network::link::{LinkError, RecvError},
};

use crate::support::{
    builder,
    intruder::{Intruder, frame},
    member::{dated, now_ms, version},
    node, node_at, random_network, until_catalog, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn names_and_tags_may_be_empty_or_very_long() {
    let long = "x".repeat(1 << 20);
    for name in ["", &long] {
        // Unique, and as long.
        let name = format!("{}{name}", random_network());
        let a = node(Digest::from(name.as_str())).await;
        let b = node_at(Digest::from(name.as_str()), a.local().addr()).await;
        a.discovery().add_tags(["", &long]);
        let id = a.local().id();
        until_catalog(5, &b, |catalog| {
            catalog.get(&id).is_some_and(|entry| {
                entry.tags().contains(&"".into()) && entry.tags().contains(&long.as_str().into())
            })
        })
        .await;
        let producer = a.streams().producer::<u8>().with_stream_id(&*long);
        let producer = producer.build().unwrap();
        let unnamed = a.streams().producer::<u8>().with_stream_id("").build();
        assert_ne!(producer.stream_id(), unnamed.unwrap().stream_id());
        let consumer = b.streams().consumer::<u8>().with_stream_id(&*long).build();
        within(5, consumer.when().subscribed()).await;
    }
    assert_eq!(Digest::from(""), Digest::hash(b""));
    let unnamed = node("".into()).await;
    assert_eq!(unnamed.network_id(), &Digest::hash(b""));
}

/// Regression: an entry that was too large silenced its node for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_entry_can_not_hold_is_refused_and_the_rest_goes_on() {
    let id = random_network();
    let a = node(id).await;
    let b = node_at(id, a.local().addr()).await;
    let before = a.discovery().me();
    a.discovery()
        .add_tags((0..1025u32).map(Digest::from_u32).collect::<Vec<_>>());
    let data = vec![0; (64 << 10) + 1];
    a.discovery()
        .add_ticket(Ticket::new("class".into(), data.into()));
    let refused = a
        .discovery()
        .try_add_tags((0..1025u32).map(Digest::from_u32).collect::<Vec<_>>());
    assert!(matches!(
        refused,
        Err(Error::EntryFull {
            what: "tags",
            len: 1025,
            max: 1024
        })
    ));
    assert_eq!(a.discovery().me(), before);
    for i in 0..65u8 {
        a.discovery()
            .add_ticket(Ticket::new("class".into(), vec![i].into()));
    }
    assert_eq!(a.discovery().me().tickets().len(), 64);
    let one_more = Ticket::new("class".into(), vec![65].into());
    let refused = a.discovery().try_add_ticket(one_more.clone());
    assert!(matches!(refused, Err(Error::EntryFull { .. })));
    a.discovery().try_replace_ticket(one_more).unwrap();
    a.discovery().remove_tickets_of("class".into());

    // Above what one gossip message holds: fetched by sync.
    let many: Vec<_> = (0..1000u32).map(Digest::from_u32).collect();
    a.discovery().add_tags(many.clone());
    let peer = a.local().id();
    until_catalog(5, &b, |c| {
        c.get(&peer).is_some_and(|e| e.tags().len() == 1000)
    })
    .await;
    a.discovery().remove_tags(many);
    a.discovery().add_tags("small");
    until_catalog(5, &b, |c| c.get(&peer).is_some_and(|e| e.tags().len() == 1)).await;
}

/// Regression: an interval that was too long ended the announcements at their first, and a backlog
/// that was too long ended the program.
#[tokio::test(flavor = "multi_thread")]
async fn options_at_their_bounds_work_and_larger_ones_count_as_the_bound() {
    let year = Duration::from_hours(365 * 24);
    let moment = Duration::from_nanos(1);
    let longest = |options: ConfigBuilder| {
        options
            .with_announce_interval(year)
            .with_announce_jitter(1.0)
            .with_purge_after(year)
            .with_rtt_probe_interval(year)
            .with_max_time_drift(Duration::from_hours(24))
            .with_events_backlog(65_536)
            .with_max_rtt(Duration::MAX)
            .with_max_peers(32_768)
    };
    let shortest = |options: ConfigBuilder| {
        options
            .with_announce_interval(moment)
            .with_announce_jitter(0.0)
            .with_rtt_probe_interval(moment)
            .with_events_backlog(1)
    };
    let id = random_network();
    let a = builder(id, longest(Config::builder()))
        .build()
        .await
        .unwrap();
    let options = Config::builder().with_bootstrap(a.local().addr());
    let b = builder(id, shortest(options)).build().await.unwrap();
    let (a_id, b_id) = (a.local().id(), b.local().id());
    until_catalog(5, &a, |c| c.get(&b_id).is_some()).await;
    until_catalog(5, &b, |c| c.get(&a_id).is_some()).await;
    for (node, other) in [(&a, &b), (&b, &a)] {
        let changed = node.local().id();
        node.discovery().add_tags("announced");
        until_catalog(5, other, |c| {
            c.get(&changed).is_some_and(|e| e.tags().len() == 1)
        })
        .await;
    }

    let beyond = Config::builder()
        .with_announce_interval(Duration::MAX)
        .with_events_backlog(usize::MAX);
    builder(id, beyond).build().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_takes_as_long_as_it_is_let() {
    let id = random_network();
    let a = node(id).await;
    let slow = Intruder::new().await;
    let now = now_ms();
    let entry = dated(id, &slow.secret, version(now, now));
    let answering = async {
        let connection = slow.accept(&id).await;
        for _ in 0..2 {
            let (mut send, recv) = within(10, connection.accept_bi()).await.unwrap();
            let answer = frame(&(0u8, &entry));
            tokio::spawn(async move {
                // More than a ping usually waits for.
                tokio::time::sleep(Duration::from_secs(6)).await;
                // Fails for the one who has given up.
                let _ = send.write_all(&answer).await;
                drop(recv);
            });
        }
        connection
    };
    let pings = async {
        tokio::join!(
            a.discovery().ping(slow.addr()),
            a.discovery()
                .ping_within(slow.addr(), Duration::from_secs(20)),
        )
    };
    let (_connection, (usual, patient)) = tokio::join!(answering, within(25, pings));
    assert!(matches!(
        usual,
        Err(Error::Link(LinkError::Recv(RecvError::TimedOut)))
    ));
    assert_eq!(patient.unwrap(), entry);
    assert!(a.discovery().catalog().get(&slow.id()).is_none());
}
