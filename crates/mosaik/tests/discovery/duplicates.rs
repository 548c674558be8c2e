//! Two processes with one identity.

use std::time::Duration;

use mosaik::{Network, NetworkId, SecretKey, discovery::Config, iroh::EndpointAddr};

use crate::support::{
    builder,
    member::{Member, dated, now_ms, version},
    node, node_at, random_network, until_catalog, within,
};

async fn with_key(id: NetworkId, key: &SecretKey, bootstrap: EndpointAddr) -> Network {
    let discovery = Config::builder().with_bootstrap(bootstrap);
    let builder = builder(id, discovery).with_secret_key(key.clone());
    builder.build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_is_shut_out_and_both_know() {
    let (id, key) = (random_network(), SecretKey::generate());
    let a = node(id).await;
    let b = node_at(id, a.local().addr()).await;
    let first = with_key(id, &key, a.local().addr()).await;
    let peer = first.local().id();
    for node in [&a, &b] {
        until_catalog(10, node, |c| c.get(&peer).is_some()).await;
    }
    // The first is no newcomer any more.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let second = with_key(id, &key, a.local().addr()).await;
    let mut told = second.discovery().duplicate();
    let shut_out = told.wait_for(|other| other.as_ref().is_some_and(|other| other.shut_out));
    let other = within(10, shut_out).await.unwrap().clone().unwrap();
    assert_eq!(other.address, first.local().addr());
    let mut told = first.discovery().duplicate();
    let found = within(5, told.wait_for(Option::is_some));
    let other = found.await.unwrap().clone().unwrap();
    assert_eq!(
        (other.address, other.shut_out),
        (second.local().addr(), false)
    );
    let mut events = second.discovery().events();
    assert!(events.recv().await.is_err(), "it has ended");
    second.shutdown().await;

    // The first goes on, under its own address.
    first.discovery().add_tags("still here");
    for node in [&a, &b] {
        until_catalog(10, node, |c| {
            c.get(&peer).is_some_and(|entry| {
                entry.tags().contains(&"still here".into())
                    && *entry.address() == first.local().addr()
            })
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_newcomers_end_as_one() {
    let (id, key) = (random_network(), SecretKey::generate());
    let a = node(id).await;
    let (one, other) = tokio::join!(
        with_key(id, &key, a.local().addr()),
        with_key(id, &key, a.local().addr())
    );
    let (mut one_told, mut other_told) =
        (one.discovery().duplicate(), other.discovery().duplicate());
    let shut_out = |other: &Option<mosaik::discovery::Duplicate>| {
        other.as_ref().is_some_and(|other| other.shut_out)
    };
    within(25, async {
        tokio::select! {
            told = one_told.wait_for(shut_out) => drop(told.unwrap()),
            told = other_told.wait_for(shut_out) => drop(told.unwrap()),
        }
    })
    .await;
    let ends = [one_told, other_told].map(|told| shut_out(&told.borrow()));
    assert_eq!(ends.iter().filter(|end| **end).count(), 1, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_node_is_welcome_back_at_once() {
    let (id, key) = (random_network(), SecretKey::generate());
    let a = node(id).await;
    // What is left of a run that ended without a goodbye: its clock was even a little ahead.
    let member = Member::join(&a).await;
    let ahead = now_ms() + 4000;
    let former = dated(id, &key, version(ahead, ahead));
    assert_eq!(member.push(&former).await, Some(200));
    let back = with_key(id, &key, a.local().addr()).await;
    let address = back.local().addr();
    until_catalog(5, &a, |c| {
        c.get(&back.local().id())
            .is_some_and(|entry| *entry.address() == address)
    })
    .await;
    // Whoever echoes the former run convinces nobody.
    for _ in 0..10 {
        assert_eq!(member.push(&former).await, Some(200));
    }
    let to_back = Member::join(&back).await;
    assert_eq!(to_back.push(&former).await, Some(200));
    assert_eq!(*back.discovery().duplicate().borrow(), None);
    back.discovery().add_tags("alive");
    until_catalog(5, &a, |c| {
        c.get(&back.local().id())
            .is_some_and(|entry| entry.tags().len() == 1)
    })
    .await;
}
