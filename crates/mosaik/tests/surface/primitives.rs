use mosaik::primitives::{
    Abbreviated, BackoffFactory, Bytes, BytesMut, Datum, Digest, Encoded, FmtIter, Pretty,
    PrettyFmtExt, Redacted, RedactedFmtExt, Short, ShortFmtExt, Tag, UniqueId, bytes, datum,
    encoding,
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
