//! Machines and nodes that the tests of groups share.

use std::{future::Future, panic::Location, time::Duration};

use mosaik::{
    Group, GroupKey, Network, PeerId, UniqueId,
    groups::{
        ApplyContext, ConsensusConfig, Index, LeadershipPreference, LogReplaySync, Membership,
        StateMachine,
    },
    id,
};

use crate::support::{self, bound, node, node_at, within};

/// Keeps every command.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) entries: Vec<u64>,
    pub(crate) preference: LeadershipPreference,
    pub(crate) keeps_state: bool,
    /// A command that this member's copy can't take.
    pub(crate) dislikes: Option<u64>,
}

impl StateMachine for Ledger {
    type Command = u64;
    type Query = ();
    type QueryResult = Vec<u64>;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("ledger")
    }

    fn apply(&mut self, command: u64, ctx: &dyn ApplyContext) {
        assert!(command != u64::MAX, "told to panic");
        assert!(self.dislikes != Some(command), "told to panic here");
        assert!(ctx.committed().index() < ctx.log_position().index());
        self.entries.push(command);
    }

    fn query(&self, (): ()) -> Vec<u64> {
        self.entries.clone()
    }

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        self.preference
    }

    fn reset(&mut self) -> bool {
        if !self.keeps_state {
            self.entries.clear();
        }
        !self.keeps_state
    }
}

pub(crate) fn observer() -> Ledger {
    Ledger {
        preference: LeadershipPreference::Observer,
        ..Ledger::default()
    }
}

/// Nodes that know each other, the first of them being everybody's bootstrap peer.
pub(crate) async fn nodes(count: usize) -> Vec<Network> {
    let network = support::random_network();
    let first = node(network).await;
    let mut nodes = Vec::new();
    for _ in 1..count {
        nodes.push(node_at(network, first.local().addr()).await);
    }
    nodes.insert(0, first);
    nodes
}

pub(crate) fn join(node: &Network, key: GroupKey) -> Group<Ledger> {
    join_with(node, key, Ledger::default(), ConsensusConfig::default())
}

pub(crate) fn join_with(
    node: &Network,
    key: GroupKey,
    machine: Ledger,
    consensus: ConsensusConfig,
) -> Group<Ledger> {
    node.groups()
        .with_key(key)
        .with_consensus_config(consensus)
        .with_state_machine(machine)
        .join()
}

/// A group of this many members that has formed: everybody is online and agrees on the leader.
pub(crate) async fn formed(count: usize) -> (Vec<Network>, Vec<Group<Ledger>>) {
    formed_of((0..count).map(|_| Ledger::default())).await
}

/// A group of members with these machines that has formed.
pub(crate) async fn formed_of(
    machines: impl ExactSizeIterator<Item = Ledger>,
) -> (Vec<Network>, Vec<Group<Ledger>>) {
    let nodes = nodes(machines.len()).await;
    let key = GroupKey::random();
    let consensus = ConsensusConfig::builder()
        .with_min_members(machines.len())
        .build()
        .unwrap();
    let groups: Vec<_> = nodes
        .iter()
        .zip(machines)
        .map(|(node, machine)| join_with(node, key, machine, consensus.clone()))
        .collect();
    for group in &groups {
        within(10, group.when().online()).await;
    }
    agreed(&groups).await;
    (nodes, groups)
}

/// Waits until all name the same leader, and returns it.
#[track_caller]
pub(crate) fn agreed(groups: &[Group<Ledger>]) -> impl Future<Output = PeerId> + '_ {
    let caller = Location::caller();
    async move {
        let agreement = async {
            loop {
                // Members change their minds one by one: no waiter of one of them is enough.
                let first = groups[0].leader();
                if let Some(leader) = first
                    && groups.iter().all(|group| group.leader() == first)
                {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(bound(10), agreement).await {
            Ok(leader) => leader,
            Err(_) => {
                let leaders: Vec<_> = groups.iter().map(Group::leader).collect();
                panic!("no agreement at {caller}: {leaders:?}");
            }
        }
    }
}

pub(crate) async fn leader_of(groups: &[Group<Ledger>]) -> usize {
    let leads = groups
        .iter()
        .map(|group| Box::pin(group.when().is_leader()));
    let (_, leader, _) = within(10, futures::future::select_all(leads)).await;
    leader
}

/// Waits until a member knows a membership that satisfies a condition.
#[track_caller]
pub(crate) fn until_members<M: StateMachine>(
    group: &Group<M>,
    condition: impl Fn(&Membership) -> bool,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let settled = async {
            let mut changed = group.when().membership_changed();
            while !condition(&group.membership()) {
                changed.await;
                changed = group.when().membership_changed();
            }
        };
        if tokio::time::timeout(bound(10), settled).await.is_err() {
            panic!("not these members at {caller}: {:?}", group.membership());
        }
    }
}

/// Waits until a member has applied this many commands.
#[track_caller]
pub(crate) fn reaches<M: StateMachine>(
    group: &Group<M>,
    index: u64,
) -> impl Future<Output = Index> {
    within(10, group.when().committed().reaches(Index(index)))
}
