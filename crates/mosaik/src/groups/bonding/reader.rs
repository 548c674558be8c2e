//! Reader of the other member's messages on a bond.

use std::sync::Arc;

use futures::{StreamExt, stream::FuturesUnordered};
use iroh::endpoint::ApplicationClose;

use super::handshake::Bonded;
use crate::{
    groups::{
        bond::{core::BondCore, wire::Control},
        instance::Instance,
        model::{
            event::Event,
            lineage::{Lineage, MemberId},
            member_info::Willingness,
        },
    },
    net::{
        close::{ProtocolViolation, UnexpectedClose},
        link::RecvError,
    },
    primitives::{Bytes, encoding},
};

/// Questions that are answered at once; reading waits when there are more.
const MAX_OPEN_QUESTIONS: usize = 256;

/// Keep-alives of an observer's bond within the time after which a silent one counts as dead.
const OBSERVERS_BEATS: u32 = 4;

/// Serves a bond until it ends.
pub(crate) fn spawn(instance: &Arc<Instance>, bonded: Bonded) {
    let instance = instance.clone();
    let scope = bonded.bond.scope.clone();
    scope.spawn(async move {
        let bond = bonded.bond.clone();
        let reason = serve(&instance, bonded).await;
        instance.end_bond(&bond, &reason);
    });
}

async fn serve(instance: &Arc<Instance>, bonded: Bonded) -> ApplicationClose {
    let Bonded { bond, mut receiver } = bonded;
    let timing = instance.timing();
    // Observers have bonds with a few of very many. They hear of the leader otherwise.
    let is_observers = instance.observes() || bond.standing().willingness == Willingness::Observer;
    let beat = if is_observers {
        timing.beat.max(timing.silence / OBSERVERS_BEATS)
    } else {
        timing.beat
    };
    let _rhythm = instance
        .beats()
        .begin(bond.connection.clone(), beat, timing.beat_jitter);
    let mut answers = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = answers.next(), if !answers.is_empty() => {}
            frame = receiver.recv_bytes(), if answers.len() < MAX_OPEN_QUESTIONS => {
                let frame = match frame {
                    Ok(frame) => frame,
                    Err(error) => return reason_of(&error),
                };
                instance.beats().heard(&bond.peer);
                let metrics = instance.metrics();
                metrics.messages_received.increment(1);
                metrics.bytes_received.increment(frame.len() as u64);
                match encoding::deserialize(&frame) {
                    Ok(Control::Ask { id, lineage, from, to, request }) => {
                        answers.push(answer(instance, &bond, id, (lineage, to), from, request));
                    }
                    Ok(message) => take(instance, &bond, message).await,
                    Err(_) => return ProtocolViolation.into(),
                }
            }
        }
    }
}

async fn answer(
    instance: &Arc<Instance>,
    bond: &BondCore,
    id: u64,
    (lineage, to): (Lineage, MemberId),
    from: MemberId,
    request: Bytes,
) {
    let is_guest = instance.is_guest(bond);
    let core = if from.is_of(&bond.peer) {
        instance.core_for(bond, lineage, to).await
    } else {
        None
    };
    let response = match core {
        Some(core) if is_guest => core.answer_guest(from, &request).await.ok(),
        Some(core) => core.answer(from, &request).await.ok(),
        None => None,
    };
    // A bond that is lost says so to everybody.
    let _ = bond.send(&Control::Answer { id, response }).await;
}

async fn take(instance: &Arc<Instance>, bond: &Arc<BondCore>, message: Control) {
    let event = match message {
        Control::Answer { id, response } => return bond.answered(id, response),
        Control::MemberInfo { number, standing } => {
            if !standing.member.is_of(&bond.peer) || !bond.set_standing(number, standing) {
                return;
            }
            Event::MemberInfo(bond.peer)
        }
        Control::Entry(entry) => {
            bond.set_entry((*entry).clone());
            instance.discovery().feed(*entry);
            Event::Entry(bond.peer)
        }
        Control::Roster(peers) => Event::Roster(bond.peer, peers),
        Control::Leaving(member) if member.is_of(&bond.peer) => Event::Leaving(member),
        // Questions have been taken before; nobody speaks for others.
        Control::Ask { .. } | Control::Leaving(_) => return,
        // Histories and memberships come and go at the word of writers.
        Control::Rival(_) | Control::Dissolved { .. } | Control::Removed(_)
            if instance.is_guest(bond) =>
        {
            return;
        }
        Control::Removed(member) => Event::Removed {
            member,
            by: bond.member(),
        },
        Control::Rival(standing) => Event::Rival(standing),
        Control::Dissolved {
            lineage,
            term,
            winner,
        } => Event::Dissolved {
            lineage,
            term,
            winner,
        },
    };
    instance.tell(event).await;
}

fn reason_of(error: &RecvError) -> ApplicationClose {
    match (error.close_reason(), error.is_violation()) {
        (Some(reason), _) => reason.clone(),
        (None, true) => ProtocolViolation.into(),
        (None, false) => UnexpectedClose.into(),
    }
}
