//! Machines of the program's own, and how newcomers are brought to their state.

use std::{collections::BTreeMap, num::NonZero, ops::Range, time::Duration};

use mosaik::{
    Digest, GroupId, LeadershipPreference, NetworkId, UniqueId,
    groups::{
        self, ApplyContext, Command, Cursor, Index, LogReplaySync, NoOp, Query, QueryResult,
        Snapshot, SnapshotItem, SnapshotStateMachine, SnapshotSync, StateMachine,
        StateMachineMessage, StateSync, Term,
    },
    id,
};
use serde::{Deserialize, Serialize};

use crate::surface::shared;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Change {
    Set(String, u64),
    Clear,
}

/// Says everything that a machine can say.
#[derive(Debug, Default, Clone)]
pub(super) struct Table {
    values: BTreeMap<String, u64>,
    seen: Vec<Cursor>,
    preference: LeadershipPreference,
}

impl StateMachine for Table {
    type Command = Change;
    type Query = String;
    type QueryResult = u64;
    type StateSync = SnapshotSync<Self>;

    fn signature(&self) -> UniqueId {
        id!("surface.table")
    }

    fn apply(&mut self, command: Change, ctx: &dyn ApplyContext) {
        self.seen.push(ctx.committed());
        match command {
            Change::Set(name, value) => drop(self.values.insert(name, value)),
            Change::Clear => self.values.clear(),
        }
    }

    fn apply_batch(&mut self, commands: impl IntoIterator<Item = Change>, ctx: &dyn ApplyContext) {
        let (_, _): (&GroupId, &NetworkId) = (ctx.group_id(), ctx.network_id());
        let (_, _): (Cursor, Term) = (ctx.log_position(), ctx.current_term());
        for command in commands {
            self.apply(command, ctx);
        }
    }

    fn query(&self, name: String) -> u64 {
        self.values.get(&name).copied().unwrap_or_default()
    }

    fn state_sync(&self) -> Self::StateSync {
        SnapshotSync::default()
    }

    fn leadership_preference(&self) -> LeadershipPreference {
        self.preference
    }

    fn reset(&mut self) -> bool {
        self.values.clear();
        true
    }
}

impl SnapshotStateMachine for Table {
    type Snapshot = Rows;

    fn create_snapshot(&self) -> Rows {
        Rows(self.values.clone().into_iter().collect())
    }

    fn install_snapshot(&mut self, snapshot: Rows) {
        self.values = snapshot.0.into_iter().collect();
    }
}

#[derive(Default, Clone)]
pub(super) struct Rows(Vec<(String, u64)>);

impl Snapshot for Rows {
    type Item = (String, u64);

    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn iter_range(&self, range: Range<u64>) -> Option<impl Iterator<Item = Self::Item>> {
        let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        Some(self.0.get(range)?.iter().cloned())
    }

    fn append(&mut self, items: impl IntoIterator<Item = Self::Item>) {
        self.0.extend(items);
    }
}

/// As little as a machine must have; nothing is a valid command, query and answer.
struct Least;

impl StateMachine for Least {
    type Command = ();
    type Query = ();
    type QueryResult = ();
    type StateSync = LogReplaySync<Self>;

    fn signature(&self) -> UniqueId {
        id!("surface.least")
    }

    fn apply(&mut self, (): (), _: &dyn ApplyContext) {}

    fn query(&self, (): ()) {}

    fn state_sync(&self) -> Self::StateSync {
        LogReplaySync::default()
    }
}

/// A context as tests of machines make it.
struct At(Cursor);

impl ApplyContext for At {
    fn committed(&self) -> Cursor {
        self.0
    }

    fn log_position(&self) -> Cursor {
        Cursor::new(self.0.term(), self.0.index() + 2u64)
    }

    fn current_term(&self) -> Term {
        self.0.term()
    }

    fn group_id(&self) -> &GroupId {
        const { &Digest::from_bytes([1; 32]) }
    }

