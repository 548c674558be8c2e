//! Ticket watch: ends a stream of replies when the peer's tickets no longer hold.

use std::{future::pending, sync::Arc};

use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{
    discovery::Discovery,
    primitives::PeerId,
    tickets::{TicketValidator, Validity},
};

/// Resolves when a peer no longer satisfies all validators: a ticket has expired or was removed, or
/// a validator has changed its mind.
///
/// # Cancel safety
///
/// Nothing is lost when the future is dropped.
pub(super) async fn until_denied(
    discovery: &Discovery,
    peer: PeerId,
    validators: &[Arc<dyn TicketValidator>],
) {
    if validators.is_empty() {
        return pending().await;
    }
    let mut changes = discovery.changes();
    let mut validity = Validity::unconditional();
    loop {
        match discovery.info(&peer) {
            Some(info) => match discovery.authorize(&info, validators) {
                Ok(current) => validity = current,
                Err(_) => return,
            },
            // Its entry is gone, which may be an error of others: the connection tells. Tickets
            // can't be renewed without it.
            None if validity.has_expired() => return,
            None => validity.postpone(),
        }
        tokio::select! {
            () = changed(&mut changes, peer) => {}
            () = validity.due() => {}
        }
    }
}

async fn changed(changes: &mut Receiver<PeerId>, peer: PeerId) {
    loop {
        match changes.recv().await {
            Ok(other) if other != peer => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return,
            // The node ends, and its calls with it.
            Err(RecvError::Closed) => return pending().await,
        }
    }
}
