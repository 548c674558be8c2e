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

/// Accepts one word, as a ticket of the common class.
struct Word(&'static str);

impl TicketValidator for Word {
    fn class(&self) -> TicketClass {
        CLASS
    }

    fn signature(&self) -> mosaik::UniqueId {
        unique_id!("word.v1").derive(self.0)
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        (ticket == self.0.as_bytes())
            .then_some(Expiration::Never)
            .ok_or(InvalidTicket)
    }
}

#[test]
fn validators_of_one_class_may_take_a_ticket_each() {
    let both: [Arc<dyn TicketValidator>; 2] = [Arc::new(Word("one")), Arc::new(Word("two"))];
    let ticket = |word: &'static str| Ticket::new(CLASS, Bytes::from(word));
    let half = entry().add_ticket(ticket("one")).add_ticket(ticket("none"));
    assert_eq!(half.validate_tickets(&both), Err(InvalidTicket));
    let whole = half.add_ticket(ticket("two"));
    assert_eq!(whole.validate_tickets(&both), Ok(Some(Expiration::Never)));
}

#[test]
fn fallible_constructors_of_all_keys() {
    assert_eq!(Hs256::try_new([1; 32]), Ok(Hs256::new([1; 32])));
    assert_eq!(Hs384::try_new([1; 48]), Ok(Hs384::new([1; 48])));
    assert_eq!(Hs512::try_new([1; 64]), Ok(Hs512::new([1; 64])));
    assert!(Es256::try_new([0; 33]).is_err() && Es384::try_new([0; 49]).is_err());
    assert!(Es512::try_new([0; 67]).is_err() && Es256k::try_new([0; 33]).is_err());
    assert!(EdDsa::try_from_hex("").is_err());
    assert!(Es256SigningKey::try_from_bytes([0; 32]).is_err());
    assert!(Es384SigningKey::try_from_bytes([0; 48]).is_err());
    assert!(Es512SigningKey::try_from_bytes([0; 66]).is_err());
    assert!(Es256kSigningKey::try_from_bytes([0; 32]).is_err());
    assert!(EdDsaSigningKey::try_from_bytes([0; 32]).is_ok());
    assert!(Hs256::try_from_hex("zz").is_err());
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

#[test]
fn every_claim_and_check_has_a_setter() {
    let peer = entry();
    let now = chrono::Utc::now();
    let builder = JwtTicketBuilder::new(KEY)
        .issuer("iss")
        .subject(peer.id().to_string())
        .audience("aud")
        .expires_at(Expiration::in_1h())
        .issued_at(now)
        .not_before(now)
        .token_id("1")
        .claim("role", "admin")
        .claim("level", 7);
    let validator = Jwt::with_key(KEY)
        .add_key(EdDsaSigningKey::random().verifying_key())
        .allow_issuer("iss")
        .allow_audience("aud")
        .require_claim("role", "admin")
        .require_claim("level", 7)
        .max_lifetime(Duration::from_secs(3600))
        .max_age(Duration::from_secs(60));
    let carried = peer.clone().add_ticket(builder.build(peer.id()));
    assert!(carried.validate_ticket(&validator).is_ok());
    assert!(
        carried
            .validate_ticket(&validator.clone().require_subject("x"))
            .is_err()
    );
    assert_eq!(validator.class(), Jwt::CLASS);
    assert_eq!(Jwt::CLASS, mosaik::id!("mosaik.tickets.jwt.v1"));
    assert_ne!(validator.signature(), Jwt::with_key(KEY).signature());
    let both: [Arc<dyn TicketValidator>; 2] = [Arc::new(validator), Arc::new(Jwt::with_key(KEY))];
    let earliest = carried.validate_tickets(&both).unwrap().unwrap();
    assert!(matches!(earliest, Expiration::At(_)) && !earliest.is_expired());
}

#[test]
fn expirations() {
    let hour: ChronoDuration = ChronoDuration::hours(1);
    assert!(Expiration::after(hour) > Expiration::after(-hour));
    assert!(
        Expiration::in_1h() < Expiration::in_3h() && Expiration::in_6h() < Expiration::in_24h()
    );
    assert!(Expiration::already_expired().is_expired());
    assert_eq!(Expiration::already_expired().remaining(), None);
    const NEVER: Expiration = Expiration::never();
    assert!(NEVER.remaining().is_none() && !NEVER.is_expired());
    assert_eq!([NEVER, Expiration::in_1h()].into_iter().max(), Some(NEVER));
    let json = serde_json::to_string(&NEVER).unwrap();
    assert_eq!(serde_json::from_str::<Expiration>(&json).unwrap(), NEVER);
}

#[test]
fn keys_have_their_traits_and_forms() {
    use std::{collections::HashSet, fmt::Debug, hash::Hash};

    const P256: Es256 =
        Es256::hex("036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296");
    fn value<K: Copy + Eq + Hash + Debug + Into<VerifyingKey>>(key: K) {
        assert_eq!(HashSet::from([key, key]).len(), 1);
    }
    fn both<K: Copy + Eq + Hash + Debug + Into<VerifyingKey> + Into<SigningKey>>(key: K) {
        value(key);
        assert!(format!("{key:?}").contains("redacted"));
    }
    fn secret<S: Clone + Debug + Into<SigningKey>>(key: &S) {
        assert!(format!("{:?}", key.clone()).contains("redacted"));
    }
    both(Hs256::new([1; 32]));
    both(Hs384::new([1; 48]));
    both(Hs512::new([1; 64]));
    value(P256);
    assert!(format!("{P256:?}").starts_with("Es256(\"036b17"));
    secret(&Es256SigningKey::from_bytes([1; 32]));
    secret(&Es384SigningKey::from_bytes([1; 48]));
    let mut small = [1; 66];
    small[0] = 0;
    secret(&Es512SigningKey::from_bytes(small));
    secret(&EdDsaSigningKey::from_bytes([1; 32]));
    secret(&Es256kSigningKey::from_bytes([1; 32]));
    value(Es384SigningKey::random().verifying_key());
    value(Es512SigningKey::random().verifying_key());
    value(EdDsaSigningKey::random().verifying_key());
    value(Es256kSigningKey::random().verifying_key());
}

#[test]
fn algorithms_of_ones_own() {
    use tickets::{SigningAlgorithm, VerifyingAlgorithm};

    struct Length;
    impl SigningAlgorithm for Length {
        fn sign(&self, message: &[u8]) -> Vec<u8> {
            message.len().to_le_bytes().to_vec()
        }
    }
    impl VerifyingAlgorithm for Length {
        fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            signature == message.len().to_le_bytes()
        }
    }
    let peer = entry();
    let ticket = JwtTicketBuilder::new(SigningKey::custom(Length, "LEN"))
        .expires_in(ChronoDuration::hours(1))
        .build(peer.id());
    let key = VerifyingKey::custom(Length, "material", "LEN");
    assert!(
        peer.add_ticket(ticket)
            .validate_ticket(&Jwt::with_key(key))
            .is_ok()
    );
}
