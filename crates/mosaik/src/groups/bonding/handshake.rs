//! Handshake with which two members become bonded.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::ApplicationClose;

use crate::{
    groups::{
        Error,
        bond::{
            access::Access,
            close::{AlreadyBonded, InvalidHandshake, InvalidProof, NotAllowed, Timeout},
            core::{BondCore, BondOptions},
            proof::{Challenge, Role},
            wire::{ALPN, Established, Introduction, MAX_CONTROL_FRAME_BYTES, Opening, Welcome},
        },
        instance::Instance,
    },
    net::{
        Link, LinkReceiver,
        close::{GracefulShutdown, ProtocolViolation, UnknownPeer},
        link::RecvError,
    },
    primitives::PeerId,
    tickets::Validity,
};

/// Largest message of a handshake after the proof: an entry.
const MAX_INTRODUCTION_BYTES: usize = 512 * 1024;

/// A bond that both sides have agreed to, with what is still to be read from it.
pub(crate) struct Bonded {
    pub(crate) bond: Arc<BondCore>,
    pub(crate) receiver: LinkReceiver,
}

/// Makes a bond with a peer.
pub(crate) async fn dial(instance: &Arc<Instance>, peer: PeerId) -> Result<Bonded, Error> {
    let limit = instance.handshake_timeout();
    let mut link = instance.links().open(ALPN, peer).await?;
    let group = instance.id();
    let challenge =
        Challenge::new(&link, group, instance.local(), peer).ok_or(Error::GroupTerminated)?;
    let nonce: [u8; 16] = rand::random();
    link.send(&Opening::Bond {
        group,
        nonce,
        proof: challenge.prove(instance.key(), Role::Dialler),
    })
    .await?;
    link.receiver.set_max_frame_bytes(MAX_INTRODUCTION_BYTES);
    let welcome: Welcome = receive(&mut link, limit).await?;
    if !challenge.verify(instance.key(), Role::Acceptor, &welcome.proof) {
        link.close(InvalidProof);
        return Err(Error::InvalidGroupKeyProof);
    }
    let Ok(validity) = admit(instance, peer, &welcome.introduction) else {
        link.close(NotAllowed);
        return Err(Error::Unauthorized);
    };
    let own = instance.introduction(&challenge, Role::Dialler);
    let has_proven = own.write_proof.is_some();
    link.send(&own).await?;
    let Established = receive(&mut link, limit).await?;
    let access = access(instance, &challenge, Role::Acceptor, &welcome.introduction);
    let agreed = Agreed {
        id: challenge.bond_id(&nonce, &welcome.nonce),
        introduction: welcome.introduction,
        validity,
        access,
        has_proven,
    };
    let bonded = establish(instance, link, agreed);
    match instance.admit_bond(&bonded.bond).await {
        Ok(()) => Ok(bonded),
        Err(reason) => {
            bonded.bond.shut(&reason).await;
            Err(Error::AlreadyBonded(peer))
        }
    }
}

