//! Decides about tickets that are JSON web tokens.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::OnceLock,
};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use tracing::debug;

use super::{
    PEER_CLAIM,
    claims::{AUDIENCE, EXPIRES, ISSUED, ISSUER, NOT_BEFORE, SUBJECT, texts, time},
    token::{Refusal, Token},
};
use crate::{
    id,
    primitives::{NetworkId, Short, TicketClass, UniqueId},
    tickets::{
        Expiration, InvalidTicket, PeerEntry, TicketValidator, VerifyingKey, identity::Identity,
    },
};

const SIGNATURE_CONTEXT: &str = "mosaik tickets jwt validator v1";
const VERDICT_CONTEXT: &str = "mosaik tickets jwt verdict v1";

/// Largest lead of an issuer's clock, for tokens that are valid from now on: as far as discovery
/// lets clocks differ by default.
const MAX_ISSUER_SKEW: Duration = Duration::from_secs(10);

/// Accepts JSON web tokens that are signed by one of the configured keys.
///
/// What must hold, apart from the signature:
///
/// - The subject is the id of the peer that carries the token, as 64 lower-case hex digits. So
///   that nobody else can use it: tickets are public.
/// - The token has an expiry (`exp`), and it is still to come: at the second of expiry a token is
///   expired. It is not from the future (`nbf` and `iat`) by more than 10 s.
/// - What the settings below demand.
///
/// Nothing in a token selects a key but the name of its algorithm, in which each key is fixed.
/// Refused are also tokens above 16 KiB, JSON with duplicate names, and headers with `crit`.
///
/// Bind tokens to their network, or a token of one network admits to every other one that trusts
/// the same key: [`for_network`](Self::for_network) on both sides is the default recipe.
///
/// # Examples
///
/// ```
/// use mosaik::{id, tickets::{Hs256, Jwt, JwtTicketBuilder, PeerEntry}};
/// use std::time::Duration;
///
/// const KEY: Hs256 =
///     Hs256::hex("87e55ea1bd1e1b4d4a0b92ab9a0a5b2d0e58a5d4ca6f0d4e2cf1f8f9e0a1b2c3");
///
/// # let peer = iroh::SecretKey::from_bytes(&[1; 32]).public();
/// let network = id!("example.network");
/// let ticket = JwtTicketBuilder::new(KEY)
///     .issuer("example.com")
///     .for_network(network)
///     .expires_in_std(Duration::from_secs(3600))
///     .build(&peer);
///
/// let validator = Jwt::with_key(KEY).allow_issuer("example.com").for_network(network);
/// let entry = PeerEntry::new(network, peer).add_ticket(ticket);
/// assert!(entry.validate_ticket(&validator).is_ok());
/// ```
#[derive(Debug, Clone)]
pub struct Jwt {
    keys: Vec<VerifyingKey>,
    identity: Option<String>,
    issuers: BTreeSet<String>,
    audiences: BTreeSet<String>,
    network: Option<NetworkId>,
    subject: Option<String>,
    claims: BTreeMap<String, Value>,
    non_expiring: bool,
    max_lifetime: Option<Duration>,
    max_age: Option<Duration>,
    leeway: Duration,
    allows_unbound: bool,
    ids: Ids,
}

impl Jwt {
    /// The class of tickets that hold a JSON web token.
    pub const CLASS: UniqueId = id!("mosaik.tickets.jwt.v1");

    /// Accepts tokens of this key.
    ///
    /// # Panics
    ///
    /// When a public key is none; see the key's own `try_new`.
    #[must_use]
    pub fn with_key(key: impl Into<VerifyingKey>) -> Self {
        Self {
            keys: vec![key.into()],
            identity: None,
            issuers: BTreeSet::new(),
            audiences: BTreeSet::new(),
            network: None,
            subject: None,
            claims: BTreeMap::new(),
            non_expiring: false,
            max_lifetime: None,
            max_age: None,
            leeway: Duration::ZERO,
            allows_unbound: false,
            ids: Ids::unknown(),
        }
    }

    /// Accepts tokens of this key too, so that keys can be rotated. This changes the
    /// [`signature`](TicketValidator::signature), unless [`with_identity`](Self::with_identity)
    /// is set.
    #[must_use]
    pub fn add_key(mut self, key: impl Into<VerifyingKey>) -> Self {
        self.ids.forget();
        self.keys.push(key.into());
        self
    }

