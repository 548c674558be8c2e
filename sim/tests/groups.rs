//! Groups under faults: a few short runs of what `mosaik-sim groups` does at length.

use std::{path::Path, time::Duration};

use futures::future::join_all;
use mosaik_sim::{
    Conditions,
    groups::{
        Churn, Fault, Going, Meeting, Options, Plan, Planned, Step, Target, come_and_go, enter,
        meet, probe, run,
    },
};

/// The program that is started as a member.
const PROGRAM: &str = env!("CARGO_BIN_EXE_mosaik-sim");
const INNER: &str = "groups::in_a_namespace_with_a_firewall";

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
async fn a_majority_goes_on_behind_a_firewall() {
    if let Err(reason) = probe().await {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let this = std::env::current_exe().unwrap();
    let inner = ["--ignored", "--exact", "--nocapture", INNER].map(str::to_owned);
    assert!(enter(&this, &inner).await.unwrap().success());
}

/// The leader is cut off for much longer than any client waits for an answer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run in a namespace by the test above"]
async fn in_a_namespace_with_a_firewall() {
    let cut = Duration::from_secs(9);
    let options = Options {
        firewall: true,
        members: Some(3),
        ..Options::default()
    };
    let mut plan = Plan::draw(7, options);
    let both_ways = [Fault::Mute(Target::Leader), Fault::Deafen(Target::Leader)];
    let faults = both_ways.map(|fault| Planned {
        at: Duration::from_millis(200),
        lasts: cut,
        fault,
    });
    plan.faults = faults.into();
    let report = run(&plan, Path::new(PROGRAM)).await.unwrap();
    eprintln!("behind a firewall: {report}");
    assert!(report.terms > 1, "another one leads: {report}");
    assert!(
        report.longest_pause + Duration::from_secs(2) < cut,
        "{report}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_of_two_histories_that_meet_is_given_up() {
    let meetings = [3, 7, 12].map(|seed| Meeting::draw(seed, Options::default()));
    meet_all(&meetings).await;
}

/// The majority went on while the member that was cut off was reformed: its history stays, and the
/// reformed one does not take it along.
#[tokio::test(flavor = "multi_thread")]
async fn a_majority_that_went_on_is_not_given_up_for_a_reformed_minority() {
    meet_all(&[Meeting {
        sides: [vec![0, 1], vec![2]],
        reformed: true,
        durable: false,
        commands: [100, 3],
        crash: None,
        ..quiet()
    }])
    .await;
}

/// A member that has founded a group of its own is met just after the leader of the others has
/// died: they elect another one instead of giving up what they have.
#[tokio::test(flavor = "multi_thread")]
async fn a_rival_that_arrives_during_an_election_is_not_given_way_to() {
    meet_all(&[-50, -300].map(|at| Meeting {
        sides: [vec![0, 1, 2], vec![3]],
        reformed: false,
        durable: false,
        commands: [80, 1],
        crash: Some((0, at)),
        ..quiet()
    }))
    .await;
}

/// The only voter goes as soon as two newcomers have seen it lead.
#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_goes_at_once_leaves_a_group_that_serves() {
    let ways = [Going::Leave, Going::Drop, Going::Shutdown].map(|how| {
        let steps = [
            Step::Come(true),
            Step::Come(true),
            Step::Go(Target::Leader, how),
        ];
        Churn {
            seed: 0,
            steps: steps.map(|step| (Duration::ZERO, step)).into(),
            clients: 0,
        }
    });
    churn(&ways).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_within_the_time_of_an_election() {
    churn(&[1, 2, 3].map(|seed| Churn::draw(seed, Options::default()))).await;
}

async fn churn(all: &[Churn]) {
    let all = all.iter().map(|churn| async move {
        match come_and_go(churn).await {
            Ok(report) => eprintln!("seed {}: {report}", churn.seed),
            Err(error) => panic!("{churn}{error:#}"),
        }
    });
    join_all(all).await;
}

fn quiet() -> Meeting {
    Meeting {
        busy: false,
        processes: false,
        ..Meeting::draw(1, Options::default())
    }
}

async fn meet_all(meetings: &[Meeting]) {
    let meetings = meetings.iter().map(|meeting| async move {
        match meet(meeting, Path::new(PROGRAM)).await {
            Ok(report) => eprintln!("seed {}: {report}", meeting.seed),
            Err(error) => panic!("{meeting}{error:#}"),
        }
    });
    join_all(meetings).await;
}

async fn runs(seeds: &[u64], processes: bool) {
    let options = Options {
        processes,
        firewall: false,
        members: None,
        length: Some(Duration::from_secs(3)),
    };
    let runs = seeds.iter().map(|seed| async move {
        // Short: what is far away or slow takes its time, and is left to the command.
        let plan = Plan {
            conditions: Conditions::default(),
            pace: Duration::ZERO,
            ..Plan::draw(*seed, options)
        };
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
