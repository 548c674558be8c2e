//! Networks that are cut, wholly or in one direction.

use std::collections::BTreeSet;

use mosaik_sim::Conditions;

use crate::support::{Formed, change_reaches, forgotten};

/// Both halves have neighbours of their own, so neither is ever alone, and yet they find together.
#[tokio::test(flavor = "multi_thread")]
async fn two_halves_give_each_other_up_and_find_together_again() {
    let formed = Formed::new(11, Conditions::default(), 8).await;
    let (one, other) = (formed.ids(0..4), formed.ids(4..8));
    formed.fleet.hub().partition(&one, &other);
    let (first, second) = formed.nodes.split_at(4);
    let (a, b) = futures::join!(forgotten(first, other), forgotten(second, one));
    eprintln!("halves gave each other up after {:?}", a.max(b));

    // Each half lives on.
    change_reaches(&first[0], "one side", first).await;
    change_reaches(&second[0], "other side", second).await;

    formed.fleet.hub().heal();
    let (healed, ()) = mosaik_sim::timed(formed.converged()).await;
    eprintln!("together again after {healed:?}");
    formed.check_histories();
}

/// Two nodes of many that can't talk in one direction are no reason to give anybody up: others
/// reach both.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_cut_between_two_nodes_harms_nobody() {
    let mut formed = Formed::new(12, Conditions::default(), 6).await;
    let crashed = formed.take(5);
    let crashed_id = crashed.local().id();
    formed
        .fleet
        .hub()
        .cut(&formed.ids([0]), &formed.ids([1, 2]));
    // That a crashed node is found out shows that the others were probed meanwhile, too.
    formed.fleet.hub().crash(crashed_id);
    forgotten(&formed.nodes, vec![crashed_id]).await;
    change_reaches(&formed.nodes[0], "from the deaf side", &formed.nodes).await;
    change_reaches(&formed.nodes[1], "from the mute side", &formed.nodes).await;
    formed.converged().await;
    assert_eq!(formed.given_up(), BTreeSet::from([crashed_id]));
    formed.check_histories();
}

/// A node that hears everything and can say nothing is gone for the others until it is heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_mute_node_is_given_up_and_comes_back() {
    let formed = Formed::new(13, Conditions::default(), 6).await;
    let (mute, others) = (formed.ids([5]), formed.ids(0..5));
    formed.fleet.hub().cut(&mute, &others);
    let gone = forgotten(&formed.nodes[..5], mute.clone()).await;
    eprintln!("given up after {gone:?}");
    assert_eq!(
        formed
            .given_up()
            .difference(&others.into_iter().collect())
            .count(),
        1
    );
    formed.fleet.hub().heal();
    let (healed, ()) = mosaik_sim::timed(formed.converged()).await;
    eprintln!("back after {healed:?}");
    formed.check_histories();
}
