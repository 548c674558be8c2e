//! Reasons for which bonds are closed.

use crate::net::close::make_close_reason;

make_close_reason!(
    /// The first message could not be read.
    pub struct InvalidHandshake, 30_400
);
make_close_reason!(
    /// Tickets are missing, invalid, expired or withdrawn.
    pub struct NotAllowed, 30_403
);
make_close_reason!(
    /// The acceptor is not in that group.
    pub struct GroupNotFound, 30_404
);
make_close_reason!(
    /// The proof of the key is wrong.
    pub struct InvalidProof, 30_405
);
make_close_reason!(
    /// The handshake or the beats timed out.
    pub struct Timeout, 30_408
);
make_close_reason!(
    /// Another process with the same key has a bond that lives.
    pub struct IdentityInUse, 30_409
);
make_close_reason!(
    /// A bond between the two exists.
    pub struct AlreadyBonded, 30_429
);
