//! Tickets of callers, checked by handlers, and of handlers, checked by callers.

use mosaik::{
    CallContext, Ticket, UniqueId,
    functions::{CallError, Caller},
    id,
    tickets::{Expiration, InvalidTicket, PeerEntry, TicketClass, TicketValidator},
};

use super::common::{ms, pair, refusal, until_candidates};
use crate::support::within;

#[derive(Clone, Copy)]
struct Password(&'static str);

impl Password {
    fn ticket(self) -> Ticket {
        Ticket::new(self.class(), self.0.as_bytes().to_vec().into())
    }
}

impl TicketValidator for Password {
    fn class(&self) -> TicketClass {
        id!("test.password")
    }

    fn signature(&self) -> UniqueId {
        id!("test.password.validator").derive(self.0)
    }

    fn validate(&self, ticket: &[u8], _: &PeerEntry) -> Result<Expiration, InvalidTicket> {
        assert!(ticket != b"poison", "on purpose");
        let is_valid = ticket == self.0.as_bytes();
        is_valid.then_some(Expiration::Never).ok_or(InvalidTicket)
    }

    fn is_pure(&self) -> bool {
        true
    }
}

const PASS: Password = Password("sesame");

#[tokio::test(flavor = "multi_thread")]
async fn callers_need_a_ticket() {
    let (a, b) = pair().await;
    let handler = a
        .functions()
        .handler()
        .with_function_id("gated")
        .require_caller_ticket(PASS)
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id("gated")
        .require_caller_ticket(PASS)
        .build();
    until_candidates(&caller, 1).await;
    let refused = within(5, caller.call_with_timeout(1, ms(200))).await;
    assert_eq!(refusal(refused), (11_403, "NotAllowed".into()));
    assert_eq!(handler.stats().failed(), 0);

    b.discovery()
        .add_ticket(Ticket::new(id!("test.password"), "poison".into()));
    let refused = within(5, caller.call_with_timeout(1, ms(200))).await;
    assert_eq!(
        refusal(refused).0,
        11_403,
        "a validator that panics refuses"
    );

    b.discovery().replace_ticket(PASS.ticket());
    assert_eq!(
        within(5, caller.call_with_timeout(1, ms(3_000)))
            .await
            .unwrap(),
        1
    );

    b.discovery().remove_tickets_of(id!("test.password"));
    super::common::eventually(5, || {
        let catalog = a.discovery().catalog();
        catalog
            .get(&b.local().id())
            .is_some_and(|entry| entry.tickets().is_empty())
    })
    .await;
    let refused = within(5, caller.call_with_timeout(1, ms(200))).await;
    assert_eq!(
        refusal(refused).0,
        11_403,
        "at once, not when the verdict is forgotten"
    );

    // Who doesn't declare the ticket looks for another function.
    let other: Caller<u8, u8> = b.functions().caller().with_function_id("gated").build();
    let error = within(5, other.call_with_timeout(1, ms(100)))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Unavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_need_a_ticket() {
    let (a, b) = pair().await;
    let _handler = a
        .functions()
        .handler()
        .with_function_id("trusted")
        .require_handler_ticket(PASS)
        .serve(|n: u8, _: CallContext| async move { Ok::<_, ()>(n) })
        .unwrap();
    let caller: Caller<u8, u8> = b
        .functions()
        .caller()
        .with_function_id("trusted")
        .require_ticket(PASS)
        .build();
    let error = within(5, caller.call_with_timeout(1, ms(300)))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Unavailable), "{error:?}");
    a.discovery().add_ticket(PASS.ticket());
    until_candidates(&caller, 1).await;
    assert_eq!(within(5, caller.call(1)).await.unwrap(), 1);
    a.discovery().remove_tickets_of(id!("test.password"));
    until_candidates(&caller, 0).await;
}
