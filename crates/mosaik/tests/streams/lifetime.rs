//! How streams and their handles end.

use futures::{FutureExt, SinkExt};
use mosaik::{
    SecretKey, discovery, id,
    streams::{producer, status::State},
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

/// What becomes of peers that vanish without closing anything is tested under simulated faults.
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
