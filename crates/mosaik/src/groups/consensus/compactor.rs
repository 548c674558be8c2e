//! Discards the log behind snapshots.
//!
//! A member in memory does so behind each snapshot. A durable one writes a snapshot to its disk
//! first, and only when the log behind the last one has grown by as much as that takes, so that a
//! large state is not written anew for a small part of log.
//!
//! The log that a member needs to catch up stays: behind a snapshot that is fetched, or was lately,
//! and the entries that an advancing follower lacks. It stays up to [a limit](retained_bytes); a
//! member that needs more is told so, and gets a later snapshot after a while.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::core::NodeCore;
use crate::groups::{
    catch_up::{
        snapshot_cache::CachedSnapshot,
        volume::retained_bytes,
        wire::{Overrun, SnapshotId},
    },
    model::lineage::MemberId,
};

/// Retry interval for a log purge deferred by a snapshot in use, or a snapshot that was not written.
const LOOK: Duration = Duration::from_secs(1);
/// Duty cycle of a durable member: after writing a snapshot for `t`, it writes none for `REST × t`.
const REST: u32 = 4;
/// Timeout for the consensus library to notice a snapshot.
const NOTICE: Duration = Duration::from_secs(10);
/// A follower that has acknowledged nothing new for so long does not get ahead.
const STANDSTILL: Duration = Duration::from_secs(30);
/// Interval between two warnings that a follower is too slow.
const WARN_EVERY: Duration = Duration::from_secs(60);

impl NodeCore {
    /// Makes snapshots safe and discards the log behind them, for as long as the member exists.
    pub(super) async fn compact(&self) {
        let mut newest = self.applied.snapshot_cache.subscribe();
        let mut followers = Followers::default();
        let mut looks_again = false;
        let mut rested = Instant::now();
        loop {
            tokio::select! {
                changed = newest.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(LOOK), if looks_again => {}
            }
            newest.mark_unchanged();
            let Some(held) = self.applied.snapshot_cache.newest() else {
                continue;
            };
            looks_again = false;
            if !self.log.is_durable() {
                self.make_safe(held, 0).await;
            } else if self.applied.should_store(&held) {
                if Instant::now() < rested {
                    looks_again = true;
                } else {
                    let begin = Instant::now();
                    match self.store(&held).await {
                        Ok(bytes) => {
                            rested = Instant::now() + begin.elapsed() * REST;
                            self.make_safe(held, bytes).await;
                        }
                        // A store that fails ends the group by itself; an item that can't be
                        // encoded leaves the log as it is.
                        Err(error) => tracing::warn!(%error, "the snapshot was not written"),
                    }
                }
            }
            let Some(safe) = self.applied.compacted() else {
                continue;
            };
            match self.discard_log(&safe, &mut followers).await {
                Ok(deferred) => looks_again |= deferred,
                // A store that fails ends the group by itself.
                Err(error) => tracing::warn!(%error, "the log was not discarded"),
            }
        }
    }

    /// The log may go behind this snapshot.
    async fn make_safe(&self, snapshot: Arc<CachedSnapshot>, stored_bytes: u64) {
        let id = snapshot.id;
        self.applied.set_compacted(snapshot, stored_bytes);
        self.announce(id).await;
    }

    /// Writes a snapshot to the disk, unless there is a later one; returns its size.
    async fn store(&self, held: &Arc<CachedSnapshot>) -> io::Result<u64> {
        // A part of one that was fetched must not keep this member from writing its own.
        drop(self.partial.lock().take());
        let Some(mut writer) = self.log.begin_snapshot(held.id.index).await? else {
            return Ok(0);
        };
        let mut from = 0;
        loop {
            let pieces = held.cut(from).await?;
            if pieces.is_empty() {
                break;
            }
            writer.add(&pieces).await?;
            from += pieces.iter().map(|piece| piece.items).sum::<u64>();
        }
        let bytes = writer.bytes();
        writer.finish(&held.meta, &held.head).await?;
        Ok(bytes)
    }

    /// Lets the consensus library know that there is a snapshot.
    async fn announce(&self, id: SnapshotId) {
        // Fails only when consensus has stopped.
        let _ = self.raft.trigger().snapshot().await;
        let mut known = self.raft.watch_snapshot_progress();
        let noticed =
            known.wait_until(|last| last.as_ref().is_some_and(|last| last.index() >= id.index));
        let _ = timeout(NOTICE, noticed).await;
    }

    /// Discards the log behind a snapshot, except what is to be kept; returns whether more could go
    /// if nobody needed it.
    async fn discard_log(
        &self,
        snapshot: &CachedSnapshot,
        followers: &mut Followers,
    ) -> io::Result<bool> {
        let kept = self.applied.terms().kept;
        let limit = self.log.index_of(snapshot.position - kept).await?;
        let excess = self.applied.excess_before(snapshot.id.index);
        let limit = limit.unwrap_or(0).max(excess).min(snapshot.id.index);
        if limit < self.log.first_index() {
            return Ok(false);
        }
        let needed = self.needed_from(followers, limit);
        let up_to = needed.map_or(limit, |needed| needed.min(limit));
        if up_to >= self.log.first_index() {
            // Fails only when consensus has stopped.
            let _ = self.raft.trigger().purge_log(up_to).await;
            self.applied.discarded(up_to);
        }
        Ok(up_to < limit)
    }

