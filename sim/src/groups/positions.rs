//! Positions that members reported, against the order in which the commands were applied.
//!
//! The order is known in the end, so that this takes time only for sorting: it needs no search, and
//! sees more than a search can, as every answer says which state it was made from.

use std::collections::{BTreeMap, HashMap};

use super::{Action, Command, Deed, Outcome, Record};

/// Limit on the reported violations; further ones would only repeat them.
const MAX_TOLD: usize = 20;

/// Violations, in words.
pub(super) fn check(records: &[Record], order: &[u64]) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(values(records, order));
    found.extend(times(records));
    found.extend(origins(records, order));
    found.extend(call_order(records));
    found.truncate(MAX_TOLD);
    found
}

fn commands(records: &[Record]) -> HashMap<u64, (Command, u64)> {
    let commands = records.iter().filter_map(|record| {
        let command = record.deed.command()?;
        Some((command.id, (command, record.called)))
    });
    commands.collect()
}

/// Every read returns what the commands before its position make.
fn values(records: &[Record], order: &[u64]) -> Vec<String> {
    let commands = commands(records);
    let mut reads: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in records {
        if let Outcome::Value(_, position) = record.outcome {
            reads.entry(position).or_default().push(record);
        }
    }
    let mut found = Vec::new();
    let mut state: HashMap<(bool, u8), u64> = HashMap::new();
    let mut applied = 0;
    for (position, reads) in reads {
        let Some(prefix) = usize::try_from(position).ok().and_then(|n| order.get(..n)) else {
            let there = reads.iter().map(|read| {
                let len = order.len();
                format!("a read from a state beyond the {len} commands there are: {read:?}")
            });
            found.extend(there);
            continue;
        };
        for id in &prefix[applied..] {
            if let Some((command, _)) = commands.get(id) {
                let object = Deed::Execute(*command).object();
                let value = state.entry(object).or_default();
                *value = match command.action {
                    Action::Write(new) => new,
                    Action::Add(amount) => value.wrapping_add(amount),
                };
            }
        }
        applied = prefix.len();
        for read in reads {
            let held = state.get(&read.deed.object()).copied().unwrap_or_default();
            if read.outcome != Outcome::Value(held, position) {
                found.push(format!("the state held {held} there: {read:?}"));
            }
        }
    }
    found
}

/// Position that a call saw or got, and the time at which that was certain.
struct Placed<'a> {
    record: &'a Record,
    /// All that had returned before it was called lies before or at this.
    must_reach: u64,
    /// Bound that later calls have to reach.
    reached: u64,
}

/// Real-time order: a call comes after every call that had returned before it.
fn times(records: &[Record]) -> Vec<String> {
    let placed = records.iter().filter_map(|record| {
        let (must_reach, reached) = match (record.deed, record.outcome) {
            // Its place is behind what had been seen.
            (_, Outcome::Acknowledged(index)) => (index.saturating_sub(1), index),
            (Deed::ReadRegister(_) | Deed::ReadCounter(_), Outcome::Value(_, position)) => {
                (position, position)
            }
            _ => return None,
        };
        Some(Placed {
            record,
            must_reach,
            reached,
        })
    });
    let mut by_call: Vec<_> = placed.collect();
    let mut by_return: Vec<(u64, u64)> = by_call
        .iter()
        .map(|placed| (placed.record.returned, placed.reached))
        .collect();
    by_call.sort_unstable_by_key(|placed| placed.record.called);
    by_return.sort_unstable();
    let (mut returned, mut floor) = (by_return.into_iter().peekable(), 0);
    let mut found = Vec::new();
    for Placed {
        record, must_reach, ..
    } in by_call
    {
        while let Some((_, reached)) = returned.next_if(|(at, _)| *at < record.called) {
            floor = floor.max(reached);
        }
        if must_reach < floor {
            found.push(format!("{floor} had been reached before this: {record:?}"));
        }
    }
    found
}

/// Nothing is seen before it was called.
fn origins(records: &[Record], order: &[u64]) -> Vec<String> {
    let commands = commands(records);
    // The latest call among the first so many commands.
    let mut latest = vec![0];
    for id in order {
        let called = commands.get(id).map_or(0, |(_, called)| *called);
        latest.push(called.max(latest.last().copied().unwrap_or_default()));
    }
    let seen = records.iter().filter(|record| {
        let (Outcome::Acknowledged(position) | Outcome::Value(_, position)) = record.outcome else {
            return false;
        };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        latest.get(position).is_some_and(|at| *at > record.returned)
    });
    seen.map(|record| format!("it saw what was called only later: {record:?}"))
        .collect()
}

/// Commands that a client gives through one member take effect in that order.
fn call_order(records: &[Record]) -> Vec<String> {
    // By client and member.
    let mut given = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        if let (Some(command), Outcome::Acknowledged(index)) =
            (record.deed.command(), record.outcome)
        {
            let key = (record.client, record.member);
            let place = (command.id, index, record);
            given.entry(key).or_default().push(place);
        }
    }
    let mut found = Vec::new();
    for mut given in given.into_values() {
        given.sort_unstable_by_key(|(id, ..)| *id);
        let wrong = given.windows(2).filter(|pair| pair[0].1 >= pair[1].1);
        found.extend(wrong.map(|pair| {
            let [(.., earlier), (.., later)] = [pair[0], pair[1]];
            format!("not in the order of calls: {earlier:?}, {later:?}")
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(id: u64, outcome: Outcome, called: u64) -> Record {
        let action = Action::Write(id);
        at(
            Deed::Execute(Command { id, key: 0, action }),
            outcome,
            called,
        )
    }

    fn at(deed: Deed, outcome: Outcome, called: u64) -> Record {
        Record {
            client: 0,
            member: 0,
            deed,
            outcome,
            called,
            returned: called + 1,
        }
    }

    fn read(value: u64, position: u64, called: u64) -> Record {
        at(
            Deed::ReadRegister(0),
            Outcome::Value(value, position),
            called,
        )
    }

    #[test]
    fn what_holds_is_found_to_hold() {
        let mut weak = read(0, 0, 9);
        weak.deed = Deed::GlanceAtCounter(0);
        let records = [
            read(0, 0, 0),
            write(5, Outcome::Acknowledged(1), 2),
            read(5, 1, 4),
            write(6, Outcome::Acknowledged(2), 6),
            read(6, 2, 8),
            weak,
        ];
        assert_eq!(check(&records, &[5, 6]), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_wrong_position_is_found() {
        let first = write(5, Outcome::Acknowledged(1), 2);
        let one = |record| check(&[first.clone(), record], &[5, 6]).len();
        assert_eq!(one(read(0, 0, 4)), 1, "stale");
        assert_eq!(one(read(7, 1, 4)), 1, "another value");
        assert_eq!(one(read(5, 3, 4)), 1, "beyond the end");
        assert_eq!(one(read(5, 1, 0)), 2, "before it was called, by both ends");
        let second = write(6, Outcome::Acknowledged(2), 1);
        let swapped = check(&[first.clone(), second], &[6, 5]);
        assert_eq!(swapped.len(), 0, "of two at once either may be first");
        let late = write(4, Outcome::Acknowledged(2), 1);
        assert_eq!(check(&[first, late], &[5, 4]).len(), 1, "not as called");
    }
}
