//! Session table: the commands that were applied, per member that submitted them.
//!
//! Every command carries a number of its origin: the member as it was when it joined. The numbers
//! of one origin only grow in what is applied; a command whose number is not above all before it is
//! passed over. So one that is sent twice takes effect once (dissertation, section 6.3), and one
//! that was overtaken never does: calls keep their order.
//!
//! The table is part of the applied state and of snapshots: all members decide alike. It is bounded.
//! Once it is full, a command of a member that it does not know may be a repetition nevertheless; the
//! leader puts it into the log only if it was never sent before, see [`Sessions::is_certain_of`].

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::groups::{Index, model::lineage::MemberId};

/// Members that are remembered; the one that was silent for longest is forgotten first.
const MAX_SESSIONS: usize = if cfg!(test) { 16 } else { 2048 };
/// Number of runs of commands per member with known positions. A member has at most eight entries
/// under way.
const MAX_RUNS: usize = 16;

/// The sessions of all members.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sessions(BTreeMap<MemberId, Session>);

/// Applied commands of one member.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The last number.
    last: u64,
    /// The consensus index at which it was applied.
    at: u64,
    /// Number up to which it is no longer known which commands were applied.
    forgotten: u64,
    /// The latest runs, the newest last.
    runs: VecDeque<Run>,
}

/// Commands with consecutive numbers at consecutive positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    first: u64,
    count: u64,
    index: u64,
}

impl Run {
    const fn last(&self) -> u64 {
        self.first.saturating_add(self.count.saturating_sub(1))
    }
}

/// Fate of a numbered command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was applied, as this one.
    Applied(Index),
    /// It was overtaken: it was not applied and never will be.
    Never,
    /// It is too long ago.
    Forgotten,
    /// Neither it nor a later one was applied.
    Open,
}

impl Sessions {
    /// The last number of a member that was applied, 0 for none.
    pub(crate) fn last_of(&self, origin: &MemberId) -> u64 {
        self.0.get(origin).map_or(0, |session| session.last)
    }

    /// Returns whether a member that has no session here had none before either.
    pub(crate) fn is_certain_of(&self, origin: &MemberId) -> bool {
        // It never shrinks: as long as there is room, nobody was forgotten.
        self.0.len() < MAX_SESSIONS || self.0.contains_key(origin)
    }

    pub(crate) fn of(&self, origin: &MemberId) -> Option<&Session> {
        self.0.get(origin)
    }

    /// Notes commands, given as their first number and their count, which are above all before.
    /// What is forgotten here is forgotten by every member alike.
    pub(crate) fn note(
        &mut self,
        origin: MemberId,
        (first, count): (u64, u32),
        index: Index,
        at: u64,
    ) {
        let is_certain = self.is_certain_of(&origin);
        let session = self.0.entry(origin).or_insert_with(|| Session {
            forgotten: if is_certain {
                0
            } else {
                first.saturating_sub(1)
            },
            ..Session::default()
        });
        session.note(first, u64::from(count), index.0);
        session.at = at;
        if self.0.len() > MAX_SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.at);
            if let Some(oldest) = oldest.map(|(origin, _)| *origin) {
                self.0.remove(&oldest);
            }
        }
    }
}

impl Session {
    fn note(&mut self, first: u64, count: u64, index: u64) {
        self.last = first.saturating_add(count.saturating_sub(1));
        if let Some(run) = self.runs.back_mut()
            && run.first.saturating_add(run.count) == first
            && run.index.saturating_add(run.count) == index
        {
            run.count = run.count.saturating_add(count);
            return;
        }
        self.runs.push_back(Run {
            first,
            count,
            index,
        });
        if self.runs.len() > MAX_RUNS
            && let Some(run) = self.runs.pop_front()
        {
            self.forgotten = run.last();
        }
    }

    /// The last number.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Looks up the fate of a command.
    pub(crate) fn fate(&self, number: u64) -> Fate {
        if number > self.last {
            return Fate::Open;
        }
        if number <= self.forgotten {
            return Fate::Forgotten;
        }
        let run = self
            .runs
            .iter()
            .find(|run| (run.first..=run.last()).contains(&number));
        run.map_or(Fate::Never, |run| {
            Fate::Applied(Index(run.index.saturating_add(number - run.first)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(n: u8) -> MemberId {
        MemberId::fresh(iroh::SecretKey::from_bytes(&[n; 32]).public())
    }

    #[test]
    fn the_fate_of_a_command_is_known_for_a_while() {
        let mut sessions = Sessions::default();
        let a = origin(1);
        assert_eq!(sessions.last_of(&a), 0);
        sessions.note(a, (1, 2), Index(1), 1);
        sessions.note(a, (3, 1), Index(3), 2);
        // Somebody else has come between, and number 4 was never heard of.
        sessions.note(a, (5, 2), Index(10), 9);
        let session = sessions.of(&a).unwrap();
        assert_eq!(session.runs.len(), 2, "what adjoins is one run");
        assert_eq!(session.fate(3), Fate::Applied(Index(3)));
        assert_eq!(session.fate(4), Fate::Never);
        assert_eq!(session.fate(6), Fate::Applied(Index(11)));
        assert_eq!(session.fate(7), Fate::Open);
        for n in 0..MAX_RUNS as u64 {
            sessions.note(a, (10 + 2 * n, 1), Index(20 + 2 * n), 10 + n);
        }
        let session = sessions.of(&a).unwrap();
        assert_eq!(session.fate(6), Fate::Forgotten);
        assert_eq!(session.fate(10), Fate::Applied(Index(20)));
        assert_eq!(session.fate(11), Fate::Never);
    }

    #[test]
    fn who_was_silent_for_longest_is_forgotten() {
        let mut sessions = Sessions::default();
        let members: Vec<_> = (0..=MAX_SESSIONS).map(|_| origin(1)).collect();
        for (at, member) in (1..).zip(&members) {
            sessions.note(*member, (1, 1), Index(at), at);
        }
        assert_eq!(sessions.0.len(), MAX_SESSIONS);
        assert_eq!(sessions.last_of(&members[0]), 0);
        assert_eq!(sessions.last_of(&members[1]), 1);
        assert!(sessions.is_certain_of(&members[1]) && !sessions.is_certain_of(&members[0]));
        // What comes later of the one that was forgotten says nothing of what came before.
        sessions.note(members[0], (3, 1), Index(90), 90);
        let session = sessions.of(&members[0]).unwrap();
        assert_eq!(session.fate(2), Fate::Forgotten);
        assert_eq!(session.fate(3), Fate::Applied(Index(90)));
    }

    #[test]
    fn no_numbers_overflow() {
        let mut session = Session::default();
        session.note(u64::MAX, 5, 1);
        session.note(u64::MAX, 5, u64::MAX);
        session.fate(u64::MAX);
        assert_eq!(session.last, u64::MAX);
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod vectors;
