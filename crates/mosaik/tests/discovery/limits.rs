//! Names and tags of any length, and what an entry can't hold.

use mosaik::{Digest, Ticket};

use crate::support::{node, node_at, random_network, until_catalog, within};

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
    assert_eq!(a.discovery().me(), before);
    for i in 0..65u8 {
        a.discovery()
            .add_ticket(Ticket::new("class".into(), vec![i].into()));
    }
    assert_eq!(a.discovery().me().tickets().len(), 64);
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
