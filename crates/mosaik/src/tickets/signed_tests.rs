use super::*;
use crate::{Ticket, id};

fn secret() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

fn entry() -> PeerEntry {
    let address = iroh::EndpointAddr::new(secret().public())
        .with_relay_url("https://relay.example.com/".parse().unwrap())
        .with_ip_addr(([127, 0, 0, 1], 4433).into())
        .with_ip_addr("[::1]:4433".parse().unwrap());
    PeerEntry {
        version: PeerEntryVersion::from_millis(1_000_000, 2_000_000),
        ..PeerEntry::new(id!("network"), address)
            .add_tags(["a", "b"])
            .add_streams("stream")
            .add_functions("function")
            .add_groups("group")
            .add_ticket(Ticket::new(id!("class"), "one".into()))
            .add_ticket(Ticket::new(id!("class"), "two".into()))
    }
}

fn signed() -> SignedPeerEntry {
    entry().signed_by(&secret()).unwrap()
}

#[test]
fn only_the_owner_signs() {
    let other = SecretKey::from_bytes(&[8; 32]);
    let refused = entry().signed_by(&other).unwrap_err();
    assert_eq!(refused, (other.public(), secret().public()));
}

#[test]
fn it_is_encoded_as_the_pair_and_verified_on_decoding() {
    let signed = signed();
    let bytes = postcard::to_allocvec(&signed).unwrap();
    let pair = postcard::to_allocvec(&(entry(), *signed.signature())).unwrap();
    assert_eq!(bytes, pair);
    let back: SignedPeerEntry = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(back, signed);
    assert_eq!(back.content(), signed.content());
    let unverified: UnverifiedEntry = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(unverified.entry(), &entry());
    assert_eq!(unverified.verify(), Some(signed.clone()));
    let json = serde_json::to_string(&signed).unwrap();
    assert_eq!(
        serde_json::from_str::<SignedPeerEntry>(&json).unwrap(),
        signed
    );
    assert_eq!(<(PeerEntry, Signature)>::from(signed.clone()).0, entry());
    assert_eq!(signed.into_unsigned(), entry());
}

/// An altered byte must not hide behind a decoder that brings values into a normal form.
#[test]
fn any_altered_bit_is_an_error() {
    let mut bytes = postcard::to_allocvec(&signed()).unwrap();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let decoded = postcard::take_from_bytes::<SignedPeerEntry>(&bytes);
        assert!(decoded.is_err(), "bit {bit} of {}", bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(postcard::from_bytes::<SignedPeerEntry>(&bytes).is_ok());
}

#[test]
fn other_forms_of_the_same_value_are_refused() {
    let bytes = postcard::to_allocvec(&signed()).unwrap();
    let position = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle);

    let mut upper = bytes.clone();
    let relay = position(b"relay.example").unwrap();
    upper[relay] = b'R';
    assert!(postcard::from_bytes::<UnverifiedEntry>(&upper).is_err());

    let mut tags = [id!("a"), id!("b")];
    tags.sort();
    let ordered = [*tags[0].as_bytes(), *tags[1].as_bytes()].concat();
    let start = position(&ordered).unwrap();
    for forged in [[tags[1], tags[0]], [tags[0], tags[0]]] {
        let mut other = bytes.clone();
        let forged = [*forged[0].as_bytes(), *forged[1].as_bytes()].concat();
        other[start..start + 64].copy_from_slice(&forged);
        assert!(postcard::from_bytes::<UnverifiedEntry>(&other).is_err());
    }
}

#[test]
fn a_sign_of_life_needs_the_signature_of_its_version() {
    let signed = signed();
    let later = PeerEntry {
        version: signed.version.bumped(3_000_000),
        ..entry()
    };
    let later = later.signed_by(&secret()).unwrap();
    let moved = signed.reversioned(later.version, *later.signature());
    assert_eq!(moved, Some(later.clone()));
    assert_eq!(signed.content(), later.content());
    let another = later.version.bumped(0);
    assert_eq!(signed.reversioned(another, *later.signature()), None);
    let other_content = entry().add_tags("c").signed_by(&secret()).unwrap();
    assert_eq!(
        other_content.reversioned(later.version, *later.signature()),
        None
    );
}

#[test]
fn a_signature_over_the_bare_digest_is_none() {
    let bare = secret().sign(entry().digest().as_bytes());
    assert_eq!(SignedPeerEntry::verify(entry(), bare), None);
    let own = *signed().signature();
    assert_eq!(SignedPeerEntry::verify(entry(), own), Some(signed()));
    let mut relabeled = entry();
    relabeled.address.id = SecretKey::from_bytes(&[8; 32]).public();
    assert_eq!(SignedPeerEntry::verify(relabeled, own), None);
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut bytes = postcard::to_allocvec(&signed()).unwrap();
    for len in 0..bytes.len() {
        assert!(postcard::from_bytes::<SignedPeerEntry>(&bytes[..len]).is_err());
    }
    bytes.fill(0xff);
    assert!(postcard::from_bytes::<SignedPeerEntry>(&bytes).is_err());
}
