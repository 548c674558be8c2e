//! Treatment of consumers that don't keep up.

use std::time::{Duration, Instant};

use futures::SinkExt;
use mosaik::{
    Network,
    discovery::PeerEntry,
    streams::{Consumer, Producer, consumer::Event, producer::LagPolicy},
};
use tokio::{task::JoinHandle, time::timeout};

use super::{joined, pair};
use crate::support::{
    bound,
    intruder::{Intruder, STREAMS_ALPN, frame, say},
    metrics::{count, counted},
    node, random_network, within,
};

const DATUM_BYTES: usize = 64 * 1024;
const BUFFER: usize = 8;

/// One that is read, and one that is not, of a producer with this policy.
struct Race {
    nodes: [Network; 3],
    producer: Producer<Vec<u8>>,
    fast: Consumer<Vec<u8>>,
    stuck: Consumer<Vec<u8>>,
}

impl Race {
    async fn start(policy: LagPolicy) -> Self {
        count();
        let id = random_network();
        let a = node(id).await;
        let nodes = [joined(id, &a).await, joined(id, &a).await, a];
        let producer = nodes[2]
            .streams()
            .producer::<Vec<u8>>()
            .with_lag_policy(policy);
        let producer = producer.with_buffer_size(BUFFER).build().unwrap();
        let consume = |node: &Network| {
            let consumer = node.streams().consumer::<Vec<u8>>();
            consumer.with_receive_buffer_bytes(DATUM_BYTES).build()
        };
        let (fast, stuck) = (consume(&nodes[0]), consume(&nodes[1]));
        within(5, producer.when().subscribed().minimum_of(2)).await;
        Self {
            nodes,
            producer,
            fast,
            stuck,
        }
    }

    fn counted(&self, name: &str, reason: Option<&str>) -> u64 {
        let name = format!("mosaik.streams.producer.{name}");
        counted(self.nodes[0].network_id(), &name, reason)
    }

    fn stuck_on(&self) -> mosaik::streams::status::ChannelInfo {
        let stuck = self.nodes[1].local().id();
        self.producer
            .consumers()
            .find(|channel| *channel.consumer_id() == stuck)
            .unwrap()
    }
}

/// Sends numbered datums without end.
fn send_all(mut producer: Producer<Vec<u8>>) -> JoinHandle<()> {
    tokio::spawn(async move {
        for n in 0_u64.. {
            let mut datum = vec![0; DATUM_BYTES];
            datum[..8].copy_from_slice(&n.to_le_bytes());
            if producer.send(datum).await.is_err() {
                return;
            }
        }
    })
}

