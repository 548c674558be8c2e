//! Delivery of sent datums: all of them, once, in order; or they come back.

use std::{convert::Infallible, fmt, string::FromUtf8Error};

use futures::{FutureExt, SinkExt, StreamExt, stream};
use mosaik::{Bytes, Datum, streams, streams::producer};
use tokio::sync::mpsc::{self, error::TryRecvError};

use super::{connected, pair};
use crate::support::{builder, node, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_tight_loop_loses_nothing_and_keeps_the_order() {
    const COUNT: u64 = 200_000;
    let (a, b) = pair().await;
    let (mut producer, mut consumer) = connected::<u64>(&a, &b, "tight").await;
    let sending = tokio::spawn(async move {
        for n in 0..COUNT {
            producer.send(n).await.unwrap();
        }
        producer
    });
    within(30, async {
        for n in 0..COUNT {
            assert_eq!(consumer.recv().await, Some(n));
        }
    })
    .await;
    let producer = sending.await.unwrap();
    let sent = producer.consumers().next().unwrap().stats().datums();
    assert_eq!(sent as u64, COUNT);
    assert_eq!(consumer.stats().datums(), sent);
    let channel = consumer.producers().next().unwrap();
    assert_eq!(channel.stats().bytes(), consumer.stats().bytes());
}

/// Regression: with a slow reader, most of these were lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_that_keeps_reading_loses_nothing() {
    const COUNT: usize = 3_000;
    let (a, b) = pair().await;
    let producer = a.streams().producer::<Vec<u8>>().with_buffer_size(8);
    let mut producer = producer.with_stream_id("slow").build().unwrap();
    let consumer = b.streams().consumer::<Vec<u8>>().with_stream_id("slow");
    let mut consumer = consumer.with_receive_buffer_bytes(64 * 1024).build();
    within(5, producer.when().online()).await;
    let sending = tokio::spawn(async move {
        for n in 0..COUNT {
            producer
                .send(vec![u8::try_from(n % 256).unwrap(); 16 * 1024])
                .await
                .unwrap();
        }
        producer
    });
    within(60, async {
        for n in 0..COUNT {
            let datum = consumer.recv().await.unwrap();
            assert_eq!(usize::from(datum[0]), n % 256);
            if n % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    let producer = sending.await.unwrap();
    assert!(producer.is_online(), "nobody was cut");
    assert_eq!(consumer.try_recv(), Err(TryRecvError::Empty));
}

/// Regression: the waker of a send begun offline was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_send_begun_offline_completes_by_itself() {
    let (a, b) = pair().await;
    let mut producer = a.streams().produce::<String>();
    assert_eq!(
        producer.try_send("no".into()),
        Err(producer::Error::Offline("no".into()))
    );
    assert!(producer.flush().now_or_never().unwrap().is_ok());
    let sending = tokio::spawn(async move {
        producer.send("yes".to_owned()).await.unwrap();
        producer
    });
    tokio::task::yield_now().await;
    assert!(!sending.is_finished());
    let mut consumer = b.streams().consume::<String>();
    assert_eq!(within(5, consumer.recv()).await.as_deref(), Some("yes"));
    within(1, sending).await.unwrap();
}

/// Regression: a reservation asked for a second slot, so that with one slot every send failed.
#[tokio::test(flavor = "multi_thread")]
async fn one_slot_is_enough_for_many_handles() {
    let (a, b) = pair().await;
    let producer = a.streams().producer::<(u8, u32)>().with_buffer_size(1);
    let producer = producer.with_stream_id("one slot").build().unwrap();
    let consumer = b
        .streams()
        .consumer::<(u8, u32)>()
        .with_stream_id("one slot");
    let mut consumer = consumer.build();
    within(5, producer.when().online()).await;
    for handle in 0..4 {
        let mut producer = producer.clone();
        tokio::spawn(async move {
            let datums = stream::iter((0..500).map(|n| Ok((handle, n))));
            producer.send_all(&mut { datums }).await.unwrap();
        });
    }
    let mut next = [0; 4];
    within(30, async {
        for _ in 0..2000 {
            let (handle, n) = consumer.next().await.unwrap();
            assert_eq!(n, next[usize::from(handle)], "each handle keeps its order");
            next[usize::from(handle)] += 1;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_is_given_back_when_its_handle_is_dropped() {
    let a = node(random_network()).await;
    let builder = a.streams().producer::<u8>().with_buffer_size(1);
    let mut one = builder.online_when(|c| c.minimum_of(0)).build().unwrap();
    assert!(one.is_online());
    let mut two = one.clone();
    futures::future::poll_fn(|cx| one.poll_ready_unpin(cx))
        .await
        .unwrap();
    assert_eq!(two.try_send(1), Err(producer::Error::Full(1)));
    assert!(two.send(1).now_or_never().is_none());
    drop(one);
    within(1, two.send(1)).await.unwrap();

    two.close().await.unwrap();
    assert_eq!(two.try_send(1), Err(producer::Error::Closed(Some(1))));
    assert_eq!(two.send(1).await, Err(producer::Error::Closed(None)));
    let mut three = two.clone();
    three.send(1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn datums_that_nobody_selected_go_to_the_undelivered_sink() {
    let (a, b) = pair().await;
    let (sink, mut undelivered) = mpsc::unbounded_channel();
    let builder = a
        .streams()
        .producer::<u32>()
        .online_when(|c| c.minimum_of(0));
    let mut producer = builder.with_undelivered_sink(sink).build().unwrap();
    producer.send(1).await.unwrap();
    a.streams().produce::<u32>().try_send(2).unwrap();
    assert_eq!(
        (undelivered.try_recv(), undelivered.try_recv()),
        (Ok(1), Ok(2))
    );
    let mut consumer = b.streams().consume::<u32>();
    within(5, producer.when().subscribed()).await;
    producer.send(3).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(3));
    assert!(undelivered.try_recv().is_err());
    drop((consumer, undelivered));
    within(2, producer.when().unsubscribed()).await;
    producer.send(4).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datum_above_the_limit_comes_back_and_nothing_is_sent() {
    let id = random_network();
    let small = || {
        let streams = streams::Config::builder().with_max_datum_bytes(1000);
        builder(id, mosaik::discovery::Config::builder()).with_streams(streams)
    };
    let (a, b) = (
        small().build().await.unwrap(),
        small().build().await.unwrap(),
    );
    within(5, a.discovery().sync_with(b.local().addr()))
        .await
        .unwrap();
    let (mut producer, mut consumer) = connected::<Vec<u8>>(&a, &b, "limit").await;
    let error = producer.send(vec![0; 999]).await.unwrap_err();
    assert!(matches!(error, producer::Error::Encoding(ref d, _) if d.len() == 999));
    producer.send(vec![1; 998]).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(vec![1; 998]));
    assert!(producer.is_online());
}

/// Neither `Clone` nor `Sync` nor serde.
struct Line(String, std::cell::Cell<u8>);

impl Line {
    fn new(text: &str) -> Self {
        Self(text.into(), std::cell::Cell::new(0))
    }
}

#[derive(Debug)]
struct Unprintable;

impl fmt::Display for Unprintable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unprintable")
    }
}

impl std::error::Error for Unprintable {}

impl Datum for Line {
    type EncodeError = Unprintable;
    type DecodeError = FromUtf8Error;

    fn encode(&self) -> Result<Bytes, Unprintable> {
        assert!(self.0 != "panic", "a panic in the user's code");
        match self.0.as_str() {
            "bad" => Err(Unprintable),
            text => Ok(Bytes::copy_from_slice(text.as_bytes())),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, FromUtf8Error> {
        String::from_utf8(bytes.to_vec()).map(|text| Self::new(&text))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_written_datum_keeps_its_own_encoding() {
    let (a, b) = pair().await;
    let producer = a.streams().producer::<Line>().with_buffer_size(1).build();
    let mut producer = producer.unwrap();
    let mut consumer = b.streams().consume::<Line>();
    within(5, producer.when().online()).await;
    for text in ["one", "", "three"] {
        assert!(within(5, producer.send(Line::new(text))).await.is_ok());
    }
    for text in ["one", "", "three"] {
        assert_eq!(within(1, consumer.recv()).await.unwrap().0, text);
    }
    assert_eq!(consumer.stats().bytes(), 8);
    for _ in 0..3 {
        let sent = within(5, producer.send(Line::new("bad"))).await;
        assert!(matches!(&sent, Err(producer::Error::Encoding(line, _)) if line.0 == "bad"));
        let panics = std::panic::AssertUnwindSafe(producer.send(Line::new("panic")));
        assert!(within(5, panics.catch_unwind()).await.is_err());
    }
    let sent = within(5, producer.send(Line::new("the slot was given back"))).await;
    assert!(sent.is_ok());
    assert!(within(1, consumer.recv()).await.is_some());
}

#[derive(Debug, PartialEq)]
struct Nothing;

impl Datum for Nothing {
    type EncodeError = Infallible;
    type DecodeError = Infallible;

    fn encode(&self) -> Result<Bytes, Infallible> {
        Ok(Bytes::new())
    }

    fn decode(_: &[u8]) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_loop_that_never_waits_lets_others_run() {
    let (a, b) = pair().await;
    let (mut producer, mut consumer) = connected::<Nothing>(&a, &b, "nothing").await;
    let sending = tokio::spawn(async move {
        loop {
            producer.send(Nothing).await.unwrap();
        }
    });
    for _ in 0..10_000 {
        assert_eq!(within(5, consumer.recv()).await, Some(Nothing));
    }
    sending.abort();
    assert_eq!(consumer.stats().bytes(), 0);
}