/// Answers a peer that asks for a bond; its opening has been read.
pub(crate) async fn accept(
    instance: &Arc<Instance>,
    mut link: Link,
    nonce: [u8; 16],
    proof: [u8; 32],
) -> Result<Bonded, Error> {
    let limit = instance.handshake_timeout();
    let peer = link.peer();
    let challenge = Challenge::new(&link, instance.id(), peer, instance.local())
        .ok_or(Error::GroupTerminated)?;
    if !challenge.verify(instance.key(), Role::Dialler, &proof) {
        link.close(InvalidProof);
        return Err(Error::InvalidGroupKeyProof);
    }
    let own_nonce: [u8; 16] = rand::random();
    let own = instance.introduction(&challenge, Role::Acceptor);
    let has_proven = own.write_proof.is_some();
    link.send(&Welcome {
        nonce: own_nonce,
        proof: challenge.prove(instance.key(), Role::Acceptor),
        introduction: own,
    })
    .await?;
    link.receiver.set_max_frame_bytes(MAX_INTRODUCTION_BYTES);
    let introduction: Introduction = match link.recv_within(limit).await {
        Ok(introduction) => introduction,
        Err(error) => {
            if let Some(reason) = reason(&error) {
                link.close(reason);
            }
            return Err(error.into());
        }
    };
    let admitted = admit(instance, peer, &introduction);
    if !instance.discovery().knows(&peer) {
        link.close(UnknownPeer);
        return Err(Error::Unauthorized);
    }
    let Ok(validity) = admitted else {
        link.close(NotAllowed);
        return Err(Error::Unauthorized);
    };
    // Of two crossing dials, the one of the smaller id stands, unless it does not get through.
    if instance.is_dialling(&peer) && instance.local() < peer {
        link.close(AlreadyBonded);
        return Err(Error::AlreadyBonded(peer));
    }
    let access = access(instance, &challenge, Role::Dialler, &introduction);
    let agreed = Agreed {
        id: challenge.bond_id(&nonce, &own_nonce),
        introduction,
        validity,
        access,
        has_proven,
    };
    let bonded = establish(instance, link, agreed);
    // Nothing may be said on the bond before the dialler knows that it stands.
    let mut first = bonded.bond.hold();
    if let Err(reason) = instance.admit_bond(&bonded.bond).await {
        drop(first);
        bonded.bond.shut(&reason).await;
        return Err(Error::AlreadyBonded(peer));
    }
    let told = match first.as_mut().and_then(|sender| sender.as_mut()) {
        Some(sender) => sender.send(&Established).await,
        None => Ok(()),
    };
    if let Err(error) = told {
        drop(first);
        // Nobody reads what comes on it: it would look alive for ever.
        instance.end_bond(&bonded.bond, &GracefulShutdown.into());
        return Err(error.into());
    }
    drop(first);
    Ok(bonded)
}

/// Evidence of the write key in a peer's introduction.
fn access(
    instance: &Instance,
    challenge: &Challenge,
    role: Role,
    introduction: &Introduction,
) -> Access {
    let own = instance.write_key();
    let proof = introduction.write_proof.as_ref();
    Access::examine(challenge, role, own.as_ref(), proof)
}

/// The terms of a bond that both sides have agreed to.
struct Agreed {
    id: crate::Digest,
    introduction: Introduction,
    validity: Validity,
    access: Access,
    has_proven: bool,
}

fn establish(instance: &Arc<Instance>, link: Link, agreed: Agreed) -> Bonded {
    let Agreed {
        id,
        introduction,
        validity,
        access,
        has_proven,
    } = agreed;
    let connection = link.connection().clone();
    let (sender, mut receiver) = link.split();
    receiver.set_max_frame_bytes(MAX_CONTROL_FRAME_BYTES);
    let bond = BondCore::new(BondOptions {
        id,
        peer: receiver.peer(),
        session: introduction.session,
        access,
        has_proven,
        entry: introduction.entry,
        standing: introduction.standing,
        validity,
        connection,
        sender,
        metrics: instance.metrics().clone(),
        scope: instance.scope().child(),
    });
    Bonded { bond, receiver }
}

/// Takes in the entry that a peer introduces itself with, and checks its tickets.
fn admit(
    instance: &Instance,
    peer: PeerId,
    introduction: &Introduction,
) -> Result<Validity, Error> {
    let entry = &introduction.entry;
    let is_own = *entry.id() == peer && introduction.standing.member.is_of(&peer);
    if !is_own || entry.network_id() != instance.discovery().network_id() {
        return Err(Error::Unauthorized);
    }
    instance.discovery().feed(entry.clone());
    instance.authorize(entry).map_err(|_| Error::Unauthorized)
}

async fn receive<T: serde::de::DeserializeOwned>(
    link: &mut Link,
    limit: Duration,
) -> Result<T, Error> {
    link.recv_within(limit).await.map_err(Error::from)
}

/// Close reason that answers a failed handshake, where the peer has not closed it itself.
pub(crate) fn reason(error: &RecvError) -> Option<ApplicationClose> {
    match error {
        RecvError::TimedOut => Some(Timeout.into()),
        RecvError::Decode(_) | RecvError::FrameTooLarge { .. } => Some(InvalidHandshake.into()),
        _ if error.is_violation() => Some(ProtocolViolation.into()),
        _ => None,
    }
}
