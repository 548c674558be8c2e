//! The parts of a token, before anything in it is trusted.

use core::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Longer tokens are refused unread.
pub(super) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Reasons for refusing a token. It names the check and never quotes the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("longer than {MAX_TOKEN_BYTES} bytes")]
    Oversized,
    #[error("not three parts of base64url text")]
    Shape,
    #[error("the header or the claims are not a JSON object with unique names")]
    Json,
    #[error("the header has no algorithm")]
    NoAlgorithm,
    #[error("the header names extensions that must be understood")]
    Critical,
    #[error("no key of the algorithm in the header")]
    Algorithm,
    #[error("the signature is by none of the keys")]
    Signature,
    #[error("the issuer is not allowed")]
    Issuer,
    #[error("the subject is another one")]
    Subject,
    #[error("issued for another peer")]
    Peer,
    #[error("the audience is another one")]
    Audience,
    #[error("issued for another network")]
    Network,
    #[error("a time is not a number of seconds in range")]
    Time,
    #[error("not valid yet")]
    NotYetValid,
    #[error("expired")]
    Expired,
    #[error("without an expiry")]
    NeverExpires,
    #[error("valid for longer than allowed")]
    Lifetime,
    #[error("without a time of issue")]
    NoIssueTime,
    #[error("issued in the future")]
    IssuedInFuture,
    #[error("issued too long ago")]
    Age,
    #[error("a required claim is missing or has another value")]
    Claim,
}

/// A token that was taken apart; its claims are still text.
pub(super) struct Token<'a> {
    pub(super) algorithm: String,
    /// Text that the signature covers.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
    claims: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, Refusal> {
        if data.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Oversized);
        }
        let text = core::str::from_utf8(data).map_err(|_| Refusal::Shape)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Shape)?;
        if claims.contains('.') {
            return Err(Refusal::Shape);
        }
        let header = object(header)?;
        if header.contains_key("crit") {
            return Err(Refusal::Critical);
        }
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(Refusal::NoAlgorithm);
        };
        Ok(Self {
            algorithm: algorithm.clone(),
            signed,
            signature: base64(signature)?,
            claims,
        })
    }

    /// The claims; worth reading only after the signature was verified.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        object(self.claims)
    }
}

fn base64(text: &str) -> Result<Vec<u8>, Refusal> {
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|_| Refusal::Shape)
}

/// Reads an object, in which no object has a name twice: which of the two counts would be
/// another choice in every library.
fn object(text: &str) -> Result<Map<String, Value>, Refusal> {
    let json = base64(text)?;
    serde_json::from_slice::<UniqueNames>(&json).map_err(|_| Refusal::Json)?;
    serde_json::from_slice(&json).map_err(|_| Refusal::Json)
}

/// Any JSON value without duplicate names, thrown away.
struct UniqueNames;

impl<'de> Deserialize<'de> for UniqueNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value with unique names")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name) {
                map.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom("a name occurs twice"));
            }
            map.next_value::<Self>()?;
        }
        Ok(self)
    }
}
