//! Bounds on the elements of collections.

use core::hash::Hash;

use crate::primitives::Datum;

/// A value that a collection may hold; every datum that can be cloned and shared is one.
///
/// Values are compared by the encoding that was replicated, so a value that is expected must encode
/// as it did then: one that holds a `HashMap` or a `HashSet` rarely does, as their order differs
/// between processes, and `compare_exchange` finds it different, on every member alike. Such content
/// is also given to newcomers by the leader alone, as the members' copies of it encode differently.
pub trait Value: Clone + Datum + Sync {}
impl<T: Clone + Datum + Sync> Value for T {}

/// A key of a collection: a [`Value`] with a hash and equality.
///
/// The order of a `Map` and of a `Set` follows from the hashes. It is the same on all members, with one
/// exception: keys that contain slices or lists of integers wider than a byte are in another order on
/// a big-endian platform, and those with lists of `usize` or `isize` also where pointers have 32 bits.
///
/// # Examples
///
/// ```
/// use mosaik::collections::{Key, OrderedKey, Value};
///
/// #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
/// struct Symbol(String);
///
/// fn element<K: OrderedKey, V: Value>() {}
/// element::<Symbol, f64>();
/// ```
pub trait Key: Clone + Datum + Hash + PartialEq + Eq + Sync {}
impl<T: Clone + Datum + Hash + PartialEq + Eq + Sync> Key for T {}

/// A key, or a priority, with a total order.
pub trait OrderedKey: Key + Ord {}
impl<T: Key + Ord> OrderedKey for T {}
