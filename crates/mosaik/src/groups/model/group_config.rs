//! Identity of a group: its id and the ingredients of it.

use core::fmt;
use std::sync::Arc;

use crate::{
    groups::{ConsensusConfig, GroupKey},
    primitives::{Digest, GroupId, UniqueId},
    tickets::{Expiration, InvalidTicket, SignedPeerEntry, TicketValidator},
};

/// The configuration of a group that this node has joined.
pub struct GroupConfig {
    id: GroupId,
    key: GroupKey,
    consensus: ConsensusConfig,
    auth: Box<[Box<dyn TicketValidator>]>,
    validators: Vec<Arc<dyn TicketValidator>>,
    /// True if this member founds the group although it lacks a ticket itself.
    pub(crate) founds_unadmitted: bool,
    /// True if a leader takes no commands while fewer than `min_members` voters are present.
    pub(crate) needs_min_members: bool,
}

impl GroupConfig {
    pub(crate) fn new(
        key: GroupKey,
        consensus: ConsensusConfig,
        validators: Vec<Arc<dyn TicketValidator>>,
        machine: UniqueId,
        state_sync: UniqueId,
    ) -> Self {
        let boxed = |validator: &Arc<dyn TicketValidator>| -> Box<dyn TicketValidator> {
            Box::new(validator.clone())
        };
        Self {
            id: group_id(&key, &consensus, &validators, &machine, &state_sync),
            key,
            consensus: consensus.in_bounds(),
            auth: validators.iter().map(boxed).collect(),
            validators,
            founds_unadmitted: false,
            needs_min_members: false,
        }
    }

    /// The group.
    pub fn group_id(&self) -> &GroupId {
        &self.id
    }

    /// The group's key.
    pub fn key(&self) -> &GroupKey {
        &self.key
    }

    /// The values that this node uses: those that were asked for, unless they were out of bounds.
    /// A beat that does not fit into the election timeout, say, is shorter here. The group's id was
    /// made of what was asked for.
    pub fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    /// Validators of the members' tickets, in the order in which they were required.
    pub fn auth(&self) -> &[Box<dyn TicketValidator>] {
        &self.auth
    }

    /// Checks a peer's tickets: the earliest expiration over all validators, `None` without
    /// validators.
    ///
    /// # Errors
    ///
    /// When the peer doesn't satisfy every validator.
    pub fn authorize_peer(
        &self,
        peer: &SignedPeerEntry,
    ) -> Result<Option<Expiration>, InvalidTicket> {
        peer.validate_tickets(&self.validators)
    }

    pub(crate) fn validators(&self) -> &[Arc<dyn TicketValidator>] {
        &self.validators
    }
}

impl fmt::Debug for GroupConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupConfig")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("consensus", &self.consensus)
            .field("validators", &self.validators.len())
            .finish_non_exhaustive()
    }
}

/// Hashes everything that members must agree on. Every input has a fixed size.
fn group_id(
    key: &GroupKey,
    consensus: &ConsensusConfig,
    validators: &[Arc<dyn TicketValidator>],
    machine: &UniqueId,
    state_sync: &UniqueId,
) -> GroupId {
    let millis = |duration: core::time::Duration| {
        u64::try_from(duration.as_millis())
            .unwrap_or(u64::MAX)
            .to_le_bytes()
    };
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(Digest::from("mosaik.groups.id.v1").as_bytes())
        .update(key.secret().hashed().as_bytes())
        .update(&millis(consensus.heartbeat_interval))
        .update(&millis(consensus.heartbeat_jitter))
        .update(&consensus.max_missed_heartbeats.to_le_bytes())
        .update(machine.as_bytes())
        .update(state_sync.as_bytes());
    for validator in validators {
        hasher.update(validator.signature().as_bytes());
    }
    Digest::from_hasher(&hasher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn id(key: &str, consensus: ConsensusConfig, machine: &str) -> GroupId {
        *GroupConfig::new(
            key.into(),
            consensus,
            Vec::new(),
            machine.into(),
            "sync".into(),
        )
        .group_id()
    }

    #[test]
    fn the_id_covers_what_members_must_agree_on() {
        let default = ConsensusConfig::default;
        let base = id("key", default(), "machine");
        assert_eq!(base, id("key", default(), "machine"));
        assert_ne!(base, id("other", default(), "machine"));
        assert_ne!(base, id("key", default(), "other"));
        let faster = ConsensusConfig {
            heartbeat_interval: Duration::from_millis(149),
            ..default()
        };
        assert_ne!(base, id("key", faster, "machine"));
        let own_affair = ConsensusConfig {
            election_timeout: Duration::from_secs(9),
            max_voters: 7,
            min_members: 3,
            ..default()
        };
        assert_eq!(base, id("key", own_affair, "machine"));
    }
}
