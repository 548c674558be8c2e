//! Bonds of this member: admitting them, ending them, and serving what comes over them.

use std::{sync::Arc, time::Duration};

use iroh::endpoint::ApplicationClose;
use tokio::time::Instant;

use super::core::Instance;
use crate::{
    groups::{
        bond::{
            close::{AlreadyBonded, IdentityInUse, NotAllowed},
            core::BondCore,
            proof::{Challenge, Role},
            set::Admission,
            wire::{Control, Introduction, MAX_CHANNEL_FRAME_BYTES},
        },
        model::{
            event::Event,
            lineage::{Lineage, MemberId},
            member_stream::{Channel, MemberStream},
        },
    },
    net::{Link, close::GracefulShutdown, link::path_rtt},
    primitives::{Digest, PeerId, ShortFmtExt},
};

/// Time after which a dial may be lost, and counts less than one of the peer that has arrived.
const PRECEDENCE: Duration = Duration::from_secs(1);
/// Round trips to the farthest member that a leaving one waits for: its successor gets the log, is
/// elected, commits an entry of its own, and removes the member by two memberships.
const PARTING_TRIPS: u32 = 12;
/// Limit on the time for these.
const MAX_PARTING: Duration = Duration::from_secs(5);

impl Instance {
    /// Time that round trips take when this member leaves.
    pub(crate) fn parting_trips(&self) -> Duration {
        let bonds = self.bonds.all();
        let distances = bonds.iter().filter_map(|bond| path_rtt(&bond.connection));
        let farthest = distances.max().unwrap_or_default();
        farthest.saturating_mul(PARTING_TRIPS).min(MAX_PARTING)
    }

    /// Introduction of this member in a role, to a peer that has proven the group's key.
    pub(crate) fn introduction(&self, challenge: &Challenge, role: Role) -> Introduction {
        let key = self.write_key();
        Introduction {
            entry: self.host.discovery.me(),
            session: self.session,
            standing: self.standing(),
            write_proof: key.map(|key| challenge.prove_write(&key, role)),
        }
    }

    /// Returns whether a peer is being dialled, and not in vain as far as one can tell.
    pub(crate) fn is_dialling(&self, peer: &PeerId) -> bool {
        let since = self.dialling.lock().get(peer).copied();
        since.is_some_and(|since| since.elapsed() < PRECEDENCE)
    }

    /// Marks a peer as being dialled, until the guard is dropped.
    pub(crate) fn dialling(self: &Arc<Self>, peer: PeerId) -> Dialling {
        self.dialling.lock().insert(peer, Instant::now());
        Dialling(self.clone(), peer)
    }

    /// Takes in a bond that both sides have agreed to. Returns the reason if it does not, to be told
    /// to the peer.
    ///
    /// A peer that was started again takes the place of its former self, once that does not answer.
    /// If it does, two processes run with one key: the one that was there first stays.
    pub(crate) async fn admit_bond(&self, bond: &Arc<BondCore>) -> Result<(), ApplicationClose> {
        let patience = self.timing.silence.min(self.handshake_timeout() / 2);
        let mut dead = None;
        loop {
            if self.is_leaving() {
                return Err(AlreadyBonded.into());
            }
            match self.bonds.insert(bond.clone(), dead.as_deref()) {
                Admission::Taken => self.metrics.bond_made(),
                Admission::Replaced(old) => self.end_replaced(&old),
                Admission::Refused => return Err(AlreadyBonded.into()),
                Admission::Contested(standing) => {
                    if standing.is_answered(patience).await {
                        tracing::warn!(
                            group = %self.id().short(), peer = %bond.peer.short(),
                            address = ?bond.entry().address(),
                            "two processes run with this peer's identity: the second is refused"
                        );
                        return Err(IdentityInUse.into());
                    }
                    dead = Some(standing);
                    continue;
                }
            }
            self.tell_soon(Event::BondUp(bond.peer));
            return Ok(());
        }
    }

    /// Ends a bond whose place another one has taken.
    fn end_replaced(&self, old: &Arc<BondCore>) {
        let reason = AlreadyBonded.into();
        if old.set_ended(&reason) {
            let old = old.clone();
            self.scope.spawn(async move { old.shut(&reason).await });
        }
    }

    /// Ends a bond, tells the peer why, and forgets it.
    pub(crate) fn end_bond(&self, bond: &Arc<BondCore>, reason: &ApplicationClose) {
        if self.bonds.remove(bond) {
            self.metrics.bond_ended();
        }
        if bond.set_ended(reason) {
            tracing::debug!(
                group = %self.id().short(), peer = %bond.peer.short(), %reason, "bond ended"
            );
            let graceful = GracefulShutdown == *reason;
            self.tell_soon(Event::BondDown(bond.peer, graceful));
            let (bond, reason) = (bond.clone(), reason.clone());
            self.scope
                .spawn_orderly(async move { bond.shut(&reason).await });
        }
    }

    /// Tells all members.
    pub(crate) fn broadcast(&self, message: impl Fn() -> Control) {
        for bond in self.bonds.all() {
            bond.post(message());
        }
    }

    /// Serves a stream that a bonded peer has opened.
    pub(crate) async fn serve_channel(
        self: Arc<Self>,
        link: Link,
        bond: Digest,
        lineage: Lineage,
        (from, to): (MemberId, MemberId),
        channel: Channel,
    ) {
        let peer = link.peer();
        let bonded = self
            .bonds
            .get(&peer)
            .filter(|found| found.id == bond && from.is_of(&peer));
        let Some(bonded) = bonded else { return };
        if self.is_guest(&bonded) && !channel.only_reads() {
            tracing::debug!(
                group = %self.id().short(), peer = %peer.short(), ?channel,
                "refused to a peer that has not proven the write key"
            );
            return link.close(NotAllowed);
        }
        let Some(core) = self.core_for(&bonded, lineage, to).await else {
            return;
        };
        let stream = MemberStream::over(link, MAX_CHANNEL_FRAME_BYTES);
        tokio::select! {
            () = bonded.scope.cancelled() => {}
            () = core.serve(from, channel, stream) => {}
        }
    }
}

/// Says that a peer is being dialled, for as long as it exists.
pub(crate) struct Dialling(Arc<Instance>, PeerId);

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.dialling.lock().remove(&self.1);
    }
}
