//! Waiting for subscriptions.

use std::time::Duration;

use futures::FutureExt;
use mosaik::streams::status::{ChannelConditions, When};

use super::{joined, pair};
use crate::support::{node, random_network, until_catalog, within};

/// Regression: a condition that was pending when a subscription was added was never woken.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_wake_whoever_waited_before() {
    let (a, b) = pair().await;
    let producer = a.streams().produce::<u8>();
    let when = producer.when().clone();
    let (seen, unsubscribed) = tokio::sync::oneshot::channel();
    let (seen_two, subscribed) = tokio::sync::oneshot::channel();
    let waiting = tokio::spawn(async move {
        let mut two = when.subscribed().minimum_of(2);
        (&mut two).await;
        seen_two.send(()).unwrap();
        when.unsubscribed().await;
        assert!((&mut two).now_or_never().is_none());
        seen.send(()).unwrap();
        when.online().await;
        two.await;
    });
    tokio::task::yield_now().await;
    let consume = || (b.streams().consume::<u8>(), b.streams().consume::<u8>());
    let consumers = consume();
    within(5, producer.when().subscribed().minimum_of(2)).await;
    within(2, subscribed).await.unwrap();
    drop(consumers);
    within(2, producer.when().unsubscribed()).await;
    within(2, unsubscribed).await.unwrap();
    let _consumers = consume();
    within(5, waiting).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_edges_over_tags_and_predicates() {
    let id = random_network();
    let a = node(id).await;
    let (b, c) = (joined(id, &a).await, joined(id, &a).await);
    b.discovery().add_tags(["x", "y"]);
    let tagged = b.local().id();
    until_catalog(5, &a, |catalog| {
        catalog
            .get(&tagged)
            .is_some_and(|entry| entry.tags().contains(&"y".into()))
    })
    .await;
    let producer = a.streams().produce::<u8>();
    let when: &When = producer.when();
    assert!(when.subscribed() == false && true == when.unsubscribed());
    assert!(
        when.unsubscribed().unmet() == true,
        "inversion is set, not toggled"
    );
    assert!(when.offline().now_or_never().is_some());

    let _one = b.streams().consume::<u8>();
    within(5, when.subscribed()).await;
    let _two = c.streams().consume::<u8>();
    within(5, when.subscribed().minimum_of(2)).await;
    let peer = b.local().id();
    let own: [(ChannelConditions, bool); 6] = [
        (when.subscribed().with_tags("x"), true),
        (when.subscribed().with_tags(["x", "y"]), true),
        (when.subscribed().with_tags(["x", "z"]), false),
        (when.subscribed().with_tags("x").minimum_of(2), false),
        (
            when.subscribed().with_predicate(move |p| *p.id() == peer),
            true,
        ),
        (when.subscribed().with_tags("z").unmet(), true),
    ];
    for (condition, met) in own {
        assert!(condition == met, "{condition:?}");
        assert_eq!(condition.is_condition_met(), met);
    }
    let mut edge = when.subscribed();
    assert!((&mut edge).now_or_never().is_some());
    assert!((&mut edge).now_or_never().is_none(), "once per edge");
    assert!(
        edge.clone().now_or_never().is_some(),
        "a clone has no history"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn online_follows_its_condition() {
    let (a, b) = pair().await;
    let producer = a
        .streams()
        .producer::<u8>()
        .online_when(|c| c.minimum_of(2))
        .build()
        .unwrap();
    let one = b
        .streams()
        .consumer::<u8>()
        .online_when(|c| c.minimum_of(1))
        .build();
    assert!(!one.is_online());
    within(5, one.when().online()).await;
    assert!(!producer.is_online(), "one of two");
    let two = b.streams().consume::<u8>();
    assert!(two.is_online(), "a consumer needs no producer by default");
    within(5, producer.when().online()).await;
    drop(one);
    within(2, producer.when().offline()).await;
    assert_eq!(producer.consumers().count(), 1);
    let offline = tokio::time::timeout(Duration::from_millis(200), producer.when().online());
    assert!(offline.await.is_err());
}
