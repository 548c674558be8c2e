//! Peers of a history's consensus, reached over the members' bonds.

use std::sync::{Arc, Weak};

use futures::{FutureExt, future::BoxFuture};

use super::core::Instance;
use crate::{
    groups::{
        bond::{
            core::BondCore,
            wire::{ALPN, MAX_CHANNEL_FRAME_BYTES, Opening},
        },
        consensus::Peers,
        model::{
            event::Event,
            lineage::{Lineage, MemberId},
            member_stream::{Channel, Gone, MemberStream},
        },
    },
    primitives::Bytes,
};

/// Reaches other members over their bonds, within one history.
pub(super) struct BondedPeers {
    pub(super) instance: Weak<Instance>,
    pub(super) member: MemberId,
    pub(super) lineage: Lineage,
}

impl BondedPeers {
    fn bond_with(&self, member: &MemberId) -> Result<(Arc<Instance>, Arc<BondCore>), Gone> {
        let instance = self.instance.upgrade().ok_or(Gone)?;
        let bond = instance.bonds.of_member(member).ok_or(Gone)?;
        Ok((instance, bond))
    }
}

impl Peers for BondedPeers {
    fn ask(&self, member: MemberId, request: Bytes) -> BoxFuture<'static, Result<Bytes, Gone>> {
        let bond = self.bond_with(&member);
        let (lineage, from) = (self.lineage, self.member);
        async move { bond?.1.ask(lineage, from, member, request).await }.boxed()
    }

    fn members(&self) -> Vec<MemberId> {
        let Some(instance) = self.instance.upgrade() else {
            return Vec::new();
        };
        let bonds = instance.trusted_bonds();
        let standings = bonds.iter().map(|bond| bond.standing());
        standings
            .filter(|standing| {
                let theirs = standing.lineage.as_ref();
                !standing.catching_up && theirs.is_some_and(|theirs| theirs.id == self.lineage)
            })
            .map(|standing| standing.member)
            .collect()
    }

    fn reach(&self, member: MemberId) {
        if let Some(instance) = self.instance.upgrade()
            && let Some(peer) = member.peer()
        {
            instance.tell_soon(Event::Reach(peer));
        }
    }

    fn may_vote(&self, member: &MemberId) -> bool {
        let bond = self.bond_with(member);
        bond.is_ok_and(|(instance, bond)| !instance.is_guest(&bond))
    }

    fn takes_commands(&self, leader: &MemberId) -> bool {
        let bond = self.bond_with(leader);
        bond.map_or(true, |(instance, bond)| instance.may_write_under(&bond))
    }

    fn needed_voters(&self) -> usize {
        let instance = self.instance.upgrade();
        instance.map_or(1, |instance| instance.needed_voters())
    }

    fn open(
        &self,
        member: MemberId,
        channel: Channel,
    ) -> BoxFuture<'static, Result<MemberStream, Gone>> {
        let bond = self.bond_with(&member);
        let (lineage, from) = (self.lineage, self.member);
        async move {
            let (instance, bond) = bond?;
            let link = instance.links().open_beside(ALPN, &bond.connection).await;
            let mut link = link.ok_or(Gone)?;
            // Goes out together with the first message.
            link.sender
                .queue(&Opening::Channel {
                    group: instance.id(),
                    bond: bond.id,
                    lineage,
                    from,
                    to: member,
                    channel,
                })
                .map_err(|_| Gone)?;
            Ok(MemberStream::until(
                link,
                MAX_CHANNEL_FRAME_BYTES,
                &bond.streams,
            ))
        }
        .boxed()
    }
}
