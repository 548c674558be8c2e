//! A member that is started again while the others still hold connections to what it was.

use std::{num::NonZero, time::Duration};

use mosaik::{Group, GroupKey, Network, discovery, groups::ConsensusConfig};
use mosaik_sim::{
    Conditions, Fleet, bound,
    groups::{Action, Bank, Command},
    timed,
};
use tokio::time::timeout;

use crate::support::PATIENCE;

/// Far less than it takes until a connection is given up for silence.
const SOON: Duration = Duration::from_secs(3);

/// It has lost what it had, and is another member.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_started_again_at_once_serves_at_once() {
    is_started_again(31, false).await;
}

/// It is the same member as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_durable_member_that_is_started_again_at_once_serves_at_once() {
    is_started_again(32, true).await;
}

/// The others' connections to the member's former self seem to be open for some seconds; nobody may
/// wait for them.
async fn is_started_again(seed: u64, durable: bool) {
    let fleet = Fleet::new(seed, Conditions::default());
    let storage = tempfile::tempdir().unwrap();
    let start = async |n: usize| {
        let others = (0..3).filter(|other| *other != n).map(|n| fleet.id(n));
        let discovery = discovery::Config::builder().with_bootstrap(others.collect::<Vec<_>>());
        let mut builder = fleet.builder(n, discovery);
        if durable {
            builder = builder.with_storage(storage.path().join(n.to_string()));
        }
        let node = builder.build().await.unwrap();
        let group = join(&node, durable);
        (node, group)
    };
    let mut members = futures::future::join_all((0..3).map(start)).await;
    for (n, (_, group)) in (0..).zip(&members) {
        timeout(bound(PATIENCE), served(group, n)).await.unwrap();
    }
    let restarted = members.iter().position(|(_, group)| !group.is_leader());
    let restarted = restarted.unwrap();

    fleet.hub().crash(fleet.id(restarted));
    let (node, group) = members.remove(restarted);
    if durable {
        // Frees its directory; nothing of it reaches the others.
        node.shutdown().await;
    }
    let (_again, member) = start(restarted).await;
    let (took, served) = timed(timeout(bound(SOON), served(&member, 3))).await;
    eprintln!("serves again after {took:?}");
    served.unwrap();
    drop(group);
}

fn join(node: &Network, durable: bool) -> Group<Bank> {
    let consensus = ConsensusConfig::builder().with_min_members(3).build();
    let builder = node
        .groups()
        .with_key(GroupKey::from_secret("started again"))
        .with_consensus_config(consensus.unwrap())
        .with_state_machine(Bank::new(NonZero::<u64>::MAX));
    if durable {
        builder.durable().unwrap().join()
    } else {
        builder.join()
    }
}

/// Resolves once a member has carried out a command.
async fn served(member: &Group<Bank>, id: u64) {
    let command = Command {
        id,
        key: 0,
        action: Action::Write(id),
    };
    loop {
        member.when().online().await;
        if member.execute(command).await.is_ok() {
            return;
        }
    }
}
