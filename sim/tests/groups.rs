//! Groups under faults: a few short runs of what `mosaik-sim groups` does at length.

use std::{path::Path, time::Duration};

use futures::future::join_all;
use mosaik_sim::groups::{Options, Plan, probe, run};

/// The program that is started as a member.
const PROGRAM: &str = env!("CARGO_BIN_EXE_mosaik-sim");

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_under_faults() {
    runs(&[1, 4, 13], false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_under_faults_with_processes_that_are_killed_and_stopped() {
    runs(&[2, 5], true).await;
}

/// The processes are in network namespaces, and nftables cuts them off each other.
#[tokio::test(flavor = "multi_thread")]
async fn promises_hold_behind_a_firewall() {
    if let Err(reason) = probe().await {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let run = ["groups", "--firewall", "--seed", "6", "--members", "3"];
    let run = run.into_iter().chain(["--length", "3s", "--verbose"]);
    let output = tokio::process::Command::new(PROGRAM).args(run).output();
    let output = output.await.unwrap();
    let [said, complained] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    eprintln!("{said}");
    assert!(output.status.success(), "{complained}");
    assert!(said.contains("Split"), "the plan has a cut: {said}");
}

async fn runs(seeds: &[u64], processes: bool) {
    let options = Options {
        processes,
        firewall: false,
        members: None,
        length: Some(Duration::from_secs(3)),
    };
    let runs = seeds.iter().map(|seed| async move {
        let plan = Plan::draw(*seed, options);
        match run(&plan, Path::new(PROGRAM)).await {
            Ok(report) => {
                eprintln!("seed {seed}: {report}");
                assert!(report.acknowledged > 20, "too little happened: {report}");
            }
            Err(error) => panic!("{plan}{error:#}"),
        }
    });
    join_all(runs).await;
}
