//! The attribute of `mosaik-test`.

use proc_macro::{Delimiter, Group, Spacing, TokenStream, TokenTree};

/// `#[tokio::test]`, whose test must leave nothing behind on its runtime.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, test: TokenStream) -> TokenStream {
    let mut test: Vec<TokenTree> = test.into_iter().collect();
    let Some(body) = test.pop() else {
        return TokenStream::new();
    };
    // `{ ::tokio::ends::checked(async move { body }).await }`, in the body's place.
    let mut future = parsed("async move");
    future.extend([body]);
    let mut call = parsed("::tokio::ends::checked");
    call.extend([TokenTree::from(Group::new(Delimiter::Parenthesis, future))]);
    call.extend(parsed(".await"));
    test.push(Group::new(Delimiter::Brace, call).into());

    let mut path = parsed("::tokio::real::test");
    path.extend([TokenTree::from(Group::new(
        Delimiter::Parenthesis,
        arguments,
    ))]);
    let mut output =
        TokenStream::from(TokenTree::from(proc_macro::Punct::new('#', Spacing::Alone)));
    output.extend([TokenTree::from(Group::new(Delimiter::Bracket, path))]);
    output.extend(test);
    output
}

fn parsed(source: &str) -> TokenStream {
    source.parse().expect("it is valid Rust")
}
