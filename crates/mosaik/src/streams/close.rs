//! Reasons for which subscriptions are closed.

use crate::net::close::make_close_reason;

make_close_reason!(
    /// The requirements or tickets of a subscription fail.
    pub struct NotAllowed, 10_403
);
make_close_reason!(
    /// The stream is not produced here.
    pub struct StreamNotFound, 10_404
);
make_close_reason!(
    /// Producer and consumer have different schema tags, which the text names.
    pub struct SchemaMismatch, 10_409
);
make_close_reason!(
    /// The consumer held up the others, or took nothing for too long.
    pub struct TooSlow, 10_413
);
make_close_reason!(
    /// The producer serves as many consumers as it may.
    pub struct NoCapacity, 10_509
);
