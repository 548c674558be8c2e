//! `Cell`, one replaceable value, and `Once`, whose first value is final.

use core::{fmt, marker::PhantomData};
use std::sync::Arc;

use super::super::{
    CollectionConfig, Error, OpenError, Status, StoreId, Value, Version, Watch, When,
    engine::{
        Applied, Element, Everything, Handle, ITEM, Kind, Live, Opening, Outcome, Place, Print,
        Reader, Writer,
    },
};
use super::Exchange;
use crate::{
    groups::{GroupId, Groups},
    primitives::{Bytes, encoding::EncodeError},
};

/// A replicated place for one value.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::Cell;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let limit = Cell::<u32>::writer(&network, "limit");
/// limit.when().online().await;
/// limit.set(5).await?;
/// assert_eq!(limit.get(), Some(5));
/// # Ok(())
/// # }
/// ```
pub struct Cell<T: Value, const IS_WRITER: bool = true>(Handle<CellKind<T>>);

/// A [`Cell`] that can be changed.
pub type CellWriter<T> = Cell<T, true>;
/// A [`Cell`] that can only be read.
pub type CellReader<T> = Cell<T, false>;

/// A replicated place whose first value is final, on whichever node it was written.
///
/// # Examples
///
/// ```no_run
/// use mosaik::collections::Once;
///
/// # async fn example(network: mosaik::Network) -> anyhow::Result<()> {
/// let genesis = Once::<String>::writer(&network, "genesis");
/// genesis.when().online().await;
/// genesis.set("first".into()).await?;
/// genesis.set("second".into()).await?;
/// assert_eq!(genesis.await_value().await, "first");
/// # Ok(())
/// # }
/// ```
pub struct Once<T: Value, const IS_WRITER: bool = true>(Handle<OnceKind<T>>);

/// A [`Once`] that can be written.
pub type OnceWriter<T> = Once<T, true>;
/// A [`Once`] that can only be read.
pub type OnceReader<T> = Once<T, false>;

pub(crate) type CellKind<T> = PlaceKind<false, T>;
pub(crate) type OnceKind<T> = PlaceKind<true, T>;

/// A kind of at most one value.
pub(crate) struct PlaceKind<const FINAL: bool, T>(PhantomData<fn() -> T>);

/// The content.
pub(crate) struct State<T>(Option<Content<T>>);

/// The value, the size of its encoding, and what it is compared by.
struct Content<T> {
    value: Arc<T>,
    size: u64,
    print: Print,
}

impl<T> Clone for Content<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            size: self.size,
            print: self.print,
        }
    }
}

impl<T> Clone for State<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> State<T> {
    fn value(&self) -> Option<&T> {
        self.0.as_ref().map(|content| &*content.value)
    }

    fn shared(&self) -> Option<Arc<T>> {
        self.0.as_ref().map(|content| content.value.clone())
    }

    fn size(&self) -> u64 {
        self.0.as_ref().map_or(0, |content| content.size)
    }
}

impl<T> From<(Element<T>, Print)> for Content<T> {
    fn from((element, print): (Element<T>, Print)) -> Self {
        Self {
            value: Arc::new(element.value),
            size: element.size,
            print,
        }
    }
}

/// A decoded operation: the value that is written, if the one before it is the expected one.
#[derive(Clone)]
pub(crate) struct Op<T> {
    #[expect(
        clippy::option_option,
        reason = "the outer one is whether any is expected"
    )]
    expected: Option<Option<Print>>,
    new: Option<(Element<T>, Print)>,
}

/// A change of a [`Cell`] or a [`Once`].
pub struct CellChange<T> {
    old: Option<Content<T>>,
    new: Option<Content<T>>,
}

/// A change of a [`Once`].
pub type OnceChange<T> = CellChange<T>;

impl<T> CellChange<T> {
    /// The value before the change.
    pub fn old(&self) -> Option<&T> {
        self.old.as_ref().map(|content| &*content.value)
    }

    /// The value after the change.
    #[expect(
        clippy::new_ret_no_self,
        reason = "the value after the change, as `old` is the one before"
    )]
    pub fn new(&self) -> Option<&T> {
        self.new.as_ref().map(|content| &*content.value)
    }
}

impl<T> Clone for CellChange<T> {
    fn clone(&self) -> Self {
        Self {
            old: self.old.clone(),
            new: self.new.clone(),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for CellChange<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellChange")
            .field("old", &self.old())
            .field("new", &self.new())
            .finish()
    }
}

/// Result of a write: whether it took place, and the value before it.
pub(crate) struct Written<T> {
    applied: bool,
    previous: Option<Arc<T>>,
}

const WRITE: u8 = 0;
const CLEAR: u8 = 1;
const COMPARE_EXCHANGE: u8 = 2;

fn write_op<T: Value>(value: &T) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(WRITE);
    op.element(value)?;
    Ok(op.finish())
}

