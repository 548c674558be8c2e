//! Producers and consumers that vanish in the middle of a stream, and come back.

use std::time::Duration;

use futures::SinkExt;
use mosaik::{
    Network, PeerId,
    streams::{
        Consumer, Producer,
        status::{ChannelInfo, State},
    },
};
use mosaik_sim::{Conditions, Fleet, bound, timed};
use tokio::{task::JoinSet, time::timeout};

use crate::support::PATIENCE;

/// Timeout for noticing a peer that vanished silently.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// Timeout for one that comes back to be served, or to serve.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// The run of the producer, and a number that counts what it has sent.
type Numbered = (u32, u64);

/// Datum that a consumer has received last.
#[derive(Default)]
struct Order(Option<Numbered>);

impl Order {
    /// Takes what must be the next one in a row.
    fn next(&mut self, datum: Numbered) {
        if let Some((run, number)) = self.0 {
            assert_eq!(datum, (run, number + 1));
        }
        self.0 = Some(datum);
    }

    /// Takes the first one after a gap.
    fn resume(&mut self, datum: Numbered) {
        assert!(self.0 < Some(datum), "{datum:?} after {:?}", self.0);
        self.0 = Some(datum);
    }

    /// Receives this many in a row.
    async fn receive(&mut self, consumer: &mut Consumer<Numbered>, count: usize) {
        for _ in 0..count {
            let datum = timeout(bound(PATIENCE), consumer.recv()).await.unwrap();
            self.next(datum.unwrap());
        }
    }
}

/// Sends numbers, about a thousand a second, until the second half is dropped.
fn send(node: &Network, run: u32) -> (Producer<Numbered>, JoinSet<()>) {
    let producer = node.streams().produce::<Numbered>();
    let mut sender = producer.clone();
    let mut sending = JoinSet::new();
    sending.spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        for number in 0.. {
            pace.tick().await;
            if sender.send((run, number)).await.is_err() {
                return;
            }
        }
    });
    (producer, sending)
}

async fn until(channel: &ChannelInfo, state: State) -> Duration {
    let mut states = channel.state_watcher().clone();
    let reached = timeout(bound(PATIENCE), states.wait_for(|s| *s == state));
    let (took, reached) = timed(async { reached.await.map(drop) }).await;
    reached.unwrap_or_else(|_| panic!("not {state:?} but {:?}", channel.state()));
    took
}

/// The subscription of a peer.
fn of(producer: &Producer<Numbered>, peer: PeerId) -> Option<ChannelInfo> {
    producer.consumers().find(|c| *c.consumer_id() == peer)
}

