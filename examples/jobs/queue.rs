//! The queue: one ordered map, and what is done with a job in it.
//!
//! A job is *waiting* when it has an entry `Job` and no `Lease`, *taken* when it has both, and
//! *done* when it has a `Result`. All three are keys of one map, because a batch takes effect as one
//! within a collection, and not across two.

use std::time::Duration;

use mosaik::{
    CollectionConfig,
    collections::{Batch, BatchOutcome, Error, Expected, OrderedMapWriter, Version},
};
use serde::{Deserialize, Serialize};

/// Id by which nodes find the collection: any node that knows it can be a member.
pub(crate) const QUEUE: &str = "example/jobs";

// ANCHOR: entries
/// Keys of a job in the queue, by the job's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Key {
    /// Its input; there until it is done.
    Job(String),
    /// The worker that has it; expires unless it is renewed.
    Lease(String),
    /// Its output; never removed.
    Result(String),
}

pub(crate) type Queue = OrderedMapWriter<Key, String>;
// ANCHOR_END: entries

// ANCHOR: config
/// Settings that all members share.
pub(crate) fn config() -> CollectionConfig {
    CollectionConfig::default()
        // The queue stays the same one if `Key` moves to another module.
        .with_type_tag("example/jobs")
        .with_min_writers(2)
}
// ANCHOR_END: config

// ANCHOR: add
/// Adds a job; tells whether it is new. A name is used once.
pub(crate) async fn add(queue: &Queue, name: &str, input: String) -> anyhow::Result<bool> {
    let (job, result) = (Key::Job(name.into()), Key::Result(name.into()));
    let batch = queue
        .batch()
        .expect(job.clone(), Expected::Absent)
        .expect(result, Expected::Absent)
        .insert(job, input);
    Ok(settle(queue, batch).await?.applied)
}
// ANCHOR_END: add

// ANCHOR: settle
/// Commits a batch until it is known what became of it.
///
/// Only for batches that expect what they themselves change: of such a batch the second attempt has
/// no effect when the first one had.
async fn settle(
    queue: &Queue,
    mut batch: Batch<Key, String>,
) -> anyhow::Result<BatchOutcome<String>> {
    loop {
        queue.when().online().await;
        match batch.commit().await {
            Ok(outcome) => return Ok(outcome),
            Err(Error::Offline(again) | Error::Unknown(again)) => batch = again,
            Err(error) => return Err(error.into()),
        }
    }
}
// ANCHOR_END: settle

// ANCHOR: take
/// A job that this worker has.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) name: String,
    pub(crate) input: String,
    /// The version that made the lease: it tells this lease from all others of the job.
    lease: Version,
}

/// Takes a waiting job; none when there is none.
pub(crate) async fn take(
    queue: &Queue,
    worker: &str,
    lease: Duration,
) -> anyhow::Result<Option<Taken>> {
    while let Some((name, input)) = waiting(queue) {
        let (job, key) = (Key::Job(name.clone()), Key::Lease(name.clone()));
        let batch = queue
            .batch()
            .expect(job, Expected::Value(input.clone()))
            .expect(key.clone(), Expected::Absent)
            .insert_with_ttl(key.clone(), worker.into(), lease);
        settle(queue, batch).await?;
        // Also when the answer to the first of two attempts was lost.
        match queue.get_versioned(&key) {
            Some((holder, lease)) if holder == worker => {
                return Ok(Some(Taken { name, input, lease }));
            }
            // Another worker was faster.
            _ => {}
        }
    }
    Ok(None)
}

/// The first job that nobody has.
fn waiting(queue: &Queue) -> Option<(String, String)> {
    let now = queue.snapshot();
    let jobs = now.range(Key::Job(String::new())..Key::Lease(String::new()));
    jobs.filter_map(|(key, input)| match key {
        Key::Job(name) => Some((name, input)),
        _ => None,
    })
    .find(|(name, _)| now.get(&Key::Lease((*name).clone())).is_none())
    .map(|(name, input)| (name.clone(), input.clone()))
}
// ANCHOR_END: take

impl Taken {
    pub(crate) fn lease_key(&self) -> Key {
        Key::Lease(self.name.clone())
    }

    // ANCHOR: renew
    /// Returns whether the worker still has the job, as far as this node knows.
    pub(crate) fn is_held(&self, queue: &Queue) -> bool {
        let lease = queue.get_versioned(&self.lease_key());
        lease.is_some_and(|(_, version)| version == self.lease)
    }

    /// Lets the lease begin anew. That it failed is told by the end of the lease.
    pub(crate) async fn renew(&self, queue: &Queue, lease: Duration) {
        if self.is_held(queue) {
            let _ = queue.expire(&self.lease_key(), lease).await;
        }
    }
    // ANCHOR_END: renew

    // ANCHOR: finish
    /// Records the output, and ends the job; without effect, and `false`, when another worker has
    /// it, or has finished it.
    pub(crate) async fn finish(self, queue: &Queue, output: String) -> anyhow::Result<bool> {
        let batch = queue
            .batch()
            .expect(self.lease_key(), Expected::Version(self.lease))
            .remove(self.lease_key())
            .remove(Key::Job(self.name.clone()))
            .insert(Key::Result(self.name), output);
        Ok(settle(queue, batch).await?.applied)
    }
    // ANCHOR_END: finish
}
