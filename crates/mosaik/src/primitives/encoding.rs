//! The binary encoding of everything that crosses the network or reaches a disk: postcard.

use std::{cell::RefCell, io};

use serde::{Serialize, de::DeserializeOwned};

use crate::primitives::{Bytes, BytesMut};

/// Why a value could not be encoded.
pub type EncodeError = postcard::Error;
/// Why bytes could not be decoded.
pub type DecodeError = postcard::Error;

/// A scratch buffer above this size is not kept for the next value.
const MAX_KEPT_SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encodes a value.
///
/// # Errors
///
/// When the value's `Serialize` implementation fails or needs a length that it does not know.
pub fn try_serialize<T: Serialize>(value: &T) -> Result<Bytes, EncodeError> {
    with_scratch(|scratch| {
        *scratch = postcard::to_extend(value, core::mem::take(scratch))?;
        Ok(Bytes::copy_from_slice(scratch))
    })
}

/// Encodes a value onto the end of `buffer`, which is unchanged when this fails.
pub(crate) fn serialize_into<T: Serialize>(
    value: &T,
    buffer: &mut BytesMut,
) -> Result<(), EncodeError> {
    with_scratch(|scratch| {
        *scratch = postcard::to_extend(value, core::mem::take(scratch))?;
        buffer.extend_from_slice(scratch);
        Ok(())
    })
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
