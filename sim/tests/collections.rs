//! A replicated map under faults: a few short runs of what `mosaik-sim collections` does at length.

use std::time::Duration;

use mosaik_sim::collections::{Options, run};

#[tokio::test(flavor = "multi_thread")]
async fn watches_keep_their_promises_under_faults() {
    let length = Duration::from_secs(4);
    for seed in [1, 4] {
        let report = run(seed, Options { length }).await.unwrap();
        println!("seed {seed}: {report}");
        assert!(report.told > 0 && report.acknowledged > 0, "{report}");
    }
}
