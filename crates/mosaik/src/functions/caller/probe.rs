//! Signs of life: the smallest exchange with a peer.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::frame;
use crate::{
    functions_layer::{
        core::Core,
        wire::{FUNCTIONS_ALPN, Header, Kind},
    },
    net::{Link, close::Success, link::RecvError},
    primitives::{FunctionId, PeerId},
};

/// Liveness probe that was sent.
pub(super) struct Probe {
    link: Link,
    asked: Instant,
}

impl Probe {
    pub(super) async fn send(mut link: Link) -> Option<Self> {
        let header = Header {
            kind: Kind::Probe,
            function: FunctionId::zero(),
            budget_us: 0,
            request_bytes: 0,
            trace: None,
            schema: None,
        };
        let asked = Instant::now();
        let frames = &mut [frame(&header).ok()?];
        link.sender.write_last(frames).await.ok()?;
        Some(Self { link, asked })
    }

    /// Waits for the answer; returns the time that it took.
    pub(super) async fn answered(mut self) -> Option<Duration> {
        match self.link.receiver.recv_bytes().await {
            Err(RecvError::Closed(close)) if Success == close => {
                self.link.receiver.notice_end();
                Some(self.asked.elapsed())
            }
            _ => None,
        }
    }
}

/// One exchange with a peer; returns how long it took, without connecting.
pub(super) async fn exchange_probe(core: &Core, peer: PeerId) -> Option<Duration> {
    let link = core.links.open(FUNCTIONS_ALPN, peer).await.ok()?;
    Probe::send(link).await?.answered().await
}