/// Moment at which a producer that crashed is started again.
#[derive(Clone, Copy, PartialEq)]
enum Again {
    AtOnce,
    WhenNoticed,
    WhenForgotten,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_crashed_is_found_again_while_it_is_still_thought_to_run() {
    producer_comes_back(61, Again::AtOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_crashed_is_found_again_while_it_is_missed() {
    producer_comes_back(62, Again::WhenNoticed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_crashed_is_found_again_when_it_is_forgotten() {
    producer_comes_back(63, Again::WhenForgotten).await;
}

async fn producer_comes_back(seed: u64, when: Again) {
    let fleet = Fleet::new(seed, Conditions::default());
    let home = fleet.start(0, &[]).await.unwrap();
    let mut consumer = home.streams().consume::<Numbered>();
    let first = fleet.start(1, &[0]).await.unwrap();
    let (_producer, sending) = send(&first, 0);
    let mut order = Order::default();
    order.receive(&mut consumer, 200).await;
    assert_eq!(order.0, Some((0, 199)), "from the first on");
    let channel = consumer.producers().next().unwrap();

    fleet.hub().crash(fleet.id(1));
    if when != Again::AtOnce {
        let noticed = until(&channel, State::Connecting).await;
        eprintln!("noticed after {noticed:?}");
        assert!(noticed < bound(GONE_WITHIN));
        assert!(!consumer.when().subscribed().is_condition_met());
        while let Ok(datum) = consumer.try_recv() {
            order.next(datum);
        }
    }
    if when == Again::WhenForgotten {
        until(&channel, State::Terminated).await;
        timeout(bound(PATIENCE), async {
            let mut catalogs = home.discovery().catalog_watch();
            let gone = catalogs.wait_for(|catalog| catalog.get(&fleet.id(1)).is_none());
            gone.await.map(drop)
        })
        .await
        .unwrap()
        .unwrap();
    }
    drop(sending);

    let second = fleet.start(1, &[0]).await.unwrap();
    let (producer, sending) = send(&second, 1);
    let (back, datum) = timed(async {
        loop {
            let datum = timeout(bound(PATIENCE), consumer.recv())
                .await
                .unwrap()
                .unwrap();
            if datum.0 == 1 {
                return datum;
            }
            order.next(datum);
        }
    })
    .await;
    eprintln!("back after {back:?}");
    let limit = if when == Again::AtOnce {
        bound(GONE_WITHIN)
    } else {
        bound(BACK_WITHIN)
    };
    assert!(back < limit, "{back:?}");
    order.resume(datum);
    assert_eq!(datum, (1, 0), "it waits for a consumer");
    order.receive(&mut consumer, 200).await;
    assert_eq!(consumer.producers().count(), 1);
    assert_eq!(producer.consumers().count(), 1);
    drop(sending);
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_crashed_is_put_out_and_let_in_again_and_another_misses_nothing() {
    let fleet = Fleet::new(64, Conditions::default());
    let home = fleet.start(0, &[]).await.unwrap();
    let stays = fleet.start(1, &[0]).await.unwrap();
    let first = fleet.start(2, &[0]).await.unwrap();
    let mut staying = stays.streams().consume::<Numbered>();
    let mut vanishing = first.streams().consume::<Numbered>();
    let (producer, sending) = send(&home, 0);
    let both = producer.when().subscribed().minimum_of(2);
    timeout(bound(PATIENCE), both).await.unwrap();
    let (mut all, mut some) = (Order::default(), Order::default());
    all.receive(&mut staying, 200).await;
    some.receive(&mut vanishing, 200).await;
    let id = fleet.id(2);
    let channel = of(&producer, id).unwrap();

    fleet.hub().crash(id);
    let (gone, ()) = timed(async {
        tokio::select! {
            () = channel.disconnected() => {}
            () = all.receive(&mut staying, usize::MAX) => unreachable!(),
        }
    })
    .await;
    eprintln!("gone after {gone:?}");
    assert!(gone < bound(GONE_WITHIN));
    assert_eq!(channel.state(), State::Terminated);
    assert!(of(&producer, id).is_none());
    // The crashed one sees that as well, if it lives on somewhere.
    let own = vanishing.producers().next();
    while let Ok(datum) = vanishing.try_recv() {
        some.next(datum);
    }
    if let Some(own) = own {
        until(&own, State::Connecting).await;
    }

    let second = fleet.start(2, &[0]).await.unwrap();
    let mut again = second.streams().consume::<Numbered>();
    let (back, datum) = timed(async {
        tokio::select! {
            datum = again.recv() => datum.unwrap(),
            () = all.receive(&mut staying, usize::MAX) => unreachable!(),
        }
    })
    .await;
    eprintln!("back after {back:?}");
    assert!(back < bound(BACK_WITHIN), "{back:?}");
    some.resume(datum);
    some.receive(&mut again, 200).await;
    all.receive(&mut staying, 200).await;
    assert_eq!(producer.consumers().count(), 2);
    drop(sending);
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_was_paused_for_long_goes_on_where_it_is() {
    a_pause_ends(65, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_paused_for_long_goes_on_where_the_producer_is() {
    a_pause_ends(66, 0).await;
}

/// Neither side is started anew: what was sent meanwhile is lost, nothing comes twice.
async fn a_pause_ends(seed: u64, paused: usize) {
    let fleet = Fleet::new(seed, Conditions::default());
    let home = fleet.start(0, &[]).await.unwrap();
    let mut consumer = home.streams().consume::<Numbered>();
    let other = fleet.start(1, &[0]).await.unwrap();
    let (producer, sending) = send(&other, 0);
    let mut order = Order::default();
    order.receive(&mut consumer, 200).await;
    let channel = consumer.producers().next().unwrap();

    fleet.hub().pause(fleet.id(paused));
    let noticed = until(&channel, State::Connecting).await;
    eprintln!("noticed after {noticed:?}");
    assert!(noticed < bound(GONE_WITHIN));
    timeout(bound(GONE_WITHIN), producer.when().offline())
        .await
        .unwrap();
    while let Ok(datum) = consumer.try_recv() {
        order.next(datum);
    }
    fleet.hub().resume(fleet.id(paused));
    let (back, datum) = timed(timeout(bound(PATIENCE), consumer.recv())).await;
    eprintln!("back after {back:?}");
    order.resume(datum.unwrap().unwrap());
    assert!(back < bound(GONE_WITHIN), "{back:?}");
    order.receive(&mut consumer, 200).await;
    assert_eq!(consumer.producers().count(), 1);
    assert_eq!(producer.consumers().count(), 1);
    drop(sending);
}