fn number(datum: &[u8]) -> u64 {
    u64::from_le_bytes(datum[..8].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_consumer_is_cut_and_the_others_lose_nothing() {
    let mut race = Race::start(LagPolicy::Disconnect).await;
    assert!(race.producer.config().disconnect_lagging);
    let channel = race.stuck_on();
    let sending = send_all(race.producer.clone());
    let cut = channel.disconnected();
    tokio::pin!(cut);
    let mut next = 0;
    within(20, async {
        loop {
            tokio::select! {
                () = &mut cut => break,
                datum = race.fast.recv() => {
                    assert_eq!(number(&datum.unwrap()), next);
                    next += 1;
                }
            }
        }
    })
    .await;
    for _ in 0..500 {
        let datum = within(5, race.fast.recv()).await.unwrap();
        assert_eq!(number(&datum), next);
        next += 1;
    }
    sending.abort();
    assert!(race.counted("consumers.cut", Some("too_slow")) >= 1);
    assert_eq!(race.counted("items.dropped", None), 0);
    // It tries again once it has room: TooSlow is no verdict for ever.
    let back = race.producer.when().subscribed().minimum_of(2);
    let catching_up = async { while race.stuck.recv().await.is_some() {} };
    tokio::select! {
        () = within(10, back) => {}
        () = catching_up => unreachable!("its network lives"),
    }
}

/// Regression: one that reads nothing subscribed again and again, held up the others for a second
/// each time, and kept all that it was sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_does_not_read_is_cut_once_and_keeps_little() {
    let mut race = Race::start(LagPolicy::Disconnect).await;
    let sending = send_all(race.producer.clone());
    let is_cut = race.stuck_on();
    let is_cut = is_cut.disconnected();
    tokio::pin!(is_cut);
    within(10, async {
        loop {
            tokio::select! {
                () = &mut is_cut => return,
                datum = race.fast.recv() => drop(datum.unwrap()),
            }
        }
    })
    .await;
    // A second and a half would do for the next cut.
    let read = async { while race.fast.recv().await.is_some() {} };
    assert!(timeout(Duration::from_secs(4), read).await.is_err());
    sending.abort();
    assert_eq!(race.counted("consumers.cut", Some("too_slow")), 1);
    let channel = race.stuck.producers().next().unwrap();
    let held = channel.stats().bytes() - race.stuck.stats().bytes();
    assert!(held <= 2 * DATUM_BYTES, "{held} bytes");
    assert!(!channel.is_connected(), "it has no room");
}

/// Regression: any progress, be it as small as can be, gave it another second, for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_takes_a_little_does_not_hold_up_others() {
    count();
    let id = random_network();
    let a = node(id).await;
    let (b, c) = (joined(id, &a).await, joined(id, &a).await);
    let producer = a.streams().produce::<Vec<u8>>();
    let mut fast = b.streams().consume::<Vec<u8>>();
    let slow = c.streams().consumer::<Vec<u8>>();
    let mut slow = slow.with_receive_buffer_bytes(64 * 1024).build();
    within(5, producer.when().subscribed().minimum_of(2)).await;
    let mut sender = producer.clone();
    let sending = tokio::spawn(async move { while sender.send(vec![0; 1024]).await.is_ok() {} });
    let taking = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        loop {
            pace.tick().await;
            slow.recv().await;
        }
    });
    let cut = "mosaik.streams.producer.consumers.cut";
    // At the pace of the slow one a few hundred would arrive in this time.
    within(4, async {
        while counted(&id, cut, Some("too_slow")) == 0 {
            for _ in 0..50 {
                fast.recv().await.unwrap();
            }
        }
        for _ in 0..10_000 {
            fast.recv().await.unwrap();
        }
    })
    .await;
    taking.abort();
    sending.abort();
}

/// Regression: such a one was taken for dead every ten seconds, and lost its backlog. That time is
/// what the test takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_consumer_that_takes_slowly_is_never_cut() {
    let (a, b) = pair().await;
    let mut producer = a.streams().produce::<Vec<u8>>();
    let consumer = b.streams().consumer::<Vec<u8>>();
    let mut consumer = consumer.with_receive_buffer_bytes(64 * 1024).build();
    within(5, producer.when().online()).await;
    let channel = producer.consumers().next().unwrap();
    let sending = tokio::spawn(async move {
        for n in 0_u64.. {
            let mut datum = vec![0; 1024];
            datum[..8].copy_from_slice(&n.to_le_bytes());
            if producer.send(datum).await.is_err() {
                return;
            }
        }
    });
    let mut pace = tokio::time::interval(Duration::from_millis(400));
    let mut next = 0;
    while next < 32 {
        pace.tick().await;
        assert_eq!(number(&within(5, consumer.recv()).await.unwrap()), next);
        next += 1;
    }
    assert!(channel.is_connected());
    while next < 3000 {
        assert_eq!(number(&within(5, consumer.recv()).await.unwrap()), next);
        next += 1;
    }
    sending.abort();
}

