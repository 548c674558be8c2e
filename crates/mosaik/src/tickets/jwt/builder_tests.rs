use serde_json::json;

use super::*;
use crate::{
    id,
    tickets::{Es512SigningKey, Hs256, PeerEntry, SigningAlgorithm, TicketValidator},
};

const KEY: Hs256 = Hs256::new([7; 32]);

fn peer() -> PeerId {
    iroh::SecretKey::from_bytes(&[1; 32]).public()
}

fn parts(ticket: &Ticket) -> (String, Value) {
    let text = core::str::from_utf8(&ticket.data).unwrap();
    let parts: Vec<&str> = text.split('.').collect();
    assert_eq!(parts.len(), 3);
    let decode = |part: &str| String::from_utf8(BASE64URL_NOPAD.decode(part.as_bytes()).unwrap());
    let claims = serde_json::from_str(&decode(parts[1]).unwrap()).unwrap();
    (decode(parts[0]).unwrap(), claims)
}

fn claims(builder: &JwtTicketBuilder) -> Value {
    let mut claims = parts(&builder.build(&peer())).1;
    claims.as_object_mut().unwrap().remove(ISSUED);
    claims
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

#[test]
fn the_defaults() {
    let before = Utc::now().timestamp();
    let ticket = JwtTicketBuilder::new(KEY).build(&peer());
    assert_eq!(ticket.class, Jwt::CLASS);
    let (header, claims) = parts(&ticket);
    assert_eq!(header, r#"{"alg":"HS256","typ":"JWT"}"#);
    let issued = claims[ISSUED].as_i64().unwrap();
    assert!((before..=Utc::now().timestamp()).contains(&issued));
    assert_eq!(claims, json!({"sub": peer().to_string(), "iat": issued}));
}

#[test]
fn every_setter_has_its_claim() {
    let builder = JwtTicketBuilder::new(KEY)
        .issuer("issuer")
        .audience("audience")
        .token_id("id")
        .expires_at(Expiration::At(at(3_000)))
        .not_before(at(1_000))
        .issued_at(at(2_000))
        .claim("role", "writer")
        .claim("role", json!({"name": "reader"}));
    assert_eq!(
        parts(&builder.build(&peer())).1,
        json!({
            "iss": "issuer", "aud": "audience", "jti": "id", "exp": 3_000, "nbf": 1_000,
            "iat": 2_000, "sub": peer().to_string(), "role": {"name": "reader"},
        })
    );
    assert_eq!(builder.build(&peer()), builder.clone().build(&peer()));
}

#[test]
fn another_subject_still_names_the_peer() {
    let builder = JwtTicketBuilder::new(KEY).subject("writer");
    assert_eq!(
        claims(&builder),
        json!({"sub": "writer", "mosaik.peer": peer().to_string()})
    );
    assert_eq!(
        claims(&builder.without_peer_binding()),
        json!({"sub": "writer"})
    );
    let own = JwtTicketBuilder::new(KEY).subject(peer().to_string());
    assert_eq!(claims(&own), json!({"sub": peer().to_string()}));
}

#[test]
fn a_network_is_one_more_audience() {
    let network = id!("network");
    let text = network.to_string();
    let builder = JwtTicketBuilder::new(KEY).for_network(network);
    assert_eq!(claims(&builder)["aud"], json!(text));
    assert_eq!(
        claims(&builder.clone().audience("a"))["aud"],
        json!(["a", text])
    );
    assert_eq!(
        claims(&builder.claim("aud", json!(["a", "b"])))["aud"],
        json!(["a", "b", text])
    );
}

#[test]
fn registered_claims_are_set_by_name_too_and_the_last_call_wins() {
    let builder = JwtTicketBuilder::new(KEY)
        .claim("sub", peer().to_string())
        .claim("iss", "issuer")
        .claim("exp", 5)
        .claim("nbf", 6);
    assert_eq!(
        claims(&builder),
        json!({"sub": peer().to_string(), "iss": "issuer", "exp": 5, "nbf": 6})
    );
    let later = builder.expires_at(Expiration::At(at(9))).issuer("other");
    assert_eq!(claims(&later)["exp"], 9);
    assert_eq!(claims(&later)["iss"], "other");
    assert!(
        claims(&later.expires_at(Expiration::Never))
            .get("exp")
            .is_none()
    );
}

#[test]
fn an_unusable_value_never_weakens_a_token() {
    let entry = PeerEntry::new(id!("network"), peer());
    let validator = Jwt::with_key(KEY);
    let good = JwtTicketBuilder::new(KEY).expires_at(Expiration::in_1h());
    let accepts = |builder: &JwtTicketBuilder| {
        let ticket = builder.build(&peer());
        validator.validate(&ticket.data, &entry).is_ok()
    };
    assert!(accepts(&good));
    for (name, value) in [
        ("nbf", json!("tomorrow")),
        ("exp", json!("never")),
        ("exp", json!(null)),
        ("iat", json!([])),
        ("sub", json!(7)),
    ] {
        let odd = good.clone().claim(name, value.clone());
        assert_eq!(parts(&odd.build(&peer())).1[name], value);
        assert!(!accepts(&odd), "{name}");
    }
}

#[test]
fn times_before_1970_become_1970() {
    let builder = JwtTicketBuilder::new(KEY)
        .expires_at(Expiration::At(at(-5)))
        .not_before(DateTime::<Utc>::MIN_UTC);
    assert_eq!(claims(&builder)["exp"], 0);
    assert_eq!(claims(&builder)["nbf"], 0);
    let _ = builder
        .expires_in(chrono::Duration::MAX)
        .expires_in_std(Duration::MAX)
        .build(&peer());
}

#[test]
fn the_header_is_json_whatever_the_algorithm_is_called() {
    struct Odd;
    impl SigningAlgorithm for Odd {
        fn sign(&self, _: &[u8]) -> Vec<u8> {
            vec![1, 2, 3]
        }
    }
    let key = SigningKey::custom(Odd, r#"X","crit":"y"#);
    let (header, _) = parts(&JwtTicketBuilder::new(key).build(&peer()));
    let header: Value = serde_json::from_str(&header).unwrap();
    assert_eq!(header, json!({"alg": r#"X","crit":"y"#, "typ": "JWT"}));
}

#[test]
fn it_can_be_shared_and_printed_without_its_secret() {
    fn shared<T: Clone + Send + Sync + 'static>(_: &T) {}
    let builder = JwtTicketBuilder::new(Es512SigningKey::random());
    shared(&builder);
    let debug = format!("{builder:?}");
    assert!(
        debug.contains("SigningKey { algorithm: \"ES512\", .. }"),
        "{debug}"
    );
}
