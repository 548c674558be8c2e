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
    parse_error(input).to_string()
}

fn parse_error(input: TokenStream) -> syn::Error {
    syn::parse::Parser::parse2(super::parse, input)
        .err()
        .expect("a compile error")
}

/// Tokens behind the opening of the builder, up to `build`.
fn setters(expansion: &str, side: &str) -> String {
    let start = expansion
        .find(&format!("Streams :: {side} ::"))
        .expect("the side is declared");
    let rest = &expansion[start..];
    let open = "(network . streams ())";
    let start = rest.find(open).expect("the builder is opened") + open.len();
    let end = rest.find(". with_label").expect("the builder is named");
    rest[start..end].trim().to_owned()
}

fn calls(tokens: &TokenStream) -> String {
    tokens.to_string()
}

#[test]
fn default_form_declares_a_unit_struct_and_both_sides() {
    let expected = quote! {
        /// Orders of the day.
        #[derive(Debug)]
        #[allow(non_camel_case_types, reason = "a declared name may be spelled freely")]
        pub struct Orders;

        impl m::streams::StreamProducer for Orders {
            type Producer = m::streams::Producer<Order>;

            fn producer(network: &m::network::Network) -> Self::Producer {
                m::streams::Streams::producer::<Order>(network.streams())
                    .with_label("Orders")
                    .open()
            }

            fn online_producer(
                network: &m::network::Network,
            ) -> impl ::core::future::Future<Output = Self::Producer>
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static {
                let opened = <Self as m::streams::StreamProducer>::producer(network);
                async move {
                    opened.when().online().await;
                    opened
                }
            }
        }

        impl m::streams::StreamConsumer for Orders {
            type Consumer = m::streams::Consumer<Order>;

            fn consumer(network: &m::network::Network) -> Self::Consumer {
                m::streams::Streams::consumer::<Order>(network.streams())
                    .with_label("Orders")
                    .build()
            }

            fn online_consumer(
                network: &m::network::Network,
            ) -> impl ::core::future::Future<Output = Self::Consumer>
                + ::core::marker::Send
                + ::core::marker::Sync
                + 'static {
                let opened = <Self as m::streams::StreamConsumer>::consumer(network);
                async move {
                    opened.when().online().await;
                    opened
                }
            }
        }
    };
    let input = quote! {
        [m]
        /// Orders of the day.
        #[derive(Debug)]
        pub Orders = Order
    };
    assert_eq!(items(input), expected.to_string());
}

#[test]
fn a_side_word_selects_one_side() {
    let producer = items(quote!([m] pub(crate) producer Orders = Order));
    assert!(producer.contains("StreamProducer") && !producer.contains("StreamConsumer"));
    let consumer = items(quote!([m] consumer Orders = Order,));
    assert!(consumer.contains("StreamConsumer") && !consumer.contains("StreamProducer"));
}

#[test]
fn a_side_word_alone_is_a_name() {
    let expansion = items(quote!([m] producer = Order));
    assert!(expansion.contains("struct producer ;"));
    assert!(expansion.contains("StreamProducer") && expansion.contains("StreamConsumer"));
    assert!(items(quote!([m] consumer producer = Order)).contains("struct producer ;"));
}

#[test]
fn another_word_in_the_place_of_a_side_is_an_error() {
    let text = error(quote!([m] handler Orders = Order));
    assert_eq!(text, "expected `producer` or `consumer`");
}

#[test]
fn type_parameters_become_a_private_phantom() {
    let one = items(quote!([m] pub Many<T: m::Datum + Clone> = Vec<T>));
    let expected = quote! {
        pub struct Many<T: m::Datum + Clone>(::core::marker::PhantomData<fn() -> T>);
        impl<T: m::Datum + Clone> m::streams::StreamProducer for Many<T>
    };
    assert!(one.contains(&expected.to_string()), "{one}");

    let two = items(quote!([m] Pair<A: Datum, B: Datum, const N: usize> = (A, [B; N])));
    let expected = quote!((::core::marker::PhantomData<(fn() -> A, fn() -> B)>););
    assert!(two.contains(&expected.to_string()), "{two}");
    assert!(two.contains("for Pair < A , B , N >"), "{two}");

    let constant = items(quote!([m] Fixed<const N: usize> = [u8; N]));
    assert!(
        constant.contains("struct Fixed < const N : usize > ;"),
        "{constant}"
    );
}

