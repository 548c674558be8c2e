//! Writing rights of a bonded peer, where a write key is in use.
//!
//! | this member | the peer | the peer is taken as |
//! |---|---|---|
//! | has no write key | anything | a member like any other |
//! | has one | has proven it | a member like any other |
//! | has one | has proven none, or another one | a *guest*: it replicates and asks for reads, and whatever else it says, about votes, leaders, histories or commands, is refused |

use super::proof::{Challenge, Role};
use crate::groups::WriteKey;

/// Evidence that a bonded peer has the write key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The peer has proven no write key.
    None,
    /// The peer has sent a proof that this member can't verify: it has no key, or another one.
    Unverified,
    /// The peer has proven this member's write key.
    Proven,
}

impl Access {
    /// Examines what a peer in a role has sent.
    pub(crate) fn examine(
        challenge: &Challenge,
        role: Role,
        own: Option<&WriteKey>,
        proof: Option<&[u8; 32]>,
    ) -> Self {
        match (proof, own) {
            (None, _) => Self::None,
            (Some(proof), Some(key)) if challenge.verify_write(key, role, proof) => Self::Proven,
            (Some(_), _) => Self::Unverified,
        }
    }
}
