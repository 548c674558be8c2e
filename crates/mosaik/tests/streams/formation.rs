//! Producers and consumers find each other.

use futures::SinkExt;

use crate::support::{node, node_at, random_network, within};

#[tokio::test(flavor = "multi_thread")]
async fn a_datum_reaches_a_consumer_whoever_was_first() {
    let id = random_network();
    let a = node(id).await;
    let b = node_at(id, a.local().addr()).await;
    for producer_first in [true, false] {
        let name = format!("stream {producer_first}");
        let produce = || {
            let builder = a.streams().producer::<String>();
            builder.with_stream_id(name.as_str()).build().unwrap()
        };
        let consume = || {
            b.streams()
                .consumer::<String>()
                .with_stream_id(name.as_str())
                .build()
        };
        let (mut producer, mut consumer) = if producer_first {
            let producer = produce();
            (producer, consume())
        } else {
            let consumer = consume();
            (produce(), consumer)
        };
        within(3, producer.send("hello".into())).await.unwrap();
        assert_eq!(within(1, consumer.recv()).await.as_deref(), Some("hello"));
        assert_eq!(consumer.stats().datums(), 1);
        let channel = producer.consumers().next().unwrap();
        assert_eq!((channel.stats().datums(), channel.stats().bytes()), (1, 6));
    }
}
