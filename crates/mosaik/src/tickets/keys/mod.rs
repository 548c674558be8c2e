//! Keys that sign and verify JSON web tokens.
//!
//! Each algorithm has a type of its own, which holds raw bytes and can be built in a `const`;
//! [`VerifyingKey`] and [`SigningKey`] hold any of them, or an algorithm of the user's own. A key
//! belongs to one algorithm: nothing a token says can make it be used with another.

mod ecdsa;
mod eddsa;
mod error;
mod hmac;
mod wrapper;

pub use ecdsa::{
    Es256, Es256SigningKey, Es256k, Es256kSigningKey, Es384, Es384SigningKey, Es512,
    Es512SigningKey,
};
pub use eddsa::{EdDsa, EdDsaSigningKey};
pub use error::InvalidKey;
pub use hmac::{Hs256, Hs384, Hs512};
pub use wrapper::{SigningAlgorithm, SigningKey, VerifyingAlgorithm, VerifyingKey};
