//! What the clients have done, and what came of it.

use std::{sync::Arc, time::Instant};

use parking_lot::Mutex;

use super::{Action, Command};

/// One thing that a client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Carried a command out.
    Execute(Command),
    /// Read a register, strongly.
    ReadRegister(u8),
    /// Read a counter, strongly.
    ReadCounter(u8),
}

impl Deed {
    /// Which key it is about, and whether that is a counter.
    pub(super) fn object(&self) -> (bool, u8) {
        match self {
            Self::Execute(command) => (matches!(command.action, Action::Add(_)), command.key),
            Self::ReadRegister(key) => (false, *key),
            Self::ReadCounter(key) => (true, *key),
        }
    }
}

/// What came of a [`Deed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The command was acknowledged, with this index.
    Acknowledged(u64),
    /// The value that was read.
    Value(u64),
    /// Nobody can tell: an error, or no answer in time.
    Unknown,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Who did it.
    pub client: usize,
    /// Through which member.
    pub member: usize,
    /// What was done.
    pub deed: Deed,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was called, in microseconds from the start of the run.
    pub called: u64,
    /// When it returned.
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
