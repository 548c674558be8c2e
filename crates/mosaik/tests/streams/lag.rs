//! What happens to consumers that don't keep up.

use std::time::{Duration, Instant};

use futures::SinkExt;
use mosaik::{
    Network,
    streams::{Consumer, Producer, producer::LagPolicy},
};
use tokio::{task::JoinHandle, time::timeout};

use super::{joined, pair};
use crate::support::{
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
    // It tries again: TooSlow is no verdict for ever.
    within(10, race.producer.when().subscribed().minimum_of(2)).await;
    drop(race.stuck);
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
    while let Ok(datum) = tokio::time::timeout(Duration::from_secs(3), race.fast.recv()).await {
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
