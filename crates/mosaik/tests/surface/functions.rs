//! The page of functions, as programs write it.

use std::time::Duration;

use mosaik::{
    CallContext, CallerOf, Digest, Function, FunctionCaller, FunctionHandler, FunctionId,
    HandlerOf, Network, UniqueId,
    discovery::PeerEntry,
    functions::{
        CallError, Caller, Config, ConfigBuilder, ConfigBuilderError, FunctionDef, Handler,
        caller::{self, CallError as CallerCallError},
        handler::{self, BuilderError, HandlerConfig, Stats},
        status::{CandidateInfo, CandidatesMap, HandlerConditions, When},
    },
    id,
    iroh::endpoint::{ApplicationClose, VarInt},
};
use serde::{Deserialize, Serialize};

use super::{shared, spawnable};

#[derive(Debug, Serialize, Deserialize)]
struct Add(i64, i64);

#[derive(Debug, Serialize, Deserialize)]
struct Overflow;

/// A function with state, written with `async fn`.
struct Adder {
    offset: i64,
}

impl Function for Adder {
    type Req = Add;
    type Res = i64;
    type Err = Overflow;

    async fn call(&self, Add(a, b): Add, ctx: CallContext) -> Result<i64, Overflow> {
        let _: &PeerEntry = ctx.caller();
        let _: PeerEntry = ctx.into_caller();
        let sum = a
            .checked_add(b)
            .and_then(|sum| sum.checked_add(self.offset));
        sum.ok_or(Overflow)
    }
}

/// Implemented by hand, as the traits allow.
struct ByHand;

impl FunctionHandler for ByHand {
    type Req = Add;
    type Res = i64;
    type Err = Overflow;
    type Handler = Handler<Add, i64, Overflow>;

    fn handler<F, Fut>(network: &Network, serve: F) -> Result<Self::Handler, BuilderError>
    where
        F: Fn(Self::Req, CallContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Self::Res, Self::Err>> + Send + 'static,
    {
        network.functions().handler().serve(serve)
    }
}

impl FunctionCaller for ByHand {
    type Caller = Caller<Add, i64, Overflow>;

    fn caller(network: &Network) -> Self::Caller {
        network.functions().caller_for::<Adder>().build()
    }

    fn online_caller(
        network: &Network,
    ) -> impl Future<Output = Self::Caller> + Send + Sync + 'static {
        let caller = Self::caller(network);
        async move {
            caller.when().online().await;
            caller
        }
    }
}

mosaik::function!(
    /// With everything.
    pub(crate) Divide = (i64, i64) -> Result<i64, String>, "surface/divide",
    caller require: |peer| !peer.tags().contains(&"banned".into()),
    handler require: |peer| peer.rtt_below(Duration::from_secs(1)),
    timeout: Duration::from_secs(2),
    online_when: |c| c.minimum_of(1),
    max_concurrent: 4,
);
mosaik::function!(handler OnlyHandler = u8 -> u8, id!("surface/one-sided"));
mosaik::function!(caller OnlyCaller = u8 -> u8, "surface/one-sided");
mosaik::function!(Qualified = u8 -> core::result::Result<u8, u16>);
mosaik::function!(
    Generic<T: Serialize + serde::de::DeserializeOwned + Send + 'static> = Vec<T> -> u64
);