    /// Names this validator, and lets the name stand for its keys in the
    /// [`signature`](TicketValidator::signature).
    ///
    /// Without a name, a new key changes the ids of all groups, collections and functions that
    /// use the validator, and members with the old and the new set of keys don't find each other.
    /// With it, keys can be rotated one node at a time. The author of the name then has
    /// to see to it that all nodes which use it trust the same keys.
    ///
    /// What a validator accepts always follows from its own keys: one that replaces another of the
    /// same name on a node inherits none of its verdicts.
    #[must_use]
    pub fn with_identity(mut self, name: impl Into<String>) -> Self {
        self.ids.forget();
        self.identity = Some(name.into());
        self
    }

    /// Demands an issuer (`iss`): this one, or another that was allowed.
    #[must_use]
    pub fn allow_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.ids.forget();
        self.issuers.insert(issuer.into());
        self
    }

    /// Demands an audience (`aud`): this one, or another that was allowed. A token with several
    /// audiences needs one that is allowed.
    #[must_use]
    pub fn allow_audience(mut self, audience: impl Into<String>) -> Self {
        self.ids.forget();
        self.audiences.insert(audience.into());
        self
    }

    /// Demands that the network's id, as 64 lower-case hex digits, is among the audiences (`aud`),
    /// whatever else is allowed or demanded there. The last call wins.
    #[must_use]
    pub fn for_network(mut self, network: impl Into<NetworkId>) -> Self {
        self.ids.forget();
        self.network = Some(network.into());
        self
    }

    /// Demands this subject in place of the id of the carrying peer.
    ///
    /// The token must then name its carrier in the claim `mosaik.peer`, as 64 lower-case hex
    /// digits: every node of the network sees it, and could present it as its own otherwise.
    /// [`JwtTicketBuilder`](crate::tickets::JwtTicketBuilder) adds the claim by itself; other
    /// issuers must, or see [`allow_unbound_tickets`](Self::allow_unbound_tickets).
    #[must_use]
    pub fn require_subject(mut self, subject: impl Into<String>) -> Self {
        self.ids.forget();
        self.subject = Some(subject.into());
        self
    }

    /// Accepts tokens with the subject of [`require_subject`](Self::require_subject) that name no
    /// carrier. One that names another peer is refused nevertheless.
    ///
    /// **Every node of the network can copy such a token and use it as its own.** It proves that
    /// somebody was trusted once, and not who.
    #[must_use]
    pub const fn allow_unbound_tickets(mut self) -> Self {
        self.ids.forget();
        self.allows_unbound = true;
        self
    }

    /// Demands a claim, registered or private, with exactly this value. The last call for a name
    /// wins.
    #[must_use]
    pub fn require_claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.ids.forget();
        self.claims.insert(name.into(), value.into());
        self
    }

    /// Accepts tokens without an expiry, unless there is a [`max_lifetime`](Self::max_lifetime).
    #[must_use]
    pub const fn allow_non_expiring(mut self) -> Self {
        self.ids.forget();
        self.non_expiring = true;
        self
    }

    /// Demands an expiry that is at most this far away, in whole seconds.
    #[must_use]
    pub const fn max_lifetime(mut self, duration: Duration) -> Self {
        self.ids.forget();
        self.max_lifetime = Some(duration);
        self
    }

    /// Demands a time of issue (`iat`) that is at most this long ago, in whole seconds. The
    /// expiration that a validation answers is not later than this permits.
    #[must_use]
    pub const fn max_age(mut self, duration: Duration) -> Self {
        self.ids.forget();
        self.max_age = Some(duration);
        self
    }

    /// Sets the tolerated difference between the clocks of issuer and validator. Tokens are
    /// accepted this much before `nbf` and `iat`, 10 s at least, and after `exp`, by default not at
    /// all; the expiration that a validation answers moves accordingly.
    #[must_use]
    pub const fn leeway(mut self, duration: Duration) -> Self {
        self.ids.forget();
        self.leeway = duration;
        self
    }

    fn check(
        &self,
        data: &[u8],
        peer: &PeerEntry,
        now: DateTime<Utc>,
    ) -> Result<Expiration, Refusal> {
        let token = Token::parse(data)?;
        self.check_signature(&token)?;
        let claims = token.claims()?;
        self.check_parties(&claims, peer)?;
        self.check_claims(&claims)?;
        let too_old = self.check_issue(&claims, now)?;
        let expires = self.check_expiry(&claims, now)?;
        Ok(expires.min(too_old))
    }

    fn check_signature(&self, token: &Token<'_>) -> Result<(), Refusal> {
        let mut keys = self
            .keys
            .iter()
            .filter(|key| key.algorithm() == token.algorithm)
            .peekable();
        keys.peek().ok_or(Refusal::Algorithm)?;
        keys.any(|key| key.verify(token.signed.as_bytes(), &token.signature))
            .then_some(())
            .ok_or(Refusal::Signature)
    }

    fn check_parties(&self, claims: &Map<String, Value>, peer: &PeerEntry) -> Result<(), Refusal> {
        let text = |name| claims.get(name).and_then(Value::as_str);
        if !self.issuers.is_empty() && !text(ISSUER).is_some_and(|iss| self.issuers.contains(iss)) {
            return Err(Refusal::Issuer);
        }
        let peer = peer.id().to_string();
        let subject = self.subject.as_ref().unwrap_or(&peer);
        if text(SUBJECT) != Some(subject) {
            return Err(Refusal::Subject);
        }
        if !self.is_bound(claims, &peer) {
            return Err(Refusal::Peer);
        }
        let audiences = texts(claims, AUDIENCE).unwrap_or_default();
        if !self.audiences.is_empty() && !audiences.iter().any(|aud| self.audiences.contains(*aud))
        {
            return Err(Refusal::Audience);
        }
        if let Some(network) = self.network {
            let network = network.to_string();
            if !audiences.contains(&network.as_str()) {
                return Err(Refusal::Network);
            }
        }
        Ok(())
    }

    /// Returns whether a token with the right subject is of use to this peer alone.
    fn is_bound(&self, claims: &Map<String, Value>, peer: &str) -> bool {
        match claims.get(PEER_CLAIM) {
            Some(carrier) if self.subject.is_some() => carrier.as_str() == Some(peer),
            _ => {
                let is_named = self
                    .subject
                    .as_deref()
                    .is_none_or(|subject| subject == peer);
                is_named || self.allows_unbound
            }
        }
    }

    fn check_claims(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        self.claims
            .iter()
            .all(|(name, value)| claims.get(name) == Some(value))
            .then_some(())
            .ok_or(Refusal::Claim)
    }

    /// Says when the token becomes too old.
    fn check_issue(
        &self,
        claims: &Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<Expiration, Refusal> {
        let skew = self.leeway.max(MAX_ISSUER_SKEW);
        if time(claims, NOT_BEFORE)?.is_some_and(|nbf| later(now, skew) < nbf.ceil) {
            return Err(Refusal::NotYetValid);
        }
        let issued = time(claims, ISSUED)?;
        if issued.is_some_and(|iat| later(now, skew) < iat.ceil) {
            return Err(Refusal::IssuedInFuture);
        }
        let Some(max_age) = self.max_age else {
            return Ok(Expiration::Never);
        };
        let issued = issued.ok_or(Refusal::NoIssueTime)?;
        let age = whole_seconds(issued.floor, now);
        let max_age = max_age.saturating_add(self.leeway);
        if age > max_age {
            return Err(Refusal::Age);
        }
        // Ages are whole seconds: one more is the first that is too many.
        let too_old = max_age.saturating_add(Duration::from_secs(1));
        Ok(Expiration::At(later(issued.floor, too_old)))
    }

    fn check_expiry(
        &self,
        claims: &Map<String, Value>,
        now: DateTime<Utc>,
    ) -> Result<Expiration, Refusal> {
        let Some(expires) = time(claims, EXPIRES)? else {
            let unlimited = self.non_expiring && self.max_lifetime.is_none();
            return unlimited
                .then_some(Expiration::Never)
                .ok_or(Refusal::NeverExpires);
        };
        let expiration = Expiration::At(later(expires.floor, self.leeway));
        if expiration.is_expired_at(now) {
            return Err(Refusal::Expired);
        }
        let left = whole_seconds(now, expires.floor);
        if self.max_lifetime.is_some_and(|max| left > max) {
            return Err(Refusal::Lifetime);
        }
        Ok(expiration)
    }

    fn compute_ids(&self) -> KnownIds {
        let keys: BTreeSet<UniqueId> = self.keys.iter().map(VerifyingKey::fingerprint).collect();
        let mut identity = Identity::new(SIGNATURE_CONTEXT);
        match &self.identity {
            Some(name) => identity.field("identity", [name]),
            None => identity.field("keys", &keys),
        };
        let network = self.network.as_slice();
        let claims = self.claims.iter();
        identity
            .field("issuers", &self.issuers)
            .field("audiences", &self.audiences)
            .field("network", network)
            .field("subject", self.subject.as_slice())
            .bytes(b"claims")
            .count(claims.len());
        for (name, value) in claims {
            identity.bytes(name.as_bytes());
            identify_value(&mut identity, value);
        }
        let nanoseconds = |duration: Duration| duration.as_nanos().to_le_bytes();
        identity
            .field("non_expiring", [[u8::from(self.non_expiring)]])
            .field(
                "max_lifetime",
                self.max_lifetime.map(nanoseconds).as_slice(),
            )
            .field("max_age", self.max_age.map(nanoseconds).as_slice())
            .field("leeway", [nanoseconds(self.leeway)]);
        if self.allows_unbound {
            identity.field("unbound", [[1]]);
        }
        let signature = identity.finish();
        let mut verdict = Identity::new(VERDICT_CONTEXT);
        verdict.bytes(signature.as_bytes()).field("keys", &keys);
        KnownIds {
            signature,
            verdict: verdict.finish(),
        }
    }
}