fn exchange_op<T: Value>(current: Option<&T>, new: Option<&T>) -> Result<Bytes, EncodeError> {
    let mut op = Writer::new(COMPARE_EXCHANGE);
    op.option(current)?;
    op.option(new)?;
    Ok(op.finish())
}

impl<const FINAL: bool, T: Value> Kind for PlaceKind<FINAL, T> {
    const NAME: &'static str = if FINAL { "once" } else { "cell" };
    const SIZE: &'static str = if FINAL {
        "mosaik.collections.once.size"
    } else {
        "mosaik.collections.cell.size"
    };

    type Op = Op<T>;
    type State = State<T>;
    type Outcome = Written<T>;
    type Change = CellChange<T>;

    fn len(state: &State<T>) -> usize {
        usize::from(state.0.is_some())
    }

    fn parse(op: &mut Reader<'_>) -> Option<Op<T>> {
        let (expected, new) = match op.u8()? {
            WRITE => (None, Some(op.printed()?)),
            CLEAR => (None, None),
            COMPARE_EXCHANGE => {
                let expected = op.optional(Reader::print)?;
                (Some(expected), op.optional(Reader::printed)?)
            }
            _ => return None,
        };
        Some(Op { expected, new })
    }

    fn apply(state: &mut State<T>, op: Op<T>, at: &mut Place<CellChange<T>>) -> Applied<Self> {
        let former = state.0.clone();
        let matches = match op.expected {
            Some(expected) => former.as_ref().map(|former| former.print) == expected,
            None => true,
        };
        let applied = matches && !(FINAL && former.is_some());
        let new = op.new.map(Content::from);
        if applied && !(new.is_none() && former.is_none()) {
            let len = (Self::len(state), usize::from(new.is_some()));
            let bytes = (state.size(), new.as_ref().map_or(0, |new| new.size));
            if !at.limits.admit(len, bytes) {
                return Applied::Full;
            }
            let replaced = state.size();
            state.0.clone_from(&new);
            let old = former.clone();
            at.changes.push(CellChange { old, new }, replaced);
        }
        Applied::Done(Written {
            applied,
            previous: former.map(|former| former.value),
        })
    }

    fn undo(state: &mut State<T>, change: &CellChange<T>) {
        state.0.clone_from(&change.old);
    }

    fn items(state: &State<T>) -> Result<Vec<Bytes>, EncodeError> {
        let item = |content: &Content<T>| {
            let mut item = Writer::new(ITEM);
            item.element(&*content.value)?;
            item.raw(content.print.as_bytes());
            item.u64(content.size);
            Ok(item.finish())
        };
        state.0.iter().map(item).collect()
    }

    fn restore(state: &mut State<T>, item: &mut Reader<'_>) -> Option<()> {
        let content = Content {
            value: Arc::new(item.element()?.value),
            print: item.raw_print()?,
            size: item.u64()?,
        };
        state.0.replace(content).is_none().then_some(())
    }
}

super::handles!(Cell<T: Value>, [T], CellKind<T>);
super::handles!(Once<T: Value>, [T], OnceKind<T>);

