use iroh::SecretKey;

use super::*;
use crate::primitives::{Bytes, Encoded, TraceParent, encoding, vectors};

fn secret() -> SecretKey {
    SecretKey::from_bytes(&[3; 32])
}

#[test]
fn recorded_encodings() {
    let peer = secret().public();
    vectors::check(|v| {
        v.pin("Digest", &Digest::from_bytes([7; 32]), "07*32");
        v.pin(
            "WirePeerId",
            &WirePeerId(peer),
            "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1",
        );
        let signature = secret().sign(b"message");
        v.pin(
            "WireSignature",
            &WireSignature::from(&signature),
            "5dafc19be055f93d60a7d2727b3472d7fa68c3f13b479b99559da550afd76024 \
             b4cfb5fc31a27eafff57fd008d31c646b4d52436d681d897161a0ab917776200",
        );
        v.pin("TraceParent", &TraceParent::sample(), "01*16 02*8 03");
        v.pin("Encoded", &Encoded(300u16), "02ac02");
        v.pin("Bytes", &Bytes::from_static(b"abc"), "03616263");
    });
}

/// The encodings of the transport, which these took the place of, have the same bytes.
#[test]
fn keys_are_encoded_as_the_transport_does() {
    let peer = secret().public();
    let signature = secret().sign(b"message");
    assert_eq!(
        encoding::try_serialize(&WirePeerId(peer)).unwrap(),
        &peer.as_bytes()[..]
    );
    let encoded = encoding::try_serialize(&WireSignature::from(&signature)).unwrap();
    assert_eq!(encoded, &signature.to_bytes()[..]);
    assert_eq!(Signature::from(WireSignature::from(&signature)), signature);
    let text = serde_json::to_string(&WirePeerId(peer)).unwrap();
    assert_eq!(text, format!("\"{peer}\""));
    assert_eq!(
        serde_json::from_str::<WirePeerId>(&text).unwrap(),
        WirePeerId(peer)
    );
}

#[test]
fn bytes_that_are_no_public_key_are_refused() {
    // No point of the curve has this y-coordinate.
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert!(PeerId::from_bytes(&bytes).is_err());
    assert!(encoding::deserialize::<WirePeerId>(bytes).is_err());
    assert!(encoding::deserialize::<WirePeerId>([7; 31]).is_err());
}
