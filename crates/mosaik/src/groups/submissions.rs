//! Commands that this member has submitted and that are not yet done.
//!
//! Every command gets a sequence number, in call order. The log keeps, per origin (the member as it
//! joined), the last number that went in; so a command may be sent again after the loss of a leader,
//! and also in another history, and still takes effect once in each. A call is tied to its own
//! entry, not to a position.
//!
//! ```text
//! submit ──► unsent ──take──► sent ──accepted──► accepted ──applied──► done
//!              ▲                │                    │
//!              └──── the leader is lost, or refuses ─┘
//! ```

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    groups::{Index, IndexRange, commands::MAX_CALL_BYTES, lineage::MemberId},
    primitives::{Bytes, BytesMut},
};

/// Calls whose commands together take more than this are refused as offline.
const MAX_PENDING_BYTES: usize = 2 * MAX_CALL_BYTES;
/// Calls that may wait at once.
const MAX_PENDING_CALLS: usize = 1 << 18;
/// Calls are put together into one log entry up to this size.
const MAX_ENTRY_BYTES: usize = 512 * 1024;

/// How a call ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done(IndexRange),
    Offline,
    Terminated,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The leader has given it an index.
    Accepted,
    /// It is committed and applied here.
    Applied,
}

/// Where commands go at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Nowhere: no leader is known, or it is not ready.
    Hold,
    /// Into this member's own log.
    Local,
    /// To the leader, in the given forwarding session.
    Remote(u64),
}

/// Consecutive commands of one member on their way into one log entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) row: Bytes,
}

#[derive(Debug)]
pub(crate) struct Submissions {
    /// Whose sequence numbers these are. Stays when the member becomes another one, so that
    /// commands that a log has from before are known again.
    origin: MemberId,
    queue: Mutex<Queue>,
    unsent: Notify,
    /// How long a call waits for acceptance.
    patience: Duration,
    /// How many parcels may be under way.
    window: usize,
}

#[derive(Debug)]
struct Queue {
    calls: VecDeque<Call>,
    /// How many of `calls`, from the front, have been sent on the current route.
    sent: usize,
    /// The last sequence number of each parcel under way on the current route.
    parcels: VecDeque<u64>,
    next: u64,
    bytes: usize,
    route: Route,
    leader_was_known: bool,
    closed: bool,
}

#[derive(Debug)]
struct Call {
    first: u64,
    count: u32,
    row: Bytes,
    until: Until,
    /// `None` once accepted.
    deadline: Option<Instant>,
    reply: oneshot::Sender<Outcome>,
}

impl Call {
    fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    fn finish(self, outcome: Outcome) {
        // Nobody waits any more: fine.
        let _ = self.reply.send(outcome);
    }
}

impl Submissions {
    pub(crate) fn new(origin: MemberId, patience: Duration, window: usize) -> Self {
        Self {
            origin,
            queue: Mutex::new(Queue {
                calls: VecDeque::new(),
                sent: 0,
                parcels: VecDeque::new(),
                next: 1,
                bytes: 0,
                route: Route::Hold,
                leader_was_known: false,
                closed: false,
            }),
            unsent: Notify::new(),
            patience,
            window,
        }
    }

    /// Whose sequence numbers the commands have.
    pub(crate) const fn origin(&self) -> MemberId {
        self.origin
    }

    /// Queues the commands of one call, and says where commands currently go.
    pub(crate) fn submit(
        &self,
        count: u32,
        row: Bytes,
        until: Until,
    ) -> (oneshot::Receiver<Outcome>, Route) {
        let (reply, outcome) = oneshot::channel();
        let mut queue = self.queue.lock();
        let refusal = if queue.closed {
            Some(Outcome::Terminated)
        } else if (queue.route == Route::Hold && !queue.leader_was_known)
            || queue.calls.len() >= MAX_PENDING_CALLS
            || queue.bytes + row.len() > MAX_PENDING_BYTES
        {
            Some(Outcome::Offline)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(refusal);
            return (outcome, Route::Hold);
        }
        let first = queue.next;
        queue.next += u64::from(count);
        queue.bytes += row.len();
        queue.calls.push_back(Call {
            first,
            count,
            row,
            until,
            deadline: Some(Instant::now() + self.patience),
            reply,
        });
        let route = queue.route;
        drop(queue);
        if route != Route::Local {
            self.unsent.notify_one();
        }
        (outcome, route)
    }

