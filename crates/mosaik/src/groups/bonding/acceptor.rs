//! Answers the streams that peers open.

use std::sync::{Arc, Weak};

use futures::future::BoxFuture;

use super::{handshake, reader};
use crate::{
    groups::{
        bond::{
            close::{GroupNotFound, InvalidHandshake},
            wire::Opening,
        },
        instance::registry::Registry,
    },
    net::{Acceptor, Link, close::Cancelled},
    primitives::ShortFmtExt,
};

/// The first message of a stream is small.
const MAX_OPENING_BYTES: usize = 1024;

/// Takes the streams that peers open.
pub(crate) struct GroupsAcceptor(pub(crate) Weak<Registry>);

impl Acceptor for GroupsAcceptor {
    fn accept(&self, link: Link) -> BoxFuture<'static, ()> {
        let registry = self.0.clone();
        Box::pin(async move {
            if let Some(registry) = registry.upgrade() {
                registry.receive(link).await;
            }
        })
    }
}

impl Registry {
    async fn receive(self: Arc<Self>, mut link: Link) {
        link.receiver.set_max_frame_bytes(MAX_OPENING_BYTES);
        let limit = self.host.handshake_timeout;
        let opening = match link.recv_within(limit).await {
            Ok(opening) => opening,
            Err(error) => {
                let reason = handshake::reason(&error).unwrap_or(InvalidHandshake.into());
                return link.close(reason);
            }
        };
        match opening {
            Opening::KeepAlive => {
                let beats = self.host.beats.clone();
                drop(self);
                beats.listen(link).await;
            }
            Opening::Bond {
                group,
                nonce,
                proof,
            } => {
                let Some(instance) = self.find(&group) else {
                    return link.close(GroupNotFound);
                };
                let peer = link.peer();
                match handshake::accept(&instance, link, nonce, proof).await {
                    Ok(bonded) => reader::spawn(&instance, bonded),
                    Err(error) => tracing::debug!(
                        group = %group.short(), peer = %peer.short(), %error, "no bond"
                    ),
                }
            }
            Opening::Channel {
                group,
                bond,
                lineage,
                from,
                to,
                channel,
            } => {
                let instance = self.bonded(&group, &link.peer(), &bond);
                drop(self);
                match instance {
                    Some(instance) => {
                        instance
                            .serve_channel(link, bond, lineage, (from, to), channel)
                            .await;
                    }
                    None => link.close(Cancelled),
                }
            }
        }
    }
}
