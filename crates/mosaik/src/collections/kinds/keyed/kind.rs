//! Keyed kinds, as the engine sees them.

use core::marker::PhantomData;
use std::sync::Arc;

use super::{
    super::{
        super::{
            Key, Value, Version,
            engine::{Applied, Clock, ITEM, Kind, Place, Reader, Tick, Writer, key_bytes},
            state::hash_of,
        },
        sides::Cause,
    },
    change::MapChange,
    entry::{Container, Entry},
    op::{self, Op},
    state::{Name, Outcome, State},
    timers::{Due, Timers},
};
use crate::{
    groups::Index,
    primitives::{Bytes, encoding::EncodeError},
};

/// A keyed kind.
pub(crate) struct KeyedKind<N, C, K, V>(PhantomData<fn() -> (N, C, K, V)>);

impl<N, C, K, V> Kind for KeyedKind<N, C, K, V>
where
    N: Name,
    C: Container<K, V>,
    K: Key,
    V: Value,
{
    const NAME: &'static str = N::NAME;
    const SIZE: &'static str = N::SIZE;

    type Op = Op<K, V>;
    type State = State<N, C, K, V>;
    type Outcome = Outcome<K, V>;
    type Change = MapChange<K, V>;

    fn len(state: &Self::State) -> usize {
        state.entries.len()
    }

    fn parse(op: &mut Reader<'_>) -> Option<Op<K, V>> {
        Op::parse(op)
    }

    fn apply(
        state: &mut Self::State,
        op: Op<K, V>,
        at: &mut Place<MapChange<K, V>>,
    ) -> Applied<Self> {
        let done = match op {
            Op::Insert(pair) => {
                let inserted = state.insert_all(vec![pair], at);
                inserted.map(|mut previous| Outcome::Previous(previous.pop().flatten()))
            }
            Op::InsertWithTtl(pair, millis) => {
                let inserted = state.insert_with_ttl(pair, millis, 0, at);
                inserted.map(Outcome::Previous)
            }
            Op::Extend(pairs) => state.insert_all(pairs, at).map(|_| Outcome::Done),
            Op::Remove(key) => Some(Outcome::Previous(state.remove(&key, Cause::Write, at))),
            Op::RemoveRange(start, end) => {
                let keys = state.entries.keys_between(start, end);
                Some(state.remove_many(keys, at))
            }
            Op::RemoveMany(keys) => Some(state.remove_many(keys, at)),
            Op::Clear => Some(state.clear(at)),
            Op::CompareExchange { key, expected, new } => {
                state.compare_exchange(key, expected, new, at)
            }
            Op::Expire(key, millis) => Some(Outcome::Previous(state.expire(&key, millis, 0, at))),
            Op::Persist(key) => Some(Outcome::Previous(state.persist(&key))),
            Op::Batch { conditions, steps } => state.batch(&conditions, steps, at),
            Op::Tick(tick) => Some(state.tick(tick, at)),
        };
        done.map_or(Applied::Full, Applied::Done)
    }

    fn prefetch<'o>(state: &Self::State, ops: impl Iterator<Item = &'o Op<K, V>>) {
        state.entries.prefetch(ops.filter_map(Op::inserted));
    }

    fn undo(state: &mut Self::State, change: &MapChange<K, V>) {
        match change.old_entry() {
            Some(old) => {
                state.put(old.clone());
            }
            None => {
                state.take(change.key());
            }
        }
    }

    fn key_hash(change: &MapChange<K, V>) -> u64 {
        hash_of(change.key())
    }

    fn header(state: &Self::State, header: &mut Writer) {
        header.u64(state.timers.millis());
    }

    fn restore_header(state: &mut Self::State, header: &mut Reader<'_>) -> Option<()> {
        state.timers = Timers::new(header.u64()?);
        Some(())
    }

    fn items(state: &Self::State) -> Result<Vec<Bytes>, EncodeError> {
        let item = |entry: &Arc<Entry<K, V>>| {
            let key = key_bytes(&entry.key);
            let mut item = Writer::new(ITEM);
            item.bytes(&key)?;
            item.element(&entry.value)?;
            item.u64(entry.version.0.0);
            item.raw(entry.print.as_bytes());
            item.u64(entry.size);
            if let Some(timer) = state.timers.get(&entry.key) {
                let (number, millis) = match timer.due {
                    Due::Waiting(millis) => (WAITING, millis),
                    Due::At(millis) => (RUNNING, millis),
                };
                item.u8(number);
                item.u64(millis);
                item.u64(timer.origin.0.0.0);
                item.u64(timer.origin.1);
            }
            Ok((key, item.finish()))
        };
        let items: Result<Vec<_>, _> = state.entries.entries().map(item).collect();
        let mut items = items?;
        items.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        Ok(items.into_iter().map(|(_, item)| item).collect())
    }

    fn restore(state: &mut Self::State, item: &mut Reader<'_>) -> Option<()> {
        let (key, value, _) = op::pair(item)?;
        let entry = Arc::new(Entry {
            key: key.value,
            value: value.value,
            version: Version(Index(item.u64()?)),
            print: item.raw_print()?,
            size: item.u64()?,
        });
        if !item.is_empty() {
            let number = item.u8()?;
            let millis = item.u64()?;
            let due = match number {
                WAITING => Due::Waiting(millis),
                RUNNING => Due::At(millis),
                _ => return None,
            };
            let origin = (Version(Index(item.u64()?)), item.u64()?);
            state.timers.set(entry.clone(), origin, due);
        }
        state.bytes = state.bytes.checked_add(entry.size)?;
        // A key that is there twice is no content of another member.
        state.entries.put(entry).is_none().then_some(())
    }

    fn clock(state: &Self::State) -> Clock {
        state.timers.clock()
    }

    fn tick(tick: Tick) -> Option<Bytes> {
        Some(op::tick(tick))
    }
}

/// First byte of a timer in an entry's item.
const WAITING: u8 = 0;
const RUNNING: u8 = 1;