/// Regression: one that paused for longer than ten seconds was cut whatever the policy said. That
/// time is what the test takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_pauses_is_cut_neither_under_wait_nor_under_drop() {
    let pause = Duration::from_secs(12);
    let pausing = [LagPolicy::Wait, LagPolicy::Drop].map(|policy| async move {
        let (a, b) = pair().await;
        let producer = a.streams().producer::<Vec<u8>>().with_lag_policy(policy);
        let producer = producer.with_buffer_size(BUFFER).build().unwrap();
        let consumer = b.streams().consumer::<Vec<u8>>();
        let mut consumer = consumer.with_receive_buffer_bytes(DATUM_BYTES).build();
        let mut events = consumer.events();
        within(5, producer.when().online()).await;
        let channel = producer.consumers().next().unwrap();
        let sending = send_all(producer.clone());
        let cut = timeout(pause, channel.disconnected()).await;
        assert!(cut.is_err(), "{policy:?}");
        let (mut next, mut lost) = (0, 0);
        while next < 500 {
            let number = number(&within(5, consumer.recv()).await.unwrap());
            assert!(number >= next);
            lost += number - next;
            next = number + 1;
        }
        sending.abort();
        assert!(channel.is_connected());
        assert_eq!(lost > 0, policy == LagPolicy::Drop);
        let mut told = 0;
        while let Ok(Event::Lagged { lost, .. }) = events.try_recv() {
            told += lost.unwrap();
        }
        assert_eq!(told, lost, "{policy:?}");
        drop(b);
    });
    futures::future::join_all(pausing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datums_of_a_lagging_consumer_are_dropped_until_it_has_room() {
    let mut race = Race::start(LagPolicy::Drop).await;
    assert!(!race.producer.config().disconnect_lagging);
    let sending = send_all(race.producer.clone());
    for n in 0..2000 {
        let datum = within(20, race.fast.recv()).await.unwrap();
        assert_eq!(number(&datum), n, "the others go on and lose nothing");
    }
    assert!(race.stuck_on().is_connected());
    let mut last = number(&within(5, race.stuck.recv()).await.unwrap());
    let mut gaps = 0;
    within(20, async {
        // The fast one must be read as well: it is nobody's turn to wait now.
        while gaps == 0 {
            tokio::select! {
                _ = race.fast.recv() => {}
                datum = race.stuck.recv() => {
                    let number = number(&datum.unwrap());
                    assert!(number > last, "in order and at most once");
                    gaps += number - last - 1;
                    last = number;
                }
            }
        }
    })
    .await;
    assert!(gaps > 100, "{gaps}");
    assert!(race.counted("items.dropped", None) >= gaps);
    assert_eq!(race.counted("consumers.cut", None), 0);
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_producer_waits_for_a_lagging_consumer_if_it_is_told_to() {
    let mut race = Race::start(LagPolicy::Wait).await;
    let sending = send_all(race.producer.clone());
    let mut received = 0;
    // Everything that fits on the way to the stuck one.
    while let Ok(datum) = timeout(bound(1), race.fast.recv()).await {
        assert_eq!(number(&datum.unwrap()), received);
        received += 1;
    }
    assert!(received < 1000, "nothing goes on without the stuck one");
    assert!(race.stuck_on().is_connected());
    within(20, async {
        for n in 0..2 * received {
            tokio::select! {
                biased;
                datum = race.stuck.recv() => assert_eq!(number(&datum.unwrap()), n),
            }
            let _ = race.fast.try_recv();
        }
    })
    .await;
    sending.abort();
}

/// Regression: nothing bounded the queue of an application that does not read, and its producer
/// never noticed.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_consumer_that_does_not_read_holds_its_producer_and_is_dead_after_ten_seconds() {
    count();
    let (a, b) = pair().await;
    let mut producer = a
        .streams()
        .producer::<Vec<u8>>()
        .with_buffer_size(BUFFER)
        .build()
        .unwrap();
    let consumer = b
        .streams()
        .consumer::<Vec<u8>>()
        .with_receive_buffer_bytes(1);
    let mut consumer = consumer.build();
    within(5, producer.when().online()).await;
    let channel = producer.consumers().next().unwrap();
    let started = Instant::now();
    within(8, async {
        let second = Duration::from_secs(1);
        // The last one finds no room.
        while let Ok(sent) = timeout(second, producer.send(vec![0; DATUM_BYTES])).await {
            sent.unwrap();
        }
    })
    .await;
    let sent = channel.stats().datums();
    assert!(sent < 200, "{sent} datums of 64 KiB are on their way");
    assert!(channel.is_connected(), "alone it lags nobody");
    within(14, channel.disconnected()).await;
    assert!(started.elapsed() > Duration::from_secs(8));
    let cut = "mosaik.streams.producer.consumers.cut";
    assert_eq!(counted(a.network_id(), cut, Some("too_slow")), 1);
    // What had arrived can still be taken.
    assert!(within(1, consumer.recv()).await.is_some());
}

/// Regression: senders stopped at half a mebibyte, whatever buffer was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn the_buffer_is_as_large_as_it_was_asked_for_in_datums_and_in_bytes() {
    const COUNT: usize = 2000;
    const SMALL: usize = 10 * 1024;
    let (a, b) = pair().await;
    let producer = |buffer_bytes| {
        let producer = a.streams().producer::<Vec<u8>>().with_buffer_size(COUNT);
        let producer = producer.with_buffer_bytes(buffer_bytes);
        let stream = format!("{buffer_bytes}");
        let consumer = b.streams().consumer::<Vec<u8>>();
        let consumer = consumer.with_stream_id(stream.as_str());
        let consumer = consumer.with_receive_buffer_bytes(1).build();
        (
            producer.with_stream_id(stream.as_str()).build().unwrap(),
            consumer,
        )
    };
    let (mut roomy, _unread) = producer(2 * COUNT * SMALL);
    within(5, roomy.when().online()).await;
    for _ in 0..COUNT {
        within(2, roomy.send(vec![0; SMALL])).await.unwrap();
    }
    let (tight, _unread) = producer(10 * SMALL);
    within(5, tight.when().online()).await;
    let accepted = (0..COUNT).take_while(|_| tight.try_send(vec![0; SMALL]).is_ok());
    let accepted = accepted.count();
    assert!((10..40).contains(&accepted), "{accepted}");
}

