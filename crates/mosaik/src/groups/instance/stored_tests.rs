//! Everything that a recorded store holds of a group is found in it, row by row.

use std::sync::Arc;

use super::persistent_identity::PersistentIdentity;
use crate::{
    groups::{Cursor, Index, NodeStore, Term, log::raft_log::RaftLog, model::status::Status},
    primitives::GroupId,
};

#[path = "../../../tests/fixtures/directory.rs"]
mod directory;

/// See `tests/groups/stored.rs`.
const RECORDED: &str = "store-1.txt";
const GROUP: &str = "68bc2072b16bc9614719f4f5beba41319dd3867b16616d877e8ccdbaa404a604";

#[tokio::test]
async fn a_recorded_store_has_all_that_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let recorded = directory::unpack(RECORDED, dir.path());
    let node = NodeStore::open(dir.path()).unwrap();
    let group = GroupId::from(GROUP);
    assert_eq!(node.groups(), [group]);
    let owner = node.secret_key_or_create().unwrap().public();
    node.claim(owner).await.unwrap();

    let (identity, member) = PersistentIdentity::open(node.clone(), group, owner);
    assert!(identity.failure().is_none());
    let lineage = identity.restored().unwrap();
    let expected = recorded
        .lines()
        .find_map(|line| line.strip_prefix("# lineage "));
    assert_eq!(Some(lineage.to_string().as_str()), expected);
    assert!(member.is_of(&owner));
    identity.settle(member).await.unwrap();

    let store = identity.store().unwrap();
    let status = Arc::new(Status::new(owner));
    let log = RaftLog::open(Some(store), None, status).await.unwrap();
    assert_eq!(log.stored_vote(), Some((1, member)));
    assert_eq!(log.position(), Cursor::new(Term(1), Index(115)));
    let last = log.last_id().unwrap();
    assert_eq!(log.id_at(last.index()).await.unwrap(), Some(last));
    let first = log.first_index();
    assert!(first > 0, "its beginning was discarded");
    assert!(
        log.id_at(first - 1).await.unwrap().is_some(),
        "the border is known"
    );
    let entries = log.read(first..last.index() + 1, usize::MAX).await.unwrap();
    assert_eq!(entries.len() as u64, last.index() + 1 - first);

    let snapshot = log.stored_snapshot().await.unwrap().unwrap();
    let id = snapshot.meta.last_log_id.unwrap();
    assert!(id.index() >= first - 1 && id.index() < last.index());
    let voters: Vec<_> = snapshot.meta.last_membership.voter_ids().collect();
    assert_eq!(voters, [member]);
}
