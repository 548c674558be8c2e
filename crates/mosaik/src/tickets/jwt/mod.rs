//! JSON web tokens (RFC 7519) as tickets: a validator and an issuer.
//!
//! A ticket's data is a compact JWS: header, claims and signature in unpadded base64url, joined
//! by dots. Any library for such tokens can make one that [`Jwt`] accepts, and check one that
//! [`JwtTicketBuilder`] made.
//!
//! Tickets are public, so a token must be bound to the peer that carries it: its subject is the
//! peer's id, unless configured otherwise.
//!
//! Tokens are parsed here, over the curves and hashes of RustCrypto. The crate `jsonwebtoken` takes
//! private elliptic keys as DER or PEM only, knows neither ES512 nor ES256K, and with RustCrypto
//! below it links `rsa`, which has an open advisory (RUSTSEC-2023-0071).

mod builder;
mod claims;
mod token;
mod validator;

pub use builder::JwtTicketBuilder;
pub use validator::Jwt;

/// The claim that binds a token to its carrier when the subject is something else.
const PEER_CLAIM: &str = "mosaik.peer";
