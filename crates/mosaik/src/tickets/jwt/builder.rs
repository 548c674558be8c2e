//! Issues JSON web tokens as tickets.

use core::time::Duration;

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    PEER_CLAIM,
    claims::{AUDIENCE, EXPIRES, ISSUED, ISSUER, NOT_BEFORE, SUBJECT, TOKEN_ID},
};
use crate::{
    primitives::{NetworkId, PeerId},
    tickets::{Expiration, Jwt, SigningKey, Ticket},
};

/// Issues tickets that [`Jwt`] accepts, for any number of peers.
///
/// By default a token names its peer as subject, carries its time of issue, and has **no expiry**,
/// which validators refuse unless told otherwise: set one.
///
/// # Examples
///
/// ```
/// use mosaik::{id, tickets::{Es256SigningKey, Jwt, JwtTicketBuilder}};
/// use std::time::Duration;
///
/// # let peer = iroh::SecretKey::from_bytes(&[1; 32]).public();
/// let key = Es256SigningKey::random();
/// let validator = Jwt::with_key(key.verifying_key()).require_claim("role", "writer");
/// let ticket = JwtTicketBuilder::new(key)
///     .expires_in_std(Duration::from_secs(600))
///     .claim("role", "writer")
///     .build(&peer);
/// assert_eq!(ticket.class, Jwt::CLASS);
/// ```
#[derive(Debug, Clone)]
pub struct JwtTicketBuilder {
    key: SigningKey,
    /// All claims but the times that are [`Stamp::At`].
    claims: Map<String, Value>,
    network: Option<NetworkId>,
    unbound: bool,
    expires: Stamp,
    issued: Stamp,
    not_before: Stamp,
}

impl JwtTicketBuilder {
    /// Issues tokens that are signed by this key.
    #[must_use]
    pub fn new(key: impl Into<SigningKey>) -> Self {
        Self {
            key: key.into(),
            claims: Map::new(),
            network: None,
            unbound: false,
            expires: Stamp::Unset,
            issued: Stamp::Unset,
            not_before: Stamp::Unset,
        }
    }

    /// The issuer, `iss`.
    #[must_use]
    pub fn issuer(self, issuer: impl Into<String>) -> Self {
        self.verbatim(ISSUER, issuer.into())
    }

