//! Commands that this member has submitted and that are not yet done.
//!
//! Every command gets a sequence number, in call order. What was applied of each origin (the member
//! as it joined) is part of the group's [state](crate::groups::machine::sessions); so a command may be sent
//! again after the loss of a leader, and also in another history, and still takes effect once in
//! each. A call is tied to its own entry, not to a position.
//!
//! ```text
//! submit ──► unsent ──take──► sent ──accepted──► accepted ──applied──► done
//!              ▲                │                    │
//!              └──── the leader is lost, or refuses ─┘
//! ```
//!
//! How a call ends that is not done:
//!
//! | what happened | outcome |
//! |---|---|
//! | no leader before the first one; too much is waiting | `Offline`, at once |
//! | its time is over, and it was in no log and on no way to one | `Offline` |
//! | its time is over, and a leader may have it | `Unknown` |
//! | the leader takes no commands of this member | `Offline`, or `Unknown` if an earlier one may have it |
//! | a later command of this member was applied | `Offline`: it was overtaken and never will be |
//! | a snapshot came in, and its session knows the command | done, with its position |
//! | a snapshot came in, and its session has forgotten the command, or it has no such session any more | `Unknown` |
//! | it was sent before, and the leader can't tell it from a repetition any more | `Unknown` |
//! | this program can't read it again | `Undecodable` |
//! | the group ends here | `Terminated` |
//!
//! A call that was accepted and is not applied is asked about again after a while: a leader that has
//! it says so, one that does not takes it. So no lost answer leaves a call without an end.

use std::{collections::VecDeque, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};

use crate::{
    groups::{
        Index, IndexRange,
        machine::{
            commands::MAX_CALL_BYTES,
            sessions::{Fate, Session},
        },
        model::lineage::MemberId,
    },
    primitives::{Bytes, BytesMut},
};

/// Calls whose commands together take more than this are refused as offline.
const MAX_PENDING_BYTES: usize = 2 * MAX_CALL_BYTES;
/// Calls that may wait at once.
const MAX_PENDING_CALLS: usize = 1 << 18;
/// Calls are put together into one log entry up to this size.
const MAX_ENTRY_BYTES: usize = 512 * 1024;
/// Interval of the check for calls whose time is over.
const EXPIRY_TICK: Duration = Duration::from_millis(50);
/// Number of checks on an empty queue after which the next one waits for a call.
const IDLE_TICKS: u32 = 20;

/// Outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CommandOutcome {
    Done(IndexRange),
    /// It was not applied and never will be.
    Offline,
    /// It may have been, or may still be, applied.
    Unknown,
    /// These of its commands, by their place, can't be read here and were not applied; the others
    /// were.
    Undecodable(Vec<u32>),
    Terminated,
}

/// Event that a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// The leader has given it an index.
    Accepted,
    /// It is committed and applied here.
    Applied,
}

/// Current route of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandRoute {
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
    /// A leader may have had them before.
    pub(crate) again: bool,
}

#[derive(Debug)]
pub(crate) struct PendingCommands {
    /// Origin of the sequence numbers. Stays when the member becomes another one, so that commands
    /// that a log has from before are known again.
    origin: MemberId,
    queue: Mutex<Queue>,
    unsent: Notify,
    /// There are calls whose time may run out.
    waiting: Notify,
    /// Timeout for a call's acceptance.
    patience: Duration,
    /// Limit on the parcels under way.
    window: usize,
}

#[derive(Debug)]
struct Queue {
    calls: VecDeque<Call>,
    /// Number of `calls`, from the front, that have been sent on the current route.
    sent: usize,
    /// The last sequence number of each parcel under way on the current route.
    parcels: VecDeque<u64>,
    next: u64,
    bytes: usize,
    route: CommandRoute,
    /// Number of forwarding sessions, also of earlier consensus instances.
    sessions: u64,
    leader_was_known: bool,
    closed: bool,
    /// True if a task checks for calls whose time is over.
    is_watched: bool,
}

#[derive(Debug)]
struct Call {
    first: u64,
    count: u32,
    row: Bytes,
    until: WaitFor,
    /// Time until which it must be accepted; once it is, the time to ask about it again.
    deadline: Instant,
    accepted: bool,
    /// True while it is being put into this member's log; the task that does so reports the
    /// outcome.
    offered: bool,
    /// It is in this member's log, or on its way to a leader.
    exposed: bool,
    reply: oneshot::Sender<CommandOutcome>,
}

