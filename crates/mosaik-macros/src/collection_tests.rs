use quote::quote;

use super::*;

fn error(input: TokenStream) -> String {
    match parse.parse2(quote!([mosaik] #input)) {
        Ok(_) => panic!("parsed: {input}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_wrong_declaration_is_named() {
    let unknown = error(quote!(A = Map<u8, u8>, "a", foo: 1));
    assert_eq!(unknown, "unknown collection config key `foo`");
    let mode = error(quote!(both A = Map<u8, u8>, "a"));
    assert_eq!(mode, "expected `reader` or `writer`");
    let sided = error(quote!(A = Map<u8, u8>, "a", reader require_ticket: 1));
    assert!(sided.contains("one configuration"), "{sided}");
    assert!(error(quote!(A = Map<u8, u8>)).contains("store id"));
    assert!(error(quote!(A = Map<u8, u8>, require_ticket: 1)).contains("store id"));
    error(quote!(A = Map<u8, u8>, "a", require_ticket: 1, 2));
}

#[test]
fn every_form_is_understood() {
    for input in [
        quote!(A = Map<u8, u8>, "a"),
        quote!(A = Map<u8, u8>, "a",),
        quote!(pub(crate) reader A<T: Value> = collections::Vec<T>, ID),
        quote!(#[derive(Debug)] pub writer A = Set<u8>, id(), require_ticket: a(), sync: b(),),
        quote!(reader = Set<u8>, "a"),
        quote!(A = Set<u8>, "a", require_ticket: t(), config: kept(),),
        quote!(A = Set<u8>, "a", write_key: secret()),
    ] {
        let items = expand(quote!([mosaik] #input));
        let file = syn::parse2::<syn::File>(items).expect("items");
        assert!(
            !file
                .items
                .iter()
                .any(|item| matches!(item, syn::Item::Macro(_)))
        );
    }
}
