//! Replicated collections under faults: a short run of each kind, of what `mosaik-sim collections`
//! does at length.

use std::time::Duration;

use mosaik_sim::collections::{Options, Subject, run};

async fn keeps_its_promises(subject: Subject, seed: u64) {
    let options = Options {
        length: Duration::from_secs(4),
        subject: Some(subject),
        heavy: Some(false),
    };
    let report = run(seed, options).await.unwrap();
    println!("seed {seed}: {report}");
    assert!(report.told > 0 && report.acknowledged > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn maps() {
    keeps_its_promises(Subject::Map, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ordered_maps() {
    keeps_its_promises(Subject::OrderedMap, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sets() {
    keeps_its_promises(Subject::Set, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequences() {
    keeps_its_promises(Subject::Vec, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_of_one_value() {
    keeps_its_promises(Subject::Cell, 5).await;
    keeps_its_promises(Subject::Once, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues() {
    keeps_its_promises(Subject::PriorityQueue, 7).await;
}