impl Call {
    fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// Returns whether a leader may have it.
    fn is_doubtful(&self) -> bool {
        self.offered || self.exposed
    }

    fn finish(self, outcome: CommandOutcome) {
        // Nobody waits any more: fine.
        let _ = self.reply.send(outcome);
    }
}

impl PendingCommands {
    pub(crate) fn new(origin: MemberId, patience: Duration, window: usize) -> Self {
        Self {
            origin,
            queue: Mutex::new(Queue {
                calls: VecDeque::new(),
                sent: 0,
                parcels: VecDeque::new(),
                next: 1,
                bytes: 0,
                route: CommandRoute::Hold,
                sessions: 0,
                leader_was_known: false,
                closed: false,
                is_watched: false,
            }),
            unsent: Notify::new(),
            waiting: Notify::new(),
            patience,
            window,
        }
    }

    /// Origin of the commands' sequence numbers.
    pub(crate) const fn origin(&self) -> MemberId {
        self.origin
    }

    /// Queues the commands of one call, and returns the current route of commands.
    pub(crate) fn submit(
        &self,
        count: u32,
        row: Bytes,
        until: WaitFor,
    ) -> (oneshot::Receiver<CommandOutcome>, CommandRoute) {
        let (reply, outcome) = oneshot::channel();
        let mut queue = self.queue.lock();
        let refusal = if queue.closed {
            Some(CommandOutcome::Terminated)
        } else if (queue.route == CommandRoute::Hold && !queue.leader_was_known)
            || queue.calls.len() >= MAX_PENDING_CALLS
            || queue.bytes + row.len() > MAX_PENDING_BYTES
        {
            Some(CommandOutcome::Offline)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let _ = reply.send(refusal);
            return (outcome, CommandRoute::Hold);
        }
        let first = queue.next;
        queue.next += u64::from(count);
        queue.bytes += row.len();
        queue.calls.push_back(Call {
            first,
            count,
            row,
            until,
            deadline: Instant::now() + self.patience,
            accepted: false,
            offered: false,
            exposed: false,
            reply,
        });
        let route = queue.route;
        let was_watched = std::mem::replace(&mut queue.is_watched, true);
        drop(queue);
        if !was_watched {
            self.waiting.notify_one();
        }
        if route != CommandRoute::Local {
            self.unsent.notify_one();
        }
        (outcome, route)
    }

    /// Changes where commands go. Everything not applied is to be sent anew.
    pub(crate) fn set_route(&self, route: CommandRoute) {
        self.change_route(route, |_| true);
    }

    /// Commands go nowhere, if they went there.
    pub(crate) fn leave_route(&self, route: CommandRoute) {
        self.change_route(CommandRoute::Hold, |current| current == route);
    }

    /// Commands go to a leader elsewhere, unless this member leads.
    pub(crate) fn begin_session(&self, session: CommandRoute) -> bool {
        self.change_route(session, |current| current != CommandRoute::Local)
    }

    /// Changes the route if the current one allows it: looked at and changed in one step, or another
    /// change that comes between would be undone.
    fn change_route(
        &self,
        route: CommandRoute,
        allowed: impl FnOnce(CommandRoute) -> bool,
    ) -> bool {
        let mut queue = self.queue.lock();
        if !allowed(queue.route) {
            return false;
        }
        if queue.route != route {
            queue.route = route;
            queue.restart(Instant::now() + self.patience);
            drop(queue);
            self.unsent.notify_one();
        }
        true
    }

    pub(crate) fn route(&self) -> CommandRoute {
        self.queue.lock().route
    }

    /// A name for a forwarding session that none had before.
    pub(crate) fn new_session(&self) -> CommandRoute {
        let mut queue = self.queue.lock();
        queue.sessions += 1;
        CommandRoute::Remote(queue.sessions)
    }

    /// From now on calls wait for a leader instead of being refused at once.
    pub(crate) fn leader_is_known(&self) {
        self.queue.lock().leader_was_known = true;
    }

