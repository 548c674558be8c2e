//! `collection!`: a replicated collection and its configuration.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{ParseStream, Parser};
use syn::{Ident, Type};

use crate::declaration::{Head, Side, Sides, hidden, online, open_online};
use crate::settings::{Entry, Id, Settings};

const SIDES: Sides = Sides {
    provider: "reader",
    user: "writer",
};

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    parse.parse2(input).map_or_else(
        |error| error.to_compile_error(),
        |declaration| declaration.generate(),
    )
}

struct Declaration {
    head: Head,
    kind: Type,
    id: Id,
    entries: Vec<Entry>,
}

fn parse(input: ParseStream<'_>) -> syn::Result<Declaration> {
    let head = Head::parse(input, &SIDES)?;
    let kind = input.parse()?;
    let missing = input.error("expected `,` and the collection's store id");
    let Settings { id, entries } = Settings::parse(input, &SIDES)?;
    entries.iter().try_for_each(check)?;
    Ok(Declaration {
        head,
        kind,
        id: id.ok_or(missing)?,
        entries,
    })
}

fn check(entry: &Entry) -> syn::Result<()> {
    match entry.key.to_string().as_str() {
        "require_ticket" | "sync" | "write_key" | "config" if entry.side.is_none() => Ok(()),
        "require_ticket" | "sync" | "write_key" | "config" => Err(syn::Error::new(
            entry.key.span(),
            "both sides of a collection have one configuration",
        )),
        _ => Err(entry.unknown("collection")),
    }
}

impl Declaration {
    fn generate(&self) -> TokenStream {
        let marker = self.head.marker();
        let reader = self.side(Side::Provider, "Reader");
        let writer = self.side(Side::User, "Writer");
        quote!(#marker #reader #writer)
    }

    /// One side: as the public trait if it is declared, or else for this crate alone.
    fn side(&self, side: Side, name: &str) -> TokenStream {
        let (mosaik, kind) = (&self.head.mosaik, &self.kind);
        let open = format_ident!("{}", SIDES.word(side));
        let try_open = format_ident!("try_{open}");
        let handle = format_ident!("{name}");
        let definition = quote!(#mosaik::collections::CollectionFromDef);
        let opened = quote!(<#kind as #definition>::#handle);
        let (network, id, config) = (hidden("network"), self.id.argument(mosaik), self.config());
        let open_as = |open: &Ident| {
            let open_with_config = format_ident!("{open}_with_config");
            quote!(<#kind as #definition>::#open_with_config(#network, #id, #config))
        };
        let (body, try_body) = (open_as(&open), open_as(&try_open));
        let tried = |handle: TokenStream| quote!(::core::result::Result<#handle, #mosaik::collections::OpenError>);
        if self.head.declares(side) {
            let declared = format_ident!("Collection{name}");
            let trait_path = quote!(#mosaik::collections::#declared);
            let online = online(
                mosaik,
                &trait_path,
                SIDES.word(side),
                &quote!(Self::#handle),
            );
            let tried_handle = tried(quote!(Self::#handle));
            return self.head.implement(
                &trait_path,
                &quote! {
                    type #handle = #opened;

                    fn #open(#network: &#mosaik::network::Network) -> Self::#handle {
                        #body
                    }

                    fn #try_open(#network: &#mosaik::network::Network) -> #tried_handle {
                        #try_body
                    }

                    #online
                },
            );
        }
        let tried_handle = tried(quote!(#opened));
        let online = open_online(mosaik, &quote!(Self::#open), SIDES.word(side), &opened);
        self.head.implement_inherently(&quote! {
            #[allow(dead_code, reason = "the side that is not declared need not be used")]
            pub(crate) fn #open(#network: &#mosaik::network::Network) -> #opened {
                #body
            }

            #[allow(dead_code, reason = "the side that is not declared need not be used")]
            pub(crate) fn #try_open(#network: &#mosaik::network::Network) -> #tried_handle {
                #try_body
            }

            #[allow(dead_code, reason = "the side that is not declared need not be used")]
            pub(crate) #online
        })
    }

    /// Configuration: the value of `config` or the default, with the other entries on top.
    fn config(&self) -> TokenStream {
        let mosaik = &self.head.mosaik;
        let is_base = |entry: &&Entry| entry.key == "config";
        let base = match self.entries.iter().rfind(is_base).map(Entry::value) {
            Some(config) => quote!(::core::convert::identity::<
                #mosaik::collections::CollectionConfig,
            >(#config)),
            None => quote! {
                <#mosaik::collections::CollectionConfig as ::core::default::Default>::default()
            },
        };
        let others = self.entries.iter().filter(|entry| !is_base(entry));
        let entries = others.map(|entry| {
            let method = match entry.key.to_string().as_str() {
                "sync" => "with_sync",
                "write_key" => "with_write_key",
                _ => "require_ticket",
            };
            entry.call(method)
        });
        quote!(#base #(#entries)*)
    }
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
