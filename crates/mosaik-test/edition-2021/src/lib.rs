//! Declarations in a crate of an earlier edition, which names the library differently, has no
//! prelude, and uses the names of other crates for modules of its own. That they compile is the
//! test.

#![no_implicit_prelude]

mod core {}
mod std {}
mod mosaik {}
mod futures {}

use ::core::default::Default as _;
use ::middleware::{
    collections::{self, CollectionConfig, SyncConfig},
    tickets::{Hs256, Jwt},
    CollectionReader, CollectionWriter, FunctionCaller, FunctionHandler, Network, StreamConsumer,
    StreamProducer,
};

::middleware::stream!(
    /// With everything that has an expression.
    #[derive(Debug)]
    pub Prices = ::std::string::String, "edition-2021/prices",
    producer require: |peer| !peer.tags().contains(&::middleware::tag!("banned")),
    producer require_ticket: Jwt::with_key(KEY),
    consumer require: |peer| peer.rtt_below(::core::time::Duration::from_secs(1)),
    online_when: |c| c.minimum_of(1),
    max_consumers: 3,
    schema: "v1",
);
::middleware::declare::stream!(
    /// One side, by an id that is not a literal.
    pub producer Ticks<T: ::middleware::Datum> = T, ::middleware::id!("edition-2021/ticks")
);

::middleware::function!(
    /// With everything that has an expression.
    pub Divide = (i64, i64) -> ::core::result::Result<i64, ::std::string::String>,
    "edition-2021/divide",
    caller require: |peer| !peer.tags().contains(&::middleware::tag!("banned")),
    timeout: ::core::time::Duration::from_secs(2),
    max_concurrent: 4,
    idempotent: true,
);
::middleware::declare::function!(
    /// One side.
    pub handler Double = u8 -> u16
);

::middleware::collection!(
    /// With everything that has an expression.
    pub Accounts = collections::Map<::std::string::String, u64>, "edition-2021/accounts",
    require_ticket: Jwt::with_key(KEY),
    sync: SyncConfig::default().with_fetch_batch_size(9),
    config: CollectionConfig::default().with_min_writers(2),
);
::middleware::declare::collection!(
    /// One side.
    pub reader Jobs<T: collections::Value> = collections::Vec<T>, "edition-2021/jobs"
);

const KEY: Hs256 = Hs256::new([7; 32]);

/// Opens all of them.
pub fn open(network: &Network) {
    ::middleware::collection!(Local = collections::Cell<u8>, "edition-2021/local");

    let streams = (
        Prices::producer(network),
        Prices::consumer(network),
        Ticks::<u8>::producer(network),
    );
    let functions = (
        Divide::caller(network),
        Double::handler(network, |n, _| async move {
            ::core::result::Result::Ok(::core::convert::Into::into(n))
        }),
    );
    let collections = (
        Accounts::writer(network),
        Accounts::try_reader(network),
        Jobs::<u8>::reader(network),
        Jobs::<u8>::writer(network),
        Local::reader(network),
    );
    ::core::mem::drop((streams, functions, collections));
}

/// Sends the openings that wait for their side to a task.
pub fn spawnable(network: &Network) {
    fn task(_: impl ::core::future::Future + ::core::marker::Send + 'static) {}
    task(Prices::online_producer(network));
    task(Prices::online_consumer(network));
    task(Divide::online_caller(network));
    task(Accounts::online_reader(network));
    task(Accounts::online_writer(network));
    task(Jobs::<u8>::online_writer(network));
}
