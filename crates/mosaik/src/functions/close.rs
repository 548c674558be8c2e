//! Reasons for which calls are closed: the verdicts of handlers.

use crate::net::close::make_close_reason;

make_close_reason!(
    /// The caller doesn't meet the handler's requirements.
    pub struct NotAllowed, 11_403
);
make_close_reason!(
    /// The function is not registered here, or was dropped while it ran.
    pub struct FunctionNotFound, 11_404
);
make_close_reason!(
    /// Handler and caller have different schema tags, which the text names.
    pub struct SchemaMismatch, 11_409
);
make_close_reason!(
    /// The function panicked, or its reply has no encoding.
    pub struct HandlerFailure, 11_500
);
make_close_reason!(
    /// As many calls are running as the handler allows.
    pub struct NoCapacity, 11_509
);
