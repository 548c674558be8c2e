//! The kinds of collections, as a run uses them: one file each, with the mutations and what the
//! standard library makes of them.

mod cell;
mod keyed;
mod map;
mod once;
mod ordered_map;
mod queue;
mod set;
mod vec;

use std::{fmt, time::Duration};

use futures::future::BoxFuture;
use mosaik::{
    Network,
    collections::{BatchOutcome, CollectionConfig, Error, Outcome, Status, Version, Watch, When},
};
use rand::rngs::SmallRng;
use tokio::time::Instant;

pub(super) use self::{
    cell::CellKind, map::MapKind, once::OnceKind, ordered_map::OrderedMapKind, queue::QueueKind,
    set::SetKind, vec::VecKind,
};
use super::content::{Content, Delta, Entry, Part};

/// The name under which the collection of a run is found.
const STORE: &str = "watched";

/// A kind of collection.
pub(super) trait Kind: Send + Sync + 'static {
    type Writer: Send + Sync + 'static;
    type Reader: Send + Sync + 'static;
    type Snapshot: Send + Sync + 'static;
    type Change: Send + Sync + 'static;

    fn writer(node: &Network, config: CollectionConfig) -> Self::Writer;
    fn reader(node: &Network, config: CollectionConfig) -> Self::Reader;
    fn when(reader: &Self::Reader) -> &When;
    fn status(reader: &Self::Reader) -> Status;

    /// Snapshots of the writer and the reader of a node.
    fn snapshots(writer: Option<&Self::Writer>, reader: &Self::Reader) -> Vec<Self::Snapshot>;
    fn version(snapshot: &Self::Snapshot) -> Version;
    fn content(snapshot: &Self::Snapshot) -> Content;
    fn delta(change: &Self::Change) -> Delta;

    fn watch(reader: &Self::Reader) -> Watch<Self::Snapshot, Self::Change>;
    fn watch_from(reader: &Self::Reader, from: Version) -> Watch<Self::Snapshot, Self::Change>;

    /// A watch of a part, if the kind has such.
    fn watch_part(
        _reader: &Self::Reader,
        _part: Part,
    ) -> Option<Watch<Self::Snapshot, Self::Change>> {
        None
    }

    /// Returns whether an entry is to expire.
    fn expires(_reader: &Self::Reader) -> bool {
        false
    }

    /// The content of a new collection.
    fn empty() -> Content {
        Content::Entries(std::collections::BTreeMap::new())
    }

    /// A mutation as it is drawn. Its marks begin with this one, and are fewer than [`MARKS`].
    fn mutate(writer: &Self::Writer, random: &mut SmallRng, mark: u32) -> Mutation;

    /// A mutation that is as large as one may be.
    fn heavy(writer: &Self::Writer, mark: u32) -> Mutation;

    /// A mutation after which the content is small again.
    fn lighten(writer: &Self::Writer) -> Mutation;
}

/// Marks that one mutation may write.
pub(super) const MARKS: u32 = 32;

/// A mutation that was submitted.
pub(super) struct Mutation {
    pub(super) writing: BoxFuture<'static, Result<(Version, Answer), Failure>>,
    pub(super) effect: Effect,
}

/// Answer to a mutation's caller, beside the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Was(bool),
    Previous(Option<Entry>),
    Exchanged(bool, Option<Entry>),
    /// None when it was not carried out.
    Batch(Option<Vec<Option<Entry>>>),
    Popped(Option<(u8, u8, u32)>),
    Elements(Vec<u32>),
    Removed(u64),
}

/// Failures of a mutation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It has not taken effect, and never will.
    Never,
    Unknown,
}

impl<T> From<Error<T>> for Failure {
    fn from(error: Error<T>) -> Self {
        match error {
            Error::Offline(_) | Error::Full(_) | Error::Encoding(..) => Self::Never,
            _ => Self::Unknown,
        }
    }
}

/// Intended effect of a mutation.
pub(super) struct Effect {
    text: String,
    model: Box<dyn Fn(&mut Content) -> Answer + Send + Sync>,
    /// The marks that it alone writes.
    pub(super) marks: Vec<u32>,
    /// The time to live that each of these keys has afterwards.
    pub(super) timers: Vec<(u8, Option<Duration>)>,
    /// Times to live that it may have set, for that depends on the content.
    pub(super) possible_timers: Vec<(u8, Duration)>,
    pub(super) submitted: Instant,
}