    /// The subject, `sub`, in place of the peer's id.
    ///
    /// The peer is then named in the claim `mosaik.peer`, so that no other peer can use the
    /// token; see [`without_peer_binding`](Self::without_peer_binding).
    #[must_use]
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.verbatim(SUBJECT, subject.into())
    }

    /// The audience, `aud`. The last call wins.
    #[must_use]
    pub fn audience(self, audience: impl Into<String>) -> Self {
        self.verbatim(AUDIENCE, audience.into())
    }

    /// Adds the id of a network to the audiences, so that the token is good for nothing in another
    /// one, if validators ask for it by [`Jwt::for_network`]. The last call wins.
    #[must_use]
    pub fn for_network(mut self, network: impl Into<NetworkId>) -> Self {
        self.network = Some(network.into());
        self
    }

    /// The moment of expiry, `exp`, in whole seconds.
    #[must_use]
    pub const fn expires_at(mut self, expiration: Expiration) -> Self {
        self.expires = match expiration {
            Expiration::Never => Stamp::Unset,
            Expiration::At(moment) => Stamp::At(moment),
        };
        self
    }

    /// Expires this long after now, the moment of this call.
    #[must_use]
    pub fn expires_in(self, duration: impl Into<chrono::Duration>) -> Self {
        self.expires_at(Expiration::after(duration))
    }

    /// The same as [`expires_in`](Self::expires_in), for the standard library's duration.
    #[must_use]
    pub fn expires_in_std(self, duration: Duration) -> Self {
        self.expires_at(Expiration::after_std(duration))
    }

    /// The time of issue, `iat`, in place of the time of [`build`](Self::build).
    #[must_use]
    pub const fn issued_at(mut self, ts: DateTime<Utc>) -> Self {
        self.issued = Stamp::At(ts);
        self
    }

    /// Sets the start of the token's validity, `nbf`.
    #[must_use]
    pub const fn not_before(mut self, ts: DateTime<Utc>) -> Self {
        self.not_before = Stamp::At(ts);
        self
    }

    /// The id of the token, `jti`.
    #[must_use]
    pub fn token_id(self, jti: impl Into<String>) -> Self {
        self.verbatim(TOKEN_ID, jti.into())
    }

    /// Any claim, private or registered, with this very value. For registered claims, the last
    /// call of this and of the method of that claim wins; a value that is unusable there stays in
    /// the token, which validators then refuse.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let name = name.into();
        match name.as_str() {
            EXPIRES => self.expires = Stamp::Verbatim,
            ISSUED => self.issued = Stamp::Verbatim,
            NOT_BEFORE => self.not_before = Stamp::Verbatim,
            _ => {}
        }
        self.verbatim(&name, value)
    }

    /// Leaves out the claim that names the carrier when the subject is something else.
    ///
    /// **Every node of the network can copy such a ticket and use it as its own.**
    #[must_use]
    pub const fn without_peer_binding(mut self) -> Self {
        self.unbound = true;
        self
    }

    /// The ticket of a peer, of class [`Jwt::CLASS`].
    ///
    /// Tokens above 16 KiB are built, but refused by validators. Times before 1970 become 1970.
    ///
    /// # Panics
    ///
    /// Only if a custom signing algorithm does.
    pub fn build(&self, peer_id: &PeerId) -> Ticket {
        let header = Header {
            alg: self.key.algorithm(),
            typ: "JWT",
        };
        let mut token = base64(&header);
        token.push('.');
        token.push_str(&base64(&self.claims_of(&peer_id.to_string())));
        let signature = self.key.sign(token.as_bytes());
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ticket::new(Jwt::CLASS, token.into())
    }

    fn claims_of(&self, peer: &str) -> Map<String, Value> {
        let mut claims = self.claims.clone();
        if let Some(subject) = claims.get(SUBJECT) {
            if subject != peer && !self.unbound && !claims.contains_key(PEER_CLAIM) {
                claims.insert(PEER_CLAIM.into(), peer.into());
            }
        } else {
            claims.insert(SUBJECT.into(), peer.into());
        }
        if let Some(network) = self.network {
            let network = Value::from(network.to_string());
            let audience = match claims.remove(AUDIENCE) {
                None => network,
                Some(Value::Array(mut others)) => {
                    others.push(network);
                    others.into()
                }
                Some(other) => vec![other, network].into(),
            };
            claims.insert(AUDIENCE.into(), audience);
        }
        let issued = match self.issued {
            Stamp::Unset => Stamp::At(Utc::now()),
            set => set,
        };
        for (name, stamp) in [
            (EXPIRES, self.expires),
            (ISSUED, issued),
            (NOT_BEFORE, self.not_before),
        ] {
            match stamp {
                Stamp::Verbatim => {}
                Stamp::Unset => drop(claims.remove(name)),
                Stamp::At(moment) => {
                    claims.insert(name.into(), moment.timestamp().max(0).into());
                }
            }
        }
        claims
    }

    fn verbatim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.into(), value.into());
        self
    }
}

/// Source of a time claim; small enough for `const` setters.
#[derive(Debug, Clone, Copy)]
enum Stamp {
    Unset,
    At(DateTime<Utc>),
    /// The value given to [`JwtTicketBuilder::claim`].
    Verbatim,
}

#[derive(Serialize)]
struct Header<'a> {
    alg: &'a str,
    typ: &'a str,
}

fn base64(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(value).expect("names are texts and values are JSON already");
    BASE64URL_NOPAD.encode(&json)
}

#[cfg(test)]
#[path = "builder_tests.rs"]
mod tests;