    /// The next commands to be sent, if this is the current route and not too many are under way.
    pub(crate) fn take(&self, route: CommandRoute) -> Option<Parcel> {
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
            again: head.is_doubtful(),
        };
        let mut taken = 1;
        let mut joined = BytesMut::new();
        for call in unsent {
            let size = joined.len().max(parcel.row.len()) + call.row.len();
            let adjoining = call.first == parcel.first + u64::from(parcel.count);
            let Some(count) = parcel.count.checked_add(call.count) else {
                break;
            };
            // What was never sent is told apart from what was.
            if !adjoining || call.is_doubtful() != parcel.again || size > MAX_ENTRY_BYTES {
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
        let (start, stop) = (queue.sent, queue.sent + taken);
        for call in queue.calls.range_mut(start..stop) {
            call.offered |= route == CommandRoute::Local;
            call.exposed |= route != CommandRoute::Local;
        }
        queue.sent = stop;
        queue
            .parcels
            .push_back(parcel.first + u64::from(parcel.count) - 1);
        Some(parcel)
    }

    /// Resolves when there may be something to take.
    pub(crate) async fn wait_unsent(&self) {
        self.unsent.notified().await;
    }

    /// The leader has these commands in its log: those from the given number on are new there, and
    /// begin at the index.
    pub(crate) fn accepted(&self, first: u64, count: u32, new: Option<(u64, Index)>) {
        let end = first.saturating_add(u64::from(count));
        let recheck = Instant::now() + self.patience;
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let start = queue.calls.partition_point(|call| call.first < first);
        let stop = queue.calls.partition_point(|call| call.first < end);
        let mut done = false;
        for call in queue.calls.range_mut(start..stop) {
            call.deadline = recheck;
            (call.accepted, call.exposed, call.offered) = (true, true, false);
            done |= call.until == WaitFor::Accepted;
        }
        let (Some((new, index)), true) = (new, done) else {
            return;
        };
        queue.remove(start, stop, |call| {
            let known = call.until == WaitFor::Accepted && call.first >= new;
            known.then(|| call.outcome(new, index))
        });
    }

    /// These commands were not put into this member's log.
    pub(crate) fn refused(&self, first: u64, count: u32) {
        let end = first.saturating_add(u64::from(count));
        let mut queue = self.queue.lock();
        let start = queue.calls.partition_point(|call| call.first < first);
        let stop = queue.calls.partition_point(|call| call.first < end);
        for call in queue.calls.range_mut(start..stop) {
            call.offered = false;
        }
    }

    /// These commands were applied here, the first of them at `index`, without those that can't be
    /// read. Whatever comes before them was overtaken.
    pub(crate) fn applied(&self, first: u64, count: u32, index: Index, undecodable: &[u32]) {
        if count == 0 {
            return;
        }
        let last = first.saturating_add(u64::from(count) - 1);
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        queue.arrived(last);
        let overtaken = queue.calls.partition_point(|call| call.first < first);
        if overtaken > 0 {
            queue.remove(0, overtaken, |_| Some(CommandOutcome::Offline));
        }
        let stop = queue.calls.partition_point(|call| call.first <= last);
        queue.remove(0, stop, |call| {
            if undecodable.is_empty() {
                return Some(call.outcome(first, index));
            }
            let places = (call.first - first)..=(call.last() - first);
            let mut lost = Vec::new();
            for place in undecodable.iter().map(|place| u64::from(*place)) {
                if places.contains(&place) {
                    lost.extend(u32::try_from(place - places.start()));
                }
            }
            Some(if lost.is_empty() {
                call.outcome(first, index)
            } else {
                CommandOutcome::Undecodable(lost)
            })
        });
        self.send_more(queue);
    }

    /// Takes in a session that came with a state as a whole: the fate of this member's commands.
    pub(crate) fn restored(&self, session: &Session) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let stop = queue
            .calls
            .partition_point(|call| session.fate(call.first) != Fate::Open);
        if let Some(call) = stop.checked_sub(1).and_then(|last| queue.calls.get(last)) {
            let last = call.last();
            queue.arrived(last);
        }
        queue.arrived(session.last());
        queue.remove(0, stop, |call| match session.fate(call.first) {
            Fate::Applied(index) => Some(call.outcome(call.first, index)),
            Fate::Never => Some(CommandOutcome::Offline),
            Fate::Forgotten => Some(CommandOutcome::Unknown),
            Fate::Open => None,
        });
        self.send_more(queue);
    }

