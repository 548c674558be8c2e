use proc_macro2::TokenStream;
use quote::quote;

use super::expand;

/// The expansion, checked to be items.
fn items(input: TokenStream) -> String {
    let output = expand(input);
    let file: syn::File = syn::parse2(output.clone()).expect("the expansion is a list of items");
    assert!(
        !file
            .items
            .iter()
            .any(|item| matches!(item, syn::Item::Macro(_))),
        "{output}"
    );
    output.to_string()
}

fn error(input: TokenStream) -> String {
    syn::parse::Parser::parse2(super::parse, input)
        .err()
        .expect("a compile error")
        .to_string()
}

/// Tokens behind the opening of the builder, up to its last call.
fn setters(expansion: &str, side: &str) -> String {
    let start = expansion
        .find(&format!("Functions :: {side} ::"))
        .expect("the side is declared");
    let rest = &expansion[start..];
    let open = "(network . functions () ,)";
    let start = rest.find(open).expect("the builder is opened") + open.len();
    let end = rest.find(". with_label").expect("the builder is named");
    rest[start..end].trim().to_owned()
}

fn calls(tokens: &TokenStream) -> String {
    tokens.to_string()
}

#[test]
fn default_form_declares_both_sides() {
    let id = quote! {
        m::primitives::Digest::from_parts(&[
            ::core::any::type_name::<Self>(),
            ::core::any::type_name::<Order>(),
            ::core::any::type_name::<Quote>(),
        ])
    };
    let expected = quote! {
        #[allow(non_camel_case_types, reason = "a declared name may be spelled freely")]
        pub(crate) struct Price;

        impl m::functions::FunctionHandler for Price {
            type Req = Order;
            type Res = Quote;
            type Err = ();
            type Handler = m::functions::Handler<Order, Quote, ()>;

            fn handler<__Serve, __Reply>(
                network: &m::network::Network,
                serve: __Serve,
            ) -> ::core::result::Result<Self::Handler, m::functions::handler::BuilderError,>
            where
                __Serve: ::core::ops::Fn(Self::Req, m::functions::CallContext,) -> __Reply
                    + ::core::marker::Send
                    + ::core::marker::Sync
                    + 'static,
                __Reply: ::core::future::Future<
                        Output = ::core::result::Result<Self::Res, Self::Err>,
                    > + ::core::marker::Send
                    + 'static,
            {
                m::functions::Functions::handler::<Order, Quote, ()>(network.functions(),)
                    .with_function_id(#id)
                    .with_label("Price")
                    .serve(serve)
            }
        }

        impl m::functions::FunctionCaller for Price {
            type Caller = m::functions::Caller<Order, Quote, ()>;

            fn caller(network: &m::network::Network) -> Self::Caller {
                m::functions::Functions::caller::<Order, Quote, ()>(network.functions(),)
                    .with_function_id(#id)
                    .with_label("Price")
                    .build()
            }

            fn online_caller(
                network: &m::network::Network,
            ) -> impl ::core::future::Future<Output = Self::Caller>
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static {
                let opened = <Self as m::functions::FunctionCaller>::caller(network);
                async move {
                    opened.when().online().await;
                    opened
                }
            }
        }
    };
    assert_eq!(
        items(quote!([m] pub(crate) Price = Order -> Quote)),
        expected.to_string()
    );
}

#[test]
fn a_side_word_selects_one_side() {
    let handler = items(quote!([m] handler Price = Order -> Quote));
    assert!(handler.contains("FunctionHandler") && !handler.contains("FunctionCaller"));
    let caller = items(quote!([m] caller Price = Order -> Quote));
    assert!(caller.contains("FunctionCaller") && !caller.contains("FunctionHandler"));
    assert_eq!(
        error(quote!([m] producer Price = Order -> Quote)),
        "expected `handler` or `caller`"
    );
}

#[test]
fn only_a_plain_result_of_two_types_declares_an_error() {
    let typed = items(quote!([m] Price = Order -> Result<Quote, Refusal>));
    assert!(
        typed.contains("type Res = Quote ; type Err = Refusal ;"),
        "{typed}"
    );
    for response in [
        quote!(Result<Quote>),
        quote!(my::Result<Quote>),
        quote!(core::result::Result<Quote, Refusal>),
        quote!(::Result<Quote, Refusal>),
        quote!([Result<Quote, Refusal>; 1]),
        quote!((Quote, Refusal)),
    ] {
        let expansion = items(quote!([m] Price = Order -> #response));
        let expected = quote!(type Res = #response; type Err = (););
        assert!(expansion.contains(&expected.to_string()), "{expansion}");
    }
}

#[test]
fn requests_may_be_any_type() {
    let expansion = items(quote!([m] Add = (u32, u32) -> u32, "add"));
    assert!(
        expansion.contains("type Req = (u32 , u32) ;"),
        "{expansion}"
    );
}

#[test]
fn generics_name_the_whole_type() {
    let expansion = items(quote!([m] Echo<T: m::Datum> = T -> T));
    assert!(
        expansion.contains("struct Echo < T : m :: Datum > (:: core :: marker"),
        "{expansion}"
    );
    assert!(
        expansion.contains("FunctionHandler for Echo < T >"),
        "{expansion}"
    );
}

#[test]
fn ids_as_for_streams() {
    let digest = *blake3::hash(b"price").as_bytes();
    let expansion = items(quote!([m] Price = Order -> Quote, "price"));
    let expected = quote!(.with_function_id(m::primitives::Digest::from_bytes([#(#digest),*])));
    assert_eq!(setters(&expansion, "handler"), calls(&expected));
    assert_eq!(setters(&expansion, "caller"), calls(&expected));
    let expansion = items(quote!([m] Price = Order -> Quote, caller::PRICE, timeout: LONG));
    let expected = quote!(.with_function_id(caller::PRICE).with_call_timeout(LONG));
    assert_eq!(setters(&expansion, "caller"), calls(&expected));
}

#[test]
fn settings_go_to_the_builder_that_has_them() {
    let expansion = items(quote! {
        [m] Price = Order -> Quote, ID,
        require: anyone,
        handler require: good_handler,
        caller require: |peer| peer.tags().contains(&"desk".into()),
        timeout: Duration::from_secs(1),
        caller online_when: |c| c.minimum_of(2),
        idempotent: true,
        max_concurrent: 16,
    });
    let expected = quote! {
        .with_function_id(ID)
        .require(anyone)
        .require(|peer| peer.tags().contains(&"desk".into()))
        .with_max_concurrent(16)
    };
    assert_eq!(setters(&expansion, "handler"), calls(&expected));
    let expected = quote! {
        .with_function_id(ID)
        .require(anyone)
        .require(good_handler)
        .with_call_timeout(Duration::from_secs(1))
        .online_when(|c| c.minimum_of(2))
        .with_idempotent(true)
    };
    assert_eq!(setters(&expansion, "caller"), calls(&expected));
}

#[test]
fn tickets_shape_both_builders_alike() {
    let settings = quote! {
        caller require_ticket: a, handler require_ticket: b, require_ticket: c
    };
    let expected = calls(&quote! {
        .with_function_id(ID)
        .require_caller_ticket(a)
        .require_handler_ticket(b)
        .require_caller_ticket(c)
        .require_handler_ticket(c)
    });
    let both = items(quote!([m] Price = Order -> Quote, ID, #settings));
    assert_eq!(setters(&both, "handler"), expected);
    assert_eq!(setters(&both, "caller"), expected);
    let handler = items(quote!([m] handler Price = Order -> Quote, ID, #settings));
    assert_eq!(setters(&handler, "handler"), expected);
    let caller = items(quote!([m] caller Price = Order -> Quote, ID, #settings));
    assert_eq!(setters(&caller, "caller"), expected);
}

#[test]
fn a_schema_is_that_of_its_side() {
    let settings = quote!(schema: S, caller schema: T, stall_limit: L, hedging: H);
    let both = items(quote!([m] Price = Order -> Quote, ID, #settings));
    let handler = quote!(.with_function_id(ID).with_schema(S).with_stall_limit(L));
    assert_eq!(setters(&both, "handler"), calls(&handler));
    let caller = quote!(.with_function_id(ID).with_schema(S).with_schema(T).with_hedging(H));
    assert_eq!(setters(&both, "caller"), calls(&caller));
}

#[test]
fn entries_for_a_side_that_is_not_declared_are_ignored() {
    let settings = quote!(timeout: T, idempotent: true, max_concurrent: 1, handler require: h);
    let handler = items(quote!([m] handler Price = Order -> Quote, ID, #settings));
    let expected = quote!(.with_function_id(ID).with_max_concurrent(1));
    assert_eq!(setters(&handler, "handler"), calls(&expected));
}

#[test]
fn wrong_keys_are_reported_by_name() {
    for (entry, text) in [
        ("nope: 1", "unknown function config key `nope`"),
        ("caller nope: 1", "unknown function config key `nope`"),
        (
            "buffer_size: 1",
            "unknown function config key `buffer_size`",
        ),
        (
            "handler timeout: 1",
            "`timeout` is a caller-side config key",
        ),
        (
            "handler online_when: 1",
            "`online_when` is a caller-side config key",
        ),
        (
            "handler idempotent: 1",
            "`idempotent` is a caller-side config key",
        ),
        (
            "caller max_concurrent: 1",
            "`max_concurrent` is a handler-side config key",
        ),
    ] {
        let input = format!("[m] Price = Order -> Quote, ID, {entry}");
        assert_eq!(error(input.parse().expect("tokens")), text);
    }
}

#[test]
fn a_missing_arrow_is_an_error() {
    assert_eq!(error(quote!([m] Price = Order, Quote)), "expected `->`");
}
