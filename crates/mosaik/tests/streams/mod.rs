mod admission;
mod conditions;
mod declared;
mod delivery;
mod events;
mod formation;
mod hostile;
mod lag;
mod lifetime;
mod metrics;

use mosaik::{Datum, Network, NetworkId, StreamId, streams::Consumer, streams::Producer};

use crate::support::{eventually, node, node_at, random_network, within};

/// Two nodes that know each other.
async fn pair() -> (Network, Network) {
    let id = random_network();
    let a = node(id).await;
    let b = joined(id, &a).await;
    (a, b)
}

/// Another node of a network, known to the first one.
async fn joined(id: NetworkId, first: &Network) -> Network {
    let node = node_at(id, first.local().addr()).await;
    within(5, node.discovery().sync_with(first.local().addr()))
        .await
        .unwrap();
    node
}

/// A producer and a consumer that are connected.
async fn connected<D: Datum>(
    a: &Network,
    b: &Network,
    stream: impl Into<StreamId>,
) -> (Producer<D>, Consumer<D>) {
    let stream = stream.into();
    let producer = a.streams().producer::<D>().with_stream_id(stream);
    let producer = producer.build().unwrap();
    let consumer = b.streams().consumer::<D>().with_stream_id(stream).build();
    within(5, consumer.when().subscribed()).await;
    within(1, producer.when().online()).await;
    (producer, consumer)
}

/// Waits until a consumer has no subscription left.
async fn deserted<D: Datum>(consumer: &Consumer<D>) {
    while let Some(channel) = consumer.producers().next() {
        within(5, channel.disconnected()).await;
    }
}