    /// Changes where commands go. Everything not applied is to be sent anew.
    pub(crate) fn set_route(&self, route: Route) {
        let mut queue = self.queue.lock();
        if queue.route == route {
            return;
        }
        queue.route = route;
        queue.restart(Instant::now() + self.patience);
        drop(queue);
        self.unsent.notify_one();
    }

    pub(crate) fn route(&self) -> Route {
        self.queue.lock().route
    }

    /// From now on calls wait for a leader instead of being refused at once.
    pub(crate) fn leader_is_known(&self) {
        self.queue.lock().leader_was_known = true;
    }

    /// Numbers commands from `first` on, which must be above all numbers so far.
    pub(crate) fn start_at(&self, first: u64) {
        let mut queue = self.queue.lock();
        queue.number_from(first);
    }

    /// The next commands to be sent, if this is the current route and not too many are under way.
    pub(crate) fn take(&self, route: Route) -> Option<Parcel> {
        let mut queue = self.queue.lock();
        if queue.route != route || queue.parcels.len() >= self.window {
            return None;
        }
        let queue = &mut *queue;
        let mut unsent = queue.calls.range(queue.sent..);
        let head = unsent.next()?;
        let mut parcel = Parcel {
            first: head.first,
            count: head.count,
            row: head.row.clone(),
        };
        let mut taken = 1;
        let mut joined = BytesMut::new();
        for call in unsent {
            let size = joined.len().max(parcel.row.len()) + call.row.len();
            let adjoining = call.first == parcel.first + u64::from(parcel.count);
            let Some(count) = parcel.count.checked_add(call.count) else {
                break;
            };
            if !adjoining || size > MAX_ENTRY_BYTES {
                break;
            }
            if joined.is_empty() {
                joined.extend_from_slice(&parcel.row);
            }
            joined.extend_from_slice(&call.row);
            parcel.count = count;
            taken += 1;
        }
        if taken > 1 {
            parcel.row = joined.freeze();
        }
        queue.sent += taken;
        queue
            .parcels
            .push_back(parcel.first + u64::from(parcel.count) - 1);
        Some(parcel)
    }

    /// Resolves when there may be something to take.
    pub(crate) async fn wait_unsent(&self) {
        self.unsent.notified().await;
    }

    /// The leader has put these commands into its log, from `index` on; without an index they had
    /// been there already.
    pub(crate) fn accepted(&self, first: u64, count: u32, index: Option<Index>) {
        let end = first + u64::from(count);
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let start = queue.calls.partition_point(|call| call.first < first);
        let stop = queue.calls.partition_point(|call| call.first < end);
        let mut done = false;
        for call in queue.calls.range_mut(start..stop) {
            call.deadline = None;
            done |= call.until == Until::Accepted;
        }
        let (Some(index), true) = (index, done) else {
            return;
        };
        queue.remove(start, stop, |call| {
            (call.until == Until::Accepted).then(|| call.outcome(first, index))
        });
    }

    /// These commands were applied here, the first of them at `index`.
    pub(crate) fn applied(&self, first: u64, count: u32, index: Index) {
        let last = first + u64::from(count) - 1;
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        queue.arrived(last);
        let start = queue.calls.partition_point(|call| call.first < first);
        let stop = queue.calls.partition_point(|call| call.first <= last);
        queue.remove(start, stop, |call| Some(call.outcome(first, index)));
        self.send_more(queue);
    }

