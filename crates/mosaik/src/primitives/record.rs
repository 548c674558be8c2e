//! Records: messages to which later versions may add fields.
//!
//! A record is the postcard encoding of its fields in their order. Fields are only ever added, and at
//! the end. Who knows fewer passes over the rest; who knows more takes zeros for what is missing,
//! which are 0, `false`, `None`, an empty text or list, or the first code of a [kind](codes). So a
//! field may be added only if its zero means that nothing is known.
//!
//! Within other messages records are byte strings, so that each has an end of its own.

use serde::{Serialize, de::DeserializeOwned};

use super::encoding::{DecodeError, EncodeError};

/// Zeros behind a record that was sent by an earlier version: more than all fields that may ever be
/// added need.
const MISSING: [u8; 256] = [0; 256];
/// Elements of one list that are read; further ones are passed over.
const MAX_LISTED: usize = 64;
/// As much of a list that is longer by nature.
const MAX_LONG_LISTED: usize = 1024;

pub(crate) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, EncodeError> {
    postcard::to_allocvec(record)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // Most are of this version.
    match postcard::take_from_bytes(bytes) {
        Ok((record, _)) => Ok(record),
        Err(DecodeError::DeserializeUnexpectedEnd) => {
            let padded = [bytes, &MISSING].concat();
            postcard::take_from_bytes(&padded).map(|(record, _)| record)
        }
        Err(error) => Err(error),
    }
}

/// A list of records as a field, for `#[serde(with = "record::list")]`; in formats that people read, a
/// plain list.
pub(crate) mod list {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de, de::DeserializeOwned, ser};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        records: &[T],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return records.serialize(serializer);
        }
        let encoded: Result<Vec<_>, _> = records
            .iter()
            .map(|record| super::encode(record).map(Bytes::from))
            .collect();
        encoded.map_err(ser::Error::custom)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        at_most(super::MAX_LISTED, deserializer)
    }

    /// Reads so many elements, and passes over the rest.
    pub(super) fn at_most<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        limit: usize,
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        if deserializer.is_human_readable() {
            let mut records = Vec::deserialize(deserializer)?;
            records.truncate(limit);
            return Ok(records);
        }
        let encoded = Vec::<Bytes>::deserialize(deserializer)?;
        let records = encoded.iter().take(limit).map(|bytes| {
            // What is missing at the end of a record was not known, and something always was: an
            // element costs its sender more than the byte of its length.
            if bytes.is_empty() {
                return Err(de::Error::custom("an empty record"));
            }
            super::decode(bytes).map_err(de::Error::custom)
        });
        records.collect()
    }
}

/// A [list] that is long by nature.
pub(crate) mod long_list {
    use serde::{Deserializer, de::DeserializeOwned};

    pub(crate) use super::list::serialize;

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        super::list::at_most(super::MAX_LONG_LISTED, deserializer)
    }
}

/// Makes an enum that crosses the network as a number, and is a word in formats that people read. The
/// first variant is what a number or word means that this version does not know.
macro_rules! codes {
    ($(#[$meta:meta])* pub enum $name:ident {
        $(#[$first_meta:meta])* $first:ident = $first_word:literal,
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum $name {
            $(#[$first_meta])*
            #[default]
            $first,
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[Self::$first, $(Self::$variant,)*];

            /// The word for it, as in JSON.
            pub const fn as_str(self) -> &'static str {
                match self {
                    Self::$first => $first_word,
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.serialize_str(self.as_str())
                } else {
                    serializer.serialize_u8(*self as u8)
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Self, D::Error> {
                let known = if deserializer.is_human_readable() {
                    let word = <String as ::serde::Deserialize>::deserialize(deserializer)?;
                    Self::ALL.iter().find(|kind| kind.as_str() == word)
                } else {
                    let code = <u8 as ::serde::Deserialize>::deserialize(deserializer)?;
                    Self::ALL.get(usize::from(code))
                };
                Ok(known.copied().unwrap_or_default())
            }
        }
    };
}

pub(crate) use codes;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[allow(unreachable_pub, reason = "codes are public elsewhere")]
    mod sides {
        codes! {
            /// Sides.
            pub enum Side {
                /// Another.
                Unknown = "unknown",
                /// Left.
                Left = "left",
                /// Right.
                Right = "right",
            }
        }
    }
    use sides::Side;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        name: String,
        count: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        name: String,
        count: u64,
        side: Side,
        note: Option<String>,
        #[serde(with = "list")]
        parts: Vec<Old>,
    }

    fn old() -> Old {
        Old {
            name: "one".into(),
            count: 300,
        }
    }

    #[test]
    fn who_knows_more_takes_zeros_and_who_knows_fewer_passes_over() {
        let new: New = decode(&encode(&old()).unwrap()).unwrap();
        let expected = New {
            name: "one".into(),
            count: 300,
            side: Side::Unknown,
            note: None,
            parts: Vec::new(),
        };
        assert_eq!(new, expected);
        let full = New {
            side: Side::Right,
            note: Some("more".into()),
            parts: vec![old(), old()],
            ..expected
        };
        let bytes = encode(&full).unwrap();
        assert_eq!(decode::<Old>(&bytes).unwrap(), old());
        assert_eq!(decode::<New>(&bytes).unwrap(), full);
    }

    #[test]
    fn codes_are_words_for_people_and_unknown_ones_are_the_first() {
        assert_eq!(serde_json::to_string(&Side::Left).unwrap(), "\"left\"");
        assert_eq!(
            serde_json::from_str::<Side>("\"above\"").unwrap(),
            Side::Unknown
        );
        assert_eq!(encode(&Side::Right).unwrap(), [2]);
        assert_eq!(decode::<Side>(&[9]).unwrap(), Side::Unknown);
    }

    #[test]
    fn of_a_long_list_the_first_are_read_and_none_is_empty() {
        let many = New {
            parts: (0..100).map(|_| old()).collect(),
            ..decode(&encode(&old()).unwrap()).unwrap()
        };
        let read: New = decode(&encode(&many).unwrap()).unwrap();
        assert_eq!(read.parts.len(), MAX_LISTED);
        let bytes = encode(&(
            "one",
            300u64,
            1u8,
            None::<String>,
            vec![Vec::<u8>::new(); 3],
        ))
        .unwrap();
        assert!(decode::<New>(&bytes).is_err());
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(decode::<Old>(&[0xff; 40]).is_err());
    }
}