    /// The leader can't tell these commands, which were sent before, from repetitions: it has not put
    /// them into its log.
    pub(crate) fn refused_as_forgotten(&self, first: u64, count: u32) {
        let end = first.saturating_add(u64::from(count));
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        queue
            .parcels
            .retain(|parcel| parcel.saturating_add(1) != end);
        let start = queue.calls.partition_point(|call| call.first < first);
        let stop = queue.calls.partition_point(|call| call.first < end);
        queue.remove(start, stop, |_| Some(CommandOutcome::Unknown));
        self.send_more(queue);
    }

    /// The state came in as a whole, and does not say any more what became of this member's commands.
    pub(crate) fn forgotten(&self) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        queue.parcels.clear();
        let len = queue.calls.len();
        queue.remove(0, len, |call| {
            call.is_doubtful().then_some(CommandOutcome::Unknown)
        });
        self.send_more(queue);
    }

    /// There may be room for further parcels.
    fn send_more(&self, queue: &Queue) {
        if queue.sent < queue.calls.len() && queue.route != CommandRoute::Local {
            self.unsent.notify_one();
        }
    }

    /// Gives up calls that nobody has accepted in time, and asks again about those that somebody
    /// has accepted long ago.
    pub(crate) fn expire(&self, now: Instant) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let (mut due, mut doubtful) = (false, false);
        for call in queue.calls.iter().filter(|call| call.deadline <= now) {
            due |= !call.accepted;
            doubtful |= call.accepted;
        }
        if due {
            let len = queue.calls.len();
            queue.remove(0, len, |call| {
                let is_due = !call.accepted && call.deadline <= now;
                is_due.then_some(if call.is_doubtful() {
                    CommandOutcome::Unknown
                } else {
                    CommandOutcome::Offline
                })
            });
        }
        if doubtful && matches!(queue.route, CommandRoute::Remote(_)) {
            queue.route = CommandRoute::Hold;
            queue.restart(now + self.patience);
            self.unsent.notify_one();
        }
    }

    /// Ends every call: no leader takes commands of this member.
    pub(crate) fn withdraw(&self) {
        let mut queue = self.queue.lock();
        let queue = &mut *queue;
        let len = queue.calls.len();
        queue.remove(0, len, |call| {
            Some(if call.is_doubtful() {
                CommandOutcome::Unknown
            } else {
                CommandOutcome::Offline
            })
        });
    }

    /// Ends calls whose time is over, for as long as it is polled.
    pub(crate) async fn watch(&self) {
        let mut idle = 0;
        loop {
            sleep(EXPIRY_TICK).await;
            self.expire(Instant::now());
            let parks = {
                let mut queue = self.queue.lock();
                idle = if queue.calls.is_empty() { idle + 1 } else { 0 };
                queue.is_watched = idle < IDLE_TICKS;
                !queue.is_watched
            };
            if parks {
                self.waiting.notified().await;
                idle = 0;
            }
        }
    }

    /// Ends every call, and refuses further ones.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.route = CommandRoute::Hold;
        queue.sent = 0;
        queue.bytes = 0;
        for call in queue.calls.drain(..) {
            call.finish(CommandOutcome::Terminated);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.lock().calls.is_empty()
    }
}

impl Queue {
    fn restart(&mut self, deadline: Instant) {
        self.sent = 0;
        self.parcels.clear();
        // Who had accepted them is gone: the wait for acceptance begins again.
        for call in &mut self.calls {
            if std::mem::take(&mut call.accepted) {
                call.deadline = deadline;
            }
        }
    }

    /// Parcels up to this number are no longer under way.
    fn arrived(&mut self, last: u64) {
        while self.parcels.front().is_some_and(|parcel| *parcel <= last) {
            self.parcels.pop_front();
        }
    }

