//! Admission of askers.

use mosaik::{Network, discovery, status};

use super::{asked, joined};
use crate::support::{
    builder,
    metrics::{count, counted},
    node, random_network,
    tickets::Until,
    within,
};

async fn asking(asker: &Network, node: &Network) -> Result<status::Report, status::Error> {
    within(12, asker.status_of(node.local().addr())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_answer_nobody() {
    count();
    let id = random_network();
    let silent = builder(id, discovery::Config::builder());
    let silent = silent.with_status(status::Config::builder().disabled());
    let a = silent.build().await.unwrap();
    let b = joined(id, &a).await;
    let refused = asking(&b, &a).await;
    assert!(
        matches!(refused, Err(status::Error::NotAllowed)),
        "{refused:?}"
    );
    assert_eq!(counted(&id, "mosaik.status.requests.refused", None), 1);
    assert_eq!(
        a.status().node.peer,
        a.local().id(),
        "the program itself may ask"
    );
    assert_eq!(asked(&a, &b).await.node.peer, b.local().id());
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_may_require_a_ticket() {
    let id = random_network();
    let gated = builder(id, discovery::Config::builder());
    let gated = gated.with_status(status::Config::builder().require_ticket(Until));
    let a = gated.build().await.unwrap();
    // It is not even known there, which is no obstacle.
    let b = node(id).await;
    let refused = asking(&b, &a).await;
    assert!(
        matches!(refused, Err(status::Error::NotAllowed)),
        "{refused:?}"
    );
    b.discovery().add_ticket(Until::ticket(600_000));
    let report = asking(&b, &a).await.unwrap();
    assert_eq!(
        report.node.peer,
        a.local().id(),
        "the entry was brought along"
    );
    b.discovery().replace_ticket(Until::ticket(0));
    let syncing = b.discovery().sync_with(a.local().addr());
    within(5, syncing).await.unwrap();
    let refused = asking(&b, &a).await;
    assert!(
        matches!(refused, Err(status::Error::NotAllowed)),
        "{refused:?}"
    );
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_or_of_another_network_gives_no_report() {
    let a = node(random_network()).await;
    let foreign = node(random_network()).await;
    let refused = asking(&a, &foreign).await;
    assert!(
        matches!(refused, Err(status::Error::Link(_))),
        "{refused:?}"
    );
    let addr = foreign.local().addr();
    foreign.shutdown().await;
    let unreachable = within(12, a.status_of(addr)).await;
    assert!(unreachable.is_err_and(|error| error.is_retryable()));
    let asking = a.status_of(a.local().id());
    let late = a.status_of(mosaik::SecretKey::generate().public());
    a.shutdown().await;
    drop(asking);
    assert!(
        within(5, late).await.is_err(),
        "a node that has ended asks nobody"
    );
}
