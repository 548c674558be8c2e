use mosaik::{
    id,
    primitives::{
        Abbreviated, BackoffFactory, Bytes, BytesMut, Datum, Digest, Encoded, FmtIter, Pretty,
        PrettyFmtExt, Redacted, RedactedFmtExt, Short, ShortFmtExt, Tag, UniqueId, bytes, datum,
        encoding,
    },
};

use super::shared;

#[test]
fn names_and_bounds() {
    shared::<Digest>();
    shared::<BackoffFactory>();
    let _: Option<(Bytes, BytesMut, Tag, UniqueId, bytes::Bytes, Encoded<u8>)> = None;
    let _: Option<datum::Encoded<u8>> = None;
    fn datum<T: Datum + datum::Datum>() {}
    datum::<u64>();
    let encoded = encoding::try_serialize(&7u32).unwrap();
    assert_eq!(encoding::deserialize::<u32>(&encoded).unwrap(), 7);
    let mut written = Vec::new();
    encoding::try_serialize_to_writer(&7u32, &mut written).unwrap();
    assert_eq!(written, encoded);
}

#[test]
fn formatting() {
    let key = mosaik::SecretKey::from_bytes(&[1; 32]).public();
    assert_eq!(key.short().to_string().len(), 10);
    assert_eq!((&key).short().to_string(), Short(key).to_string());
    assert_eq!([1u8, 2].short().to_string(), "0102");
    assert_eq!(Abbreviated::<2, _>([1u8, 2, 3]).to_string(), "01..03");
    assert_eq!(Redacted(key).to_string(), key.redacted().to_string());
    let addr = mosaik::iroh::EndpointAddr::from(key);
    assert_eq!(addr.pretty().to_string(), "[]");
    assert_eq!(Pretty(&addr).to_string(), "[]");
    assert_eq!(Short::iter([key]).to_string(), format!("[{}]", key.short()));
    assert_eq!(
        FmtIter::<Short<_>, _>::new([key]).to_string(),
        format!("[{}]", key.short())
    );
}

#[test]
fn derived_values_are_pinned() {
    let id = Digest::from("validator");
    assert_eq!(id.derive([]), id.hashed());
    assert_eq!(Digest::from_parts(&["a", "b"]), Digest::hash(b"ab"));
    assert_eq!(
        Digest::from_hasher(&blake3::Hasher::new()),
        Digest::hash(b"")
    );
    assert_eq!(id.len(), 32);
    assert_eq!(<[u8; 32]>::from(id), *id.as_bytes());
    assert_eq!("validator".parse::<Digest>().unwrap(), id);
    assert_ne!(Digest::random(), Digest::random());
    assert_eq!(Digest::zero(), Digest::from_bytes([0; 32]));
    assert_eq!(u8::derived_stream_id(), Digest::from("u8"));
}

