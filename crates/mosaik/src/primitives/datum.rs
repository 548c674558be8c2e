//! Values that travel: how a type becomes bytes and comes back.

use core::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned, ser};

use crate::primitives::{Bytes, BytesMut, Digest, StreamId, encoding};

/// A value that can be sent through streams, functions and groups.
///
/// Every `T: Serialize + DeserializeOwned + Send + 'static` is one, encoded with postcard. A type
/// without serde can implement it by hand with any encoding and error types.
///
/// # Examples
///
/// ```
/// use mosaik::{Bytes, Datum};
///
/// struct Line(String);
///
/// impl Datum for Line {
///     type EncodeError = std::convert::Infallible;
///     type DecodeError = std::string::FromUtf8Error;
///
///     fn encode(&self) -> Result<Bytes, Self::EncodeError> {
///         Ok(Bytes::copy_from_slice(self.0.as_bytes()))
///     }
///
///     fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
///         String::from_utf8(bytes.to_vec()).map(Line)
///     }
/// }
///
/// let bytes = Line("order 66".into()).encode()?;
/// assert_eq!(Line::decode(&bytes)?.0, "order 66");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub trait Datum: Sized + Send + 'static {
    /// Error of encoding a value.
    type EncodeError: core::error::Error + Send + Sync + 'static;
    /// Error of decoding bytes.
    type DecodeError: core::error::Error + Send + Sync + 'static;

    /// The stream id of this type when none is given: a hash of its type name.
    ///
    /// Type names change with compilers, renames and moves between modules; programs that must
    /// agree across builds should name their streams explicitly.
    fn derived_stream_id() -> StreamId {
        Digest::from(core::any::type_name::<Self>())
    }

    /// Encodes this value.
    ///
    /// # Errors
    ///
    /// When the value has no encoding.
    fn encode(&self) -> Result<Bytes, Self::EncodeError>;

    /// Decodes a value.
    ///
    /// # Errors
    ///
    /// When the bytes are not exactly one encoded value.
    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError>;

    /// Appends the encoding of this value to a buffer, which is unchanged when this fails.
    ///
    /// # Errors
    ///
    /// As [`Datum::encode`].
    #[doc(hidden)]
    fn encode_into(&self, buffer: &mut BytesMut) -> Result<(), Self::EncodeError> {
        buffer.extend_from_slice(&self.encode()?);
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Datum for T {
    type EncodeError = encoding::EncodeError;
    type DecodeError = encoding::DecodeError;

    fn encode(&self) -> Result<Bytes, Self::EncodeError> {
        encoding::try_serialize(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        encoding::deserialize(bytes)
    }

    fn encode_into(&self, buffer: &mut BytesMut) -> Result<(), Self::EncodeError> {
        encoding::serialize_into(self, buffer)
    }
}

/// Carries a [`Datum`] inside a type that derives serde: one byte string holding its encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Encoded<T>(pub T);

impl<T> Deref for Encoded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Encoded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Datum> From<T> for Encoded<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Datum> Serialize for Encoded<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.encode().map_err(ser::Error::custom)?)
    }
}

impl<'de, T: Datum> Deserialize<'de> for Encoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        T::decode(&bytes).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Upper(String);

    impl Datum for Upper {
        type EncodeError = core::convert::Infallible;
        type DecodeError = std::string::FromUtf8Error;

        fn encode(&self) -> Result<Bytes, Self::EncodeError> {
            Ok(Bytes::from(self.0.to_uppercase()))
        }

        fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
            String::from_utf8(bytes.to_vec()).map(Self)
        }
    }

    #[test]
    fn encoded_carries_a_hand_written_encoding() {
        let bytes = encoding::try_serialize(&(1u8, Encoded(Upper("abc".into())))).unwrap();
        assert_eq!(&bytes[..], b"\x01\x03ABC");
        let (n, back) = encoding::deserialize::<(u8, Encoded<Upper>)>(&bytes).unwrap();
        assert_eq!((n, back.0.0.as_str()), (1, "ABC"));
    }

    #[test]
    fn a_bad_datum_inside_encoded_is_a_serde_error() {
        assert!(encoding::deserialize::<Encoded<Upper>>([1, 0xff]).is_err());
    }
}
