//! Consumers that the producer cuts off: counted, and told of without flooding the log.

use iroh::endpoint::ApplicationClose;

use super::ProducerCore;
use crate::{
    net::close::ProtocolViolation,
    primitives::{PeerId, ShortFmtExt},
    streams_layer::{
        close::{NotAllowed, TooSlow},
        metrics::Cut,
    },
};

/// Notes that a subscription is closed by this side.
pub(super) fn note(core: &ProducerCore, consumer: &PeerId, reason: &ApplicationClose) {
    let (peer, stream) = (consumer.short(), core.stream().short());
    let cut = if TooSlow == *reason {
        Cut::TooSlow
    } else if NotAllowed == *reason {
        Cut::NotAllowed
    } else if ProtocolViolation == *reason {
        Cut::ProtocolViolation
    } else {
        tracing::debug!(%peer, %stream, code = %reason.error_code, "subscription closed");
        return;
    };
    core.metrics.cut(cut);
    if cut != Cut::NotAllowed && core.warnings.is_due() {
        tracing::warn!(%peer, %stream, reason = cut.label(), "consumer cut off");
    } else {
        tracing::debug!(%peer, %stream, reason = cut.label(), "consumer cut off");
    }
}
