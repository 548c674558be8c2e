//! Entry points for fuzzing: what a slot holds.

use iroh::{EndpointAddr, SecretKey};
use mainline::{MutableItem, SigningKey};

use super::{Record, Slot, client::decode, record::withdrawal, slot::slots};
use crate::primitives::{NetworkId, fuzz::Target};

pub(crate) const TARGETS: &[Target] = &[Target::new("dht_record", record, seeds)];

const SEQUENCE: i64 = 1_700_000_000_000_000;

fn slot() -> Slot {
    slots(&NetworkId::from("fuzz")).swap_remove(0)
}

/// A slot that holds these bytes: any node that knows the network's id has the key to sign them.
fn record(data: &[u8]) -> bool {
    let signer = SigningKey::from_bytes(&slot().keys().secret_key());
    let item = MutableItem::new(signer, data, SEQUENCE, None);
    let Ok(content) = decode(&item) else {
        return false;
    };
    if let Some(record) = content {
        assert_eq!(record.addr().id, record.peer);
        assert!(!format!("{record:?}").is_empty());
    }
    true
}

fn seeds() -> Vec<Vec<u8>> {
    let peer = SecretKey::from_bytes(&[3; 32]).public();
    let here = EndpointAddr::from(peer).with_ip_addr(([198, 51, 100, 7], 4000).into());
    let relayed = here
        .clone()
        .with_relay_url("https://relay.example.net".parse().expect("it is a url"));
    let packets = [here, relayed].map(|addr| Record::new(&addr).sign(&slot(), SEQUENCE));
    let packets = packets.into_iter().chain([withdrawal(&slot(), SEQUENCE)]);
    packets
        .map(|packet| packet.expect("it fits").encoded_packet().to_vec())
        .collect()
}
