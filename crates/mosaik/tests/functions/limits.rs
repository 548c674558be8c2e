//! Limits on the size of messages.

use mosaik::{
    Bytes, CallContext, Network, discovery,
    functions::{CallError, Caller, Config},
    network,
};

use super::common::{introduce, ms, refusal, until_candidates};
use crate::support::{builder, random_network, within};

async fn small(id: mosaik::NetworkId, max: usize) -> Network {
    let functions = Config::builder().with_max_message_bytes(max);
    let builder = builder(id, discovery::Config::builder());
    builder.with_functions(functions).build().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_above_the_limit_are_refused() {
    let id = random_network();
    let (a, b) = (small(id, 100_000).await, small(id, 200_000).await);
    introduce(&a, &b).await;
    let handler = a
        .functions()
        .handler()
        .serve(
            |(bytes, times): (Bytes, usize), _: CallContext| async move {
                Ok::<Bytes, ()>(bytes.repeat(times).into())
            },
        )
        .unwrap();
    let caller: Caller<(Bytes, usize), Bytes> = b.functions().caller().build();
    until_candidates(&caller, 1).await;
    let request = |len: usize, times| (Bytes::from(vec![1; len]), times);

    let reply = within(5, caller.call(request(99_000, 1))).await.unwrap();
    assert_eq!(reply.len(), 99_000);
    let too_large_here = within(5, caller.call(request(200_001, 1))).await;
    assert!(
        matches!(too_large_here, Err(CallError::Encode(_))),
        "{too_large_here:?}"
    );
    let too_large_there = caller.call_with_timeout(request(100_001, 1), ms(300));
    assert_eq!(refusal(within(5, too_large_there).await).0, 400);
    assert_eq!(handler.stats().failed(), 0, "refused by its header");
    let reply_too_large = within(5, caller.call(request(50_000, 3))).await;
    assert_eq!(refusal(reply_too_large).0, 11_500);
    assert_eq!((handler.stats().served(), handler.stats().failed()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_is_an_error_of_the_network() {
    let functions = Config::builder().with_call_timeout(ms(0));
    let builder = builder(random_network(), discovery::Config::builder());
    let error = builder
        .with_functions(functions)
        .build()
        .await
        .err()
        .unwrap();
    assert!(matches!(error, network::Error::FunctionsConfig(_)));
    assert!(error.to_string().starts_with("Functions config error: "));
}
