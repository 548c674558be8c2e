//! Procedural helpers behind the macros of the `mosaik` crate; use those instead.
//!
//! A declaration (`stream!`, `function!`, `collection!`) is read in two steps that all declarations share: the
//! head, up to the `=`, and the settings after the declared type. What lies between, and what the
//! settings mean, is each declaration's own module.

use proc_macro::TokenStream;
use quote::quote;
use syn::{LitStr, parse_macro_input};

mod collection;
mod declaration;
mod digest;
mod function;
mod settings;
mod stream;

/// Expands a string literal to the bytes of its digest: 64 hex digits are decoded, anything else
/// is hashed with BLAKE3.
#[proc_macro]
pub fn digest_bytes(input: TokenStream) -> TokenStream {
    let text = parse_macro_input!(input as LitStr).value();
    let bytes = digest::digest_of(&text);
    quote!([#(#bytes),*]).into()
}

/// Expands `[path of the mosaik crate] declaration` to the items of `mosaik::stream!`.
#[proc_macro]
pub fn stream_impl(input: TokenStream) -> TokenStream {
    stream::expand(input.into()).into()
}

/// Expands `[path of the mosaik crate] declaration` to the items of `mosaik::function!`.
#[proc_macro]
pub fn function_impl(input: TokenStream) -> TokenStream {
    function::expand(input.into()).into()
}

/// Expands `[path of the mosaik crate] declaration` to the items of `mosaik::collection!`.
#[proc_macro]
pub fn collection_impl(input: TokenStream) -> TokenStream {
    collection::expand(input.into()).into()
}