impl TicketValidator for Jwt {
    fn class(&self) -> TicketClass {
        Self::CLASS
    }

    fn signature(&self) -> UniqueId {
        self.ids.get(|| self.compute_ids()).signature
    }

    fn verdict_id(&self) -> UniqueId {
        self.ids.get(|| self.compute_ids()).verdict
    }

    fn validate(&self, ticket: &[u8], peer: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        self.check(ticket, peer, Utc::now()).map_err(|reason| {
            debug!(peer = %Short(peer.id()), %reason, "token refused");
            InvalidTicket
        })
    }

    /// With a bound on its age, a token ceases to be acceptable before it expires.
    fn is_pure(&self) -> bool {
        self.max_age.is_none()
    }
}

/// Ids that follow from the settings alone, computed on first use.
#[derive(Debug, Clone)]
struct Ids(OnceLock<KnownIds>);

#[derive(Debug, Clone, Copy)]
struct KnownIds {
    signature: UniqueId,
    verdict: UniqueId,
}

impl Ids {
    const fn unknown() -> Self {
        Self(OnceLock::new())
    }

    fn get(&self, compute: impl FnOnce() -> KnownIds) -> KnownIds {
        *self.0.get_or_init(compute)
    }

    /// A setting changes.
    const fn forget(&mut self) {
        // Nothing is leaked, and a `const fn` may not drop.
        core::mem::forget(core::mem::replace(&mut self.0, OnceLock::new()));
    }
}

