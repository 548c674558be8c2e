//! Collections that require tickets: who is let in, and what those keep who no longer are.

use mosaik::{
    Network, Ticket, UniqueId,
    collections::{CollectionConfig, Map, MapReader},
    id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

use super::fleet;
use crate::support::{tickets::Until, within};

const HOUR: u64 = 3_600_000;

/// Takes any ticket of its class.
struct Badge;

impl Badge {
    fn ticket() -> Ticket {
        Ticket::new(Self.class(), "badge".into())
    }
}

impl TicketValidator for Badge {
    fn class(&self) -> TicketClass {
        id!("test.badge")
    }

    fn signature(&self) -> UniqueId {
        id!("test.badge.validator")
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Ok(Expiration::Never)
    }
}

fn until() -> CollectionConfig {
    CollectionConfig::default().require_ticket(Until)
}

/// Waits until two nodes have met in collections that were founded since: whatever they do in those
/// before, they have done.
async fn meet(one: &Network, other: &Network) {
    for store in [UniqueId::random(), UniqueId::random()] {
        let writer = Map::<u8, u8>::writer(one, store);
        let reader = Map::<u8, u8>::reader(other, store);
        within(10, writer.when().online()).await;
        within(10, reader.when().online()).await;
        let version = writer.insert(1, 1).await.unwrap();
        within(10, reader.when().reaches(version)).await;
    }
}

async fn assert_outside(writer: &Network, node: &Network, reader: &MapReader<u8, u8>) {
    meet(writer, node).await;
    let status = reader.status();
    assert!(!status.is_online && status.leader.is_none(), "{status:?}");
    assert!(!status.is_admitted);
    assert!(reader.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_without_the_ticket_stays_empty_and_offline() {
    let nodes = fleet(2).await;
    nodes[0].discovery().add_ticket(Until::ticket(HOUR));
    let writer = Map::<u8, u8>::writer_with_config(&nodes[0], "map", until());
    let reader = Map::<u8, u8>::reader_with_config(&nodes[1], "map", until());
    assert_eq!(writer.group_id(), reader.group_id());
    within(10, writer.when().online()).await;
    let version = writer.insert(1, 1).await.unwrap();
    assert_outside(&nodes[0], &nodes[1], &reader).await;
    nodes[1].discovery().add_ticket(Until::ticket(HOUR));
    within(20, reader.when().reaches(version)).await;
    assert_eq!(reader.get(&1), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_validators_both_must_be_satisfied() {
    let nodes = fleet(3).await;
    let config = || until().require_ticket(Badge);
    nodes[0].discovery().add_ticket(Until::ticket(HOUR));
    nodes[0].discovery().add_ticket(Badge::ticket());
    nodes[1].discovery().add_ticket(Until::ticket(HOUR));
    nodes[2].discovery().add_ticket(Badge::ticket());
    let writer = Map::<u8, u8>::writer_with_config(&nodes[0], "map", config());
    let readers =
        [&nodes[1], &nodes[2]].map(|node| Map::<u8, u8>::reader_with_config(node, "map", config()));
    within(10, writer.when().online()).await;
    let version = writer.insert(1, 1).await.unwrap();
    for (node, reader) in nodes[1..].iter().zip(&readers) {
        assert_outside(&nodes[0], node, reader).await;
    }
    nodes[1].discovery().add_ticket(Badge::ticket());
    nodes[2].discovery().add_ticket(Until::ticket(HOUR));
    for reader in &readers {
        within(20, reader.when().reaches(version)).await;
        assert_eq!(reader.get(&1), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_is_withdrawn_or_expires_keeps_the_content_and_gets_no_more() {
    let nodes = fleet(2).await;
    nodes[0].discovery().add_ticket(Until::ticket(HOUR));
    nodes[1].discovery().add_ticket(Until::ticket(HOUR));
    let writer = Map::<u8, u8>::writer_with_config(&nodes[0], "map", until());
    let reader = Map::<u8, u8>::reader_with_config(&nodes[1], "map", until());
    within(10, writer.when().online()).await;
    let withdraw = |node: &Network| node.discovery().remove_tickets_of(Until.class());
    let let_expire = |node: &Network| node.discovery().replace_ticket(Until::ticket(500));
    let ends: [&dyn Fn(&Network); 2] = [&withdraw, &let_expire];
    for (n, end) in (1..).zip(ends) {
        let seen = writer.insert(n, n).await.unwrap();
        within(20, reader.when().reaches(seen)).await;
        within(20, reader.when().online()).await;
        end(&nodes[1]);
        within(20, reader.when().offline()).await;
        let missed = writer.insert(10 * n, n).await.unwrap();
        meet(&nodes[0], &nodes[1]).await;
        assert!(!reader.status().is_admitted);
        assert_eq!(reader.version(), seen);
        assert_eq!((reader.get(&n), reader.get(&(10 * n))), (Some(n), None));
        // A renewal lets it in again.
        nodes[1].discovery().replace_ticket(Until::ticket(HOUR));
        within(20, reader.when().reaches(missed)).await;
        assert_eq!(reader.get(&(10 * n)), Some(n));
    }
}
