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
        kind::{Alarm, Kind},
        machine::Machine,
        replica::Replica,
    },
    groups::Proposer,
    primitives::ShortFmtExt,
};

/// Between two readings at least: what begins and expires meanwhile shares one.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two readings at most, while any entry expires at some time.
const INTERVAL: Duration = Duration::from_secs(1);
/// After which a reading that was not committed is made anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keeps the clock of a collection until its group ends on this node, and then ends its watches.
pub(crate) fn start<K: Kind>(proposer: Proposer<Machine<K>>, replica: Arc<Replica<K>>) {
    let scope = proposer.scope().clone();
    let keeping = async move {
        let watches = EndWatches(replica);
        let mut terminated = proposer.watch_terminated();
        tokio::select! {
            biased;
            _ = terminated.wait_for(|terminated| *terminated) => {}
            () = keep(&proposer, &watches.0) => {}
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
    let mut leads = false;
    loop {
        let local = Some(proposer.local());
        if *leader.borrow_and_update() != local {
            leads = false;
            if leader.wait_for(|leader| *leader == local).await.is_err() {
                return;
            }
        }
        if !leads && !proposer.admits_itself() {
            tracing::warn!(
                group = %proposer.group_id().short(),
                "this writer leads a collection whose tickets it does not have: members that have \
                 them never meet it, and what is written here stays here; add the ticket to this \
                 node"
            );
        }
        leads = true;
        let running = *clock.borrow_and_update();
        let wait = match running.log.next {
            None => None,
            Some(Alarm::Begin) => Some(Duration::ZERO),
            Some(Alarm::Expire(millis)) => Some(running.until(millis).min(INTERVAL)),
        };
        let Some(wait) = wait else {
            // Nothing expires: until something does.
            if clock.changed().await.is_err() {
                return;
            }
            continue;
        };
        let wait = wait.max(PAUSE.saturating_sub(last.elapsed()));
        tokio::select! {
            biased;
            changed = leader.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
            () = sleep(wait) => {}
            changed = clock.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
        }
        last = Instant::now();
        let Some(tick) = K::tick(replica.tick()) else {
            return;
        };
        // A failure shows in the clock, which is read again after the pause.
        let _ = timeout(PATIENCE, proposer.execute(Command::new(None, tick))).await;
    }
}