macro_rules! reads {
    ($name:ident, $snapshot:ident, $kind:ident) => {
        impl<T: Value, const IS_WRITER: bool> $name<T, IS_WRITER> {
            /// The value, if there is one.
            pub fn read(&self) -> Option<T> {
                let value = self.0.read(State::shared)?;
                Some(T::clone(&value))
            }

            /// The same as [`read`](Self::read).
            pub fn get(&self) -> Option<T> {
                self.read()
            }

            /// Returns whether there is no value.
            pub fn is_empty(&self) -> bool {
                self.0.read(|state| state.0.is_none())
            }

            /// The same as [`is_empty`](Self::is_empty).
            pub fn is_none(&self) -> bool {
                self.is_empty()
            }

            /// Returns whether there is a value.
            pub fn is_some(&self) -> bool {
                !self.is_empty()
            }

            /// The present state, at no cost: it does not change any more.
            pub fn snapshot(&self) -> $snapshot<T> {
                $snapshot(self.0.snapshot())
            }

            /// Watches the value, from now on.
            pub fn watch(&self) -> Watch<$snapshot<T>, CellChange<T>> {
                self.0.watch(Everything, $snapshot)
            }

            /// Watches the value after a version; see
            /// [`Map::watch_from`](super::Map::watch_from).
            pub fn watch_from(&self, version: Version) -> Watch<$snapshot<T>, CellChange<T>> {
                self.0.watch_from(version, $snapshot)
            }
        }

        #[doc = concat!("The state of a [`", stringify!($name), "`] at one version.")]
        #[derive(Clone)]
        pub struct $snapshot<T: Value>(Live<$kind<T>>);

        impl<T: Value> $snapshot<T> {
            /// The version of this state.
            pub fn version(&self) -> Version {
                self.0.version
            }

            /// The value, if there is one.
            pub fn get(&self) -> Option<&T> {
                self.0.state.value()
            }

            /// The same as [`get`](Self::get).
            pub fn read(&self) -> Option<&T> {
                self.get()
            }

            /// Returns whether there is no value.
            pub fn is_empty(&self) -> bool {
                self.get().is_none()
            }

            /// The same as [`is_empty`](Self::is_empty).
            pub fn is_none(&self) -> bool {
                self.is_empty()
            }

            /// Returns whether there is a value.
            pub fn is_some(&self) -> bool {
                !self.is_empty()
            }
        }

        impl<T: Value> fmt::Debug for $snapshot<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                super::debug_snapshot::<$kind<T>>(stringify!($snapshot), &self.0, f)
            }
        }
    };
}

reads!(Cell, CellSnapshot, CellKind);
reads!(Once, OnceSnapshot, OnceKind);

impl<T: Value> Cell<T, true> {
    /// Replaces the value.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the value.
    pub fn write(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        self.0.submit(write_op(&value), value)
    }

    /// The same as [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn set(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        self.write(value)
    }

    /// Removes the value.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub fn clear(
        &self,
    ) -> impl Future<Output = Result<Version, Error<()>>> + Send + Sync + 'static + use<T> {
        self.0.submit(Ok(Writer::new(CLEAR).finish()), ())
    }

    /// Replaces the value if it is the expected one, where `None` stands for no value, on both
    /// sides. Values are compared by their encoding. The version tells nothing about whether it
    /// was: see [`compare_exchange_returning`](Self::compare_exchange_returning).
    ///
    /// # Errors
    ///
    /// See [`Error`]; with both arguments.
    pub fn compare_exchange(
        &self,
        current: Option<T>,
        new: Option<T>,
    ) -> impl Future<Output = Result<Version, Error<(Option<T>, Option<T>)>>>
    + Send
    + Sync
    + 'static
    + use<T> {
        let op = exchange_op(current.as_ref(), new.as_ref());
        self.0.submit(op, (current, new))
    }

    /// As [`compare_exchange`](Self::compare_exchange), and tells whether it took place.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with both arguments.
    pub fn compare_exchange_returning(
        &self,
        current: Option<T>,
        new: Option<T>,
    ) -> impl Future<Output = Result<Outcome<Exchange<T>>, Error<(Option<T>, Option<T>)>>>
    + Send
    + Sync
    + 'static
    + use<T> {
        let op = exchange_op(current.as_ref(), new.as_ref());
        self.0
            .submit_returning(op, (current, new), |written| Exchange {
                applied: written.applied,
                current: written.previous.map(|value| T::clone(&value)),
            })
    }
}

impl<T: Value> Once<T, true> {
    /// Stores the value if there is none yet; without effect otherwise.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the value.
    pub fn write(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        self.0.submit(write_op(&value), value)
    }

    /// The same as [`write`](Self::write).
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub fn set(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Version, Error<T>>> + Send + Sync + 'static + use<T> {
        self.write(value)
    }

    /// As [`write`](Self::write), and tells the value that was there before: `None` when this
    /// write has won.
    ///
    /// # Errors
    ///
    /// See [`Error`]; with the value.
    pub fn write_returning(
        &self,
        value: T,
    ) -> impl Future<Output = Result<Outcome<Option<T>>, Error<T>>> + Send + Sync + 'static + use<T>
    {
        self.0.submit_returning(write_op(&value), value, |written| {
            written.previous.map(|value| T::clone(&value))
        })
    }
}

impl<T: Value, const IS_WRITER: bool> Once<T, IS_WRITER> {
    /// Waits for the value; at once when it is known here.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn await_value(&self) -> T {
        let mut version = self.version();
        loop {
            if let Some(value) = self.get() {
                return value;
            }
            version = self.when().updated_since(version).await;
        }
    }
}

#[cfg(test)]
#[path = "cell_tests.rs"]
mod tests;
