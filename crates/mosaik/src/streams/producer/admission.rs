//! Admission: the right to subscribe, and to stay subscribed.

use iroh::endpoint::ApplicationClose;

use super::ProducerCore;
use crate::{
    net::close::UnknownPeer,
    primitives::PeerId,
    streams_layer::{close::NotAllowed, guard},
    tickets::{PeerInfo, Validity},
};

/// A consumer that may subscribe.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) info: PeerInfo,
    /// Validity of its tickets.
    pub(super) validity: Validity,
}

/// Judges a consumer by its current entry.
pub(super) fn admit(core: &ProducerCore, peer: &PeerId) -> Result<Admitted, ApplicationClose> {
    let Some(info) = core.hub.discovery.info(peer) else {
        // One that is hidden for its distance or silence would gain nothing from a sync.
        let known = core.hub.discovery.knows(peer);
        return Err(if known {
            NotAllowed.into()
        } else {
            UnknownPeer.into()
        });
    };
    let config = core.config();
    if !guard::holds(|| (config.require)(&info)) {
        return Err(NotAllowed.into());
    }
    match core
        .hub
        .discovery
        .authorize(&info, &config.ticket_validators)
    {
        Ok(validity) => Ok(Admitted { info, validity }),
        Err(_) => Err(NotAllowed.into()),
    }
}