    /// The last consensus index before all entries that a member needs to catch up, of those that are
    /// to be discarded up to a limit. A member that needs too much is told so.
    fn needed_from(&self, followers: &mut Followers, limit: u64) -> Option<u64> {
        let last = self.applied.last_index().unwrap_or(0);
        let mut needed = None;
        let mut snapshot_bytes = 0;
        for held in self.applied.snapshot_cache.in_use() {
            let index = held.id.index;
            if index >= limit {
                continue;
            }
            snapshot_bytes = held.encoded_bytes().max(snapshot_bytes);
            let overrun = self.overrun(index, last, held.encoded_bytes());
            if let Some(overrun) = overrun {
                tracing::warn!(
                    index,
                    log_bytes = overrun.log_bytes,
                    limit_bytes = overrun.limit_bytes,
                    "members fetch a snapshot more slowly than commands come: the log behind it is \
                     discarded"
                );
                held.give_up(overrun);
            } else {
                needed = Some(lower(needed, index));
            }
        }
        let first = self.log.first_index();
        let now = Instant::now();
        let observers = self.feed.needs().into_iter();
        let observers = observers.map(|(child, next)| (child, next.saturating_sub(1)));
        let all = self.progress.all_matched().into_iter().chain(observers);
        for (member, matched) in followers.advancing(all.collect(), now) {
            if matched >= limit || matched + 1 < first {
                continue;
            }
            match self.overrun(matched, last, snapshot_bytes) {
                Some(Overrun {
                    log_bytes,
                    limit_bytes,
                }) => {
                    if followers.is_warning_due(member, now) {
                        tracing::warn!(
                            %member, matched, log_bytes, limit_bytes,
                            "a member takes commands more slowly than they come: the log that it \
                             lacks is discarded, and it gets a snapshot"
                        );
                    }
                }
                None => needed = Some(lower(needed, matched)),
            }
        }
        needed
    }

    /// Size of the log behind an index, if that is more than is kept beside a snapshot of this size.
    fn overrun(&self, index: u64, last: u64, snapshot_bytes: u64) -> Option<Overrun> {
        let overrun = Overrun {
            log_bytes: self.applied.bytes_between(index, last),
            limit_bytes: retained_bytes(snapshot_bytes),
        };
        (overrun.log_bytes > overrun.limit_bytes).then_some(overrun)
    }
}

fn lower(needed: Option<u64>, index: u64) -> u64 {
    needed.map_or(index, |needed| needed.min(index))
}

/// Progress of the followers over time, as their leader sees it.
#[derive(Default)]
struct Followers(HashMap<MemberId, Follower>);

struct Follower {
    matched: u64,
    /// Time at which it had that.
    since: Instant,
    warned: Option<Instant>,
}

impl Followers {
    /// Those that have acknowledged something new lately, of all that there are.
    fn advancing(&mut self, all: Vec<(MemberId, u64)>, now: Instant) -> Vec<(MemberId, u64)> {
        self.0
            .retain(|member, _| all.iter().any(|(other, _)| other == member));
        let advances = |(member, matched): &(MemberId, u64)| {
            let follower = self.0.entry(*member).or_insert(Follower {
                matched: *matched,
                since: now,
                warned: None,
            });
            if follower.matched != *matched {
                follower.matched = *matched;
                follower.since = now;
            }
            now.saturating_duration_since(follower.since) < STANDSTILL
        };
        all.into_iter().filter(advances).collect()
    }

    fn is_warning_due(&mut self, member: MemberId, now: Instant) -> bool {
        let Some(follower) = self.0.get_mut(&member) else {
            return false;
        };
        let recent = |at: Instant| now.saturating_duration_since(at) < WARN_EVERY;
        let due = !follower.warned.is_some_and(recent);
        if due {
            follower.warned = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_log_is_kept_for_followers_that_get_ahead_and_not_for_others() {
        let mut followers = Followers::default();
        let peer = iroh::SecretKey::from_bytes(&[7; 32]).public();
        let [slow, stuck] = [(); 2].map(|()| MemberId::fresh(peer));
        let begin = Instant::now();
        let seen = |followers: &mut Followers, matched, after: u64| {
            let all = vec![(slow, matched), (stuck, 5)];
            followers.advancing(all, begin + Duration::from_secs(after))
        };
        assert_eq!(seen(&mut followers, 1, 0), [(slow, 1), (stuck, 5)]);
        assert_eq!(seen(&mut followers, 2, 29), [(slow, 2), (stuck, 5)]);
        assert_eq!(seen(&mut followers, 2, 31), [(slow, 2)]);
        assert_eq!(seen(&mut followers, 2, 60), []);
        assert_eq!(seen(&mut followers, 3, 61), [(slow, 3)]);
        followers.advancing(Vec::new(), begin);
        assert!(followers.0.is_empty(), "nobody is remembered for ever");
    }
}