/// Regression: with one large datum the backlog was full, and a consumer that took longer for one
/// than another was cut in the middle, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_datum_may_take_longer_to_one_than_to_another() {
    const LARGE: usize = 2 << 20;
    const STEP: usize = 64 * 1024;
    let id = random_network();
    let a = node(id).await;
    let b = joined(id, &a).await;
    let stream = mosaik::StreamId::from("large");
    let producer = a.streams().producer::<Vec<u8>>().with_stream_id(stream);
    let mut producer = producer.build().unwrap();
    let consumer = b.streams().consumer::<Vec<u8>>().with_stream_id(stream);
    let mut consumer = consumer.build();
    let distant = Intruder::with_window(STEP as u32).await;
    let entry = PeerEntry::new(id, distant.addr());
    assert!(a.discovery().feed(entry.sign(&distant.secret).unwrap()));
    let connection = distant.join(&a, STREAMS_ALPN).await;
    let request = frame(&(stream, mosaik::Criteria {}, u64::MAX, None::<String>));
    let (_send, mut recv) = say(&connection, &request).await;
    within(5, producer.when().subscribed().minimum_of(2)).await;
    let distant = producer
        .consumers()
        .find(|channel| *channel.consumer_id() != b.local().id())
        .unwrap();
    for _ in 0..2 {
        within(5, producer.send(vec![7; LARGE])).await.unwrap();
    }
    let mut received = 0;
    let mut part = vec![0; STEP];
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while received < 2 * LARGE {
        pace.tick().await;
        received += within(5, recv.read(&mut part)).await.unwrap().unwrap();
    }
    assert!(distant.is_connected());
    for _ in 0..2 {
        assert!(within(5, consumer.recv()).await.is_some());
    }
}
