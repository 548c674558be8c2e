//! The clock that the log carries, set forward by the leader while entries expire.
//!
//! An entry's time begins with the first reading that was made after it was applied on the leader,
//! and it ends with the first one that shows its end: so it never expires early, whatever the
//! clocks of the members do. A new leader goes on from the last reading by its own monotonic clock.
//! A member that has just started knows only when it applied that reading, and loses what had passed
//! by then. So there is a reading at once when a leader begins and when the membership changes: what a
//! newcomer loses later, as a leader, is what passes until it has that one, [`INTERVAL`] at most.

use core::time::Duration;
use std::sync::Arc;

use tokio::time::{Instant, sleep, timeout};

use crate::{
    collections_layer::engine::{
        command::Command,
        kind::{Alarm, Clock, Kind, Tick},
        machine::Machine,
        mismatches::Published,
        replica::{Replica, RunningClock},
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
    let mut membership = proposer.watch_membership();
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
        let mut is_due = true;
        while *leader.borrow_and_update() == local {
            let running = *clock.borrow_and_update();
            if running.log.millis != proposed && running.log.millis != begin.log.millis {
                // Another member's, from before.
                (begin, proposed) = (running, running.log.millis);
            }
            let wait = until_next(&running.log, &begin, last.elapsed(), is_due);
            tokio::select! {
                biased;
                changed = leader.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    continue;
                }
                changed = membership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    is_due = true;
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
            if matches!(executed, Ok(Ok(_))) {
                is_due = false;
            } else {
                // The clock has not changed, and is read anew.
                sleep(PAUSE).await;
            }
        }
    }
}

/// Time until the next reading, this long after the last one; `None` while nothing expires. `begin` is
/// where the leader's readings begin.
fn until_next(
    log: &Clock,
    begin: &RunningClock,
    since_last: Duration,
    is_due: bool,
) -> Option<Duration> {
    let pause = PAUSE.saturating_sub(since_last);
    match log.next? {
        // More are due than one reading removes.
        Alarm::Expire(millis) if millis <= log.millis => Some(Duration::ZERO),
        Alarm::Expire(millis) if !is_due => Some(begin.until(millis).min(INTERVAL).max(pause)),
        Alarm::Begin | Alarm::Expire(_) => Some(pause),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_and_a_newcomer_have_a_reading_at_once() {
        const HOUR: u64 = 3_600_000;
        let next = |next, since_last, is_due| {
            let log = Clock { millis: 7, next };
            until_next(&log, &RunningClock::new(log), since_last, is_due)
        };
        let far = Some(Alarm::Expire(HOUR));
        assert_eq!(next(far, INTERVAL, true), Some(Duration::ZERO));
        assert_eq!(next(far, INTERVAL, false), Some(INTERVAL));
        // However often the membership changes.
        assert_eq!(next(far, Duration::ZERO, true), Some(PAUSE));
        assert_eq!(next(None, INTERVAL, true), None);
        assert_eq!(next(Some(Alarm::Begin), Duration::ZERO, false), Some(PAUSE));
        let over = Some(Alarm::Expire(7));
        assert_eq!(next(over, Duration::ZERO, false), Some(Duration::ZERO));
    }
}
