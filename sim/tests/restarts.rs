//! A member that is started again while the others still hold connections to what it was.

use std::{num::NonZero, time::Duration};

use mosaik::{Group, GroupKey, Network, groups::ConsensusConfig};
use mosaik_sim::{
    Conditions, Fleet,
    groups::{Action, Bank, Command},
    timed,
};
use tokio::time::timeout;

use crate::support::PATIENCE;

/// Far less than it takes until a connection is given up for silence.
const SOON: Duration = Duration::from_secs(3);

/// The others' connections to what it was seem to stand for some seconds; nobody may wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_started_again_at_once_serves_at_once() {
    let fleet = Fleet::new(31, Conditions::default());
    let nodes = fleet.start_all(3).await.unwrap();
    let members: Vec<_> = nodes.iter().map(join).collect();
    for (n, member) in (0..).zip(&members) {
        timeout(PATIENCE, served(member, n)).await.unwrap();
    }
    let restarted = members.iter().position(|member| !member.is_leader());
    let restarted = restarted.unwrap();
    let others: Vec<_> = (0..3).filter(|n| *n != restarted).collect();

    fleet.hub().crash(fleet.id(restarted));
    let again = fleet.start(restarted, &others).await.unwrap();
    let member = join(&again);
    let (took, served) = timed(timeout(SOON, served(&member, 3))).await;
    eprintln!("serves again after {took:?}");
    served.unwrap();
}

fn join(node: &Network) -> Group<Bank> {
    let consensus = ConsensusConfig::builder().with_min_members(3).build();
    node.groups()
        .with_key(GroupKey::from_secret("started again"))
        .with_consensus_config(consensus.unwrap())
        .with_state_machine(Bank::new(NonZero::<u64>::MAX))
        .join()
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
