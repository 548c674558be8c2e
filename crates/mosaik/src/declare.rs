//! Declarations: one line per stream or function that gives it a name, its types, its id and its
//! settings, shared by every program that takes part in it.
//!
//! A declaration generates a type of the given name, without values of its own; handles are
//! opened through the traits it implements, for example
//! [`StreamProducer`](crate::streams::StreamProducer) and
//! [`StreamConsumer`](crate::streams::StreamConsumer). All programs that use the same declaration
//! agree on id, types and requirements, which is what makes them find each other.

pub use crate::{collection, function, stream};

/// Declares a typed stream.
///
/// ```text
/// stream!( attribute* visibility? side? Name generics? = DatumType [, id] [, entry]* [,] )
/// side  := producer | consumer            only when another identifier follows; absent = both
/// id    := string literal | expression
/// entry := side? key : expression
/// ```
///
/// * `Name` becomes a unit struct; with type parameters, a struct with one private phantom field.
///   Attributes and doc comments are put on it.
/// * The struct implements [`StreamProducer`](crate::streams::StreamProducer) and
///   [`StreamConsumer`](crate::streams::StreamConsumer), or only the one that `side` names.
///   `Name::producer(&network)` returns the existing producer if the node has one already, and one
///   that has ended, with an error in the log, if the node's entry has no room for another stream.
/// * Without an id, the id is derived from the **datum type's** path, which changes when the type
///   moves: streams between separately built programs should have an explicit one. A string
///   literal is decoded if it is 64 hex digits and else hashed, at compile time; any other
///   expression goes to the builder's `with_stream_id`.
/// * Expressions are evaluated each time a handle is opened. Closures need no type annotations.
///
/// | Key | Sets | Without prefix goes to | With prefix goes to |
/// |---|---|---|---|
/// | `require` | predicate over the other end's peer | both sides | the opposite side: the prefix names who must satisfy it |
/// | `require_ticket` | validator of the other end's tickets | both sides | the opposite side, same reading |
/// | `online_when` | when the handle is online | both sides | that side |
/// | `max_consumers` | simultaneous subscriptions, default unlimited | producer | producer |
/// | `buffer_size` | datums kept per consumer, default 1024 | producer | producer |
/// | `buffer_bytes` | their bytes, default 16 MiB | producer | producer |
/// | `disconnect_lagging` | cut slow consumers, default `true` | producer | producer |
/// | `lag_policy` | what happens to slow consumers | producer | producer |
/// | `schema` | a tag that both ends must share | both sides | that side |
/// | `criteria` | selection of datums, default all | consumer | consumer |
/// | `backoff` | reconnection policy | consumer | consumer |
/// | `receive_buffer_bytes` | what may be received and not yet taken, default 64 MiB | consumer | consumer |
///
/// `require` and `require_ticket` accumulate; of the others the last wins. In a one-sided
/// declaration an unprefixed requirement applies to that side, and what concerns the other side
/// only is ignored. An unknown key, or a key on a side that doesn't have it, is a compile error.
///
/// # Examples
///
/// ```no_run
/// use mosaik::{Network, StreamConsumer, StreamProducer};
///
/// mosaik::stream!(
///     /// Orders from the traders' desks.
///     pub Orders = String, "example/orders",
///     consumer require: |peer| peer.tags().contains(&"matcher".into()),
///     buffer_size: 4096,
/// );
///
/// fn open(network: &Network) {
///     let orders = Orders::producer(network);
///     let received = Orders::consumer(network);
/// #   drop((orders, received));
/// }
/// ```
#[macro_export]
macro_rules! stream {
    ($($declaration:tt)*) => {
        $crate::__macros::stream_impl! { [$crate] $($declaration)* }
    };
}

