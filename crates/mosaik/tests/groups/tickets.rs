//! Groups that require tickets.

use mosaik::{
    Bytes, Group, GroupKey, Network, Ticket, UniqueId,
    groups::NoOp,
    id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

use super::machines::nodes;
use crate::support::within;

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
