//! Consensus values as they lie on the disk and cross the network.
//!
//! The consensus library's own types are not encoded: a new version of it must not change what a
//! peer or a disk reads. Each type here has fields of this crate alone, and the bytes of all of them
//! are recorded in `format_tests.rs`. What can be wrong with received bytes is found when they are
//! decoded; all that is handed on is sound.
//!
//! A field of a message or row names the module of its encoding: `#[serde(with = "format::vote")]`.
//! The library is built without its own encodings, so that a field without one does not compile.
//!
//! Values are moved or borrowed, and commands are never copied: [`RawEntry`] has them by reference
//! while it is encoded.

use std::collections::BTreeSet;

use openraft::{
    EntryPayload,
    alias::{CommittedLeaderIdOf, EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf},
    vote::leader_id_std::CommittedLeaderId,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::types::{Batch, Types, term_of};
use crate::{
    groups::model::lineage::MemberId,
    primitives::{
        Bytes,
        encoding::{self, DecodeError, EncodeError},
    },
};

/// The members of a history: voters, and nodes that only replicate.
type Membership = openraft::Membership<MemberId, ()>;

/// `EntryOf<Types>` with its name spelled out, which the compiler wants for conversions.
type Entry = openraft::impls::Entry<CommittedLeaderId<u64>, EntryPayload<Batch, MemberId, ()>>;

/// Entries that room is made for before they are decoded.
const MAX_RESERVED: usize = 1024;

/// A vote: a term, the candidate that has it in this term, and whether a majority has elected it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawVote {
    pub(crate) term: u64,
    #[serde(with = "always")]
    pub(crate) voted_for: MemberId,
    pub(crate) committed: bool,
}

/// The id of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawLogId {
    pub(crate) term: u64,
    pub(crate) index: u64,
}

/// A log entry. Its commands are borrowed where it is encoded, and owned where it was decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawEntry<B = Batch> {
    pub(crate) id: RawLogId,
    pub(crate) payload: RawPayload<B>,
}

/// Content of a log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RawPayload<B = Batch> {
    /// Nothing: the entry with which a leader begins its term.
    Blank,
    Commands(B),
    Membership(RawMembership),
}

/// A membership: one set of voters, or two while it changes from the one to the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawMembership {
    /// Each in ascending order.
    pub(crate) voters: Vec<Vec<MemberId>>,
    /// The voters and all others, in ascending order.
    pub(crate) members: Vec<MemberId>,
}

/// A membership, and the entry that it is from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RawStoredMembership {
    pub(crate) id: Option<RawLogId>,
    pub(crate) membership: RawMembership,
}

/// A membership that no member writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed membership")]
pub(crate) struct MalformedMembership;

impl From<VoteOf<Types>> for RawVote {
    fn from(vote: VoteOf<Types>) -> Self {
        Self {
            term: vote.leader_id.term,
            voted_for: vote.leader_id.voted_for,
            committed: vote.committed,
        }
    }
}

impl From<RawVote> for VoteOf<Types> {
    fn from(raw: RawVote) -> Self {
        let mut vote = Self::new(raw.term, raw.voted_for);
        vote.committed = raw.committed;
        vote
    }
}

impl From<&LogIdOf<Types>> for RawLogId {
    fn from(id: &LogIdOf<Types>) -> Self {
        Self {
            term: term_of(id),
            index: id.index(),
        }
    }
}

impl From<RawLogId> for LogIdOf<Types> {
    fn from(raw: RawLogId) -> Self {
        Self::new(CommittedLeaderIdOf::<Types>::new(raw.term), raw.index)
    }
}

impl<'a> From<&'a EntryOf<Types>> for RawEntry<&'a Batch> {
    fn from(entry: &'a EntryOf<Types>) -> Self {
        Self {
            id: (&entry.log_id).into(),
            payload: match &entry.payload {
                EntryPayload::Blank => RawPayload::Blank,
                EntryPayload::Normal(batch) => RawPayload::Commands(batch),
                EntryPayload::Membership(membership) => RawPayload::Membership(membership.into()),
            },
        }
    }
}

impl TryFrom<RawEntry> for Entry {
    type Error = MalformedMembership;

    fn try_from(raw: RawEntry) -> Result<Self, MalformedMembership> {
        let payload = match raw.payload {
            RawPayload::Blank => EntryPayload::Blank,
            RawPayload::Commands(batch) => EntryPayload::Normal(batch),
            // Nobody could ever be elected by such a membership.
            RawPayload::Membership(membership) if membership.voters.is_empty() => {
                return Err(MalformedMembership);
            }
            RawPayload::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        };
        Ok(Self {
            log_id: raw.id.into(),
            payload,
        })
    }
}

impl From<&Membership> for RawMembership {
    fn from(membership: &Membership) -> Self {
        let configs = membership.get_joint_config().iter();
        Self {
            voters: configs
                .map(|voters| voters.iter().copied().collect())
                .collect(),
            members: membership.nodes().map(|(member, ())| *member).collect(),
        }
    }
}

impl TryFrom<RawMembership> for Membership {
    type Error = MalformedMembership;

    fn try_from(raw: RawMembership) -> Result<Self, MalformedMembership> {
        let voters: Result<_, MalformedMembership> = raw.voters.into_iter().map(set).collect();
        // Refuses voters that are no members, and sets without any.
        Self::new(voters?, set(raw.members)?).map_err(|_| MalformedMembership)
    }
}

