use std::{sync::Arc, time::Duration};

use mosaik::{
    Bytes, SecretKey, Ticket,
    discovery::PeerEntry,
    tickets::{
        self, ChronoDuration, EdDsa, EdDsaSigningKey, Es256, Es256SigningKey, Es256k,
        Es256kSigningKey, Es384, Es384SigningKey, Es512, Es512SigningKey, Expiration, Hs256, Hs384,
        Hs512, InvalidTicket, Jwt, JwtTicketBuilder, SigningKey, TicketClass, TicketValidator,
        VerifyingKey,
    },
    unique_id,
};

use super::shared;
use crate::support::random_network;

const CLASS: TicketClass = unique_id!("my-app.auth");
const KEY: Hs256 = Hs256::hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");

struct Password;

impl TicketValidator for Password {
    fn class(&self) -> TicketClass {
        CLASS
    }

    fn signature(&self) -> mosaik::UniqueId {
        unique_id!("password.v1")
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        if ticket == b"secret" {
            Ok(Expiration::Never)
        } else {
            Err(InvalidTicket)
        }
    }
}

fn entry() -> PeerEntry {
    PeerEntry::new(random_network(), SecretKey::generate().public())
}

#[test]
fn names_and_bounds() {
    shared::<Jwt>();
    shared::<JwtTicketBuilder>();
    shared::<VerifyingKey>();
    shared::<SigningKey>();
    let _: Option<(Es256, Es384, Es512, EdDsa, Es256k, Hs384, Hs512)> = None;
    let _: Option<(Es256SigningKey, Es384SigningKey, Es512SigningKey)> = None;
    let _: Option<(EdDsaSigningKey, Es256kSigningKey)> = None;
    let _: (tickets::Duration, ChronoDuration) = (ChronoDuration::hours(1), ChronoDuration::zero());
    fn validator(_: impl TicketValidator) {}
    validator(Box::new(Password) as Box<dyn TicketValidator>);
    validator(Arc::new(Password) as Arc<dyn TicketValidator>);
}

#[test]
fn tickets_are_opaque() {
    let ticket = Ticket::new(CLASS, Bytes::from("secret"));
    assert_eq!(ticket.id(), CLASS.derive(b"secret"));
    assert_eq!(ticket.data(), &ticket.data[..]);
    assert_eq!(ticket.to_string(), format!("Ticket({CLASS},38 B)"));
    let entry = entry().add_ticket(ticket);
    assert_eq!(entry.validate_ticket(&Password).unwrap(), Expiration::Never);
    assert!(entry.has_valid_ticket(CLASS, |data| data == b"secret"));
    assert!(
        entry
            .clone()
            .remove_tickets_of(CLASS)
            .validate_ticket(&Password)
            .is_err()
    );
}

#[test]
fn a_token_is_bound_to_its_peer() {
    let (peer, other) = (entry(), entry());
    let issuer = JwtTicketBuilder::new(KEY)
        .issuer("exchange")
        .expires_in(ChronoDuration::hours(1));
    let validator = Jwt::with_key(KEY)
        .allow_issuer("exchange")
        .max_lifetime(Duration::from_secs(3601));
    let ticket = issuer.build(peer.id());
    let verdict = peer
        .clone()
        .add_ticket(ticket.clone())
        .validate_ticket(&validator)
        .unwrap();
    assert!(verdict > Expiration::in_n_hours(0) && verdict < Expiration::never());
    assert!(
        other
            .add_ticket(ticket)
            .validate_ticket(&validator)
            .is_err()
    );
    let endless = JwtTicketBuilder::new(KEY).build(peer.id());
    let entry = peer.add_ticket(endless);
    assert!(
        entry.validate_ticket(&Jwt::with_key(KEY)).is_err(),
        "no expiry"
    );
    assert!(
        entry
            .validate_ticket(&Jwt::with_key(KEY).allow_non_expiring())
            .is_ok()
    );
}

#[test]
fn asymmetric_keys_rotate() {
    let (old, new) = (EdDsaSigningKey::random(), EdDsaSigningKey::random());
    let validator = Jwt::with_key(old.verifying_key()).add_key(new.verifying_key());
    for key in [old, new] {
        let peer = entry();
        let ticket = JwtTicketBuilder::new(key)
            .expires_in(ChronoDuration::hours(1))
            .build(peer.id());
        assert!(peer.add_ticket(ticket).validate_ticket(&validator).is_ok());
    }
}