    /// Everything up to this number is known to have been dealt with, but not how.
    pub(crate) fn lost_track(&self, last: u64) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        queue.arrived(last);
        let stop = queue.calls.partition_point(|call| call.first <= last);
        queue.remove(0, stop, |_| Some(Outcome::Offline));
        self.send_more(queue);
    }

    /// There may be room for further parcels.
    fn send_more(&self, queue: &Queue) {
        if queue.sent < queue.calls.len() && queue.route != Route::Local {
            self.unsent.notify_one();
        }
    }

    /// Gives up calls that nobody has accepted in time.
    pub(crate) fn expire(&self, now: Instant) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let len = queue.calls.len();
        let is_due = |call: &Call| call.deadline.is_some_and(|deadline| deadline <= now);
        if queue.calls.iter().any(is_due) {
            queue.remove(0, len, |call| is_due(call).then_some(Outcome::Offline));
        }
    }

    /// Ends every call, and refuses further ones.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.route = Route::Hold;
        queue.sent = 0;
        queue.bytes = 0;
        for call in queue.calls.drain(..) {
            call.finish(Outcome::Terminated);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().calls.is_empty()
    }
}

impl Queue {
    fn number_from(&mut self, first: u64) {
        self.next = first;
        for call in &mut self.calls {
            call.first = self.next;
            self.next += u64::from(call.count);
        }
    }

    fn restart(&mut self, deadline: Instant) {
        self.sent = 0;
        self.parcels.clear();
        // Who had accepted them is gone: the wait for acceptance begins again.
        for call in &mut self.calls {
            call.deadline.get_or_insert(deadline);
        }
    }

    /// Parcels up to this number are no longer under way.
    fn arrived(&mut self, last: u64) {
        while self.parcels.front().is_some_and(|parcel| *parcel <= last) {
            self.parcels.pop_front();
        }
    }

    /// Ends those calls in `start..stop` that `outcome` has an outcome for.
    fn remove(&mut self, start: usize, stop: usize, outcome: impl Fn(&Call) -> Option<Outcome>) {
        if start == 0 {
            // The usual case: the oldest calls end.
            let mut left = stop;
            while left > 0
                && let Some(done) = self.calls.front().and_then(&outcome)
            {
                if let Some(call) = self.calls.pop_front() {
                    self.bytes -= call.row.len();
                    call.finish(done);
                }
                self.sent = self.sent.saturating_sub(1);
                left -= 1;
            }
            if left == 0 {
                return;
            }
            return self.remove_scattered(0, left, outcome);
        }
        self.remove_scattered(start, stop, outcome);
    }

    fn remove_scattered(
        &mut self,
        start: usize,
        stop: usize,
        outcome: impl Fn(&Call) -> Option<Outcome>,
    ) {
        let tail = self.calls.split_off(stop);
        let middle = self.calls.split_off(start);
        let mut sent_and_gone = 0;
        for (place, call) in (start..).zip(middle) {
            match outcome(&call) {
                Some(done) => {
                    self.bytes -= call.row.len();
                    sent_and_gone += usize::from(place < self.sent);
                    call.finish(done);
                }
                None => self.calls.push_back(call),
            }
        }
        self.sent -= sent_and_gone;
        self.calls.extend(tail);
    }
}

impl Call {
    /// The range of this call when the parcel that starts with command `first` stands at `index`.
    fn outcome(&self, first: u64, index: Index) -> Outcome {
        let start = index + (self.first - first);
        Outcome::Done(start..=start + (self.last() - self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::commands;

    fn row(count: u32) -> Bytes {
        let commands: Vec<u32> = (0..count).collect();
        commands::encode(&commands).unwrap()
    }

    fn open() -> Submissions {
        let submissions = Submissions::new(MemberId::default(), Duration::from_secs(2), 2);
        submissions.set_route(Route::Local);
        submissions
    }

    #[tokio::test]
    async fn calls_are_joined_and_resolve_with_their_own_range() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), Until::Applied);
        let (b, _) = calls.submit(3, row(3), Until::Accepted);
        let parcel = calls.take(Route::Local).unwrap();
        assert_eq!((parcel.first, parcel.count), (1, 4));
        assert!(commands::has_exactly(&parcel.row, 4));
        assert_eq!(calls.take(Route::Local), None);
        calls.accepted(1, 4, Some(Index(11)));
        assert_eq!(b.await.unwrap(), Outcome::Done(Index(12)..=Index(14)));
        calls.applied(1, 4, Index(11));
        assert_eq!(a.await.unwrap(), Outcome::Done(Index(11)..=Index(11)));
        assert!(calls.is_empty());
    }

