//! Admission: the verdict on a call, by its header alone.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::ApplicationClose;

use super::{handlers::Handlers, registered::Registered};
use crate::{
    functions_layer::{
        CallContext,
        close::{FunctionNotFound, NoCapacity, NotAllowed},
        core::Core,
        wire::{Header, schema_mismatch},
    },
    net::close::{ProtocolViolation, UnknownPeer},
    primitives::PeerId,
    tickets::PeerInfo,
};

/// A call that may run as soon as there is a place for it.
pub(super) struct Admitted {
    pub(super) context: CallContext,
    pub(super) registered: Arc<Registered>,
}

/// Decides about a call. `header` is `None` when it could not be read. The round-trip time is
/// taken in if the catalog has none: `require` never sees an unmeasured peer.
pub(super) fn admit(
    handlers: &Handlers,
    peer: &PeerId,
    rtt: impl FnOnce() -> Option<Duration>,
    header: Option<&Header>,
) -> Result<Admitted, ApplicationClose> {
    let core = &handlers.core;
    let caller = match core.discovery.info(peer) {
        Some(caller) => caller,
        // Known, but stale or too far away: a sync would not change that.
        None if core.discovery.knows(peer) => return Err(NotAllowed.into()),
        None => return Err(UnknownPeer.into()),
    };
    let caller = match caller.rtt() {
        None => measured(core, caller, rtt()),
        Some(_) => caller,
    };
    let header = header.ok_or(ProtocolViolation)?;
    let registered = handlers
        .registry
        .find(&header.function)
        .ok_or(FunctionNotFound)?;
    let is_allowed = registered.accepts(&caller)
        && core
            .discovery
            .authorize(&caller, &registered.config.caller_auth)
            .is_ok();
    let refused = |refusal: ApplicationClose| {
        registered.refused(&refusal);
        Err(refusal)
    };
    if !is_allowed {
        return refused(NotAllowed.into());
    }
    if let (Some(own), Some(theirs)) = (&registered.config.schema, &header.schema)
        && own != theirs
    {
        registered.warn_of_schema(peer, own, theirs);
        return refused(schema_mismatch(own, theirs));
    }
    let is_well_formed = registered.service.kind() == header.kind
        && header.request_bytes <= core.config.max_message_bytes as u64;
    if !is_well_formed {
        return refused(ProtocolViolation.into());
    }
    if handlers.replies.is_spent(peer) {
        return refused(NoCapacity.into());
    }
    Ok(Admitted {
        context: CallContext::called_by(caller),
        registered,
    })
}

fn measured(core: &Core, caller: PeerInfo, rtt: Option<Duration>) -> PeerInfo {
    let Some(rtt) = rtt else { return caller };
    core.discovery.record_rtt(*caller.id(), rtt);
    core.discovery.info(caller.id()).unwrap_or(caller)
}

/// Decides about the same call many times, to measure it; returns how many would be admitted.
#[cfg(feature = "unstable-bench")]
pub(in crate::functions_layer) fn admit_often(
    handlers: &Handlers,
    peer: &PeerId,
    function: crate::primitives::FunctionId,
    times: usize,
) -> usize {
    let header = Header {
        kind: crate::functions_layer::wire::Kind::Call,
        function,
        budget_us: 0,
        request_bytes: 0,
        trace: None,
        schema: None,
    };
    let is_admitted = |_: &usize| {
        let admitted = admit(handlers, peer, || None, Some(&header));
        admitted.is_ok_and(|admitted| admitted.registered.begin().is_some())
    };
    (0..times).filter(is_admitted).count()
}