#[test]
fn names_and_bounds() {
    shared::<Adder>();
    shared::<When>();
    fn debug<T: std::fmt::Debug>() {}
    debug::<HandlerConditions>();
    debug::<CandidatesMap>();
    debug::<Handler<Add, i64, Overflow>>();
    let _: Option<(HandlerOf<Divide>, CallerOf<Divide>)> = None;
    let _: Option<(HandlerOf<OnlyHandler>, CallerOf<OnlyCaller>)> = None;
    let _: Option<(HandlerOf<Generic<u8>>, caller::Config, HandlerConfig)> = None;
    fn qualified<F: FunctionHandler<Res = Result<u8, u16>, Err = ()>>() {}
    qualified::<Qualified>();
    let names = [
        std::any::type_name::<Adder>(),
        std::any::type_name::<Add>(),
        std::any::type_name::<i64>(),
    ];
    assert_eq!(Adder::signature(), UniqueId::from_parts(&names));
    const DEF: FunctionDef<Add, i64, Overflow> = FunctionDef::with_function_id(id!("x"));
    assert_eq!(DEF.function_id, Some(id!("x")));
    let _: FunctionDef<Add, i64> = FunctionDef::new();
    let builder: ConfigBuilder = Config::builder().with_call_timeout(Duration::from_secs(1));
    let _ = Network::builder("x").with_functions(builder);
    // Exhaustive, as users match them.
    let _ = |error: ConfigBuilderError| match error {
        ConfigBuilderError::UninitializedField(field) => field.len(),
        ConfigBuilderError::ValidationError(text) => text.len(),
    };
    let _ = |error: BuilderError| match error {
        BuilderError::AlreadyExists => {}
        BuilderError::EntryFull {
            what: _,
            len: _,
            max: _,
        } => {}
    };
    let _ = |error: CallerCallError<Overflow>| match error {
        CallError::Application(Overflow) => 0,
        CallError::Timeout | CallError::Unavailable => 1,
        CallError::Rejected(reason) => is_not_allowed(&reason),
        CallError::Transport(error) | CallError::Encode(error) | CallError::Decode(error) => {
            error.to_string().len()
        }
    };
}

fn is_not_allowed(reason: &ApplicationClose) -> usize {
    usize::from(reason.error_code == VarInt::from(11_403u32) && &reason.reason[..] == b"NotAllowed")
}

#[expect(dead_code, reason = "checked by compiling")]
async fn everything(network: &Network) -> Result<(), Box<dyn std::error::Error>> {
    // All types follow from the closure.
    let handler = network
        .functions()
        .handler()
        .with_function_id("named")
        .require(|peer| peer.tags.contains(&"client".into()))
        .with_max_concurrent(3)
        .serve(|req: Add, _ctx| async move { Ok::<_, ()>(req.0 + req.1) })?;
    let id: &FunctionId = handler.function_id();
    assert_eq!(id, Digest::from("named"));
    let stats: &Stats = handler.stats();
    let _: (usize, usize, usize) = (stats.served(), stats.failed(), stats.inflight());
    let _ = network
        .functions()
        .handler()
        .serve(|_: u8, _ctx| async move { Err::<u16, _>(Overflow) })?;
    let adder = network
        .functions()
        .handler()
        .serve_fn(Adder { offset: 1 })?;
    let _: &Handler<Add, i64, Overflow> = &adder;
    let builder: handler::Builder<'_, Add, i64> = network.functions().handler();
    drop(builder);

    let caller: Caller<Add, i64, Overflow> = network
        .functions()
        .caller_of(FunctionDef::with_function_id(id!("named")))
        .require(|peer| peer.tags().contains(&"server".into()))
        .with_call_timeout(Duration::from_secs(5))
        .online_when(|c| c.minimum_of(2).with_tags("server").with_predicate(|_| true))
        .build();
    let _: caller::Builder<'_, u8, u8, ()> = network.functions().caller::<u8, u8, ()>();
    spawnable(caller.when().online()).await;
    let mut available = caller.when().available().minimum_of(2);
    (&mut available).await;
    assert!(available.is_condition_met() && caller.when().unavailable() == false);
    let sum: i64 = caller.call(Add(1, 2)).await?;
    let again = caller.call_with_timeout(Add(1, 2), Duration::from_secs(1));
    assert_eq!(again.await?, sum);
    for candidate in caller.candidates() {
        let candidate: CandidateInfo = candidate;
        let _: (&PeerEntry, Option<Duration>) = (candidate.entry(), candidate.rtt());
    }
    let quotients = Divide::online_caller(network).await;
    let _: i64 = quotients.call((4, 2)).await?;
    let _ = Divide::handler(network, |(a, b), _ctx| async move {
        a.checked_div(b).ok_or_else(|| "by zero".to_owned())
    })?;
    Ok(())
}
