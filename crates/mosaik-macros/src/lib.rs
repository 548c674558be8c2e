//! Procedural helpers behind the macros of the `mosaik` crate; use those instead.

use proc_macro::TokenStream;
use quote::quote;
use syn::{LitStr, parse_macro_input};

/// Expands a string literal to the bytes of its digest: 64 hex digits are decoded, anything else
/// is hashed with BLAKE3.
#[proc_macro]
pub fn digest_bytes(input: TokenStream) -> TokenStream {
    let text = parse_macro_input!(input as LitStr).value();
    let bytes = digest_of(&text);
    quote!([#(#bytes),*]).into()
}

fn digest_of(text: &str) -> [u8; 32] {
    blake3::Hash::from_hex(text)
        .unwrap_or_else(|_| blake3::hash(text.as_bytes()))
        .into()
}
