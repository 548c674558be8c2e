//! Ends of streams and their handles.

use futures::{FutureExt, SinkExt};
use mosaik::{
    SecretKey, Ticket, discovery, id,
    streams::{consumer::Event, producer, status::State},
};
use tokio::sync::mpsc::error::TryRecvError;

use super::{connected, deserted, eventually, pair};
use crate::support::{builder, node, random_network, until_catalog, within};

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_consumer_is_noticed_at_once() {
    let (a, b) = pair().await;
    let (producer, consumer) = connected::<u8>(&a, &b, "drop").await;
    let channel = producer.consumers().next().unwrap();
    let (when, own) = (
        consumer.when().clone(),
        consumer.producers().next().unwrap(),
    );
    drop(consumer);
    within(1, producer.when().offline()).await;
    within(1, channel.disconnected()).await;
    within(1, own.disconnected()).await;
    within(1, when.offline()).await;
    assert!(when.online().now_or_never().is_none());
    assert_eq!(channel.stats().uptime(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_sent_before_a_dropped_producer_ends() {
    const COUNT: u32 = 10_000;
    let (a, b) = pair().await;
    let (mut producer, mut consumer) = connected::<u32>(&a, &b, "drain").await;
    let channel = consumer.producers().next().unwrap();
    let second = producer.clone();
    for n in 0..COUNT {
        producer.send(n).await.unwrap();
    }
    drop(producer);
    assert!(second.is_online(), "another handle keeps it");
    let when = second.when().clone();
    drop(second);
    assert!(!when.is_online());
    for n in 0..COUNT {
        assert_eq!(within(5, consumer.recv()).await, Some(n));
    }
    within(5, channel.disconnected()).await;
    assert_eq!(channel.state(), State::Terminated);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
    until_catalog(3, &b, |c| {
        !c.peers().any(|p| p.streams().contains(&id!("drain")))
    })
    .await;

    // It can be built anew, and the consumer comes back by itself.
    let builder = a.streams().producer::<u32>().with_stream_id("drain");
    let mut producer = builder.with_buffer_size(3).build().unwrap();
    assert_eq!(producer.config().buffer_size, 3);
    within(3, producer.send(7)).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(7));
}

/// Regression: the code at shutdown was random, and consumers kept retrying a gone producer.
#[tokio::test(flavor = "multi_thread")]
async fn a_shut_down_producer_is_not_retried_and_its_next_run_is_found() {
    let id = random_network();
    let b = node(id).await;
    let mut consumer = b.streams().consume::<String>();
    let key = SecretKey::generate();
    for run in 0..3 {
        let discovery = discovery::Config::builder().with_bootstrap(b.local().addr());
        let a = builder(id, discovery)
            .with_secret_key(key.clone())
            .build()
            .await
            .unwrap();
        let mut producer = a.streams().produce::<String>();
        within(5, producer.send(format!("run {run}")))
            .await
            .unwrap();
        assert_eq!(within(1, consumer.recv()).await, Some(format!("run {run}")));
        let channel = consumer.producers().next().unwrap();
        let mut states = channel.state_watcher().clone();
        states.mark_unchanged();
        if run == 1 {
            drop(a);
        } else {
            within(8, a.shutdown()).await;
        }
        within(1, channel.disconnected()).await;
        assert_eq!(*states.borrow(), State::Terminated, "not Connecting");
        within(2, producer.when().offline()).await;
        assert!(matches!(
            producer.try_send("late".into()),
            Err(producer::Error::Closed(Some(_)))
        ));
        let late = within(1, producer.send("late".into())).await;
        assert_eq!(late, Err(producer::Error::Closed(None)));
        deserted(&consumer).await;
        assert!(consumer.is_online(), "losing all producers ends nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_end_after_their_network_when_they_are_read_out() {
    let (a, b) = pair().await;
    let (mut producer, mut consumer) = connected::<u8>(&a, &b, "read out").await;
    producer.send(1).await.unwrap();
    producer.send(2).await.unwrap();
    let channel = consumer.producers().next().unwrap();
    eventually(2, || channel.stats().datums() == 2).await;
    within(8, b.shutdown()).await;
    within(1, producer.when().offline()).await;
    assert_eq!(within(1, consumer.recv()).await, Some(1));
    assert_eq!(consumer.try_recv(), Ok(2));
    assert_eq!(within(1, consumer.recv()).await, None);
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Disconnected));
    assert!(!consumer.is_online());
}

/// Peers that vanish without closing anything are tested under simulated faults.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_whose_transport_ends_is_tried_again() {
    let id = random_network();
    let b = node(id).await;
    let consumer = b.streams().consume::<u8>();
    let discovery = discovery::Config::builder().with_bootstrap(b.local().addr());
    let a = builder(id, discovery).build().await.unwrap();
    let producer = a.streams().produce::<u8>();
    within(5, producer.when().online()).await;
    within(5, consumer.when().subscribed()).await;
    let mut states = consumer.producers().next().unwrap().state_watcher().clone();
    a.local().endpoint().close().await;
    let connecting = states.wait_for(|state| *state == State::Connecting);
    within(5, connecting).await.unwrap();
    within(2, consumer.when().unsubscribed()).await;
    within(2, producer.when().unsubscribed()).await;
}

/// Regression: the subscriptions were cut before anything of it was sent.
#[tokio::test]
async fn what_was_accepted_is_delivered_before_its_node_ends() {
    const COUNT: u64 = 1000;
    for is_dropped in [false, true] {
        let (a, b) = pair().await;
        let (mut producer, mut consumer) = connected::<Vec<u8>>(&a, &b, "last words").await;
        let channel = consumer.producers().next().unwrap();
        for n in 0..COUNT {
            producer.send(vec![n as u8; 4000]).await.unwrap();
        }
        if is_dropped {
            drop(a);
        } else {
            within(8, a.shutdown()).await;
        }
        for n in 0..COUNT {
            let datum = within(5, consumer.recv()).await.unwrap();
            assert_eq!(datum, vec![n as u8; 4000]);
        }
        within(5, channel.disconnected()).await;
        assert_eq!(channel.stats().lost(), 0);
        let late = within(1, producer.send(vec![])).await;
        assert_eq!(late, Err(producer::Error::Closed(None)));
    }
}

/// It takes as long as a consumer that does not read is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_does_not_read_holds_up_a_shutdown_for_seconds_only() {
    let (a, b) = pair().await;
    let producer = a.streams().producer::<Vec<u8>>().with_stream_id("unread");
    let mut producer = producer.build().unwrap();
    let consumer = b.streams().consumer::<Vec<u8>>().with_stream_id("unread");
    let consumer = consumer.with_receive_buffer_bytes(1).build();
    within(5, producer.when().online()).await;
    for _ in 0..10 {
        producer.send(vec![0; 64 * 1024]).await.unwrap();
    }
    let started = std::time::Instant::now();
    within(9, a.shutdown()).await;
    assert!(started.elapsed() > std::time::Duration::from_secs(4));
    deserted(&consumer).await;
}

