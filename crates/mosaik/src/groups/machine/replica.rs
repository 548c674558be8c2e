//! A user's state machine, seen without its type.
//!
//! Everything below this point of view is compiled once, not once per machine.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::RwLock;

use super::{
    commands::{LENGTH_BYTES, Row},
    snapshot::{Assembly, Capture, Installed},
    state_sync::{Snapshots, Strategy},
};
use crate::{
    groups::{ApplyContext, Cursor, Index, StateMachine, StateSync, Term, model::config::LONGEST},
    primitives::{Bytes, Datum, GroupId, NetworkId},
};

/// One member's copy of the machine.
pub(crate) trait Replica: Any + Send + Sync {
    /// Applies the commands of one log entry; those that can't be read are passed over, and take a
    /// position nevertheless. Returns their places in the row. A failure leaves a state that can't
    /// be trusted.
    fn apply(&self, row: &Bytes, place: &Place) -> Result<Vec<u32>, ApplyFailed>;

    /// Goes back to the state before the first command, if the machine can.
    fn reset(&self) -> bool;

    /// Freezes the state, if the machine makes snapshots.
    fn capture(&self) -> Option<Box<dyn Capture>>;

    /// An empty snapshot to be filled, if the machine takes any.
    fn assembly(&self) -> Option<Box<dyn Assembly>>;

    /// Replaces the state.
    fn install(&self, assembly: Box<dyn Assembly>, position: Cursor) -> Result<(), InstallFailed>;

    /// Settings by which newcomers are brought to this state.
    fn terms(&self) -> CatchUpSettings;

    /// Returns whether the state belongs to a history that was given up, and must not be shown.
    fn is_stale(&self) -> bool;
}

/// Settings by which newcomers are brought to a machine's state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CatchUpSettings {
    /// Items or commands that are transferred at a time.
    pub(crate) batch_size: u64,
    /// Timeout for a transfer.
    pub(crate) fetch_timeout: Duration,
    /// Bytes a second that this member fetches at most.
    pub(crate) fetch_rate: u64,
    /// Commands between two snapshots; `None` when the machine makes none.
    pub(crate) interval: Option<u64>,
    /// Commands before a snapshot that are not discarded.
    pub(crate) kept: u64,
    /// Set if this member asks for a snapshot when it joins, also where the log would do.
    pub(crate) snapshot_first: bool,
}

/// Position in the history of the commands of one log entry, as the machine is told it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) before: Cursor,
    pub(crate) last: Cursor,
    pub(crate) group: GroupId,
    pub(crate) network: NetworkId,
}

impl Place {
    fn count(&self) -> u32 {
        u32::try_from(self.last.index().0 - self.before.index().0).unwrap_or(u32::MAX)
    }

    /// The place of some of these commands.
    fn part(&self, first: u32, count: usize) -> Self {
        let at = |index| Cursor::new(self.last.term(), Index(index));
        let begin = self.before.index().0 + u64::from(first);
        Self {
            before: if first == 0 { self.before } else { at(begin) },
            last: at(begin + count as u64),
            ..*self
        }
    }
}

/// Commands of a row that follow each other, and the place of the first.
struct Run<C> {
    first: u32,
    commands: Vec<C>,
}

/// The commands of a row in runs without gaps, and the places of those that can't be read.
fn decode<C: Datum>(row: &Bytes, count: u32) -> (Vec<Run<C>>, Vec<u32>) {
    // The usual row is one run. There may be as many as commands, so the others grow as they do.
    let mut room = (count as usize).min(row.len() / LENGTH_BYTES);
    let mut runs: Vec<Run<C>> = Vec::new();
    let mut unreadable = Vec::new();
    let mut commands = Row::new(row);
    let mut begins = true;
    for place in 0..count {
        let Some(Ok(command)) = commands.next() else {
            // Nobody makes such a row. However long it says it is: only what there is counts.
            unreadable.push(place);
            break;
        };
        let Ok(command) = C::decode(command) else {
            unreadable.push(place);
            begins = true;
            continue;
        };
        if core::mem::replace(&mut begins, false) {
            runs.push(Run {
                first: place,
                commands: Vec::with_capacity(core::mem::take(&mut room)),
            });
        }
        if let Some(run) = runs.last_mut() {
            run.commands.push(command);
        }
    }
    (runs, unreadable)
}

