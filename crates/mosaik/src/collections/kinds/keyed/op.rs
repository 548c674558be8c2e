//! Operations on keyed collections, and their bytes: the numbers are part of the format.

use core::ops::Bound;

use super::super::super::{
    Key, Value, Version,
    engine::{Element, Print, Reader, Tick, Writer},
};
use crate::{
    groups::Index,
    primitives::{Bytes, Datum, encoding::EncodeError},
};

const INSERT: u8 = 0;
const EXTEND: u8 = 1;
const REMOVE: u8 = 2;
const REMOVE_MANY: u8 = 3;
const CLEAR: u8 = 4;
const COMPARE_EXCHANGE: u8 = 5;
const INSERT_WITH_TTL: u8 = 6;
const EXPIRE: u8 = 7;
const PERSIST: u8 = 8;
const BATCH: u8 = 9;
const TICK: u8 = 10;
const REMOVE_RANGE: u8 = 11;

/// A decoded operation.
#[derive(Clone)]
pub(crate) enum Op<K, V> {
    Insert(Pair<K, V>),
    Extend(Vec<Pair<K, V>>),
    Remove(K),
    RemoveMany(Vec<K>),
    RemoveRange(Bound<K>, Bound<K>),
    Clear,
    CompareExchange {
        key: Element<K>,
        expected: Option<Print>,
        new: Option<(Element<V>, Print)>,
    },
    /// With the time to live in milliseconds.
    InsertWithTtl(Pair<K, V>, u64),
    Expire(K, u64),
    Persist(K),
    Batch {
        conditions: Vec<(K, Condition)>,
        steps: Vec<Step<K, V>>,
    },
    Tick(Tick),
}

/// A key and a value, with the print of the value.
pub(crate) type Pair<K, V> = (Element<K>, Element<V>, Print);

/// Precondition of a batch on a key.
#[derive(Clone)]
pub(crate) enum Condition {
    Absent,
    Present,
    Version(Version),
    Value(Print),
}

/// One mutation of a batch.
#[derive(Clone)]
pub(crate) enum Step<K, V> {
    Insert(Pair<K, V>, Ttl),
    Remove(K),
    /// With the time to live in milliseconds.
    Expire(K, u64),
}

/// Time to live of what a step inserts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ttl {
    None,
    /// Milliseconds.
    New(u64),
    /// As long as what it replaces.
    Former,
}

const ABSENT: u8 = 0;
const AT_VERSION: u8 = 1;
const WITH_VALUE: u8 = 2;
const WITH_PRINT: u8 = 3;
const PRESENT: u8 = 4;

const STEP_INSERT: u8 = 0;
const STEP_REMOVE: u8 = 1;
const STEP_INSERT_WITH_TTL: u8 = 2;
const STEP_REPLACE: u8 = 3;
const STEP_EXPIRE: u8 = 4;

impl<K: Key, V: Value> Op<K, V> {
    /// The key that it inserts, if it inserts one.
    pub(super) fn inserted(&self) -> Option<&K> {
        match self {
            Self::Insert(pair) | Self::InsertWithTtl(pair, _) => Some(&pair.0.value),
            _ => None,
        }
    }

    pub(super) fn parse(op: &mut Reader<'_>) -> Option<Self> {
        Some(match op.u8()? {
            INSERT => Self::Insert(pair(op)?),
            EXTEND => Self::Extend(op.rest(pair)?),
            REMOVE => Self::Remove(key(op)?),
            REMOVE_MANY => Self::RemoveMany(op.rest(key)?),
            REMOVE_RANGE => Self::RemoveRange(op.bound()?, op.bound()?),
            CLEAR => Self::Clear,
            COMPARE_EXCHANGE => Self::CompareExchange {
                key: op.element()?,
                expected: op.optional(Reader::print)?,
                new: op.optional(Reader::printed)?,
            },
            INSERT_WITH_TTL => Self::InsertWithTtl(pair(op)?, op.u64()?),
            EXPIRE => Self::Expire(key(op)?, op.u64()?),
            PERSIST => Self::Persist(key(op)?),
            BATCH => Self::Batch {
                conditions: conditions(op)?,
                steps: op.rest(step)?,
            },
            TICK => Self::Tick(Tick {
                base: op.u64()?,
                millis: op.u64()?,
                seen: Version(Index(op.u64()?)),
            }),
            _ => return None,
        })
    }
}

fn key<K: Key>(op: &mut Reader<'_>) -> Option<K> {
    op.element().map(|element| element.value)
}

pub(super) fn pair<K: Key, V: Value>(op: &mut Reader<'_>) -> Option<Pair<K, V>> {
    let key = op.element()?;
    let (value, print) = op.printed()?;
    Some((key, value, print))
}

fn conditions<K: Key>(op: &mut Reader<'_>) -> Option<Vec<(K, Condition)>> {
    let mut conditions = Vec::new();
    for _ in 0..op.u64()? {
        let key = key(op)?;
        let condition = match op.u8()? {
            ABSENT => Condition::Absent,
            PRESENT => Condition::Present,
            AT_VERSION => Condition::Version(Version(Index(op.u64()?))),
            WITH_VALUE => Condition::Value(op.print()?),
            WITH_PRINT => Condition::Value(op.raw_print()?),
            _ => return None,
        };
        conditions.push((key, condition));
    }
    Some(conditions)
}