    fn network_id(&self) -> &NetworkId {
        const { &Digest::from_bytes([2; 32]) }
    }
}

#[test]
fn a_machine_runs_without_a_group() {
    let mut table = Table::default();
    let at: Box<dyn ApplyContext> = Box::new(At(Cursor::new(Term(1), Index(4))));
    table.apply_batch([Change::Clear, Change::Set("a".into(), 7)], &*at);
    assert_eq!((table.query("a".into()), table.seen.len()), (7, 2));
    let mut copy = Table::default();
    let (whole, mut parts) = (table.create_snapshot(), Rows::default());
    assert!(parts.is_empty() && !whole.is_empty() && whole.iter_range(0..2).is_none());
    parts.append(whole.iter_range(0..1).unwrap());
    copy.install_snapshot(parts);
    assert_eq!(copy.query("a".into()), 7);
    assert!(copy.reset() && copy.query("a".into()) == 0);
}

#[test]
fn what_a_machine_need_not_say() {
    let mut least = Least;
    assert_eq!(least.leadership_preference(), LeadershipPreference::Normal);
    assert!(!least.reset(), "no machine is reset unless it says so");
    least.apply_batch([(), ()], &At(Cursor::zero()));
    let noop: NoOp = Default::default();
    assert_eq!(
        (format!("{noop:?}"), noop.signature()),
        ("NoOp".into(), NoOp.signature())
    );
    let _: LogReplaySync<NoOp> = noop.state_sync();
}

#[test]
fn whatever_can_be_encoded_can_be_a_command() {
    fn everything<T: Command + Query + QueryResult + StateMachineMessage + SnapshotItem>() {}
    everything::<()>();
    everything::<Change>();
    everything::<Vec<Option<String>>>();
}

#[test]
fn preferences() {
    const RELUCTANT: LeadershipPreference = LeadershipPreference::reluctant();
    assert_eq!(
        RELUCTANT,
        groups::LeadershipPreference::Reluctant { factor: 3 }
    );
    assert_eq!(
        LeadershipPreference::default(),
        LeadershipPreference::Normal
    );
    // Exhaustive, as users match it.
    let factor = match RELUCTANT {
        LeadershipPreference::Normal | LeadershipPreference::Observer => 1,
        LeadershipPreference::Reluctant { factor } => factor,
    };
    assert_eq!(
        (factor, format!("{:?}", LeadershipPreference::Observer)),
        (3, "Observer".into())
    );
}

#[test]
fn strategies() {
    fn signature<S: StateSync>(sync: S) -> UniqueId {
        sync.signature()
    }
    const SEVEN: NonZero<u64> = NonZero::new(7).unwrap();
    let replay = LogReplaySync::<Least>::default;
    let same = replay()
        .with_batch_size(NonZero::new(2000).unwrap())
        .with_fetch_timeout(Duration::from_secs(25));
    assert_eq!(signature(replay()), signature(same));
    assert_eq!(
        signature(replay()),
        signature(replay().with_fetch_rate(SEVEN))
    );
    assert_ne!(
        signature(replay()),
        signature(replay().with_batch_size(SEVEN))
    );
    assert_ne!(
        signature(replay()),
        signature(replay().with_fetch_timeout(Duration::from_secs(7)))
    );
    assert!(format!("{:?}", replay()).starts_with("LogReplaySync {"));
    let snapshots = SnapshotSync::<Table>::default;
    let settings = snapshots()
        .with_batch_size(SEVEN)
        .with_fetch_timeout(Duration::from_secs(7))
        .with_fetch_rate(SEVEN)
        .with_interval(SEVEN)
        .with_kept_commands(0);
    assert_ne!(signature(snapshots()), signature(settings));
    assert_ne!(
        signature(snapshots()),
        signature(LogReplaySync::<Table>::default())
    );
    shared::<SnapshotSync<Table>>();
    shared::<LogReplaySync<Least>>();
}