impl ApplyContext for Place {
    fn committed(&self) -> Cursor {
        self.before
    }

    fn log_position(&self) -> Cursor {
        self.last
    }

    fn current_term(&self) -> Term {
        self.last.term()
    }

    fn group_id(&self) -> &GroupId {
        &self.group
    }

    fn network_id(&self) -> &NetworkId {
        &self.network
    }
}

/// Errors of applying committed commands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyFailed {
    #[error("the state machine panicked")]
    Panicked,
}

/// Errors of installing a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallFailed {
    #[error("the machine takes no snapshots")]
    Unsupported,
    #[error(
        "this program does not decode the snapshot that it was given: run the version of the \
         program that the other members run"
    )]
    Unreadable,
    #[error("the state machine panicked")]
    Panicked,
}

/// A machine with its position, both changed under one lock.
pub(crate) struct MachineReplica<M: StateMachine> {
    state: RwLock<State<M>>,
    snapshots: Option<Snapshots<M>>,
    terms: CatchUpSettings,
    /// Set when the state belongs to a history that was given up and could not be reset.
    stale: AtomicBool,
    /// Set when the machine panicked: half of a batch may be in its state. The group is about to end
    /// here.
    broken: AtomicBool,
}

struct State<M> {
    machine: M,
    position: Cursor,
}

impl<M: StateMachine> MachineReplica<M> {
    pub(crate) fn new(machine: M) -> Self {
        let Strategy {
            batch_size,
            fetch_timeout,
            fetch_rate,
            snapshots,
        } = machine.state_sync().strategy();
        let terms = CatchUpSettings {
            batch_size,
            fetch_timeout: fetch_timeout.min(LONGEST),
            fetch_rate,
            interval: snapshots.as_ref().map(|snapshots| snapshots.interval),
            kept: snapshots.as_ref().map_or(0, |snapshots| snapshots.kept),
            snapshot_first: snapshots.as_ref().is_some_and(|snapshots| snapshots.first),
        };
        Self {
            state: RwLock::new(State {
                machine,
                position: Cursor::zero(),
            }),
            snapshots,
            terms,
            stale: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }

    /// Looks at the machine between two commands.
    pub(crate) fn with_machine<R>(&self, look: impl FnOnce(&M) -> R) -> R {
        look(&self.state.read().machine)
    }

    /// Returns whether the state must not be shown.
    fn is_unfit(&self) -> bool {
        self.stale.load(Ordering::Acquire) || self.broken.load(Ordering::Acquire)
    }

    /// Answers a query from the state as it is, with the position of that state; hands the query
    /// back when the state must not be shown.
    pub(crate) fn query(&self, query: M::Query) -> Result<(M::QueryResult, Index), M::Query> {
        let state = self.state.read();
        // Looked at under the lock: what was being applied may have failed.
        if self.is_unfit() {
            return Err(query);
        }
        Ok((state.machine.query(query), state.position.index()))
    }
}

impl<M: StateMachine> Replica for MachineReplica<M> {
    fn apply(&self, row: &Bytes, place: &Place) -> Result<Vec<u32>, ApplyFailed> {
        if self.broken.load(Ordering::Acquire) {
            return Err(ApplyFailed::Panicked);
        }
        if self.stale.load(Ordering::Acquire) {
            return Ok(Vec::new());
        }
        let count = place.count();
        let decoding = catch_unwind(AssertUnwindSafe(|| decode::<M::Command>(row, count)));
        let (runs, unreadable) = decoding.map_err(|_| ApplyFailed::Panicked)?;
        let mut state = self.state.write();
        let state = &mut *state;
        for Run { first, commands } in runs {
            let place = place.part(first, commands.len());
            let applied = catch_unwind(AssertUnwindSafe(|| {
                state.machine.apply_batch(commands, &place);
            }));
            if applied.is_err() {
                self.broken.store(true, Ordering::Release);
                return Err(ApplyFailed::Panicked);
            }
        }
        state.position = place.last;
        Ok(unreadable)
    }

