//! Entry points for fuzzing: entries and tokens.

use iroh::{EndpointAddr, SecretKey, TransportAddr};

use super::{
    Hs256, Jwt, JwtTicketBuilder, PeerEntry, PeerEntryVersion, SignedPeerEntry, Ticket,
    TicketValidator, UnverifiedEntry,
};
use crate::primitives::{
    Digest, Pretty, Short, encoding,
    fuzz::{Target, encoded},
};

pub(crate) const TARGETS: &[Target] = &[
    Target::decoding::<SignedPeerEntry>("signed_peer_entry", || vec![encoded(&entry())]),
    Target::new("peer_entry", peer_entry, || vec![encoded(&entry())]),
    Target::new("jwt", jwt, tokens),
];

const KEY: Hs256 = Hs256::new([7; 32]);

fn secret() -> SecretKey {
    SecretKey::from_bytes(&[3; 32])
}

/// An entry with something in every field, always the same.
pub(crate) fn entry() -> SignedPeerEntry {
    let ips =
        ["127.0.0.1:4000", "[::1]:4001"].map(|ip| TransportAddr::Ip(ip.parse().expect("valid")));
    let addr = EndpointAddr::from_parts(secret().public(), ips)
        .with_relay_url("https://relay.example.net".parse().expect("valid"));
    let mut entry = PeerEntry::new(Digest::from("fuzz"), addr)
        .add_tags(["a", "b"])
        .add_streams("stream")
        .add_functions("function")
        .add_groups("group")
        .add_ticket(Ticket::new(Digest::from("class"), "data".into()));
    entry.protocol_version = semver::Version::new(1, 2, 3);
    entry.version = PeerEntryVersion::from_millis(1_700_000_000_000, 1_700_000_000_500);
    entry
        .signed_by(&secret())
        .expect("the entry is of this key")
}

fn peer_entry(data: &[u8]) -> bool {
    let Ok(entry) = encoding::deserialize::<UnverifiedEntry>(data) else {
        return false;
    };
    // Everything that is done with an entry before its signature is looked at.
    let claimed = entry.entry();
    let shown = format!("{} {:?}", Short(claimed), Pretty(claimed));
    let within_limits = claimed.check_limits().is_ok();
    assert!(!within_limits || claimed.encoded_len() <= super::MAX_ENTRY_BYTES);
    let _ = (shown, claimed.digest(), claimed.uptime(), entry.verify());
    true
}

fn jwt(data: &[u8]) -> bool {
    let entry = entry();
    let validators = [
        Jwt::with_key(KEY),
        Jwt::with_key(KEY)
            .allow_issuer("issuer")
            .for_network(Digest::from("fuzz")),
        Jwt::with_key(KEY)
            .allow_non_expiring()
            .require_claim("role", "maker"),
    ];
    validators
        .iter()
        .any(|validator| validator.validate(data, &entry).is_ok())
}

fn tokens() -> Vec<Vec<u8>> {
    let builders = [
        JwtTicketBuilder::new(KEY).expires_in(chrono::Duration::hours(1)),
        JwtTicketBuilder::new(KEY)
            .issuer("issuer")
            .for_network(Digest::from("fuzz"))
            .claim("role", "maker")
            .expires_in(chrono::Duration::hours(1)),
    ];
    let peer = secret().public();
    builders
        .map(|builder| builder.build(&peer).data().to_vec())
        .to_vec()
}
