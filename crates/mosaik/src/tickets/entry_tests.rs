use iroh::{EndpointAddr, SecretKey, TransportAddr};

use std::sync::Arc;

use super::*;
use crate::tickets::{Expiration, InvalidTicket, TicketValidator};
use crate::{
    id,
    tickets::{MAX_ADDRESSES, MAX_ENTRY_BYTES, MAX_TICKET_BYTES, MAX_TICKETS, TicketClass},
};

const CLASS: TicketClass = id!("class");

fn entry() -> PeerEntry {
    let peer = SecretKey::from_bytes(&[1; 32]).public();
    PeerEntry {
        protocol_version: Version::new(0, 1, 0),
        version: PeerEntryVersion::from_millis(1_000, 2_000),
        ..PeerEntry::new(id!("network"), peer)
    }
}

fn ticket(data: &str) -> Ticket {
    Ticket::new(CLASS, data.to_owned().into())
}

/// Accepts tickets of the form `ok:<hours>`.
struct Hours;

impl TicketValidator for Hours {
    fn class(&self) -> TicketClass {
        CLASS
    }

    fn signature(&self) -> UniqueId {
        id!("hours")
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        match core::str::from_utf8(ticket).map_err(|_| InvalidTicket)? {
            "never" => Ok(Expiration::Never),
            text => text
                .strip_prefix("ok:")
                .and_then(|hours| hours.parse().ok())
                .map(hours)
                .ok_or(InvalidTicket),
        }
    }
}

/// Accepts everything.
struct Until(i64);
impl TicketValidator for Until {
    fn class(&self) -> TicketClass {
        CLASS
    }
    fn signature(&self) -> UniqueId {
        UniqueId::from_i64(self.0)
    }
    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Ok(hours(self.0))
    }
}

fn hours(hours: i64) -> Expiration {
    Expiration::At(DateTime::UNIX_EPOCH + chrono::Duration::hours(hours))
}

#[test]
fn modifiers_bump_the_version_only_when_something_changed() {
    type Change = fn(PeerEntry) -> PeerEntry;
    let changes: [(Change, Change); 7] = [
        (|e| e.add_tags("a"), |e| e.remove_tags("a")),
        (
            |e| e.add_tags(["a", "b"]),
            |e| e.remove_tags(vec!["b", "a"]),
        ),
        (|e| e.add_streams(id!("s")), |e| e.remove_streams(id!("s"))),
        (|e| e.add_functions("f"), |e| e.remove_functions("f")),
        (|e| e.add_groups("g"), |e| e.remove_groups("g")),
        (
            |e| e.add_ticket(ticket("t")),
            |e| e.remove_ticket(ticket("t").id()),
        ),
        (
            |e| e.add_ticket(ticket("t")),
            |e| e.remove_tickets_of(CLASS),
        ),
    ];
    for (add, remove) in changes {
        let before = entry();
        assert_eq!(remove(before.clone()), before, "nothing to remove");
        let added = add(before.clone());
        assert!(added.is_newer_than(&before));
        assert_ne!(added.content_digest(), before.content_digest());
        assert_eq!(add(added.clone()), added, "already there");
        let removed = remove(added.clone());
        assert!(removed.is_newer_than(&added));
        assert_eq!(removed.content_digest(), before.content_digest());
        assert_ne!(removed.digest(), before.digest());
    }
}

#[test]
fn a_replacement_leaves_other_classes_alone_and_may_change_nothing() {
    let other = Ticket::new(id!("other"), "o".into());
    let before = entry()
        .add_ticket(other.clone())
        .add_ticket(ticket("1"))
        .add_ticket(ticket("2"));
    let after = before.clone().replace_ticket(ticket("2"));
    assert!(after.is_newer_than(&before));
    assert_eq!(after.tickets_of(CLASS).collect::<Vec<_>>(), [&ticket("2")]);
    assert!(after.tickets.contains_key(&other.id()));
    assert_eq!(after.clone().replace_ticket(ticket("2")), after);
    let fresh = after.replace_ticket(ticket("3"));
    assert_eq!(fresh.tickets.len(), 2);
}

#[test]
fn an_address_must_be_of_the_same_peer() {
    let before = entry();
    let other = SecretKey::from_bytes(&[2; 32]).public();
    let refused = before.clone().with_address(EndpointAddr::new(other));
    assert_eq!(refused, Err((*before.id(), other)));
    let after = before.clone().with_address(before.address.clone()).unwrap();
    assert!(after.is_newer_than(&before));
}

#[test]
fn digests_tell_content_and_version_apart() {
    let before = entry().add_tags("a");
    let later = before.clone().bumped(u64::MAX);
    assert_eq!(before.content_digest(), later.content_digest());
    assert_ne!(before.digest(), later.digest());
    assert_eq!(
        entry().content_digest().to_string(),
        "520ff47fed8f66e233832d4c8b0cccb034fc11016ab81f2d25aac19f2482e74e"
    );
    assert_eq!(
        entry().digest().to_hex().as_str(),
        "811f79f49ed9efc211cf6278c22d44d8e011dee3da3f827b5f3334263c5f5574"
    );
}