/// Declares a remote function.
///
/// ```text
/// function!( attribute* visibility? side? Name generics? = Req -> Ret [, id] [, entry]* [,] )
/// side  := handler | caller               only when another identifier follows; absent = both
/// Ret   := Res | Result<Res, E>
/// id    := string literal | expression
/// entry := side? key : expression
/// ```
///
/// * `Ret` written as plain `Result` with two type arguments declares a typed application error.
///   Any other type, also a qualified one such as `std::result::Result<A, B>`, is the response
///   itself and the error is `()`.
/// * `Name` becomes a unit struct; with type parameters, a struct with one private phantom field.
///   Attributes and doc comments are put on it.
/// * The struct implements [`FunctionHandler`](crate::functions::FunctionHandler) and
///   [`FunctionCaller`](crate::functions::FunctionCaller), or only the one that `side` names.
/// * Without an id, the id is derived from the paths of `Name`, `Req` and `Res`, so two programs
///   share a function by sharing the crate that declares it. A string literal is decoded if it is
///   64 hex digits and else hashed, at compile time; any other expression goes to the builders'
///   `with_function_id`.
/// * Expressions are evaluated each time a handle is opened. Closures need no type annotations.
///
/// | Key | Side | Effect |
/// |---|---|---|
/// | `require` | the prefix names who must satisfy it; none: both | predicate checked by the opposite side |
/// | `require_ticket` | the prefix names who must present the ticket; none: both | validator checked by the opposite side; part of the function's id on both |
/// | `timeout` | caller | budget of one call, default 30 s |
/// | `online_when` | caller | when the caller is online |
/// | `idempotent` | caller | whether a call may run again after it may have started, default `false` |
/// | `hedging` | caller | after how long a second handler is asked too, default off; needs `idempotent` |
/// | `max_concurrent` | handler | calls running at once, default unlimited |
/// | `stall_limit` | handler | how long a caller may take nothing of a stream of replies, default 10 minutes |
/// | `schema` | the prefix names who has it; none: both | a tag that both ends must share |
///
/// `require` and `require_ticket` accumulate; of the others the last wins. Entries for a side that
/// isn't declared are ignored, except that `require_ticket` always shapes the id. An unknown key,
/// or a key on a side that doesn't have it, is a compile error.
///
/// # Examples
///
/// ```no_run
/// use mosaik::{FunctionCaller, FunctionHandler, Network};
///
/// mosaik::function!(
///     /// Divides, unless asked to divide by zero.
///     pub Divide = (i64, i64) -> Result<i64, String>, "example/divide",
///     timeout: std::time::Duration::from_secs(2),
///     idempotent: true,
/// );
///
/// async fn run(network: &Network) {
///     let handler = Divide::handler(network, |(a, b): (i64, i64), _context| async move {
///         a.checked_div(b).ok_or_else(|| format!("{a} can't be divided by {b}"))
///     });
///     let caller = Divide::online_caller(network).await;
///     let quotient = caller.call((12, 4)).await;
/// #   drop((handler, quotient));
/// }
/// ```
#[macro_export]
macro_rules! function {
    ($($declaration:tt)*) => {
        $crate::__macros::function_impl! { [$crate] $($declaration)* }
    };
}

/// Declares a replicated collection.
///
/// ```text
/// collection!( attribute* visibility? mode? Name generics? = Type, id [, entry]* [,] )
/// mode  := reader | writer                only when another identifier follows; absent = both
/// id    := string literal | expression
/// entry := key : expression
/// ```
///
/// * `Type` is any [`CollectionFromDef`](crate::collections::CollectionFromDef), as
///   `collections::Map<String, u64>`.
/// * `Name` becomes a unit struct; with type parameters, a struct with one private phantom field.
///   Attributes and doc comments are put on it.
/// * The struct implements [`CollectionReader`](crate::collections::CollectionReader) and
///   [`CollectionWriter`](crate::collections::CollectionWriter). With a mode it implements only
///   that one; the other side has the same functions for the declaring crate alone.
/// * A string literal is the id that [`unique_id!`](crate::unique_id) makes of it; any other
///   expression is a [`StoreId`](crate::collections::StoreId), evaluated at each opening.
///
/// | Key | Effect |
/// |---|---|
/// | `require_ticket` | admits only members with a ticket that satisfies this validator; accumulates, in order |
/// | `sync` | a [`SyncConfig`](crate::collections::SyncConfig) |
/// | `write_key` | a [`WriteKey`](crate::collections::WriteKey) without which nobody writes; both sides have it |
/// | `config` | a [`CollectionConfig`](crate::collections::CollectionConfig), which the other keys are added to; of several the last |
///
/// Whatever is declared with the same ingredients by a constructor or a
/// [`CollectionDef`](crate::collections::CollectionDef) is the same collection.
///
/// # Examples
///
/// ```no_run
/// use mosaik::{CollectionReader, CollectionWriter, Network, collections};
///
/// mosaik::collection!(
///     /// The last price of each symbol.
///     pub Prices = collections::Map<String, u64>, "example/prices"
/// );
///
/// async fn run(network: &Network) -> anyhow::Result<()> {
///     let prices = Prices::online_writer(network).await;
///     prices.insert("ETH".into(), 1822).await?;
///     Ok(())
/// }
///
/// fn watch(network: &Network) {
///     let prices = Prices::reader(network);
/// #   drop(prices);
/// }
/// ```
#[macro_export]
macro_rules! collection {
    ($($declaration:tt)*) => {
        $crate::__macros::collection_impl! { [$crate] $($declaration)* }
    };
}
