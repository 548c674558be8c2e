//! The machine that the group replicates: registers, counters, and a list of all that was applied.

use std::{collections::BTreeMap, num::NonZero, ops::Range, time::Duration};

use mosaik::{
    UniqueId,
    groups::{
        ApplyContext, LeadershipPreference, LogReplaySync, Snapshot, SnapshotStateMachine,
        SnapshotSync, StateMachine,
    },
    id,
};
use serde::{Deserialize, Serialize};

/// Changes the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Unique in a run, so that what is lost or applied twice can be told.
    pub id: u64,
    /// Register or counter that it concerns.
    pub key: u8,
    /// Action on it.
    pub action: Action,
}

/// Effect of a [`Command`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Replaces the value of a register.
    Write(u64),
    /// Adds to a counter.
    Add(u64),
}

/// Asks about the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The value of a register.
    Register(u8),
    /// The sum of a counter.
    Counter(u8),
    /// The ids of all commands, in the order in which they were applied.
    Applied,
}

/// Answers a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A value or a sum.
    Value(u64),
    /// Ids of commands.
    Applied(Vec<u64>),
}

/// The machine. Commands are not de-duplicated by their ids: that is the group's promise.
#[derive(Debug)]
pub struct Bank {
    state: State,
    snapshot_interval: NonZero<u64>,
    pace: Duration,
    observes: bool,
}

/// The same machine for groups that bring newcomers up to date with the log alone.
#[derive(Debug)]
pub struct Replayed(Bank);

/// All that the machine holds.
#[derive(Debug, Clone, Default)]
pub struct State {
    registers: BTreeMap<u8, u64>,
    counters: BTreeMap<u8, u64>,
    applied: Vec<u64>,
}

/// A part of a [`State`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Item {
    /// A register and its value.
    Register(u8, u64),
    /// A counter and its sum.
    Counter(u8, u64),
    /// The next command in the order of application.
    Applied(u64),
}

impl Bank {
    /// An empty machine with this many commands between two snapshots.
    pub fn new(snapshot_interval: NonZero<u64>) -> Self {
        Self {
            state: State::default(),
            snapshot_interval,
            pace: Duration::ZERO,
            observes: false,
        }
    }

    /// Sets the time that each command takes.
    #[must_use]
    pub fn with_pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Neither votes nor leads, if so.
    #[must_use]
    pub fn observing(mut self, observes: bool) -> Self {
        self.observes = observes;
        self
    }

    /// Without snapshots.
    #[must_use]
    pub fn replayed(self) -> Replayed {
        Replayed(self)
    }
}

impl StateMachine for Bank {
    type Command = Command;
    type Query = Query;
    type QueryResult = Answer;
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        id!("mosaik.sim.bank.v1")
    }

    fn apply(&mut self, command: Command, _: &dyn ApplyContext) {
        if !self.pace.is_zero() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a machine that works for long: the library has to bear that"
            )]
            std::thread::sleep(self.pace);
        }
        self.state.applied.push(command.id);
        match command.action {
            Action::Write(value) => drop(self.state.registers.insert(command.key, value)),
            Action::Add(amount) => {
                let sum = self.state.counters.entry(command.key).or_default();
                *sum = sum.wrapping_add(amount);
            }
        }
    }

    fn query(&self, query: Query) -> Answer {
        let value = |of: &BTreeMap<u8, u64>, key| Answer::Value(of.get(key).copied().unwrap_or(0));
        match query {
            Query::Register(key) => value(&self.state.registers, &key),
            Query::Counter(key) => value(&self.state.counters, &key),
            Query::Applied => Answer::Applied(self.state.applied.clone()),
        }
    }

    fn state_sync(&self) -> SnapshotSync<Self> {
        SnapshotSync::default().with_interval(self.snapshot_interval)
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        if self.observes {
            LeadershipPreference::Observer
        } else {
            LeadershipPreference::Normal
        }
    }
}

impl StateMachine for Replayed {
    type Command = Command;
    type Query = Query;
    type QueryResult = Answer;
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("mosaik.sim.bank.replayed.v1")
    }

    fn apply(&mut self, command: Command, context: &dyn ApplyContext) {
        self.0.apply(command, context);
    }

    fn query(&self, query: Query) -> Answer {
        self.0.query(query)
    }

    fn state_sync(&self) -> LogReplaySync<Self> {
        LogReplaySync::default()
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        self.0.leadership_preference()
    }

    fn reset(&mut self) -> bool {
        self.0.state = State::default();
        true
    }
}

impl SnapshotStateMachine for Bank {
    type Snapshot = State;

    fn create_snapshot(&self) -> State {
        self.state.clone()
    }

    fn install_snapshot(&mut self, snapshot: State) {
        self.state = snapshot;
    }
}

impl Snapshot for State {
    type Item = Item;

    fn len(&self) -> u64 {
        (self.registers.len() + self.counters.len() + self.applied.len()) as u64
    }

    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = Item>> {
        if range.end > self.len() {
            return None;
        }
        let [start, end] = [range.start, range.end].map(usize::try_from);
        let (start, end) = (start.ok()?, end.ok()?);
        let registers = self.registers.iter().map(|(k, v)| Item::Register(*k, *v));
        let counters = self.counters.iter().map(|(k, v)| Item::Counter(*k, *v));
        let applied = self.applied.iter().map(|id| Item::Applied(*id));
        let all = registers.chain(counters).chain(applied);
        Some(all.skip(start).take(end.saturating_sub(start)))
    }

    fn append(&mut self, items: impl IntoIterator<Item = Item>) {
        for item in items {
            match item {
                Item::Register(key, value) => drop(self.registers.insert(key, value)),
                Item::Counter(key, sum) => drop(self.counters.insert(key, sum)),
                Item::Applied(id) => self.applied.push(id),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_in_pieces_is_the_whole_state() {
        let state = State {
            registers: [(0, 5), (1, 6)].into(),
            counters: [(0, 7)].into(),
            applied: vec![4, 2, 9],
        };
        let mut copy = State::default();
        copy.append(state.iter_range(0..4).unwrap());
        copy.append(state.iter_range(4..6).unwrap());
        assert_eq!(copy.registers, state.registers);
        assert_eq!(copy.counters, state.counters);
        assert_eq!(copy.applied, state.applied);
        assert!(state.iter_range(0..7).is_none());
    }
}