/// Regression: the end of the node counted as the end of the stream.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_at_a_shutdown_is_a_gap() {
    let id = random_network();
    let b = node(id).await;
    let consumer = b.streams().consumer::<Vec<u8>>().with_stream_id("cut");
    let mut consumer = consumer.with_receive_buffer_bytes(1).build();
    let mut events = consumer.events();
    let key = SecretKey::generate();
    let start = async || {
        let discovery = discovery::Config::builder().with_bootstrap(b.local().addr());
        let a = builder(id, discovery).with_secret_key(key.clone());
        let a = a.build().await.unwrap();
        let producer = a.streams().producer::<Vec<u8>>().with_stream_id("cut");
        let producer = producer.build().unwrap();
        (a, producer)
    };
    let (a, mut producer) = start().await;
    within(5, producer.when().subscribed()).await;
    for _ in 0..10 {
        producer.send(vec![0; 64 * 1024]).await.unwrap();
    }
    within(9, a.shutdown()).await;
    let (a, mut producer) = start().await;
    let reading = async {
        let mut received = 0;
        while consumer.recv().await != Some(vec![7]) {
            received += 1;
        }
        received
    };
    let (sent, received) =
        within(10, async { tokio::join!(producer.send(vec![7]), reading) }).await;
    sent.unwrap();
    assert!(received < 10, "nothing was cut off");
    let told = within(5, events.recv()).await.unwrap();
    let producer = a.local().id();
    assert_eq!(
        told,
        Event::Lagged {
            producer,
            lost: None
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_waits_until_what_was_accepted_has_left() {
    let (a, b) = pair().await;
    let producer = a.streams().producer::<Vec<u8>>().with_stream_id("flush");
    let mut producer = producer.build().unwrap();
    let flushed = producer.flush().now_or_never();
    assert_eq!(flushed, Some(Ok(())), "nobody is there");
    let consumer = b.streams().consumer::<Vec<u8>>().with_stream_id("flush");
    let mut consumer = consumer.with_receive_buffer_bytes(1).build();
    within(5, producer.when().online()).await;
    let channel = producer.consumers().next().unwrap();
    for _ in 0..10 {
        producer.send(vec![0; 64 * 1024]).await.unwrap();
    }
    let unread = tokio::time::timeout(std::time::Duration::from_millis(300), producer.flush());
    assert!(unread.await.is_err(), "dropped in the middle");
    let mut other = producer.clone();
    let flushing = tokio::spawn(async move { other.flush().await });
    let reading = tokio::spawn(async move {
        for _ in 0..10 {
            consumer.recv().await.unwrap();
        }
        consumer
    });
    within(5, flushing).await.unwrap().unwrap();
    assert_eq!(channel.stats().datums(), 10);
    let consumer = within(5, reading).await.unwrap();

    for _ in 0..10 {
        producer.send(vec![0; 64 * 1024]).await.unwrap();
    }
    let mut other = producer.clone();
    let flushing = tokio::spawn(async move { other.flush().await });
    drop(consumer);
    within(5, flushing).await.unwrap().unwrap();
}

/// Regression: nobody could find such a stream, and sends waited for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_can_not_be_advertised_is_an_error() {
    let (a, b) = pair().await;
    // Tickets fill the entry, except for less than another one needs.
    for size in (0..16).rev().map(|power| 1_usize << power) {
        for n in 0..8_u8 {
            let data = [vec![7; size], vec![n]].concat();
            a.discovery()
                .add_ticket(Ticket::new(id!("ballast"), data.into()));
        }
    }
    let build = |n: usize| {
        let producer = a.streams().producer::<usize>();
        producer.with_stream_id(format!("{n}").as_str()).build()
    };
    let mut producers = Vec::new();
    let refused = loop {
        match build(producers.len()) {
            Ok(producer) => producers.push(producer),
            Err(error) => break error,
        }
    };
    let producer::BuilderError::EntryFull { what, len, max } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((what, max), ("encoded bytes", 256 * 1024));
    assert!(len > max);
    let listed = a.discovery().catalog().local().streams().len();
    assert_eq!(listed, producers.len(), "and no other is advertised");
    let mut ended = a.streams().produce::<usize>();
    let sent = within(1, ended.send(1)).await;
    assert_eq!(sent, Err(producer::Error::Closed(None)), "not for ever");
    drop(ended);

    a.discovery().remove_tickets_of(id!("ballast"));
    let mut last = build(producers.len()).unwrap();
    let consumer = b.streams().consumer::<usize>();
    let mut consumer = consumer.with_stream_id(*last.stream_id()).build();
    within(5, last.send(1)).await.unwrap();
    assert_eq!(within(5, consumer.recv()).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_has_so_many_subscriptions_and_no_more() {
    const MAX: usize = 256;
    let (a, b) = pair().await;
    let mut producer = a.streams().produce::<u8>();
    let mut consumers: Vec<_> = (0..MAX).map(|_| b.streams().consume::<u8>()).collect();
    within(20, producer.when().subscribed().minimum_of(MAX)).await;
    let more = b.streams().consume::<u8>();
    let refused = more.when().subscribed();
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(500), refused)
            .await
            .is_err()
    );
    assert_eq!(producer.consumers().count(), MAX);
    producer.send(7).await.unwrap();
    for consumer in &mut consumers {
        assert_eq!(within(5, consumer.recv()).await, Some(7));
    }
    consumers.pop();
    within(5, more.when().subscribed()).await;
}
