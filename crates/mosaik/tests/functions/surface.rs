//! Programs are written against these names and bounds.

use std::{collections::HashSet, sync::Arc, time::Duration};

use mosaik::{
    CallContext, Datum, Digest, Function, FunctionId, Network, SecretKey, UniqueId,
    functions::{
        self, CallError, Caller, Config, ConfigBuilder, FunctionDef, Functions, Handler, caller,
        handler,
        status::{CandidateInfo, CandidatesMap, HandlerConditions, When},
    },
    id,
    tickets::PeerEntry,
};

use crate::surface::{shared, spawnable};

struct NotSync(std::cell::Cell<u8>);

impl Datum for NotSync {
    type EncodeError = std::convert::Infallible;
    type DecodeError = std::convert::Infallible;

    fn encode(&self) -> Result<mosaik::Bytes, Self::EncodeError> {
        Ok(vec![self.0.get()].into())
    }

    fn decode(bytes: &[u8]) -> Result<Self, Self::DecodeError> {
        Ok(Self(std::cell::Cell::new(bytes[0])))
    }
}

#[test]
fn names_and_bounds() {
    fn debug<T: std::fmt::Debug>() {}
    fn unpin<T: Unpin + Future<Output = ()> + Clone + std::fmt::Debug>() {}
    fn error<T: std::error::Error>() {}
    shared::<Functions>();
    shared::<Handler<NotSync, NotSync, NotSync>>();
    shared::<Caller<NotSync, NotSync, NotSync>>();
    shared::<FunctionDef<NotSync, NotSync, NotSync>>();
    shared::<When>();
    shared::<HandlerConditions>();
    shared::<CandidateInfo>();
    shared::<CandidatesMap>();
    shared::<CallContext>();
    shared::<functions::Config>();
    shared::<caller::Config>();
    shared::<handler::HandlerConfig>();
    shared::<handler::Stats>();
    debug::<Handler<u8, u8>>();
    debug::<Caller<u8, u8>>();
    debug::<CandidateInfo>();
    debug::<ConfigBuilder>();
    unpin::<HandlerConditions>();
    error::<CallError<()>>();
    error::<caller::CallError<CallContext>>();
    error::<functions::ConfigBuilderError>();
    error::<handler::BuilderError>();
    let _: fn(UniqueId) -> FunctionId = |id| id;
    let stats = handler::Stats::default();
    assert_eq!(
        (stats.served(), stats.failed(), stats.inflight()),
        (0, 0, 0)
    );
    let exists = handler::BuilderError::AlreadyExists;
    assert_eq!(
        exists.to_string(),
        "A handler for this function id is already registered"
    );
    let built = Config::builder()
        .with_call_timeout(Duration::from_secs(1))
        .build();
    assert_eq!(built.unwrap().call_timeout, Duration::from_secs(1));
}

#[test]
fn definitions_are_values() {
    const A: FunctionDef<u8, NotSync> = FunctionDef::with_function_id(id!("a"));
    const B: FunctionDef<u8, NotSync> = FunctionDef::new();
    assert_eq!(B.function_id, None);
    let copies = HashSet::from([A, A, B, FunctionDef::default()]);
    assert_eq!(copies.len(), 2);
    assert!(format!("{A:?}").contains("function_id"));
}

#[expect(dead_code, reason = "it is enough that it compiles")]
fn futures_can_be_spawned(network: Network, caller: Arc<Caller<NotSync, NotSync, NotSync>>) {
    let request = || NotSync(std::cell::Cell::new(1));
    drop(spawnable({
        let (caller, request) = (caller.clone(), request());
        async move { drop(caller.call(request).await) }
    }));
    drop(spawnable({
        let (caller, request) = (caller.clone(), request());
        async move { drop(caller.call_stream(request).await) }
    }));
    drop(spawnable({
        let (caller, request) = (caller.clone(), request());
        async move { drop(caller.call_with_timeout(request, Duration::ZERO).await) }
    }));
    drop(spawnable(caller.when().online()));
    drop(spawnable(caller.when().offline()));
    drop(spawnable(caller.when().available().minimum_of(2)));
    let functions: &Functions = network.as_ref();
    let builder = functions.handler().with_max_concurrent(4);
    drop(builder.serve(|_: NotSync, _| async move { Err::<NotSync, _>(1u8) }));
}

/// Written without `async`, as a program may.
struct Double;

impl Function for Double {
    type Req = u64;
    type Res = u64;
    type Err = ();

    fn call(&self, req: u64, _: CallContext) -> impl Future<Output = Result<u64, ()>> + Send {
        std::future::ready(Ok(req * 2))
    }

    fn signature() -> UniqueId {
        id!("test/double")
    }
}

#[tokio::test]
async fn functions_are_tested_without_a_network() {
    let entry = PeerEntry::new(Digest::zero(), SecretKey::generate().public());
    let context = CallContext::new(entry.clone());
    assert_eq!(context.caller(), &entry);
    assert_eq!(Double.call(4, context).await, Ok(8));
    assert_eq!(Double::signature(), id!("test/double"));
}