#[test]
fn a_string_literal_id_is_computed_at_compile_time() {
    let digest = *blake3::hash(b"orders").as_bytes();
    let expected =
        calls(&quote!(.with_stream_id(m::primitives::Digest::from_bytes([#(#digest),*]))));
    let expansion = items(quote!([m] Orders = Order, "orders"));
    assert_eq!(setters(&expansion, "producer"), expected);
    assert_eq!(setters(&expansion, "consumer"), expected);
    assert!(
        expansion.contains(r#". with_label ("orders")"#),
        "{expansion}"
    );

    let hex = "0f".repeat(32);
    let bytes = [0x0f_u8; 32];
    let expected =
        calls(&quote!(.with_stream_id(m::primitives::Digest::from_bytes([#(#bytes),*]))));
    assert_eq!(
        setters(&items(quote!([m] Orders = Order, #hex,)), "producer"),
        expected
    );
}

#[test]
fn any_other_expression_is_handed_over_as_the_id() {
    for id in [
        quote!(ORDERS),
        quote!(ids::ORDERS),
        quote!(::ids::ORDERS),
        quote!(producer::ORDERS),
        quote!(producer),
        quote!(id_of("orders", 3)),
        quote!(&format!("{}", 1)[..]),
        quote!(if true { A } else { B }),
    ] {
        let expansion = items(quote!([m] Orders = Order, #id, buffer_size: 8));
        let expected = calls(&quote!(.with_stream_id(#id).with_buffer_size(8)));
        assert_eq!(setters(&expansion, "producer"), expected);
    }
}

#[test]
fn an_entry_in_the_first_place_is_no_id() {
    for entry in [
        quote!(require: p),
        quote!(producer require: p),
        quote!(consumer require: p),
    ] {
        let expansion = items(quote!([m] Orders = Order, #entry));
        assert!(!expansion.contains("with_stream_id"), "{expansion}");
    }
}

#[test]
fn the_prefix_of_a_requirement_names_who_must_satisfy_it() {
    let expansion = items(quote! {
        [m] Orders = Order, "id",
        require: anyone,
        consumer require: |peer| peer.tags().contains(&"trader".into()),
        producer require: matcher,
        consumer require_ticket: of_consumers(),
        producer require_ticket: of_producers(),
        require_ticket: of_all(),
    });
    let producer = setters(&expansion, "producer");
    let expected = quote! {
        .require(anyone)
        .require(|peer| peer.tags().contains(&"trader".into()))
        .require_ticket(of_consumers())
        .require_ticket(of_all())
    };
    assert!(producer.ends_with(&calls(&expected)), "{producer}");
    let consumer = setters(&expansion, "consumer");
    let expected = quote! {
        .require(anyone)
        .require(matcher)
        .require_ticket(of_producers())
        .require_ticket(of_all())
    };
    assert!(consumer.ends_with(&calls(&expected)), "{consumer}");
}

#[test]
fn other_keys_go_to_the_side_that_has_them() {
    let expansion = items(quote! {
        [m] Orders = Order,
        online_when: |c| c.minimum_of(2),
        producer online_when: |c| c.minimum_of(3),
        consumer online_when: |c| c.minimum_of(4),
        max_consumers: 5,
        producer buffer_size: 6,
        producer buffer_bytes: 7,
        disconnect_lagging: false,
        lag_policy: LagPolicy::Wait,
        criteria: every(),
        consumer backoff: policy(),
        receive_buffer_bytes: 8,
        schema: "v1",
        consumer schema: "v2",
    });
    let expected = quote! {
        .online_when(|c| c.minimum_of(2))
        .online_when(|c| c.minimum_of(3))
        .with_max_consumers(5)
        .with_buffer_size(6)
        .with_buffer_bytes(7)
        .disconnect_lagging(false)
        .with_lag_policy(LagPolicy::Wait)
        .with_schema("v1")
    };
    assert_eq!(setters(&expansion, "producer"), calls(&expected));
    let expected = quote! {
        .online_when(|c| c.minimum_of(2))
        .online_when(|c| c.minimum_of(4))
        .with_criteria(every())
        .with_backoff(policy())
        .with_receive_buffer_bytes(8)
        .with_schema("v1")
        .with_schema("v2")
    };
    assert_eq!(setters(&expansion, "consumer"), calls(&expected));
}

#[test]
fn one_sided_declarations_keep_what_concerns_them() {
    let settings = quote! {
        require: p, producer require: q, consumer require: r, max_consumers: 1, criteria: c
    };
    let producer = items(quote!([m] producer Orders = Order, #settings));
    let expected = quote!(.require(p).require(r).with_max_consumers(1));
    assert_eq!(setters(&producer, "producer"), calls(&expected));
    let consumer = items(quote!([m] consumer Orders = Order, #settings));
    let expected = quote!(.require(p).require(q).with_criteria(c));
    assert_eq!(setters(&consumer, "consumer"), calls(&expected));
}

#[test]
fn unknown_keys_are_reported_by_name() {
    let expected = "unknown stream config key `timeout`";
    assert_eq!(error(quote!([m] Orders = Order, timeout: 3)), expected);
    assert_eq!(
        error(quote!([m] Orders = Order, ID, consumer timeout: 3)),
        expected
    );
    // Keywords are words, too.
    assert_eq!(
        error(quote!([m] Orders = Order, type: 3)),
        "unknown stream config key `type`"
    );
}

#[test]
fn keys_on_a_side_that_lacks_them_are_errors() {
    for key in [
        quote!(max_consumers),
        quote!(buffer_size),
        quote!(buffer_bytes),
        quote!(disconnect_lagging),
        quote!(lag_policy),
    ] {
        let expected = format!("`{key}` is a producer-side config key");
        assert_eq!(
            error(quote!([m] Orders = Order, consumer #key: 1)),
            expected
        );
        assert_eq!(
            error(quote!([m] producer Orders = Order, consumer #key: 1)),
            expected
        );
    }
    for key in [
        quote!(criteria),
        quote!(backoff),
        quote!(receive_buffer_bytes),
    ] {
        let expected = format!("`{key}` is a consumer-side config key");
        assert_eq!(
            error(quote!([m] Orders = Order, producer #key: 1)),
            expected
        );
    }
}

#[test]
fn what_follows_an_entry_must_be_an_entry() {
    let text = error(quote!([m] Orders = Order, require: p, ORDERS));
    assert_eq!(text, "expected `key: value`");
}

#[test]
fn errors_expand_to_compile_error() {
    let expansion = expand(quote!([m] Orders = Order, nope: 1)).to_string();
    assert!(
        expansion.contains(":: core :: compile_error"),
        "{expansion}"
    );
}

#[test]
fn wrapped_literals_are_still_literals() {
    let literal: TokenStream = proc_macro2::TokenTree::from(proc_macro2::Group::new(
        proc_macro2::Delimiter::None,
        quote!("orders"),
    ))
    .into();
    let expansion = items(quote!([m] Orders = Order, #literal));
    assert!(expansion.contains("from_bytes"), "{expansion}");
}
