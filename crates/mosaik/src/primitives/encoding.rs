//! The binary encoding of everything that crosses the network or reaches a disk: postcard.

use std::{cell::RefCell, io};

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

use crate::primitives::{Bytes, BytesMut};

/// Error of encoding a value.
pub type EncodeError = postcard::Error;
/// Error of decoding bytes.
pub type DecodeError = postcard::Error;

/// A scratch buffer above this size is not kept for the next value.
const MAX_KEPT_SCRATCH_BYTES: usize = 64 * 1024;
/// Byte strings of at least this size are written to their place without passing the scratch.
const MIN_DIRECT_BYTES: usize = 4 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encodes a value.
///
/// # Errors
///
/// When the value's `Serialize` implementation fails or needs a length that it does not know.
pub fn try_serialize<T: Serialize>(value: &T) -> Result<Bytes, EncodeError> {
    let mut large = BytesMut::new();
    with_scratch(|scratch| {
        encode(value, scratch, &mut large)?;
        if large.is_empty() {
            return Ok(Bytes::copy_from_slice(scratch));
        }
        large.extend_from_slice(scratch);
        Ok(large.freeze())
    })
}

/// Encodes a value onto the end of `buffer`, which is unchanged when this fails.
pub(crate) fn serialize_into<T: Serialize>(
    value: &T,
    buffer: &mut BytesMut,
) -> Result<(), EncodeError> {
    let start = buffer.len();
    let encoded = with_scratch(|scratch| {
        encode(value, scratch, buffer)?;
        buffer.extend_from_slice(scratch);
        Ok(())
    });
    encoded.inspect_err(|_| buffer.truncate(start))
}

/// Encodes a value into a writer.
///
/// # Errors
///
/// When the value can't be encoded or the writer fails.
pub fn try_serialize_to_writer<T: Serialize>(
    value: &T,
    writer: &mut impl io::Write,
) -> Result<(), EncodeError> {
    postcard::to_io(value, writer).map(drop)
}

/// Decodes a value from exactly these bytes.
///
/// # Errors
///
/// When the bytes are not an encoding of `T`, or when bytes are left over: leftovers are the sign
/// of another type or version.
pub fn deserialize<T: DeserializeOwned>(bytes: impl AsRef<[u8]>) -> Result<T, DecodeError> {
    let (value, rest) = postcard::take_from_bytes(bytes.as_ref())?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::DeserializeBadEncoding)
    }
}

/// Encodes a value: `buffer` gets everything up to the last large byte string, `scratch` the rest.
fn encode<T: Serialize>(
    value: &T,
    scratch: &mut Vec<u8>,
    buffer: &mut BytesMut,
) -> Result<(), EncodeError> {
    let spilling = Spilling {
        scratch: core::mem::take(scratch),
        buffer,
    };
    *scratch = postcard::serialize_with_flavor(value, spilling)?;
    Ok(())
}

/// Collects small pieces in a `Vec`, which takes single bytes several times faster than
/// `BytesMut`, and writes large ones straight to the buffer, which spares them a copy.
struct Spilling<'a> {
    scratch: Vec<u8>,
    buffer: &'a mut BytesMut,
}

impl Flavor for Spilling<'_> {
    type Output = Vec<u8>;

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        if bytes.len() < MIN_DIRECT_BYTES {
            self.scratch.extend_from_slice(bytes);
        } else {
            self.buffer.reserve(self.scratch.len() + bytes.len());
            self.buffer.extend_from_slice(&self.scratch);
            self.scratch.clear();
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    #[inline]
    fn try_push(&mut self, byte: u8) -> Result<(), EncodeError> {
        self.scratch.push(byte);
        Ok(())
    }

    fn finalize(self) -> Result<Self::Output, EncodeError> {
        Ok(self.scratch)
    }
}

/// Lends the thread's scratch buffer, or a fresh one when a value's own `Serialize` re-enters.
fn with_scratch<R>(encode: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    SCRATCH.with(|cell| match cell.try_borrow_mut() {
        Ok(mut scratch) => {
            scratch.clear();
            let result = encode(&mut scratch);
            if scratch.capacity() > MAX_KEPT_SCRATCH_BYTES {
                *scratch = Vec::new();
            }
            result
        }
        Err(_) => encode(&mut Vec::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_leftovers() {
        let bytes = try_serialize(&("text", 7u32)).unwrap();
        assert_eq!(
            deserialize::<(String, u32)>(&bytes).unwrap(),
            ("text".into(), 7)
        );
        assert!(
            deserialize::<u8>([1, 2, 3]).is_err(),
            "leftovers must be refused"
        );
        let mut written = Vec::new();
        try_serialize_to_writer(&("text", 7u32), &mut written).unwrap();
        assert_eq!(written, bytes);
    }

    #[test]
    fn large_byte_strings_stand_in_their_place() {
        let value = (
            7u32,
            Bytes::from(vec![1; MIN_DIRECT_BYTES]),
            "between".to_owned(),
            Bytes::from(vec![2; MIN_DIRECT_BYTES * 3]),
            9u8,
        );
        let mut expected = Vec::new();
        try_serialize_to_writer(&value, &mut expected).unwrap();
        assert_eq!(try_serialize(&value).unwrap(), expected);
        let mut buffer = BytesMut::from(&b"before"[..]);
        serialize_into(&value, &mut buffer).unwrap();
        assert_eq!(buffer, [b"before", &expected[..]].concat());
    }

    #[test]
    fn what_fails_after_a_large_part_leaves_nothing_behind() {
        struct Failing;
        impl Serialize for Failing {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        let mut buffer = BytesMut::from(&b"before"[..]);
        let value = (Bytes::from(vec![1; MIN_DIRECT_BYTES]), Failing);
        assert!(serialize_into(&value, &mut buffer).is_err());
        assert_eq!(buffer, "before");
        assert!(try_serialize(&value).is_err());
        assert_eq!(try_serialize(&1u8).unwrap(), [1][..]);
    }

    #[test]
    fn a_value_that_encodes_values_does_not_disturb_the_outer_one() {
        struct Nested;
        impl Serialize for Nested {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let inner = try_serialize(&[9u8; 4]).map_err(serde::ser::Error::custom)?;
                serializer.serialize_bytes(&inner)
            }
        }
        let bytes = try_serialize(&(1u8, Nested)).unwrap();
        assert_eq!(&bytes[..], [1, 4, 9, 9, 9, 9]);
    }
}
