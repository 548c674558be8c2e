//! Verdict on a run.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use super::{
    Action, Counter, CounterDeed, Deed, Outcome, Record, Register, RegisterDeed,
    linearizability::{Model, Operation, Verdict, check},
    positions,
};

/// Everything that was promised and did not hold, in words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<String>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for violation in &self.0 {
            writeln!(f, "- {violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Looks at a history and at what each member has applied in the end.
pub(super) fn judge(records: &[Record], applied: &[Vec<u64>]) -> Violations {
    let mut found = Vec::new();
    let longest: &[u64] = applied
        .iter()
        .max_by_key(|ids| ids.len())
        .map_or(&[], |ids| ids);
    for (member, ids) in applied.iter().enumerate() {
        if !longest.starts_with(ids) {
            found.push(format!(
                "member {member} has applied other commands than others"
            ));
        }
    }
    let mut at: HashMap<u64, usize> = HashMap::new();
    for (position, id) in longest.iter().enumerate() {
        if let Some(before) = at.insert(*id, position) {
            found.push(format!(
                "command {id:#x} was applied twice, as {} and {}",
                before + 1,
                position + 1
            ));
        }
    }
    for record in records {
        let Some(command) = record.deed.command() else {
            continue;
        };
        let position = at.get(&command.id).map(|position| *position as u64 + 1);
        match (record.outcome, position) {
            (Outcome::Acknowledged(_), None) => {
                found.push(format!("an acknowledged command is lost: {record:?}"));
            }
            (Outcome::Acknowledged(index) | Outcome::Accepted(index), Some(position))
                if position != index =>
            {
                found.push(format!(
                    "a command is at {position} and {index} was told: {record:?}"
                ));
            }
            _ => {}
        }
    }
    found.extend(positions::check(records, longest));
    let applied: HashSet<u64> = at.into_keys().collect();
    let mut objects: BTreeMap<(bool, u8), Vec<&Record>> = BTreeMap::new();
    for record in records {
        objects
            .entry(record.deed.object())
            .or_default()
            .push(record);
    }
    for ((is_counter, key), records) in objects {
        let violation = if is_counter {
            linearizable::<Counter>(&records, &applied, counter_deed)
        } else {
            linearizable::<Register>(&records, &applied, register_deed)
        };
        if let Some(violation) = violation {
            let object = if is_counter { "counter" } else { "register" };
            found.push(format!("{object} {key}: {violation}"));
        }
    }
    Violations(found)
}

fn register_deed(deed: Deed, outcome: Outcome) -> Option<RegisterDeed> {
    match (deed, outcome) {
        (Deed::Execute(command) | Deed::Feed(command), _) => match command.action {
            Action::Write(value) => Some(RegisterDeed::Write(value)),
            Action::Add(_) => None,
        },
        (Deed::ReadRegister(_), Outcome::Value(value, _)) => Some(RegisterDeed::Read(value)),
        _ => None,
    }
}

fn counter_deed(deed: Deed, outcome: Outcome) -> Option<CounterDeed> {
    match (deed, outcome) {
        (Deed::Execute(command) | Deed::Feed(command), _) => match command.action {
            Action::Add(amount) => Some(CounterDeed::Add(amount)),
            Action::Write(_) => None,
        },
        (Deed::ReadCounter(_), Outcome::Value(sum, _)) => Some(CounterDeed::Read(sum)),
        _ => None,
    }
}

/// Checks the history of one object; says what is wrong.
///
/// Reads without answer say nothing. Commands with an unknown outcome stay open if they were
/// applied in the end; otherwise nobody may ever have seen them, and they are left out.
fn linearizable<M: Model>(
    records: &[&Record],
    applied: &HashSet<u64>,
    deed: impl Fn(Deed, Outcome) -> Option<M::Deed>,
) -> Option<String> {
    let mut kept = Vec::new();
    let mut history = Vec::new();
    for record in records {
        // Who was only told that its command is accepted doesn't know when it takes effect.
        let known = !matches!(record.outcome, Outcome::Unknown | Outcome::Accepted(_));
        if let Some(command) = record.deed.command()
            && !known
            && !applied.contains(&command.id)
        {
            continue;
        }
        if let Some(deed) = deed(record.deed, record.outcome) {
            kept.push(*record);
            history.push(Operation {
                deed,
                called: record.called,
                returned: known.then_some(record.returned),
            });
        }
    }
    match check::<M>(&history) {
        Verdict::Linearizable => None,
        Verdict::Undecided => Some("its history is too large to be checked".into()),
        Verdict::Violation(blocked) => {
            let blocked: Vec<_> = blocked.iter().map(|n| kept[*n]).collect();
            let first = blocked.iter().map(|record| record.called).min();
            let from = first.unwrap_or_default().saturating_sub(20_000);
            let last = blocked.iter().map(|record| record.returned).max();
            let around: Vec<_> = kept
                .iter()
                .filter(|r| r.returned >= from && Some(r.called) <= last)
                .map(|record| format!("\n    {record:?}"))
                .collect();
            let stuck: Vec<_> = blocked.iter().map(|r| format!("\n    {r:?}")).collect();
            Some(format!(
                "not linearizable; no order gets past these: {}\n  around them: {}",
                stuck.concat(),
                around.concat()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Command;

    fn add(id: u64, amount: u64, outcome: Outcome, called: u64) -> Record {
        let action = Action::Add(amount);
        record(
            Deed::Execute(Command { id, key: 0, action }),
            outcome,
            called,
        )
    }

    fn record(deed: Deed, outcome: Outcome, called: u64) -> Record {
        Record {
            client: 0,
            member: 0,
            deed,
            outcome,
            called,
            returned: called + 1,
        }
    }

    fn count(records: &[Record], applied: &[Vec<u64>]) -> usize {
        judge(records, applied).0.len()
    }

    #[test]
    fn a_clean_run_is_clean() {
        let records = [
            add(1, 5, Outcome::Acknowledged(1), 0),
            add(2, 6, Outcome::Unknown, 2),
            add(3, 7, Outcome::Unknown, 4),
            record(Deed::ReadCounter(0), Outcome::Value(12, 2), 6),
            record(Deed::ReadRegister(0), Outcome::Value(0, 2), 8),
            record(Deed::ReadRegister(0), Outcome::Unknown, 10),
        ];
        // A member may lag behind.
        assert_eq!(
            judge(&records, &[vec![1, 3], vec![1]]),
            Violations::default()
        );
    }

    #[test]
    fn what_is_lost_or_doubled_or_elsewhere_is_found() {
        let records = [add(1, 5, Outcome::Acknowledged(1), 0)];
        assert_eq!(count(&records, &[vec![]]), 1, "lost");
        assert_eq!(count(&records, &[vec![1, 1]]), 2, "twice, and so elsewhere");
        assert_eq!(count(&records, &[vec![2, 1]]), 1, "elsewhere");
        assert_eq!(count(&records, &[vec![1, 2], vec![1, 3]]), 1, "different");
    }

    #[test]
    fn what_was_only_accepted_may_be_lost_but_not_elsewhere() {
        let Record { deed, .. } = add(1, 5, Outcome::Unknown, 0);
        let fed = Deed::Feed(deed.command().unwrap());
        let records = [record(fed, Outcome::Accepted(1), 0)];
        assert_eq!(count(&records, &[vec![]]), 0);
        assert_eq!(count(&records, &[vec![1]]), 0);
        assert_eq!(count(&records, &[vec![2, 1]]), 1);
    }

    #[test]
    fn a_command_without_effect_must_not_have_been_seen() {
        let records = [
            add(1, 5, Outcome::Unknown, 0),
            record(Deed::ReadCounter(0), Outcome::Value(5, 1), 2),
        ];
        assert_eq!(count(&records, &[vec![1]]), 0);
        // By both checkers, the one of orders and the one of positions.
        assert_eq!(count(&records, &[vec![]]), 2, "seen, then lost");
    }
}