#[test]
fn the_latest_valid_ticket_counts_and_the_strictest_validator() {
    let none: [Arc<dyn TicketValidator>; 0] = [];
    let two: [Box<dyn TicketValidator>; 2] = [Box::new(Hours), Box::new(Arc::new(Hours))];
    let peer = entry().add_ticket(ticket("bad"));
    assert_eq!(peer.validate_ticket(&Hours), Err(InvalidTicket));
    assert_eq!(peer.validate_tickets(&two), Err(InvalidTicket));
    assert_eq!(peer.validate_tickets(&none), Ok(None));

    let peer = peer.add_ticket(ticket("ok:1")).add_ticket(ticket("ok:3"));
    assert_eq!(peer.validate_ticket(&Hours), Ok(hours(3)));
    assert_eq!(peer.validate_tickets(&two), Ok(Some(hours(3))));
    let peer = peer.add_ticket(ticket("never"));
    assert_eq!(peer.validate_ticket(&Hours), Ok(Expiration::Never));

    let mixed: [Arc<dyn TicketValidator>; 3] =
        [Arc::new(Hours), Arc::new(Until(7)), Arc::new(Until(9))];
    assert_eq!(peer.validate_tickets(&mixed), Ok(Some(hours(7))));
}

#[test]
fn closures_see_the_tickets_of_their_class_and_may_read_the_peer() {
    let peer = entry()
        .add_tags("tag")
        .add_ticket(ticket("yes"))
        .add_ticket(ticket("no"))
        .add_ticket(Ticket::new(id!("other"), "yes".into()));
    let accept = |data: &[u8]| data == b"yes" && peer.tags().contains(&"tag".into());
    assert!(peer.has_valid_ticket(CLASS, accept));
    assert_eq!(peer.valid_tickets(CLASS, accept).count(), 1);
    assert!(!peer.has_valid_ticket(id!("third"), |_| true));
    assert_eq!(PeerId::from(&peer), *peer.peer_id());
}

type Fill = fn(&mut PeerEntry, usize);

#[test]
fn each_limit_is_checked_and_named() {
    fn ids(count: usize) -> BTreeSet<Digest> {
        (0..count).map(Digest::from_usize).collect()
    }
    assert_eq!(entry().check_limits(), Ok(()));
    let limits: [(&str, usize, Fill); 6] = [
        ("tags", MAX_TAGS, |e, n| e.tags = ids(n)),
        ("streams", MAX_STREAMS, |e, n| e.streams = ids(n)),
        ("functions", MAX_FUNCTIONS, |e, n| e.functions = ids(n)),
        ("groups", MAX_GROUPS, |e, n| e.groups = ids(n)),
        ("tickets", MAX_TICKETS, |e, n| {
            let tickets = (0..n).map(|n| ticket(&n.to_string()));
            e.tickets = tickets.map(|ticket| (ticket.id(), ticket)).collect();
        }),
        ("addresses", MAX_ADDRESSES, |e, n| {
            let ip = |n| TransportAddr::Ip(([127, 0, 0, 1], u16::try_from(n).unwrap()).into());
            e.address.addrs = (0..n).map(ip).collect();
        }),
    ];
    for (what, max, fill) in limits {
        let mut full = entry();
        fill(&mut full, max);
        assert_eq!(full.check_limits(), Ok(()), "{what}");
        let bytes = postcard::to_allocvec(&full).unwrap();
        assert_eq!(bytes.len(), full.encoded_len());
        assert_eq!(postcard::from_bytes::<PeerEntry>(&bytes).unwrap(), full);

        fill(&mut full, max + 1);
        let error = full.check_limits().unwrap_err();
        assert_eq!((error.what, error.len, error.max), (what, max + 1, max));
        let bytes = postcard::to_allocvec(&full).unwrap();
        assert!(postcard::from_bytes::<PeerEntry>(&bytes).is_err(), "{what}");
    }
}

#[test]
fn sizes_are_limited_too() {
    let data = |len, byte| Ticket::new(CLASS, vec![byte; len].into());
    let large = entry().add_ticket(data(MAX_TICKET_BYTES + 1, 0));
    assert_eq!(large.check_limits().unwrap_err().what, "bytes of a ticket");
    let bytes = postcard::to_allocvec(&large).unwrap();
    assert!(postcard::from_bytes::<PeerEntry>(&bytes).is_err());

    let many = (0..5).fold(entry(), |e, i| e.add_ticket(data(MAX_TICKET_BYTES, i)));
    let error = many.check_limits().unwrap_err();
    assert_eq!((error.what, error.max), ("encoded bytes", MAX_ENTRY_BYTES));
    assert!(error.to_string().contains("at most 262144"), "{error}");
}

#[test]
fn json_round_trip() {
    let entry = entry()
        .add_tags(["a", "b"])
        .add_ticket(ticket("1"))
        .add_ticket(ticket("2"));
    let json = serde_json::to_string(&entry).unwrap();
    assert_eq!(serde_json::from_str::<PeerEntry>(&json).unwrap(), entry);
}
