//! Functions declared with the macro.

use std::time::Duration;

use mosaik::{
    CallerOf, Digest, FunctionCaller, FunctionHandler, HandlerOf, UniqueId,
    functions::{CallError, Caller},
    id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

use super::common::{pair, until_candidates};
use crate::support::within;

#[derive(Clone, Copy)]
struct Nobody;

impl TicketValidator for Nobody {
    fn class(&self) -> TicketClass {
        id!("test.nobody")
    }

    fn signature(&self) -> UniqueId {
        id!("test.nobody.validator")
    }

    fn validate(&self, _: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        Err(InvalidTicket)
    }
}

mosaik::function!(
    /// Divides, unless asked to divide by zero.
    pub(crate) Divide = (i64, i64) -> Result<i64, String>, "test/divide",
    timeout: Duration::from_secs(7),
    idempotent: true,
    max_concurrent: 3,
);

mosaik::function!(Unnamed = u16 -> u16);
mosaik::function!(caller OnlyCaller = u16 -> u16, id!("test/only"), timeout: Duration::from_secs(1));
mosaik::function!(handler OnlyHandler = u16 -> u16, "test/only", max_concurrent: 1);
mosaik::function!(
    Restricted = u16 -> u16, "test/restricted",
    caller require: |peer| peer.tags().contains(&"caller".into()),
    handler require: |peer| peer.tags().contains(&"handler".into()),
    online_when: |conditions| conditions.minimum_of(1).with_tags("handler"),
);
mosaik::function!(Gated = u16 -> u16, "test/gated", require_ticket: Nobody);
mosaik::function!(CallersGated = u16 -> u16, "test/gated", caller require_ticket: Nobody);
mosaik::function!(handler HandlersGated = u16 -> u16, "test/gated", handler require_ticket: Nobody);
mosaik::declare::function!(pub(crate) Echo<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static> = T -> Vec<T>);

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_function_is_served_and_called() {
    let (a, b) = pair().await;
    let handler: HandlerOf<Divide> = Divide::handler(&a, |(n, by), _| async move {
        n.checked_div(by)
            .ok_or_else(|| format!("{n} can't be divided by {by}"))
    })
    .unwrap();
    assert_eq!(handler.function_id(), id!("test/divide"));
    assert_eq!(handler.config().max_concurrent, 3);
    let caller: CallerOf<Divide> = within(5, Divide::online_caller(&b)).await;
    assert_eq!(caller.config().call_timeout, Duration::from_secs(7));
    assert!(caller.config().is_idempotent);
    assert_eq!(within(5, caller.call((12, 4))).await.unwrap(), 3);
    let error = within(5, caller.call((12, 0))).await.unwrap_err();
    assert!(matches!(error, CallError::Application(text) if text == "12 can't be divided by 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_declarations() {
    let (a, b) = pair().await;
    let types = [
        std::any::type_name::<Unnamed>(),
        std::any::type_name::<u16>(),
        std::any::type_name::<u16>(),
    ];
    assert_eq!(
        Unnamed::caller(&b).function_id(),
        Digest::from_parts(&types)
    );
    let handler = Unnamed::handler(&a, |n, _| async move { Ok(n) }).unwrap();
    assert_eq!(handler.function_id(), Digest::from_parts(&types));

    let handler = OnlyHandler::handler(&a, |n, _| async move { Ok(n + 1) }).unwrap();
    let caller = OnlyCaller::caller(&b);
    assert_eq!(handler.function_id(), caller.function_id());
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 2);

    let (base, validator) = (id!("test/gated"), Nobody.signature());
    let both = base.derive(validator).derive(validator);
    assert_eq!(Gated::caller(&b).function_id(), both);
    assert_eq!(
        Gated::handler(&a, |n, _| async move { Ok(n) })
            .unwrap()
            .function_id(),
        both
    );
    assert_eq!(
        CallersGated::caller(&b).function_id(),
        base.derive(validator)
    );
    let handler = HandlersGated::handler(&a, |n, _| async move { Ok(n) }).unwrap();
    assert_eq!(handler.function_id(), base.derive(validator));
    assert_eq!(handler.config().handler_auth.len(), 1);
    assert!(handler.config().caller_auth.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn requirements_of_a_declaration_are_checked_by_the_other_side() {
    let (a, b) = pair().await;
    let _handler = Restricted::handler(&a, |n, _| async move { Ok(n) }).unwrap();
    let caller = Restricted::caller(&b);
    b.discovery().add_tags("caller");
    let error = caller.call_with_timeout(1, Duration::from_millis(200));
    assert!(matches!(
        within(5, error).await,
        Err(CallError::Unavailable)
    ));
    a.discovery().add_tags("handler");
    until_candidates(&caller, 1).await;
    assert!(caller.when().is_online());
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    b.discovery().remove_tags("caller");
    super::common::eventually(5, || {
        let catalog = a.discovery().catalog();
        catalog
            .get(&b.local().id())
            .is_some_and(|entry| entry.tags().is_empty())
    })
    .await;
    let error = caller.call_with_timeout(1, Duration::from_millis(200));
    assert!(matches!(
        within(5, error).await,
        Err(CallError::Rejected(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generic_declaration() {
    let (a, b) = pair().await;
    let texts = Echo::<String>::handler(&a, |text, _| async move { Ok(vec![text]) }).unwrap();
    let numbers = Echo::<u8>::handler(&a, |n, _| async move { Ok(vec![n, n]) }).unwrap();
    assert_ne!(texts.function_id(), numbers.function_id());
    let caller: Caller<u8, Vec<u8>> = Echo::<u8>::caller(&b);
    assert_eq!(within(5, caller.call(4)).await.unwrap(), [4, 4]);
}

#[test]
fn declarations_inside_functions() {
    mosaik::function!(Local = u8 -> std::result::Result<u8, u16>, "test/local");
    fn err<F: FunctionHandler<Res = Result<u8, u16>, Err = ()>>() {}
    err::<Local>();
}
