//! Peers that don't play by the rules.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures::SinkExt;
use mosaik::{
    Network, NetworkId, StreamId,
    discovery::PeerEntry,
    id,
    iroh::endpoint::{Connection, RecvStream, SendStream},
    streams::{consumer::Event, status::State},
};

use super::{connected, deserted, pair};
use crate::support::{
    intruder::{Intruder, PING_ALPN, STREAMS_ALPN, end_of, frame, say},
    metrics::{count, counted},
    node, random_network, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_harms_nobody() {
    let (a, b) = pair().await;
    let (mut producer, mut consumer) = connected::<u64>(&a, &b, "garbage").await;
    for garbage in [&[0xff; 4096][..], &[0; 4096], b"GET / HTTP/1.1\r\n\r\n"] {
        let stranger = Intruder::new().await;
        let connection = stranger.connect(&a, STREAMS_ALPN).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        // May fail when it is refused before it is complete.
        let _ = send.write_all(garbage).await;
        let _ = send.finish();
        within(10, connection.closed()).await;
    }
    producer.send(1).await.unwrap();
    assert_eq!(within(1, consumer.recv()).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_says_nothing_is_not_waited_for() {
    let a = node(random_network()).await;
    let stranger = Intruder::new().await;
    let connection = stranger.connect(&a, STREAMS_ALPN).await;
    within(10, connection.closed()).await;
}

/// The schema of a stream changed in one program only.
#[tokio::test(flavor = "multi_thread")]
async fn datums_of_another_type_are_left_out_and_told_of() {
    let (a, b) = pair().await;
    let producer = a
        .streams()
        .producer::<u64>()
        .with_stream_id("typed")
        .build();
    let mut producer = producer.unwrap();
    let mut mistaken = b
        .streams()
        .consumer::<(String, String)>()
        .with_stream_id("typed")
        .build();
    let mut events = mistaken.events();
    within(5, producer.when().online()).await;
    let channel = mistaken.producers().next().unwrap();
    producer.send(u64::MAX).await.unwrap();
    let event = within(2, events.recv()).await.unwrap();
    assert!(matches!(event, Event::Undecodable { producer, .. } if producer == a.local().id()));
    assert!(channel.is_connected() && producer.is_online());
    assert!(mistaken.try_recv().is_err());

    let mut right = b
        .streams()
        .consumer::<u64>()
        .with_stream_id("typed")
        .build();
    within(5, producer.when().subscribed().minimum_of(2)).await;
    within(5, producer.send(5)).await.unwrap();
    assert_eq!(within(2, right.recv()).await, Some(5));
}

const STREAM: StreamId = id!("hostile/stream");
/// The least that a consumer gives.
const CREDIT: usize = 64 * 1024;

/// Admission by a producer that is written by hand: its run, and a position.
fn accepted() -> Vec<u8> {
    frame(&(1u64, 0u64))
}

/// A node that consumes, and a producer by hand that it knows.
async fn with_producer_by_hand() -> (NetworkId, Network, Intruder) {
    count();
    let id = random_network();
    let b = node(id).await;
    let intruder = Intruder::new().await;
    let entry = PeerEntry::new(id, intruder.addr()).add_streams(STREAM);
    assert!(b.discovery().feed(entry.sign(&intruder.secret).unwrap()));
    (id, b, intruder)
}

/// Answers pings, and returns the first subscription after its request.
async fn subscription(intruder: &Intruder, id: NetworkId) -> (SendStream, RecvStream) {
    let connection = connection(intruder, id).await;
    let link = subscription_on(&connection).await;
    tokio::spawn(async move {
        connection.closed().await;
    });
    link
}

/// The next subscription on a connection, after its request.
async fn subscription_on(connection: &Connection) -> (SendStream, RecvStream) {
    let (send, mut recv) = within(5, connection.accept_bi()).await.unwrap();
    let _request = within(5, message(&mut recv)).await;
    (send, recv)
}

/// Answers pings, and returns the first connection for streams.
async fn connection(intruder: &Intruder, id: NetworkId) -> Connection {
    let entry = PeerEntry::new(id, intruder.addr()).add_streams(STREAM);
    let pong = frame(&(0u8, entry.sign(&intruder.secret).unwrap()));
    loop {
        let connection = intruder.accept(&id).await;
        if connection.alpn() == STREAMS_ALPN {
            return connection;
        }
        let pong = pong.clone();
        tokio::spawn(async move {
            while let Ok((mut send, _recv)) = connection.accept_bi().await {
                if connection.alpn() == PING_ALPN {
                    let _ = send.write_all(&pong).await;
                }
                let _ = send.finish();
            }
        });
    }
}

async fn message(recv: &mut RecvStream) -> Vec<u8> {
    let mut len = [0; 4];
    recv.read_exact(&mut len).await.unwrap();
    let mut payload = vec![0; u32::from_le_bytes(len) as usize];
    recv.read_exact(&mut payload).await.unwrap();
    payload
}

fn overdrawn(id: &NetworkId) -> u64 {
    counted(id, "mosaik.network.links.violated", Some("overdrawn"))
}

/// Regression: nothing but the producer itself kept it to its credit, and the queue of a consumer
/// that doesn't read grew without limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_ignores_its_credit_is_cut() {
    const DATUM_BYTES: usize = 1000;
    let (id, b, intruder) = with_producer_by_hand().await;
    let consumer = b.streams().consumer::<Vec<u8>>().with_stream_id(STREAM);
    let mut consumer = consumer.with_receive_buffer_bytes(1).build();
    let (mut send, mut recv) = subscription(&intruder, id).await;
    let datum = frame(&vec![7u8; DATUM_BYTES]);
    let flood = datum.repeat(100);
    let flooding = async {
        send.write_all(&accepted()).await.unwrap();
        while send.write_all(&flood).await.is_ok() {}
    };
    within(10, flooding).await;
    assert_eq!(end_of(&mut recv).await, Some(400));
    assert_eq!(overdrawn(&id), 1);
    deserted(&consumer).await;
    let mut taken = 0;
    while let Ok(datum) = consumer.try_recv() {
        assert_eq!(datum.len(), DATUM_BYTES);
        taken += 1;
    }
    let allowed = (CREDIT + CREDIT) / datum.len() + 1;
    assert!((1..=allowed).contains(&taken), "{taken} of {allowed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_datum_of_any_size_may_overdraw_the_credit_but_no_second() {
    const LARGE: usize = 1 << 20;
    let (id, b, intruder) = with_producer_by_hand().await;
    let consumer = b.streams().consumer::<Vec<u8>>().with_stream_id(STREAM);
    let mut consumer = consumer.with_receive_buffer_bytes(1).build();
    let (mut send, mut recv) = subscription(&intruder, id).await;
    let datum = frame(&vec![7u8; LARGE]);
    send.write_all(&accepted()).await.unwrap();
    send.write_all(&datum).await.unwrap();
    assert_eq!(within(5, consumer.recv()).await.unwrap().len(), LARGE);
    let _credit = within(5, message(&mut recv)).await;
    send.write_all(&datum).await.unwrap();
    assert_eq!(within(5, consumer.recv()).await.unwrap().len(), LARGE);
    let _credit = within(5, message(&mut recv)).await;
    send.write_all(&datum).await.unwrap();
    assert_eq!(overdrawn(&id), 0);
    // May fail when it is refused before it is complete.
    let _ = send.write_all(&datum).await;
    assert_eq!(end_of(&mut recv).await, Some(400));
    assert_eq!(overdrawn(&id), 1);
    assert_eq!(within(5, consumer.recv()).await.unwrap().len(), LARGE);
    assert!(consumer.try_recv().is_err(), "three came through");
}

/// Regression: a stream that ended without a message was answered as a broken rule, or a cancelled
/// operation.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_in_place_of_a_message_is_answered_as_that_on_both_sides() {
    let (id, b, intruder) = with_producer_by_hand().await;
    let consumer = b.streams().consumer::<u8>().with_stream_id(STREAM).build();
    let (mut send, mut recv) = subscription(&intruder, id).await;
    let channel = consumer.producers().next().unwrap();
    send.write_all(&accepted()).await.unwrap();
    within(5, consumer.when().subscribed()).await;
    send.finish().unwrap();
    assert_eq!(end_of(&mut recv).await, Some(103));
    within(2, consumer.when().unsubscribed()).await;
    assert_eq!(channel.state(), State::Connecting, "it is tried again");

    let connection = intruder.join(&b, STREAMS_ALPN).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.finish().unwrap();
    assert_eq!(end_of(&mut recv).await, Some(103));
    let violated = counted(&id, "mosaik.network.links.violated", None);
    assert_eq!(violated, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missed_between_two_subscriptions_is_told() {
    let (id, b, intruder) = with_producer_by_hand().await;
    let consumer = b.streams().consumer::<u8>().with_stream_id(STREAM);
    let mut consumer = consumer.build();
    let mut events = consumer.events();
    let connection = connection(&intruder, id).await;
    // A run, a position there, and how many are sent before the link breaks off.
    let links = [(1u64, 100u64, 3u8), (1, 110, 0), (1, 110, 2), (2, 50, 1)];
    for (run, position, datums) in links {
        let (mut send, mut recv) = subscription_on(&connection).await;
        send.write_all(&frame(&(run, position))).await.unwrap();
        for n in 0..datums {
            send.write_all(&frame(&n)).await.unwrap();
            assert_eq!(within(5, consumer.recv()).await, Some(n));
        }
        within(5, consumer.when().subscribed()).await;
        send.finish().unwrap();
        assert_eq!(end_of(&mut recv).await, Some(103));
    }
    for lost in [Some(7), None] {
        let producer = intruder.id();
        let event = within(1, events.recv()).await.unwrap();
        assert_eq!(event, Event::Lagged { producer, lost });
    }
    assert!(events.try_recv().is_err());
    assert_eq!(consumer.stats().lost(), 7);
}

/// A record that tells of withheld datums, by hand.
fn skipped(datums: u64) -> Vec<u8> {
    let header = (1u32 << 31 | 12).to_le_bytes();
    [&header[..], &10_206u32.to_le_bytes(), &datums.to_le_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_lies_about_gaps_harms_nobody() {
    let (id, b, intruder) = with_producer_by_hand().await;
    let consumer = b.streams().consumer::<u8>().with_stream_id(STREAM);
    let mut consumer = consumer.build();
    let mut events = consumer.events();
    let (mut send, _recv) = subscription(&intruder, id).await;
    send.write_all(&frame(&(1u64, u64::MAX))).await.unwrap();
    send.write_all(&skipped(u64::MAX)).await.unwrap();
    send.write_all(&frame(&7u8)).await.unwrap();
    assert_eq!(within(5, consumer.recv()).await, Some(7));
    let Event::Lagged { lost, .. } = within(1, events.recv()).await.unwrap() else {
        panic!("a gap");
    };
    assert!(lost.unwrap() <= 1 << 48, "{lost:?}");
    assert_eq!(consumer.stats().lost(), lost.unwrap());
}

/// Regression: what changed between the verdict on a consumer and its place in the books was noticed
/// with the next change only.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_judged_again_once_it_is_in_the_books() {
    let id = random_network();
    let (a, intruder) = (node(id).await, Intruder::new().await);
    let entry = PeerEntry::new(id, intruder.addr());
    assert!(a.discovery().feed(entry.sign(&intruder.secret).unwrap()));
    let judged = AtomicBool::new(false);
    let producer = a.streams().producer::<u8>().with_stream_id(STREAM);
    let producer = producer.require(move |_| {
        let is_first = !judged.swap(true, Ordering::SeqCst);
        if is_first {
            // The first measurement is a change as well: it is over before the verdict.
            tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(100)));
        }
        is_first
    });
    let _producer = producer.build().unwrap();
    let connection = intruder.join(&a, STREAMS_ALPN).await;
    let request = frame(&(STREAM, (), CREDIT as u64, None::<String>));
    let (_send, mut recv) = say(&connection, &request).await;
    let mut record = [[0; 4]; 2];
    for word in &mut record {
        within(5, recv.read_exact(word)).await.unwrap();
    }
    let [header, code] = record.map(u32::from_le_bytes);
    assert_ne!(header & (1 << 31), 0, "it is accepted");
    assert_eq!(code, 10_403);
}
