//! Consumers that the producer cuts off: counted, and told of without flooding the log.

use std::time::Duration;

use iroh::endpoint::ApplicationClose;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::ProducerCore;
use crate::{
    net::close::ProtocolViolation,
    primitives::{PeerId, ShortFmtExt},
    streams_layer::{
        metrics::Cut,
        wire::{NotAllowed, TooSlow},
    },
};

/// A stream warns of this at most once in this time; the counter tells how many there were.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// When a stream last warned.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<Option<Instant>>);

impl Warnings {
    /// Whether the next warning is due.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now - last >= WARN_EVERY);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warnings_are_rare() {
        let warnings = Warnings::default();
        assert!(warnings.is_due());
        assert!(!warnings.is_due());
        tokio::time::advance(WARN_EVERY).await;
        assert!(warnings.is_due());
        assert!(!warnings.is_due());
    }
}