impl Effect {
    /// Does to a content what the mutation is to do; returns what its caller is to be told.
    pub(super) fn carry_out(&self, content: &mut Content) -> Answer {
        (self.model)(content)
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Results that a mutation resolves to.
trait Resolved<A> {
    fn resolved(self, answer: impl FnOnce(A) -> Answer) -> (Version, Answer);
}

impl Resolved<()> for Version {
    fn resolved(self, answer: impl FnOnce(()) -> Answer) -> (Version, Answer) {
        (self, answer(()))
    }
}

impl<T> Resolved<T> for Outcome<T> {
    fn resolved(self, answer: impl FnOnce(T) -> Answer) -> (Version, Answer) {
        (self.version, answer(self.value))
    }
}

/// A batch that was committed, whether it took effect or not.
struct Committed<V>(BatchOutcome<V>);

impl<V> Resolved<Option<Vec<Option<V>>>> for Committed<V> {
    fn resolved(self, answer: impl FnOnce(Option<Vec<Option<V>>>) -> Answer) -> (Version, Answer) {
        let previous = self.0.applied.then_some(self.0.previous);
        (self.0.version, answer(previous))
    }
}

impl Mutation {
    /// A mutation, the answer in the form of all kinds, and what the standard library does.
    fn new<R, A, E>(
        text: String,
        writing: impl Future<Output = Result<R, Error<E>>> + Send + 'static,
        answer: impl FnOnce(A) -> Answer + Send + 'static,
        model: impl Fn(&mut Content) -> Answer + Send + Sync + 'static,
    ) -> Self
    where
        R: Resolved<A> + Send + 'static,
        A: 'static,
        E: Send + 'static,
    {
        Self {
            writing: Box::pin(async move { Ok(writing.await?.resolved(answer)) }),
            effect: Effect {
                text,
                model: Box::new(model),
                marks: Vec::new(),
                timers: Vec::new(),
                possible_timers: Vec::new(),
                submitted: Instant::now(),
            },
        }
    }

    /// One that tells its version only.
    fn silent<E: Send + 'static>(
        text: String,
        writing: impl Future<Output = Result<Version, Error<E>>> + Send + 'static,
        model: impl Fn(&mut Content) + Send + Sync + 'static,
    ) -> Self {
        let nothing = |()| Answer::Nothing;
        Self::new(text, writing, nothing, move |content| {
            model(content);
            Answer::Nothing
        })
    }

    fn marked(mut self, marks: impl IntoIterator<Item = u32>) -> Self {
        self.effect.marks.extend(marks);
        self
    }

    fn timed(mut self, timers: impl IntoIterator<Item = (u8, Option<Duration>)>) -> Self {
        self.effect.timers.extend(timers);
        self
    }

    fn perhaps_timed(mut self, key: u8, ttl: Duration) -> Self {
        self.effect.possible_timers.push((key, ttl));
        self
    }
}

/// The entries of a content of a kind that has such.
fn entries(content: &mut Content) -> &mut std::collections::BTreeMap<u8, Entry> {
    match content {
        Content::Entries(entries) => entries,
        Content::Elements(_) => unreachable!("this kind has entries"),
    }
}

/// The elements of a content of a kind that has such.
fn elements(content: &mut Content) -> &mut Vec<u32> {
    match content {
        Content::Elements(elements) => elements,
        Content::Entries(_) => unreachable!("this kind has elements"),
    }
}

/// The methods that are the same on all types of handles.
macro_rules! handles {
    ($writer:ty, $reader:ty, $snapshot:ty, $change:ty) => {
        type Writer = $writer;
        type Reader = $reader;
        type Snapshot = $snapshot;
        type Change = $change;

        fn writer(
            node: &::mosaik::Network,
            config: ::mosaik::collections::CollectionConfig,
        ) -> $writer {
            <$writer>::writer_with_config(node, super::STORE, config)
        }

        fn reader(
            node: &::mosaik::Network,
            config: ::mosaik::collections::CollectionConfig,
        ) -> $reader {
            <$reader>::reader_with_config(node, super::STORE, config)
        }

        fn when(reader: &$reader) -> &::mosaik::collections::When {
            reader.when()
        }

        fn status(reader: &$reader) -> ::mosaik::collections::Status {
            reader.status()
        }

        fn snapshots(writer: Option<&$writer>, reader: &$reader) -> Vec<$snapshot> {
            let written = writer.map(|writer| writer.snapshot());
            written.into_iter().chain([reader.snapshot()]).collect()
        }

        fn version(snapshot: &$snapshot) -> ::mosaik::collections::Version {
            snapshot.version()
        }

        fn watch(reader: &$reader) -> ::mosaik::collections::Watch<$snapshot, $change> {
            reader.watch()
        }

        fn watch_from(
            reader: &$reader,
            from: ::mosaik::collections::Version,
        ) -> ::mosaik::collections::Watch<$snapshot, $change> {
            reader.watch_from(from)
        }
    };
}
use handles;