fn step<K: Key, V: Value>(op: &mut Reader<'_>) -> Option<Step<K, V>> {
    Some(match op.u8()? {
        STEP_INSERT => Step::Insert(pair(op)?, Ttl::None),
        STEP_REMOVE => Step::Remove(key(op)?),
        STEP_INSERT_WITH_TTL => Step::Insert(pair(op)?, Ttl::New(op.u64()?)),
        STEP_EXPIRE => Step::Expire(key(op)?, op.u64()?),
        STEP_REPLACE => Step::Insert(pair(op)?, Ttl::Former),
        _ => return None,
    })
}

pub(crate) fn insert<K: Key, V: Value>(key: &K, value: &V) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(INSERT);
    op.element(key)?;
    op.element(value)?;
    Ok(op.finish())
}

pub(crate) fn insert_with_ttl<K: Key, V: Value>(
    key: &K,
    value: &V,
    millis: u64,
) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(INSERT_WITH_TTL);
    op.element(key)?;
    op.element(value)?;
    op.u64(millis);
    Ok(op.finish())
}

pub(crate) fn extend<'a, K: Key, V: Value>(
    entries: impl IntoIterator<Item = (&'a K, &'a V)>,
) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(EXTEND);
    for (key, value) in entries {
        op.element(key)?;
        op.element(value)?;
    }
    Ok(op.finish())
}

pub(crate) fn remove<K: Key>(key: &K) -> Result<Bytes, EncodeError> {
    of_key(REMOVE, key)
}

pub(crate) fn remove_many<'a, K: Key>(
    keys: impl IntoIterator<Item = &'a K>,
) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(REMOVE_MANY);
    for key in keys {
        op.element(key)?;
    }
    Ok(op.finish())
}

pub(crate) fn remove_range<K: Key>(start: Bound<&K>, end: Bound<&K>) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(REMOVE_RANGE);
    op.bound(start)?;
    op.bound(end)?;
    Ok(op.finish())
}

pub(crate) fn clear() -> Bytes {
    Writer::new(CLEAR).finish()
}

pub(crate) fn compare_exchange<K: Key, V: Value>(
    key: &K,
    expected: Option<&V>,
    new: Option<&V>,
) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(COMPARE_EXCHANGE);
    op.element(key)?;
    op.option(expected)?;
    op.option(new)?;
    Ok(op.finish())
}

pub(crate) fn expire<K: Key>(key: &K, millis: u64) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(EXPIRE);
    op.element(key)?;
    op.u64(millis);
    Ok(op.finish())
}

pub(crate) fn persist<K: Key>(key: &K) -> Result<Bytes, EncodeError> {
    of_key(PERSIST, key)
}

pub(crate) fn tick(tick: Tick) -> Bytes {
    let mut op = Writer::new(TICK);
    op.u64(tick.base);
    op.u64(tick.millis);
    op.u64(tick.seen.0.0);
    op.finish()
}

fn of_key<K: Key>(number: u8, key: &K) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(number);
    op.element(key)?;
    Ok(op.finish())
}

/// A batch as it is put together.
#[derive(Clone)]
pub(crate) struct BatchOp {
    conditions: Writer,
    count: u64,
    steps: Writer,
}

impl BatchOp {
    pub(crate) fn new() -> Self {
        Self {
            conditions: Writer::empty(),
            count: 0,
            steps: Writer::empty(),
        }
    }

    fn condition<K: Datum>(&mut self, key: &K, number: u8) -> Result<&mut Writer, EncodeError> {
        self.conditions.element(key)?;
        self.conditions.u8(number);
        self.count += 1;
        Ok(&mut self.conditions)
    }

    pub(crate) fn expect_absent<K: Key>(&mut self, key: &K) -> Result<(), EncodeError> {
        self.condition(key, ABSENT).map(|_| ())
    }

    pub(crate) fn expect_present<K: Key>(&mut self, key: &K) -> Result<(), EncodeError> {
        self.condition(key, PRESENT).map(|_| ())
    }

    pub(crate) fn expect_version<K: Key>(
        &mut self,
        key: &K,
        version: Version,
    ) -> Result<(), EncodeError> {
        self.condition(key, AT_VERSION)?.u64(version.0.0);
        Ok(())
    }

    pub(crate) fn expect_value<K: Key, V: Value>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), EncodeError> {
        self.condition(key, WITH_VALUE)?.element(value)
    }

    /// Expects a value by its print.
    pub(crate) fn expect_print<K: Key>(
        &mut self,
        key: &K,
        print: &Print,
    ) -> Result<(), EncodeError> {
        self.condition(key, WITH_PRINT)?.raw(print.as_bytes());
        Ok(())
    }

    pub(crate) fn insert<K: Key, V: Value>(
        &mut self,
        key: &K,
        value: &V,
        ttl: Ttl,
    ) -> Result<(), EncodeError> {
        self.steps.u8(match ttl {
            Ttl::None => STEP_INSERT,
            Ttl::New(_) => STEP_INSERT_WITH_TTL,
            Ttl::Former => STEP_REPLACE,
        });
        self.steps.element(key)?;
        self.steps.element(value)?;
        if let Ttl::New(millis) = ttl {
            self.steps.u64(millis);
        }
        Ok(())
    }

    pub(crate) fn expire<K: Key>(&mut self, key: &K, millis: u64) -> Result<(), EncodeError> {
        self.steps.u8(STEP_EXPIRE);
        self.steps.element(key)?;
        self.steps.u64(millis);
        Ok(())
    }

    pub(crate) fn remove<K: Key>(&mut self, key: &K) -> Result<(), EncodeError> {
        self.steps.u8(STEP_REMOVE);
        self.steps.element(key)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut op = Writer::new(BATCH);
        op.u64(self.count);
        op.raw(self.conditions.as_bytes());
        op.raw(self.steps.as_bytes());
        op.finish()
    }
}
