//! History of the clients' operations and their outcomes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::time::sleep;

use super::{Action, Command};
use crate::task::Task;

/// Interval between two checks of the calls that are under way.
const LOOK: Duration = Duration::from_millis(20);

/// One thing that a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Carried a command out.
    Execute(Command),
    /// Put a command into the log, without waiting for more.
    Feed(Command),
    /// Read a register, strongly.
    ReadRegister(u8),
    /// Read a counter, strongly.
    ReadCounter(u8),
    /// Read a counter, weakly.
    GlanceAtCounter(u8),
}

impl Deed {
    /// Key of the operation's object, and whether that is a counter.
    pub(super) fn object(&self) -> (bool, u8) {
        match self {
            Self::Execute(command) | Self::Feed(command) => {
                (matches!(command.action, Action::Add(_)), command.key)
            }
            Self::ReadRegister(key) => (false, *key),
            Self::ReadCounter(key) | Self::GlanceAtCounter(key) => (true, *key),
        }
    }

    /// Command to carry out, if there is one.
    pub(super) fn command(&self) -> Option<Command> {
        match self {
            Self::Execute(command) | Self::Feed(command) => Some(*command),
            Self::ReadRegister(_) | Self::ReadCounter(_) | Self::GlanceAtCounter(_) => None,
        }
    }
}

/// Outcome of a [`Deed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The command was acknowledged, with this index.
    Acknowledged(u64),
    /// The command was accepted into the log, with this index. It may still be lost.
    Accepted(u64),
    /// The value that was read, and how many commands the state held that it was read from.
    Value(u64, u64),
    /// Nobody can tell: an error.
    Unknown,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Client that did it.
    pub client: usize,
    /// Member through which it was done.
    pub member: usize,
    /// Operation.
    pub deed: Deed,
    /// Its outcome.
    pub outcome: Outcome,
    /// Time of the call, in microseconds from the start of the run.
    pub called: u64,
    /// Time of the return.
    pub returned: u64,
}

/// All operations of a run.
#[derive(Debug, Clone)]
pub struct History {
    start: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

impl History {
    /// Nothing so far; time starts.
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            records: Arc::default(),
        }
    }

    /// The time, in microseconds from the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn add(&self, record: Record) {
        self.records.lock().push(record);
    }

    /// All operations so far, in no particular order.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().clone()
    }
}

/// Calls that are under way. Each has to end by itself, also when nobody waits for it any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Calls(Arc<Mutex<BTreeMap<u64, Call>>>);

#[derive(Debug)]
struct Call {
    what: String,
    begun: Instant,
    _task: Task,
}

impl Calls {
    /// Sees a call through to its end.
    pub(super) fn follow(&self, what: String, call: impl Future<Output = ()> + Send + 'static) {
        let mut calls = self.0.lock();
        let number = calls.last_key_value().map_or(0, |(last, _)| last + 1);
        let begun = Instant::now();
        let others = Arc::downgrade(&self.0);
        let task = Task::spawn(async move {
            call.await;
            if let Some(calls) = others.upgrade() {
                calls.lock().remove(&number);
            }
        });
        let call = Call {
            what,
            begun,
            _task: task,
        };
        calls.insert(number, call);
    }

    /// Waits until no call is under way; returns those that don't end, in words.
    pub(super) async fn ended(&self, limit: Duration) -> Vec<String> {
        let begun = Instant::now();
        while !self.0.lock().is_empty() && begun.elapsed() < limit {
            sleep(LOOK).await;
        }
        let calls = self.0.lock();
        let pending = calls.values().map(|Call { what, begun, .. }| {
            format!("a call has not ended after {:.1?}: {what}", begun.elapsed())
        });
        pending.collect()
    }
}
