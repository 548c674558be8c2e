//! Networks that lose and delay packets.

use std::{collections::BTreeSet, time::Duration};

use mosaik_sim::Conditions;

use crate::support::{Formed, change_reaches};

fn lossy(loss: f64) -> Conditions {
    Conditions {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(20),
        loss,
        ..Conditions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_forms_and_holds_while_a_tenth_of_all_packets_is_lost() {
    forms_and_holds(21, 0.1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_forms_and_holds_while_a_fifth_of_all_packets_is_lost() {
    forms_and_holds(22, 0.2).await;
}

async fn forms_and_holds(seed: u64, loss: f64) {
    let (joined, formed) = mosaik_sim::timed(Formed::new(seed, lossy(loss), 10)).await;
    eprintln!("all know all after {joined:?}");
    // Changes come one after the other, so that probes go on for a while meanwhile.
    let tags = [
        "one", "two", "three", "four", "five", "six", "seven", "eight",
    ];
    for (n, tag) in tags.into_iter().enumerate() {
        let seen = change_reaches(&formed.nodes[n], tag, &formed.nodes).await;
        eprintln!("change {tag} at all after {seen:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    formed.converged().await;
    assert_eq!(formed.given_up(), BTreeSet::new(), "nobody was gone");
    formed.check_histories();
}
