//! Groups that require tickets.

use std::time::Duration;

use mosaik::{
    Bytes, Group, GroupKey, Network, Ticket, UniqueId,
    groups::{Bond, NoOp},
    id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

use super::machines::nodes;
use crate::support::{
    bound,
    tickets::{Moody, Until},
    until_catalog, within,
};

struct Password(&'static str);

impl TicketValidator for Password {
    fn class(&self) -> TicketClass {
        id!("password")
    }

    fn signature(&self) -> UniqueId {
        id!("password.validator").derive(self.0)
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        if ticket == self.0.as_bytes() {
            Ok(Expiration::Never)
        } else {
            Err(InvalidTicket)
        }
    }
}

fn ticket(text: &'static str) -> Ticket {
    Ticket::new(id!("password"), Bytes::from_static(text.as_bytes()))
}

fn join(node: &Network, key: GroupKey) -> Group<NoOp> {
    node.groups()
        .with_key(key)
        .require_ticket(Password("sesame"))
        .join()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_peers_with_tickets_bond_and_withdrawal_ends_the_bond() {
    let nodes = nodes(3).await;
    let key = GroupKey::random();
    nodes[0].discovery().add_ticket(ticket("sesame"));
    nodes[1].discovery().add_ticket(ticket("sesame"));
    nodes[2].discovery().add_ticket(ticket("guess"));
    let groups: Vec<_> = nodes.iter().map(|node| join(node, key)).collect();
    assert_eq!(groups[0].config().auth().len(), 1);
    while groups[0].bonds().is_empty() {
        within(5, groups[0].bonds().changed()).await;
    }
    within(5, groups[0].when().online()).await;
    within(5, groups[1].when().online()).await;
    assert!(groups[2].bonds().is_empty());
    assert!(!groups[0].bonds().contains_peer(&nodes[2].local().id()));

    nodes[2].discovery().replace_ticket(ticket("sesame"));
    while !groups[0].bonds().contains_peer(&nodes[2].local().id()) {
        within(5, groups[0].bonds().changed()).await;
    }
    let bond = groups[0].bonds().get(&nodes[1].local().id()).unwrap();
    nodes[1].discovery().remove_tickets_of(id!("password"));
    let reason = within(8, bond.terminated()).await;
    assert_eq!(reason.error_code, 30_403u32.into());
}

/// The bond with a peer, once there is one.
async fn bond_with(group: &Group<NoOp>, peer: &Network) -> Bond<NoOp> {
    loop {
        if let Some(bond) = group.bonds().get(&peer.local().id()) {
            return bond;
        }
        within(5, group.bonds().changed()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bond_lasts_as_long_as_the_tickets_are_renewed() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    let join = |node: &Network| {
        let group = node.groups().with_key(key).require_ticket(Until);
        group.join()
    };
    // Long enough to be used before it ends, on a busy machine too.
    let short = bound(3) / 2;
    let short_ms = u64::try_from(short.as_millis()).unwrap();
    nodes[0].discovery().add_ticket(Until::ticket(60_000));
    nodes[1].discovery().add_ticket(Until::ticket(short_ms));
    let groups: Vec<_> = nodes.iter().map(join).collect();
    let bond = bond_with(&groups[0], &nodes[1]).await;

    let renewed = Until::ticket(60_000);
    let renewed_id = renewed.id();
    nodes[1].discovery().replace_ticket(renewed);
    until_catalog(2, &nodes[0], |catalog| {
        let entry = catalog.get(&nodes[1].local().id());
        entry.is_some_and(|entry| entry.tickets().contains_key(&renewed_id))
    })
    .await;
    let outlived = tokio::time::timeout(short * 2, bond.terminated()).await;
    assert!(outlived.is_err(), "the renewed ticket holds");
    let kept = groups[0].bonds().get(&nodes[1].local().id()).unwrap();
    assert_eq!(kept.id(), bond.id(), "it is the same bond");

    // Nobody changes anything any more: it is the time that passes.
    nodes[1].discovery().replace_ticket(Until::ticket(1_000));
    let reason = within(8, bond.terminated()).await;
    assert_eq!(reason.error_code, 30_403u32.into());
    nodes[1].discovery().replace_ticket(Until::ticket(60_000));
    bond_with(&groups[0], &nodes[1]).await;
}

/// Regression: a validator that had accepted a ticket for ever was not asked again, and one that had
/// refused it neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_validator_that_changes_its_mind_ends_the_bond_and_allows_it() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    let moods = [Moody::new(), Moody::new()];
    let join = |(node, mood): (&Network, &Moody)| {
        node.discovery().add_ticket(Moody::ticket());
        let group = node.groups().with_key(key).require_ticket(mood.clone());
        group.join()
    };
    let groups: Vec<_> = nodes.iter().zip(&moods).map(join).collect();
    let bond = bond_with(&groups[0], &nodes[1]).await;
    // Neither side goes on to ask the other one by itself.
    moods[0].accept(false);
    moods[1].accept(false);
    let reason = within(5, bond.terminated()).await;
    assert_eq!(reason.error_code, 30_403u32.into());
    while groups[1].bonds().contains_peer(&nodes[0].local().id()) {
        within(5, groups[1].bonds().changed()).await;
    }
    moods[0].accept(true);
    moods[1].accept(true);
    bond_with(&groups[0], &nodes[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fails_its_own_requirements_founds_nothing() {
    let nodes = nodes(2).await;
    let key = GroupKey::random();
    nodes[0].discovery().add_ticket(ticket("guess"));
    let groups: Vec<_> = nodes.iter().map(|node| join(node, key)).collect();
    let alone = tokio::time::timeout(Duration::from_secs(2), groups[0].when().online()).await;
    assert!(alone.is_err(), "a lone member would have founded by now");
    assert!(groups.iter().all(|group| group.leader().is_none()));
    assert!(groups.iter().all(|group| group.bonds().is_empty()));
    for node in &nodes {
        node.discovery().replace_ticket(ticket("sesame"));
    }
    for group in &groups {
        within(8, group.when().online()).await;
    }
}