/// A moment later by a duration, at most the end of the calendar.
fn later(moment: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    chrono::Duration::from_std(by)
        .ok()
        .and_then(|by| moment.checked_add_signed(by))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Difference of two moments in whole seconds; zero if it is negative.
fn whole_seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    let seconds = to.timestamp().saturating_sub(from.timestamp());
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Feeds a JSON value in one form, in whatever order the JSON library keeps its names.
fn identify_value(identity: &mut Identity, value: &Value) {
    match value {
        Value::Null => identity.bytes(b"null"),
        Value::Bool(value) => identity.bytes(b"bool").bytes(&[u8::from(*value)]),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => identity.bytes(b"i64").bytes(&value.to_le_bytes()),
            (None, Some(value)) => identity.bytes(b"u64").bytes(&value.to_le_bytes()),
            (None, None) => {
                let value = number.as_f64().unwrap_or(f64::NAN);
                identity.bytes(b"f64").bytes(&value.to_bits().to_le_bytes())
            }
        },
        Value::String(text) => identity.bytes(b"string").bytes(text.as_bytes()),
        Value::Array(items) => {
            identity.bytes(b"array").count(items.len());
            for item in items {
                identify_value(identity, item);
            }
            identity
        }
        Value::Object(map) => {
            identity.bytes(b"object").count(map.len());
            for (name, value) in map.iter().collect::<BTreeMap<_, _>>() {
                identity.bytes(name.as_bytes());
                identify_value(identity, value);
            }
            identity
        }
    };
}

#[cfg(test)]
#[path = "validator_tests.rs"]
mod tests;