    #[tokio::test]
    async fn the_window_limits_what_is_under_way() {
        let calls = open();
        for _ in 0..3 {
            let _ = calls.submit(1, row(1), Until::Applied);
            let _ = calls.take(Route::Local);
        }
        assert_eq!(calls.take(Route::Local), None);
        calls.applied(1, 1, Index(1));
        assert_eq!(calls.take(Route::Local).unwrap().first, 3);
    }

    #[tokio::test]
    async fn commands_of_which_track_was_lost_make_room_for_others() {
        let calls = open();
        for _ in 0..2 {
            let (lost, _) = calls.submit(1, row(1), Until::Applied);
            calls.take(Route::Local).unwrap();
            drop(lost);
        }
        let (waiting, _) = calls.submit(1, row(1), Until::Applied);
        assert_eq!(calls.take(Route::Local), None);
        calls.lost_track(2);
        assert_eq!(calls.take(Route::Local).unwrap().first, 3);
        calls.applied(3, 1, Index(3));
        assert_eq!(waiting.await.unwrap(), Outcome::Done(Index(3)..=Index(3)));
    }

    #[tokio::test]
    async fn a_new_route_sends_again_what_was_not_applied() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), Until::Applied);
        let (b, _) = calls.submit(2, row(2), Until::Applied);
        calls.take(Route::Local).unwrap();
        calls.accepted(1, 3, Some(Index(1)));
        calls.set_route(Route::Remote(7));
        assert_eq!(calls.take(Route::Local), None);
        let again = calls.take(Route::Remote(7)).unwrap();
        assert_eq!((again.first, again.count), (1, 3));
        calls.applied(1, 1, Index(5));
        assert_eq!(a.await.unwrap(), Outcome::Done(Index(5)..=Index(5)));
        calls.applied(2, 2, Index(9));
        assert_eq!(b.await.unwrap(), Outcome::Done(Index(9)..=Index(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_not_accepted_expires() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), Until::Applied);
        calls.take(Route::Local).unwrap();
        let (b, _) = calls.submit(1, row(1), Until::Applied);
        let (c, _) = calls.submit(1, row(1), Until::Applied);
        calls.accepted(1, 1, Some(Index(1)));
        tokio::time::advance(Duration::from_secs(3)).await;
        let (d, _) = calls.submit(1, row(1), Until::Applied);
        calls.expire(Instant::now());
        assert_eq!(b.await.unwrap(), Outcome::Offline);
        assert_eq!(c.await.unwrap(), Outcome::Offline);
        let parcel = calls.take(Route::Local).unwrap();
        assert_eq!((parcel.first, parcel.count), (4, 1), "the gap stays");
        calls.applied(1, 1, Index(1));
        calls.applied(4, 1, Index(2));
        assert_eq!(a.await.unwrap(), Outcome::Done(Index(1)..=Index(1)));
        assert_eq!(d.await.unwrap(), Outcome::Done(Index(2)..=Index(2)));
    }

    #[tokio::test]
    async fn refusals() {
        let calls = Submissions::new(MemberId::default(), Duration::from_secs(2), 2);
        let (early, _) = calls.submit(1, row(1), Until::Applied);
        assert_eq!(early.await.unwrap(), Outcome::Offline);
        calls.leader_is_known();
        let (waiting, _) = calls.submit(1, row(1), Until::Applied);
        calls.close();
        assert_eq!(waiting.await.unwrap(), Outcome::Terminated);
        let (late, _) = calls.submit(1, row(1), Until::Applied);
        assert_eq!(late.await.unwrap(), Outcome::Terminated);
    }

    #[tokio::test]
    async fn numbers_of_earlier_starts_are_not_used_again() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), Until::Applied);
        calls.start_at(1 << 40);
        let parcel = calls.take(Route::Local).unwrap();
        assert_eq!((parcel.first, parcel.count), (1 << 40, 1));
        calls.applied(1 << 40, 1, Index(1));
        assert!(a.await.is_ok());
    }
}
