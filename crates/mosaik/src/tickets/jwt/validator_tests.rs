use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use super::{super::token::MAX_TOKEN_BYTES, *};
use crate::tickets::{
    EdDsaSigningKey, Es256SigningKey, Es256kSigningKey, Es384SigningKey, Es512SigningKey, Hs256,
    Hs384, Hs512, JwtTicketBuilder, SigningAlgorithm, SigningKey, VerifyingAlgorithm,
};

const KEY: Hs256 = Hs256::new([7; 32]);
const NOW: i64 = 1_800_000_000;
const NOW_WITH_FRACTION: f64 = 1_800_000_000.5;
const MINUTE: Duration = Duration::from_mins(1);

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

fn entry() -> PeerEntry {
    let peer = iroh::SecretKey::from_bytes(&[1; 32]).public();
    PeerEntry::new(id!("network"), peer)
}

fn base64(text: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(text.as_ref())
}

fn token_of(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", base64(header), base64(claims));
    let signature = base64(KEY.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn token(claims: &Value) -> String {
    token_of(r#"{"alg":"HS256"}"#, &claims.to_string())
}

/// The claims of a good token with others on top; `null` takes one away.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"sub": entry().id().to_string(), "exp": NOW + 60, "iat": NOW});
    let all = claims.as_object_mut().unwrap();
    let Value::Object(changes) = changes else {
        panic!("changes are an object")
    };
    for (name, value) in changes {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    claims
}

fn verdict(validator: &Jwt, changes: Value) -> Result<Expiration, Refusal> {
    validator.check(token(&claims(changes)).as_bytes(), &entry(), now())
}

#[expect(clippy::unnecessary_wraps, reason = "it stands for a verdict")]
fn until(seconds: i64) -> Result<Expiration, Refusal> {
    Ok(Expiration::At(
        DateTime::from_timestamp(seconds, 0).unwrap(),
    ))
}

fn jwt() -> Jwt {
    Jwt::with_key(KEY)
}

#[test]
fn a_good_token_is_valid_until_its_expiry() {
    assert_eq!(verdict(&jwt(), json!({})), until(NOW + 60));
}

#[test]
fn every_algorithm_signs_and_verifies() {
    let (es256, es384) = (Es256SigningKey::random(), Es384SigningKey::random());
    let (es512, es256k) = (Es512SigningKey::random(), Es256kSigningKey::random());
    let ed = EdDsaSigningKey::random();
    let (hs384, hs512) = (Hs384::random(), Hs512::random());
    let pairs: [(SigningKey, VerifyingKey); 8] = [
        (KEY.into(), KEY.into()),
        (hs384.into(), hs384.into()),
        (hs512.into(), hs512.into()),
        (es256.clone().into(), es256.verifying_key().into()),
        (es384.clone().into(), es384.verifying_key().into()),
        (es512.clone().into(), es512.verifying_key().into()),
        (es256k.clone().into(), es256k.verifying_key().into()),
        (ed.clone().into(), ed.verifying_key().into()),
    ];
    for (i, (signing, _)) in pairs.iter().enumerate() {
        let builder = JwtTicketBuilder::new(signing.clone()).expires_at(Expiration::in_1h());
        let ticket = builder.build(entry().id());
        assert_eq!(ticket, builder.build(entry().id()), "{signing:?}");
        let entry = entry().add_ticket(ticket);
        for (j, (_, verifying)) in pairs.iter().enumerate() {
            let validator = Jwt::with_key(verifying.clone());
            assert_eq!(entry.validate_ticket(&validator).is_ok(), i == j);
        }
    }
}

#[test]
fn the_shape_is_strict() {
    let good = token(&claims(json!({})));
    let check = |data: &[u8]| jwt().check(data, &entry(), now());
    assert!(check(good.as_bytes()).is_ok());
    let parts: Vec<&str> = good.split('.').collect();
    let refused: [(String, Refusal); 12] = [
        (String::new(), Refusal::Shape),
        ("..".into(), Refusal::Json),
        (parts[..2].join("."), Refusal::Shape),
        (format!("{good}."), Refusal::Shape),
        (format!("{good}=="), Refusal::Shape),
        (format!(" {good}"), Refusal::Shape),
        (format!("{good}\n"), Refusal::Shape),
        (format!("{}.{}.", parts[0], parts[1]), Refusal::Signature),
        (token_of("[]", "{}"), Refusal::Json),
        (token_of("{}", "{}"), Refusal::NoAlgorithm),
        (token_of(r#"{"alg":256}"#, "{}"), Refusal::NoAlgorithm),
        (token_of(r#"{"alg":"HS256"}"#, "[]"), Refusal::Json),
    ];
    for (token, reason) in refused {
        assert_eq!(check(token.as_bytes()), Err(reason), "{token}");
    }
    assert_eq!(check(&[0xff, b'.', b'.']), Err(Refusal::Shape));
    // The last digit of the signature has unused bits: no second text for the same bytes.
    let mut twin = good.clone().into_bytes();
    let last = twin.last_mut().unwrap();
    *last += 1;
    assert_eq!(check(&twin), Err(Refusal::Shape));
}

#[test]
fn an_oversized_token_is_not_read() {
    let pad = "x".repeat(MAX_TOKEN_BYTES);
    let large = token(&claims(json!({"pad": pad})));
    assert_eq!(
        jwt().check(large.as_bytes(), &entry(), now()),
        Err(Refusal::Oversized)
    );
}

#[test]
fn an_altered_token_is_refused() {
    let good = token(&claims(json!({}))).into_bytes();
    for i in 0..good.len() {
        let mut altered = good.clone();
        altered[i] ^= 1;
        assert!(jwt().check(&altered, &entry(), now()).is_err(), "byte {i}");
    }
}

#[test]
fn names_must_be_unique_at_every_depth() {
    let sub = entry().id().to_string();
    let fields = format!(r#""sub":"{sub}","exp":{}"#, NOW + 60);
    let header = r#"{"alg":"HS256"}"#;
    for (header, claims) in [
        (header, format!(r#"{{{fields},"exp":{}}}"#, NOW + 99)),
        (header, format!(r#"{{{fields},"e\u0078p":1}}"#)),
        (header, format!(r#"{{{fields},"x":[{{"a":1,"a":1}}]}}"#)),
        (header, format!("{{{fields}}} {{}}")),
        (r#"{"alg":"HS256","alg":"none"}"#, format!("{{{fields}}}")),
    ] {
        let token = token_of(header, &claims);
        let verdict = jwt().check(token.as_bytes(), &entry(), now());
        assert_eq!(verdict, Err(Refusal::Json), "{claims}");
    }
    let nested = "[".repeat(100_000);
    assert_eq!(
        jwt().check(
            token_of(header, &nested[..9_000]).as_bytes(),
            &entry(),
            now()
        ),
        Err(Refusal::Json)
    );
}

#[test]
fn nothing_in_a_header_chooses_another_algorithm() {
    let claims = claims(json!({})).to_string();
    for alg in ["none", "None", "", "hs256", "HS384", "ES256"] {
        let token = token_of(&json!({"alg": alg}).to_string(), &claims);
        let verdict = jwt().check(token.as_bytes(), &entry(), now());
        assert_eq!(verdict, Err(Refusal::Algorithm), "{alg}");
    }
    let unsigned = format!("{}.{}.", base64(r#"{"alg":"none"}"#), base64(&claims));
    assert_eq!(
        jwt().check(unsigned.as_bytes(), &entry(), now()),
        Err(Refusal::Algorithm)
    );
    let critical = token_of(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims);
    assert_eq!(
        jwt().check(critical.as_bytes(), &entry(), now()),
        Err(Refusal::Critical)
    );
    let others = token_of(
        r#"{"typ":"at+jwt","alg":"HS256","kid":"7","jku":"x"}"#,
        &claims,
    );
    assert!(jwt().check(others.as_bytes(), &entry(), now()).is_ok());
}

/// The classic confusion: a public key, which everyone knows, used as a shared secret.
#[test]
fn a_public_key_is_no_shared_secret() {
    let key = EdDsaSigningKey::random();
    let public = key.verifying_key();
    let digits: String = format!("{public:?}")
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect();
    let public_bytes = hex::decode(&digits[digits.len() - 64..]).unwrap();
    let forged = JwtTicketBuilder::new(Hs256::new(public_bytes.try_into().unwrap()))
        .expires_at(Expiration::in_1h())
        .build(entry().id());
    let verdict = Jwt::with_key(public).check(&forged.data, &entry(), now());
    assert_eq!(verdict, Err(Refusal::Algorithm));
}

#[test]
fn keys_rotate() {
    let old = Hs256::random();
    let both = Jwt::with_key(old).add_key(KEY);
    assert!(verdict(&both, json!({})).is_ok());
    assert_eq!(
        verdict(&Jwt::with_key(old), json!({})),
        Err(Refusal::Signature)
    );
}

#[test]
fn issuer() {
    let strict = jwt().allow_issuer("a").allow_issuer("b");
    for (iss, allowed) in [(json!("a"), true), (json!("b"), true), (json!("c"), false)] {
        let changes = json!({"iss": iss});
        assert_eq!(verdict(&strict, changes.clone()).is_ok(), allowed);
        assert!(verdict(&jwt(), changes).is_ok(), "ignored if not asked for");
    }
    assert_eq!(verdict(&strict, json!({})), Err(Refusal::Issuer));
    assert_eq!(
        verdict(&strict, json!({"iss": ["a"]})),
        Err(Refusal::Issuer)
    );
}

#[test]
fn subject() {
    let upper = entry().id().to_string().to_uppercase();
    for sub in [
        json!(null),
        json!(7),
        json!("other"),
        json!(""),
        json!(upper),
    ] {
        assert_eq!(verdict(&jwt(), json!({"sub": sub})), Err(Refusal::Subject));
    }
    let named = jwt().require_subject("writer").allow_unbound_tickets();
    assert!(verdict(&named, json!({"sub": "writer"})).is_ok());
    assert_eq!(verdict(&named, json!({})), Err(Refusal::Subject));
}

#[test]
fn a_token_with_another_subject_is_bound_to_its_peer_all_the_same() {
    let named = jwt().require_subject("writer");
    let unbound_too = named.clone().allow_unbound_tickets();
    let own = entry().id().to_string();
    let other = iroh::SecretKey::from_bytes(&[2; 32]).public().to_string();
    let with = |peer: Value| verdict(&named, json!({"sub": "writer", "mosaik.peer": peer}));
    assert!(with(json!(own)).is_ok());
    assert_eq!(with(json!(other)), Err(Refusal::Peer));
    assert_eq!(with(json!(7)), Err(Refusal::Peer));
    assert_eq!(with(json!(null)), Err(Refusal::Peer), "names nobody");
    let carrier = json!({"sub": "writer", "mosaik.peer": other});
    assert_eq!(verdict(&unbound_too, carrier), Err(Refusal::Peer));
    let by_subject = jwt().require_subject(own);
    assert!(
        verdict(&by_subject, json!({})).is_ok(),
        "the subject binds it"
    );

    let issued = JwtTicketBuilder::new(KEY)
        .subject("writer")
        .expires_at(Expiration::in_1h());
    let thief = entry().add_ticket(issued.build(&other.parse().unwrap()));
    assert!(
        thief.validate_ticket(&named).is_err(),
        "copied from the catalog"
    );
    let unbound = issued.without_peer_binding().build(&other.parse().unwrap());
    let thief = entry().add_ticket(unbound);
    assert!(thief.validate_ticket(&named).is_err(), "not by default");
    assert!(thief.validate_ticket(&unbound_too).is_ok());
}

#[test]
fn audience_is_a_text_or_a_list() {
    let strict = jwt().allow_audience("a").allow_audience("b");
    for (aud, allowed) in [
        (json!("a"), true),
        (json!(["x", "b"]), true),
        (json!("x"), false),
        (json!([]), false),
        (json!(null), false),
        (json!(["a", 7]), false),
        (json!({"a": 1}), false),
    ] {
        let changes = json!({"aud": aud});
        assert_eq!(verdict(&strict, changes.clone()).is_ok(), allowed, "{aud}");
        assert!(verdict(&jwt(), changes).is_ok(), "ignored if not asked for");
    }
}

#[test]
fn a_network_is_demanded_besides_other_audiences() {
    let network = id!("network");
    let text = network.to_string();
    let bound = jwt().allow_audience("a").for_network(network);
    assert!(verdict(&bound, json!({"aud": ["a", text]})).is_ok());
    assert_eq!(verdict(&bound, json!({"aud": "a"})), Err(Refusal::Network));
    assert_eq!(
        verdict(&bound, json!({"aud": text})),
        Err(Refusal::Audience)
    );
    let only = jwt().for_network(network);
    assert!(verdict(&only, json!({"aud": text})).is_ok());
    let other = id!("other").to_string();
    assert_eq!(verdict(&only, json!({"aud": other})), Err(Refusal::Network));
    assert_eq!(verdict(&only, json!({})), Err(Refusal::Network));
}

#[test]
fn not_before() {
    assert!(verdict(&jwt(), json!({"nbf": NOW})).is_ok());
    assert!(verdict(&jwt(), json!({"nbf": NOW - 1})).is_ok());
    // An issuer whose clock is a little ahead.
    for nbf in [json!(NOW + 10), json!(NOW_WITH_FRACTION)] {
        assert!(verdict(&jwt(), json!({"nbf": nbf})).is_ok());
    }
    for nbf in [json!(NOW + 11), json!(NOW_WITH_FRACTION + 10.0)] {
        assert_eq!(
            verdict(&jwt(), json!({"nbf": nbf})),
            Err(Refusal::NotYetValid)
        );
    }
    assert_eq!(verdict(&jwt(), json!({"nbf": "x"})), Err(Refusal::Time));
}

#[test]
fn expiry() {
    assert_eq!(verdict(&jwt(), json!({"exp": NOW + 1})), until(NOW + 1));
    assert_eq!(
        verdict(&jwt(), json!({"exp": NOW_WITH_FRACTION + 1.0})),
        until(NOW + 1)
    );
    for exp in [
        json!(NOW),
        json!(NOW - 1),
        json!(0),
        json!(-5),
        json!(NOW_WITH_FRACTION),
    ] {
        let verdict = verdict(&jwt(), json!({"exp": exp}));
        assert_eq!(verdict, Err(Refusal::Expired), "{exp}");
    }
    for exp in [
        json!(u64::MAX),
        json!(i64::MAX),
        json!(1e300),
        json!("x"),
        json!(true),
    ] {
        for validator in [jwt(), jwt().allow_non_expiring()] {
            let verdict = verdict(&validator, json!({"exp": exp}));
            assert_eq!(verdict, Err(Refusal::Time), "{exp}");
        }
    }
    assert_eq!(
        verdict(&jwt(), json!({"exp": null})),
        Err(Refusal::NeverExpires)
    );
    let lenient = jwt().allow_non_expiring();
    assert_eq!(
        verdict(&lenient, json!({"exp": null})),
        Ok(Expiration::Never)
    );
    assert_eq!(
        verdict(&lenient, json!({"exp": NOW})),
        Err(Refusal::Expired)
    );
}

#[test]
fn lifetime_is_bounded_and_implies_an_expiry() {
    let bounded = jwt().max_lifetime(MINUTE).allow_non_expiring();
    assert!(verdict(&bounded, json!({"exp": NOW + 60})).is_ok());
    assert_eq!(
        verdict(&bounded, json!({"exp": NOW + 61})),
        Err(Refusal::Lifetime)
    );
    assert_eq!(
        verdict(&bounded, json!({"exp": null})),
        Err(Refusal::NeverExpires)
    );
}

#[test]
fn age_and_issue() {
    let fresh = jwt().max_age(MINUTE);
    assert!(verdict(&fresh, json!({"iat": NOW - 60})).is_ok());
    assert_eq!(verdict(&fresh, json!({"iat": NOW - 61})), Err(Refusal::Age));
    assert_eq!(
        verdict(&fresh, json!({"iat": null})),
        Err(Refusal::NoIssueTime)
    );
    assert!(!fresh.is_pure() && jwt().is_pure());
    let too_old = DateTime::from_timestamp(NOW + 31, 0).unwrap();
    let issued = json!({"iat": NOW - 30, "exp": NOW + 1_000});
    assert_eq!(verdict(&fresh, issued), Ok(Expiration::At(too_old)));
    let expires = DateTime::from_timestamp(NOW + 5, 0).unwrap();
    let issued = json!({"iat": NOW - 30, "exp": NOW + 5});
    assert_eq!(verdict(&fresh, issued), Ok(Expiration::At(expires)));
    for validator in [jwt(), fresh] {
        assert!(verdict(&validator, json!({"iat": NOW + 10})).is_ok());
        assert_eq!(
            verdict(&validator, json!({"iat": NOW + 11})),
            Err(Refusal::IssuedInFuture)
        );
        assert_eq!(verdict(&validator, json!({"iat": "x"})), Err(Refusal::Time));
    }
    assert!(verdict(&jwt(), json!({"iat": null})).is_ok());
}

#[test]
fn leeway_moves_every_bound_and_the_answer() {
    let lenient = jwt().leeway(Duration::from_secs(30));
    assert_eq!(verdict(&lenient, json!({"exp": NOW - 29})), until(NOW + 1));
    assert_eq!(
        verdict(&lenient, json!({"exp": NOW - 30})),
        Err(Refusal::Expired)
    );
    assert!(verdict(&lenient, json!({"nbf": NOW + 30})).is_ok());
    assert_eq!(
        verdict(&lenient, json!({"nbf": NOW + 31})),
        Err(Refusal::NotYetValid)
    );
    assert!(verdict(&lenient, json!({"iat": NOW + 30})).is_ok());
    assert_eq!(
        verdict(&lenient, json!({"iat": NOW + 31})),
        Err(Refusal::IssuedInFuture)
    );
    let fresh = lenient.max_age(MINUTE);
    assert!(verdict(&fresh, json!({"iat": NOW - 90})).is_ok());
    assert_eq!(verdict(&fresh, json!({"iat": NOW - 91})), Err(Refusal::Age));
    let endless = jwt().leeway(Duration::MAX);
    let end = Ok(Expiration::At(DateTime::<Utc>::MAX_UTC));
    assert_eq!(verdict(&endless, json!({"exp": 1})), end);
}

#[test]
fn required_claims_are_equal_and_may_be_registered() {
    let strict = jwt()
        .require_claim("role", "reader")
        .require_claim("role", "writer")
        .require_claim("level", 3)
        .require_claim("jti", "id");
    let good = json!({"role": "writer", "level": 3, "jti": "id"});
    assert!(verdict(&strict, good.clone()).is_ok());
    for (name, value) in [
        ("role", json!("reader")),
        ("role", json!(null)),
        ("level", json!("3")),
        ("level", json!(3.0)),
        ("jti", json!("other")),
    ] {
        let mut changed = good.clone();
        changed[name] = value;
        assert_eq!(verdict(&strict, changed), Err(Refusal::Claim), "{name}");
    }
}

#[test]
fn custom_algorithms_match_by_their_name() {
    struct Reversed;
    impl SigningAlgorithm for Reversed {
        fn sign(&self, message: &[u8]) -> Vec<u8> {
            message.iter().rev().copied().collect()
        }
    }
    impl VerifyingAlgorithm for Reversed {
        fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
            self.sign(message) == signature
        }
    }
    let ticket = JwtTicketBuilder::new(SigningKey::custom(Reversed, "REV"))
        .expires_at(Expiration::in_1h())
        .build(entry().id());
    let entry = entry().add_ticket(ticket);
    let validator = |name| Jwt::with_key(VerifyingKey::custom(Reversed, b"key", name));
    assert!(entry.validate_ticket(&validator("REV")).is_ok());
    assert!(entry.validate_ticket(&validator("rev")).is_err());
}

#[test]
fn signatures_follow_every_setting() {
    let plain = || Jwt::with_key(KEY);
    let second = Duration::from_secs(1);
    let all = [
        plain(),
        Jwt::with_key(Hs256::new([8; 32])),
        Jwt::with_key(Hs384::new([7; 48])),
        plain().add_key(Hs256::new([8; 32])),
        plain().with_identity("name"),
        plain().with_identity("other"),
        plain().allow_issuer("a,b"),
        plain().allow_issuer("a").allow_issuer("b"),
        plain().allow_issuer("ab"),
        plain().allow_audience("a,b"),
        plain().allow_audience("a").allow_audience("b"),
        plain().allow_audience(id!("network").to_string()),
        plain().for_network(id!("network")),
        plain().require_subject(""),
        plain().require_subject("a"),
        plain().require_subject("a").allow_unbound_tickets(),
        plain().allow_unbound_tickets(),
        plain().require_claim("a", "b"),
        plain().require_claim("a", json!(["b"])),
        plain().require_claim("a", 1),
        plain().require_claim("a", 1.0),
        plain().require_claim("a", "1"),
        plain().require_claim("a", json!(null)),
        plain().require_claim("ab", ""),
        plain().require_claim("a", json!({"b": {"c": 1}})),
        plain().require_claim("a", json!({"b": {}, "c": 1})),
        plain().allow_non_expiring(),
        plain().max_lifetime(Duration::ZERO),
        plain().max_lifetime(Duration::from_millis(1)),
        plain().max_lifetime(second),
        plain().max_age(Duration::ZERO),
        plain().max_age(second),
        plain().leeway(second),
        plain().leeway(Duration::from_nanos(1)),
    ];
    let distinct: BTreeSet<UniqueId> = all.iter().map(Jwt::signature).collect();
    assert_eq!(distinct.len(), all.len());
}

#[test]
fn signatures_ignore_order_and_repetition() {
    let other = Hs256::new([8; 32]);
    let one = Jwt::with_key(KEY)
        .add_key(other)
        .allow_issuer("a")
        .allow_issuer("b")
        .require_claim("x", json!({"a": 1, "b": 2}))
        .require_claim("y", 2);
    let two = Jwt::with_key(other)
        .add_key(KEY)
        .add_key(other)
        .require_claim("y", 2)
        .require_claim("x", json!({"b": 2, "a": 1}))
        .allow_issuer("b")
        .allow_issuer("a")
        .allow_issuer("b");
    assert_eq!(one.signature(), two.signature());
    assert_eq!(one.signature(), one.clone().signature());
}

#[test]
fn a_named_validator_keeps_its_signature_when_keys_rotate() {
    let named = Jwt::with_key(KEY).with_identity("cluster");
    let rotated = named.clone().add_key(Hs512::random());
    assert_eq!(named.signature(), rotated.signature());
    assert_ne!(
        named.signature(),
        rotated.allow_issuer("other").signature(),
        "the other settings still count"
    );
}

#[test]
fn verdicts_follow_the_keys_whatever_the_name() {
    let named = |key| Jwt::with_key(key).with_identity("cluster");
    let (one, other) = (named(KEY), named(Hs256::new([8; 32])));
    assert_ne!(one.verdict_id(), other.verdict_id());
    let both = one.clone().add_key(Hs256::new([8; 32]));
    assert_ne!(one.verdict_id(), both.verdict_id());
    assert_eq!(
        both.verdict_id(),
        other.clone().add_key(KEY).verdict_id(),
        "whatever their order"
    );
    assert_ne!(one.verdict_id(), named(KEY).allow_issuer("a").verdict_id());
    let wrapped: Box<dyn TicketValidator> = Box::new(std::sync::Arc::new(one.clone()));
    assert_eq!(wrapped.verdict_id(), one.verdict_id());
}

/// A change here changes the ids of groups, collections and functions in the field.
#[test]
fn signatures_are_pinned() {
    assert_eq!(
        Jwt::with_key(KEY).signature().to_string(),
        "11dc6eeeace234c695a19a071b88134a3a6f4e61a2dfcbfffefadd9bc58145d8"
    );
    assert_eq!(
        Jwt::with_key(KEY)
            .with_identity("cluster")
            .allow_issuer("issuer")
            .allow_audience("audience")
            .for_network(id!("network"))
            .require_subject("subject")
            .require_claim("claim", json!({"list": [1, -1, 1.5, true, null, "text"]}))
            .allow_non_expiring()
            .max_lifetime(MINUTE)
            .max_age(MINUTE)
            .leeway(Duration::from_secs(1))
            .signature()
            .to_string(),
        "0ae3c3690aa73486cea4d2972b1b990ef6143e9556bd3e7c1edc26a9520c200c"
    );
}

#[test]
fn its_debug_output_holds_no_secret() {
    let debug = format!("{:?}", Jwt::with_key(Hs256::new([0xab; 32])));
    assert!(!debug.contains("abab") && !debug.contains("171"), "{debug}");
}
