//! Ingredients of a function's id.

use mosaik::{
    CallContext, Digest, FunctionId, UniqueId,
    functions::{Caller, FunctionDef},
    id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

use super::common::pair;
use crate::support::logged;

const HALF: FunctionDef<u32, u32, String> = FunctionDef::with_function_id(id!("def/half"));
const DERIVED: FunctionDef<u32, u32> = FunctionDef::new();

struct Named(&'static str);

impl TicketValidator for Named {
    fn class(&self) -> TicketClass {
        id!("class")
    }

    fn signature(&self) -> UniqueId {
        self.0.into()
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Err(InvalidTicket)
    }
}

fn names(names: &[&str]) -> FunctionId {
    Digest::from_parts(names)
}

/// Regression: two teams that both call a function from `String` to `u64` met each other, and nothing
/// said why.
#[tokio::test]
async fn an_id_from_types_that_others_use_is_a_warning() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Own;

    let (a, _) = pair().await;
    let functions = a.functions();
    let warns = |build: &dyn Fn()| logged(build).1.contains("types that others use");
    let caller = || drop::<Caller<String, u64>>(functions.caller().build());
    assert!(warns(&caller));
    let named = || drop::<Caller<String, u64>>(functions.caller().with_function_id("x").build());
    assert!(!warns(&named), "it has an id of its own");
    assert!(!warns(&|| drop::<Caller<Own, u64>>(
        functions.caller().build()
    )));
    let answer = |_: String, _: CallContext| async { Ok::<u64, ()>(0) };
    assert!(warns(&|| drop(functions.handler().serve(answer))));
    let named = || functions.handler().with_function_id("x");
    assert!(!warns(&|| drop(named().serve(answer))));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_follow_the_rules() {
    let (a, _) = pair().await;
    let functions = a.functions();
    let u32_name = std::any::type_name::<u32>();

    let derived = names(&[u32_name, u32_name]);
    let handler = functions
        .handler()
        .serve(|n: u32, _: CallContext| async move { Ok::<u32, ()>(n) });
    assert_eq!(handler.unwrap().function_id(), &derived);
    let caller: Caller<u32, u32> = functions.caller().build();
    assert_eq!(caller.function_id(), derived);
    let caller: Caller<u32, u32, String> = functions.caller().build();
    assert_eq!(
        caller.function_id(),
        derived,
        "the error type is no part of it"
    );

    let hex = "b5f8107ffc4da5efab7269490b6ade7ede05fa9bb15b8e7776c09f2a1f378caf";
    let caller: Caller<u32, u32> = functions.caller().with_function_id(hex).build();
    assert_eq!(caller.function_id(), id!("validator"));

    assert_eq!(
        functions.caller_of(HALF).build().function_id(),
        id!("def/half")
    );
    assert_eq!(functions.caller_of(DERIVED).build().function_id(), derived);
    let handler = functions
        .handler_of(HALF)
        .serve(|n, _| async move { Ok(n / 2) })
        .unwrap();
    assert_eq!(handler.function_id(), id!("def/half"));
    let renamed = functions.handler_of(HALF).with_function_id("other");
    let renamed = renamed.serve(|n, _| async move { Ok(n / 2) }).unwrap();
    assert_eq!(renamed.function_id(), id!("other"), "the explicit id wins");
    assert_eq!(renamed.config().function_id, Some(id!("other")));
}

#[tokio::test(flavor = "multi_thread")]
async fn validators_are_part_of_the_id() {
    let (a, b) = pair().await;
    let expected = id!("base")
        .derive(id!("c1"))
        .derive(id!("c2"))
        .derive(id!("h1"));
    let handler = a
        .functions()
        .handler()
        .with_function_id("base")
        .require_handler_ticket(Named("h1"))
        .require_ticket(Named("c1"))
        .require_caller_ticket(Named("c2"))
        .serve(|n: u8, _: CallContext| async move { Ok::<u8, ()>(n) })
        .unwrap();
    assert_eq!(handler.function_id(), expected);
    assert_eq!(handler.config().caller_auth.len(), 2);
    assert!(
        a.discovery()
            .catalog()
            .local()
            .functions()
            .contains(&expected)
    );
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id("base")
        .require_caller_ticket(Named("c1"))
        .require_ticket(Named("h1"))
        .require_caller_ticket(Named("c2"))
        .build();
    assert_eq!(caller.function_id(), expected);
    assert_eq!(caller.config().function_id, expected);
}