#[test]
fn conversions() {
    use std::{collections::BTreeSet, convert::Infallible, ops::Deref, str::FromStr};

    const BYTES: &[u8; 32] = id!("x").as_bytes();
    const LEN: usize = Digest::zero().len();
    const EIGHT: (Digest, Digest) = (Digest::from_u8(1), Digest::from_i8(-1));
    assert_eq!((BYTES.len(), LEN), (32, 32));
    assert_eq!(EIGHT.1.as_bytes()[31], 0xff);
    let id = Digest::from("x");
    let hash: blake3::Hash = *Deref::deref(&id);
    assert_eq!((Digest::from(hash), Digest::from(&hash)), (id, id));
    assert_eq!((Digest::from(&b"x"[..]), Digest::hash(b"x")), (id, id));
    assert_eq!(<[u8; 32]>::from(&id), *BYTES);
    let parsed: Result<Digest, Infallible> = Digest::from_str("x");
    assert_eq!(parsed, Ok(id));
    let _: mosaik::SecretKey = id.into();
    assert_eq!(AsRef::<[u8]>::as_ref(&id), BYTES);
    assert!(&id == id && id == &id && &id == &id && Digest::zero() < id);
    assert_eq!(format!("{id} {id:?}").len(), 129);
    for wide in [
        Digest::from_u16(1),
        Digest::from_i16(1),
        Digest::from_u32(1),
        Digest::from_i32(1),
        Digest::from_u64(1),
        Digest::from_i64(1),
        Digest::from_u128(1),
        Digest::from_i128(1),
        Digest::from_usize(1),
        Digest::from_isize(1),
    ] {
        assert_eq!(
            wide.as_bytes().iter().map(|b| u32::from(*b)).sum::<u32>(),
            1
        );
    }
    let set: BTreeSet<Tag> = ["x"].into_iter().map(Tag::from).collect();
    assert!(set.contains(&"x".into()));
    let (network, stream, function, group): (
        mosaik::NetworkId,
        mosaik::StreamId,
        mosaik::FunctionId,
        mosaik::GroupId,
    ) = (id, id, id, id);
    assert_eq!((network, stream), (function, group), "all one type");
}

#[test]
fn arguments_are_one_or_many() {
    fn tags<V>(tags: impl mosaik::primitives::IntoIterOrSingle<Tag, V>) -> usize {
        tags.iterator().into_iter().count()
    }
    let tag = Tag::from("x");
    assert_eq!((tags("a"), tags(tag), tags(["a", "b"])), (1, 1, 2));
    assert_eq!((tags(vec![tag, tag]), tags(&b"raw"[..])), (2, 1));
    assert_eq!((tags(None::<Tag>), tags(Some("a"))), (0, 1));
}

#[test]
fn encoded_values() {
    use std::collections::HashSet;

    let mut encoded = Encoded::from("text".to_owned());
    encoded.push('!');
    assert_eq!(encoded.len(), 5);
    let bytes = encoding::try_serialize(&encoded).unwrap();
    let back: Encoded<String> = encoding::deserialize(&bytes).unwrap();
    assert_eq!(HashSet::from([encoded.clone(), back]).len(), 1);
    let error: encoding::DecodeError = encoding::deserialize::<u8>([1, 2, 3]).unwrap_err();
    let _: postcard::Error = error;
    let _: Option<encoding::EncodeError> = None;
    assert!(format!("{encoded:?}").contains("text!"));
}

#[test]
fn wrappers_of_entries_tickets_and_positions() {
    use mosaik::{
        Ticket,
        discovery::{Event, PeerEntry},
        groups::{Index, Term},
    };

    let secret = mosaik::SecretKey::from_bytes(&[1; 32]);
    let entry = PeerEntry::new(id!("network"), secret.public());
    let signed = entry.clone().sign(&secret).unwrap();
    for text in [
        Short(&entry).to_string(),
        Short(&signed).to_string(),
        Short(entry.update_version()).to_string(),
        Event::PeerDeparted(secret.public()).short().to_string(),
        format!("{:?}", Short(&Ticket::new(id!("class"), "data".into()))),
        format!("{:?}", Pretty(&entry)),
        format!("{:?}", Pretty(&signed)),
    ] {
        assert!(!text.is_empty());
    }
    let (from, to) = (Index::from(1u64), Index::from(3u64));
    assert_eq!((from..=to).pretty().to_string(), "[1..3]");
    let (from, to) = (Term::from(1u64), Term::from(2u64));
    assert_eq!((from..=to).pretty().to_string(), "[1..2]");
    assert_eq!(Pretty(&entry).as_ref().id(), entry.id());
    assert_eq!(Short([0xabu8; 4].as_slice()).to_string(), "abababab");
    assert_eq!(
        FmtIter::<Abbreviated<2, _>, _>::new([[1u8, 2, 3]]).to_string(),
        "[01..03]"
    );
    assert_eq!(format!("{:?}", Redacted(1)), "<redacted>");
}