    /// Ends those calls in `start..stop` that `outcome` has an outcome for.
    fn remove(
        &mut self,
        start: usize,
        stop: usize,
        outcome: impl Fn(&Call) -> Option<CommandOutcome>,
    ) {
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
        outcome: impl Fn(&Call) -> Option<CommandOutcome>,
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
    /// The range of this call when the parcel that starts with command `first` has the position
    /// `index`.
    fn outcome(&self, first: u64, index: Index) -> CommandOutcome {
        let start = index + (self.first - first);
        CommandOutcome::Done(start..=start + (self.last() - self.first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::machine::{commands, sessions::Sessions};

    fn row(count: u32) -> Bytes {
        let commands: Vec<u32> = (0..count).collect();
        commands::encode(&commands).unwrap()
    }

    fn open() -> PendingCommands {
        let pending_commands = PendingCommands::new(MemberId::default(), Duration::from_secs(2), 2);
        pending_commands.set_route(CommandRoute::Local);
        pending_commands
    }

    #[tokio::test]
    async fn calls_are_joined_and_resolve_with_their_own_range() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), WaitFor::Applied);
        let (b, _) = calls.submit(3, row(3), WaitFor::Accepted);
        let parcel = calls.take(CommandRoute::Local).unwrap();
        assert_eq!((parcel.first, parcel.count), (1, 4));
        assert!(commands::has_exactly(&parcel.row, 4));
        assert_eq!(calls.take(CommandRoute::Local), None);
        calls.accepted(1, 4, Some((1, Index(11))));
        assert_eq!(
            b.await.unwrap(),
            CommandOutcome::Done(Index(12)..=Index(14))
        );
        calls.applied(1, 4, Index(11), &[]);
        assert_eq!(
            a.await.unwrap(),
            CommandOutcome::Done(Index(11)..=Index(11))
        );
        assert!(calls.is_empty());
    }

    #[tokio::test]
    async fn the_window_limits_what_is_under_way() {
        let calls = open();
        for _ in 0..3 {
            let _ = calls.submit(1, row(1), WaitFor::Applied);
            let _ = calls.take(CommandRoute::Local);
        }
        assert_eq!(calls.take(CommandRoute::Local), None);
        calls.applied(1, 1, Index(1), &[]);
        assert_eq!(calls.take(CommandRoute::Local).unwrap().first, 3);
    }

    /// Session of a member with these applied runs: number, count, index.
    fn session(runs: &[(u64, u32, u64)]) -> Session {
        let mut sessions = Sessions::default();
        for (first, count, index) in runs {
            sessions.note(MemberId::default(), (*first, *count), Index(*index), 1);
        }
        sessions.of(&MemberId::default()).unwrap().clone()
    }

    #[tokio::test]
    async fn a_snapshot_tells_what_became_of_calls_and_makes_room_for_others() {
        let calls = open();
        let (a, _) = calls.submit(2, row(2), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        let (b, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        let (waiting, _) = calls.submit(1, row(1), WaitFor::Applied);
        assert_eq!(calls.take(CommandRoute::Local), None);
        calls.restored(&session(&[(1, 2, 41), (3, 1, 50)]));
        assert_eq!(
            a.await.unwrap(),
            CommandOutcome::Done(Index(41)..=Index(42))
        );
        assert_eq!(
            b.await.unwrap(),
            CommandOutcome::Done(Index(50)..=Index(50))
        );
        assert_eq!(calls.take(CommandRoute::Local).unwrap().first, 4);
        calls.applied(4, 1, Index(51), &[]);
        assert_eq!(
            waiting.await.unwrap(),
            CommandOutcome::Done(Index(51)..=Index(51))
        );
    }

    #[tokio::test]
    async fn a_snapshot_may_have_passed_over_or_forgotten_a_call() {
        let calls = open();
        let submit = || calls.submit(1, row(1), WaitFor::Applied);
        let _earlier: Vec<_> = (1..10).map(|_| submit()).collect();
        let (forgotten, _) = submit();
        let (overtaken, _) = submit();
        let (open, _) = submit();
        let runs: Vec<_> = (0..17).map(|n| (n + 1, 1, 2 * n + 1)).collect();
        calls.restored(&session(&runs[..11]));
        assert!(matches!(forgotten.await.unwrap(), CommandOutcome::Done(_)));
        assert!(matches!(overtaken.await.unwrap(), CommandOutcome::Done(_)));
        drop(open);
        let (late, _) = calls.submit(1, row(1), WaitFor::Applied);
        let (hole, _) = calls.submit(1, row(1), WaitFor::Applied);
        let mut runs: Vec<_> = (0..16).map(|n| (20 + n, 1, 100 + 2 * n)).collect();
        runs.insert(0, (13, 1, 90));
        calls.restored(&session(&runs));
        assert_eq!(late.await.unwrap(), CommandOutcome::Unknown);
        assert_eq!(hole.await.unwrap(), CommandOutcome::Offline);
    }

    #[tokio::test]
    async fn a_call_that_was_overtaken_ends() {
        let calls = open();
        let (lost, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        let (next, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        calls.applied(2, 1, Index(1), &[]);
        assert_eq!(lost.await.unwrap(), CommandOutcome::Offline);
        assert_eq!(
            next.await.unwrap(),
            CommandOutcome::Done(Index(1)..=Index(1))
        );
        assert!(calls.is_empty());
    }

    #[tokio::test]
    async fn only_what_is_new_in_the_log_has_its_place_there() {
        let calls = open();
        let (known, _) = calls.submit(1, row(1), WaitFor::Accepted);
        let (new, _) = calls.submit(2, row(2), WaitFor::Accepted);
        assert_eq!(calls.take(CommandRoute::Local).unwrap().count, 3);
        calls.accepted(1, 3, Some((2, Index(9))));
        assert_eq!(
            new.await.unwrap(),
            CommandOutcome::Done(Index(9)..=Index(10))
        );
        calls.applied(1, 1, Index(4), &[]);
        assert_eq!(
            known.await.unwrap(),
            CommandOutcome::Done(Index(4)..=Index(4))
        );
    }

    #[tokio::test]
    async fn commands_that_cannot_be_read_are_named() {
        let calls = open();
        let (a, _) = calls.submit(2, row(2), WaitFor::Applied);
        let (b, _) = calls.submit(2, row(2), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        calls.applied(1, 4, Index(7), &[3]);
        assert_eq!(a.await.unwrap(), CommandOutcome::Done(Index(7)..=Index(8)));
        assert_eq!(b.await.unwrap(), CommandOutcome::Undecodable(vec![1]));
    }

    #[tokio::test(start_paused = true)]
    async fn accepted_calls_that_are_not_applied_are_sent_again() {
        let calls = open();
        calls.set_route(CommandRoute::Remote(1));
        let (call, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.take(CommandRoute::Remote(1)).unwrap();
        calls.accepted(1, 1, Some((1, Index(1))));
        tokio::time::advance(Duration::from_secs(3)).await;
        calls.expire(Instant::now());
        assert_eq!(calls.route(), CommandRoute::Hold);
        tokio::time::advance(Duration::from_secs(3)).await;
        calls.expire(Instant::now());
        assert_eq!(call.await.unwrap(), CommandOutcome::Unknown);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_in_a_log_is_not_called_offline() {
        let calls = open();
        calls.set_route(CommandRoute::Remote(1));
        let (sent, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.take(CommandRoute::Remote(1)).unwrap();
        calls.set_route(CommandRoute::Local);
        let (refused, _) = calls.submit(1, row(1), WaitFor::Applied);
        let parcel = calls.take(CommandRoute::Local).unwrap();
        calls.refused(parcel.first, parcel.count);
        calls.set_route(CommandRoute::Hold);
        let watching = calls.watch();
        tokio::select! {
            () = watching => {}
            sent = sent => assert_eq!(sent.unwrap(), CommandOutcome::Unknown),
        }
        assert_eq!(refused.await.unwrap(), CommandOutcome::Offline);
    }

    #[tokio::test]
    async fn a_new_route_sends_again_what_was_not_applied() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), WaitFor::Applied);
        let (b, _) = calls.submit(2, row(2), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        calls.accepted(1, 3, Some((1, Index(1))));
        calls.set_route(CommandRoute::Remote(7));
        assert_eq!(calls.take(CommandRoute::Local), None);
        let again = calls.take(CommandRoute::Remote(7)).unwrap();
        assert_eq!((again.first, again.count), (1, 3));
        calls.applied(1, 1, Index(5), &[]);
        assert_eq!(a.await.unwrap(), CommandOutcome::Done(Index(5)..=Index(5)));
        calls.applied(2, 2, Index(9), &[]);
        assert_eq!(b.await.unwrap(), CommandOutcome::Done(Index(9)..=Index(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_not_accepted_expires() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        let (b, _) = calls.submit(1, row(1), WaitFor::Applied);
        let (c, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.accepted(1, 1, Some((1, Index(1))));
        tokio::time::advance(Duration::from_secs(3)).await;
        let (d, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.expire(Instant::now());
        assert_eq!(b.await.unwrap(), CommandOutcome::Offline);
        assert_eq!(c.await.unwrap(), CommandOutcome::Offline);
        // The first is in this member's log and stays.
        let parcel = calls.take(CommandRoute::Local).unwrap();
        assert_eq!((parcel.first, parcel.count), (4, 1), "the gap stays");
        calls.applied(1, 1, Index(1), &[]);
        calls.applied(4, 1, Index(2), &[]);
        assert_eq!(a.await.unwrap(), CommandOutcome::Done(Index(1)..=Index(1)));
        assert_eq!(d.await.unwrap(), CommandOutcome::Done(Index(2)..=Index(2)));
    }

    #[tokio::test]
    async fn refusals() {
        let calls = PendingCommands::new(MemberId::default(), Duration::from_secs(2), 2);
        let (early, _) = calls.submit(1, row(1), WaitFor::Applied);
        assert_eq!(early.await.unwrap(), CommandOutcome::Offline);
        calls.leader_is_known();
        let (waiting, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.close();
        assert_eq!(waiting.await.unwrap(), CommandOutcome::Terminated);
        let (late, _) = calls.submit(1, row(1), WaitFor::Applied);
        assert_eq!(late.await.unwrap(), CommandOutcome::Terminated);
    }

    /// A change of the leader while a command is being put into the log says nothing of its fate.
    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_route_does_not_make_a_call_certain() {
        let calls = open();
        let (a, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.take(CommandRoute::Local).unwrap();
        calls.set_route(CommandRoute::Hold);
        calls.expire(Instant::now() + Duration::from_secs(3));
        assert_eq!(a.await.unwrap(), CommandOutcome::Unknown);

        calls.set_route(CommandRoute::Local);
        let (b, _) = calls.submit(1, row(1), WaitFor::Applied);
        let parcel = calls.take(CommandRoute::Local).unwrap();
        calls.set_route(CommandRoute::Hold);
        calls.refused(parcel.first, parcel.count);
        calls.expire(Instant::now() + Duration::from_secs(3));
        assert_eq!(b.await.unwrap(), CommandOutcome::Offline);
    }

    #[tokio::test]
    async fn a_session_with_a_leader_never_takes_the_place_of_the_own_log() {
        let calls = open();
        let session = calls.new_session();
        assert!(!calls.begin_session(session));
        calls.leave_route(session);
        assert_eq!(calls.route(), CommandRoute::Local);
        calls.leave_route(CommandRoute::Local);
        assert!(calls.begin_session(session));
        calls.leave_route(CommandRoute::Local);
        assert_eq!(calls.route(), session);
    }

    #[tokio::test]
    async fn what_the_group_has_forgotten_ends_as_unknown_and_the_rest_goes_on() {
        let calls = open();
        let (sent, _) = calls.submit(1, row(1), WaitFor::Applied);
        assert!(!calls.take(CommandRoute::Local).unwrap().again);
        calls.accepted(1, 1, Some((1, Index(1))));
        calls.leader_is_known();
        calls.set_route(CommandRoute::Hold);
        let (fresh, _) = calls.submit(1, row(1), WaitFor::Applied);
        calls.set_route(CommandRoute::Local);
        let repeated = calls.take(CommandRoute::Local).unwrap();
        assert_eq!((repeated.first, repeated.count), (1, 1), "not put together");
        assert!(repeated.again);
        calls.refused_as_forgotten(1, 1);
        assert_eq!(sent.await.unwrap(), CommandOutcome::Unknown);
        let next = calls.take(CommandRoute::Local).unwrap();
        assert!((next.first, next.again) == (2, false));
        let (waiting, _) = calls.submit(1, row(1), WaitFor::Applied);

        // A snapshot does not know this member any more.
        calls.accepted(2, 1, Some((2, Index(9))));
        calls.forgotten();
        assert_eq!(fresh.await.unwrap(), CommandOutcome::Unknown);
        assert_eq!(calls.take(CommandRoute::Local).unwrap().first, 3);
        calls.applied(3, 1, Index(11), &[]);
        assert_eq!(
            waiting.await.unwrap(),
            CommandOutcome::Done(Index(11)..=Index(11))
        );
    }
}