impl From<&StoredMembershipOf<Types>> for RawStoredMembership {
    fn from(stored: &StoredMembershipOf<Types>) -> Self {
        Self {
            id: stored.log_id().as_ref().map(RawLogId::from),
            membership: stored.membership().into(),
        }
    }
}

impl TryFrom<RawStoredMembership> for StoredMembershipOf<Types> {
    type Error = MalformedMembership;

    fn try_from(raw: RawStoredMembership) -> Result<Self, MalformedMembership> {
        Ok(Self::new(
            raw.id.map(Into::into),
            raw.membership.try_into()?,
        ))
    }
}

/// A set has one encoding only.
fn set(members: Vec<MemberId>) -> Result<BTreeSet<MemberId>, MalformedMembership> {
    if members.is_sorted_by(|one, next| one < next) {
        Ok(members.into_iter().collect())
    } else {
        Err(MalformedMembership)
    }
}

/// Metadata of a snapshot: the last entry that it contains, and the last membership.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotMeta {
    #[serde(with = "optional_log_id")]
    pub(crate) last_log_id: Option<LogIdOf<Types>>,
    #[serde(with = "stored_membership")]
    last_membership: StoredMembershipOf<Types>,
}

impl From<SnapshotMetaOf<Types>> for SnapshotMeta {
    fn from(meta: SnapshotMetaOf<Types>) -> Self {
        Self {
            last_log_id: meta.last_log_id,
            last_membership: meta.last_membership,
        }
    }
}

impl From<SnapshotMeta> for SnapshotMetaOf<Types> {
    fn from(meta: SnapshotMeta) -> Self {
        Self {
            last_log_id: meta.last_log_id,
            last_membership: meta.last_membership,
        }
    }
}

/// Encodes a part of the log: its entries, one after the other.
pub(crate) fn encode_entries(entries: &[EntryOf<Types>]) -> Result<Bytes, EncodeError> {
    #[derive(Serialize)]
    struct Part<'a>(#[serde(serialize_with = "entries::serialize")] &'a [EntryOf<Types>]);
    encoding::try_serialize(&Part(entries))
}

/// Decodes a part of the log.
pub(crate) fn decode_entries(bytes: &[u8]) -> Result<Vec<EntryOf<Types>>, DecodeError> {
    #[derive(Deserialize)]
    struct Part(#[serde(deserialize_with = "entries::deserialize")] Vec<EntryOf<Types>>);
    encoding::deserialize::<Part>(bytes).map(|part| part.0)
}

/// A value that is encoded as an option, and is never absent: older encodings of a vote knew one for
/// nobody.
mod always {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Some(value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        Option::deserialize(deserializer)?.ok_or_else(|| D::Error::custom("a vote for nobody"))
    }
}

/// Encoding of a vote, as [`RawVote`].
pub(crate) mod vote {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{RawVote, Types, VoteOf};

    pub(crate) fn serialize<S: Serializer>(
        vote: &VoteOf<Types>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        RawVote::from(*vote).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<VoteOf<Types>, D::Error> {
        RawVote::deserialize(deserializer).map(Into::into)
    }
}

/// Encoding of the id of an entry, as [`RawLogId`].
pub(crate) mod log_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{LogIdOf, RawLogId, Types};

    pub(crate) fn serialize<S: Serializer>(
        id: &LogIdOf<Types>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        RawLogId::from(id).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<LogIdOf<Types>, D::Error> {
        RawLogId::deserialize(deserializer).map(Into::into)
    }
}

/// Encoding of the id of an entry, or of none.
pub(crate) mod optional_log_id {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{LogIdOf, RawLogId, Types};

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub(crate) fn serialize<S: Serializer>(
        id: &Option<LogIdOf<Types>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        id.as_ref().map(RawLogId::from).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<LogIdOf<Types>>, D::Error> {
        let raw = Option::<RawLogId>::deserialize(deserializer)?;
        Ok(raw.map(Into::into))
    }
}

/// Decodes an entry, from a [`RawEntry`].
pub(crate) fn entry<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<EntryOf<Types>, D::Error> {
    let raw: RawEntry = RawEntry::deserialize(deserializer)?;
    raw.try_into().map_err(D::Error::custom)
}

/// Encoding of entries: a list of [`RawEntry`], neither made nor kept as one.
pub(crate) mod entries {
    use core::fmt;

    use serde::{
        Deserializer, Serializer,
        de::{Error, SeqAccess, Visitor},
    };

    use super::{EntryOf, MAX_RESERVED, RawEntry, Types};

    pub(crate) fn serialize<S: Serializer>(
        entries: &[EntryOf<Types>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(entries.iter().map(RawEntry::from))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<EntryOf<Types>>, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Vec<EntryOf<Types>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("log entries")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                // The announced length is the sender's claim.
                let expected = seq.size_hint().unwrap_or(0);
                let mut entries = Vec::with_capacity(expected.min(MAX_RESERVED));
                while let Some(raw) = seq.next_element::<RawEntry>()? {
                    entries.push(raw.try_into().map_err(A::Error::custom)?);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_seq(Entries)
    }
}

/// Encoding of a membership with its entry, as [`RawStoredMembership`].
mod stored_membership {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{RawStoredMembership, StoredMembershipOf, Types};

    pub(super) fn serialize<S: Serializer>(
        stored: &StoredMembershipOf<Types>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        RawStoredMembership::from(stored).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<StoredMembershipOf<Types>, D::Error> {
        let raw = RawStoredMembership::deserialize(deserializer)?;
        raw.try_into().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
