//! The clock that the log carries, set forward by the leader while entries expire.
//!
//! An entry's time begins with the first reading that was made after it was applied on the leader,
//! and it ends with the first one that shows its end: so it never expires early, whatever the
//! clocks of the members do. A new leader goes on from the last reading by its own monotonic clock;
//! [`INTERVAL`] bounds what a member loses of it that has just started.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use crate::{
    collections_layer::engine::{
        command::Command,
        kind::{Alarm, Kind, Tick},
        machine::Machine,
        mismatches::Published,
        replica::Replica,
    },
    groups::Proposer,
    primitives::ShortFmtExt,
};

/// Shortest interval between two readings: entries that begin and expire meanwhile share one.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest interval between two readings, while any entry expires at some time.
const INTERVAL: Duration = Duration::from_secs(1);
/// Timeout for a reading to be committed; a new one is made after it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the clock of a collection and its advert until its group ends on this node, and then ends
/// its watches.
pub(crate) fn start<K: Kind>(
    proposer: Proposer<Machine<K>>,
    replica: Arc<Replica<K>>,
    published: Published,
) {
    let scope = proposer.scope().clone();
    // Made before the task: it may be dropped before it begins.
    let watches = EndWatches(replica);
    let keeping = async move {
        let mut terminated = proposer.watch_terminated();
        tokio::select! {
            biased;
            _ = terminated.wait_for(|terminated| *terminated) => {}
            () = keep(&proposer, &watches.0) => {}
            () = published.watch() => {}
        }
    };
    scope.spawn(keeping);
}

/// Ends the watches of a replica when it is dropped, as with a task that is cancelled.
struct EndWatches<K: Kind>(Arc<Replica<K>>);

impl<K: Kind> Drop for EndWatches<K> {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn keep<K: Kind>(proposer: &Proposer<Machine<K>>, replica: &Replica<K>) {
    let mut clock = replica.watch_clock();
    let mut leader = proposer.watch_leader();
    let mut last = Instant::now();
    let local = Some(proposer.local());
    loop {
        if leader.wait_for(|leader| *leader == local).await.is_err() {
            return;
        }
        if !proposer.admits_itself() {
            warn_of_own_tickets(proposer);
        }
        // One tenure: its readings go on from one beginning, and lose no time to each other.
        let mut begin = *clock.borrow_and_update();
        let mut proposed = begin.log.millis;
        while *leader.borrow_and_update() == local {
            let running = *clock.borrow_and_update();
            if running.log.millis != proposed && running.log.millis != begin.log.millis {
                // Another member's, from before.
                (begin, proposed) = (running, running.log.millis);
            }
            let wait = match running.log.next {
                None => None,
                Some(Alarm::Begin) => Some(PAUSE.saturating_sub(last.elapsed())),
                // More are due than one reading removes.
                Some(Alarm::Expire(millis)) if millis <= running.log.millis => Some(Duration::ZERO),
                Some(Alarm::Expire(millis)) => {
                    let due = begin.until(millis).min(INTERVAL);
                    Some(due.max(PAUSE.saturating_sub(last.elapsed())))
                }
            };
            tokio::select! {
                biased;
                changed = leader.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                () = pause(wait) => {}
                changed = clock.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
            }
            last = Instant::now();
            // The version first: what is written meanwhile begins its time with a later reading.
            let seen = replica.version();
            proposed = begin.millis();
            let tick = K::tick(Tick {
                base: running.log.millis,
                millis: proposed,
                seen,
            });
            let Some(tick) = tick else { return };
            let executed = timeout(PATIENCE, proposer.execute(Command::new(None, tick))).await;
            if !matches!(executed, Ok(Ok(_))) {
                // The clock has not changed, and is read anew.
                sleep(PAUSE).await;
            }
        }
    }
}

/// Sleeps, without a time for ever.
async fn pause(wait: Option<Duration>) {
    match wait {
        Some(wait) => sleep(wait).await,
        None => core::future::pending().await,
    }
}

fn warn_of_own_tickets<K: Kind>(proposer: &Proposer<Machine<K>>) {
    tracing::warn!(
        group = %proposer.group_id().short(),
        "this writer leads a collection whose tickets it does not have: members that have them \
         never meet it, and what is written here stays here; add the ticket to this node"
    );
}