    fn reset(&self) -> bool {
        let mut state = self.state.write();
        let state = &mut *state;
        if state.position.is_zero() {
            return !self.stale.load(Ordering::Acquire);
        }
        let reset = catch_unwind(AssertUnwindSafe(|| match &self.snapshots {
            Some(snapshots) => {
                let hooks = &snapshots.hooks;
                hooks.install(&mut state.machine, hooks.assembly()) == Installed::Done
            }
            None => state.machine.reset(),
        }));
        let reset = reset.unwrap_or(false);
        if reset {
            state.position = Cursor::zero();
        }
        self.stale.store(!reset, Ordering::Release);
        reset
    }

    fn capture(&self) -> Option<Box<dyn Capture>> {
        let snapshots = self.snapshots.as_ref()?;
        let state = self.state.read();
        if self.is_unfit() {
            return None;
        }
        catch_unwind(AssertUnwindSafe(|| snapshots.hooks.capture(&state.machine))).ok()
    }

    fn assembly(&self) -> Option<Box<dyn Assembly>> {
        let snapshots = self.snapshots.as_ref()?;
        catch_unwind(AssertUnwindSafe(|| snapshots.hooks.assembly())).ok()
    }

    fn install(&self, assembly: Box<dyn Assembly>, position: Cursor) -> Result<(), InstallFailed> {
        let snapshots = self.snapshots.as_ref().ok_or(InstallFailed::Unsupported)?;
        if self.broken.load(Ordering::Acquire) {
            return Err(InstallFailed::Panicked);
        }
        let mut state = self.state.write();
        let state = &mut *state;
        let installed = catch_unwind(AssertUnwindSafe(|| {
            snapshots.hooks.install(&mut state.machine, assembly)
        }));
        let installed = installed.map_err(|_| {
            self.broken.store(true, Ordering::Release);
            InstallFailed::Panicked
        });
        match installed? {
            Installed::Done => {}
            Installed::Foreign => return Err(InstallFailed::Unsupported),
            Installed::Unreadable => return Err(InstallFailed::Unreadable),
        }
        state.position = position;
        self.stale.store(false, Ordering::Release);
        Ok(())
    }

    fn terms(&self) -> CatchUpSettings {
        self.terms
    }

    fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::snapshot::tests::Words, *};
    use crate::{
        groups::{Snapshot, SnapshotStateMachine, SnapshotSync},
        primitives::{UniqueId, encoding},
    };

    /// A machine that holds words.
    impl StateMachine for Words {
        type Command = String;
        type Query = ();
        type QueryResult = ();
        type StateSync = SnapshotSync<Self>;

        fn signature(&self) -> UniqueId {
            UniqueId::from("words")
        }

        fn apply(&mut self, word: String, _: &dyn ApplyContext) {
            self.0.push(word);
        }

        fn query(&self, (): ()) {}

        fn state_sync(&self) -> Self::StateSync {
            SnapshotSync::default()
        }
    }

    impl SnapshotStateMachine for Words {
        type Snapshot = Self;

        fn create_snapshot(&self) -> Self {
            self.clone()
        }

        fn install_snapshot(&mut self, snapshot: Self) {
            assert!(snapshot.is_readable());
            *self = snapshot;
        }
    }

    #[test]
    fn a_snapshot_with_items_of_another_version_is_not_installed() {
        let replica = MachineReplica::new(Words::default());
        let install = |words: &[&str], index| {
            let piece = encoding::try_serialize(&words).unwrap();
            let mut assembly = replica.assembly().unwrap();
            assembly.append(&piece, words.len() as u64).unwrap();
            replica.install(assembly, Cursor::new(Term(1), Index(index)))
        };
        install(&["one"], 1).unwrap();
        let refused = install(&["one", ""], 2).unwrap_err();
        assert!(matches!(refused, InstallFailed::Unreadable));
        let text = refused.to_string();
        assert!(text.contains("run the version"), "{text}");
        assert_eq!(
            replica.with_machine(Clone::clone),
            Words(vec!["one".into()])
        );
        assert_eq!(replica.query(()).unwrap().1, Index(1));
    }
}
