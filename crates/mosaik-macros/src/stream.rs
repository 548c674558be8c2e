//! `stream!`: a typed stream and the settings of its producer and consumer.

use proc_macro2::TokenStream;
use quote::quote;
use syn::Type;
use syn::parse::{ParseStream, Parser};

use crate::declaration::{Head, Side, Sides, hidden, online};
use crate::settings::{Entry, Id, Settings};

const SIDES: Sides = Sides {
    provider: "producer",
    user: "consumer",
};

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    parse.parse2(input).map_or_else(
        |error| error.to_compile_error(),
        |declaration| declaration.generate(),
    )
}

struct Declaration {
    head: Head,
    datum: Type,
    settings: Settings,
}

fn parse(input: ParseStream<'_>) -> syn::Result<Declaration> {
    let declaration = Declaration {
        head: Head::parse(input, &SIDES)?,
        datum: input.parse()?,
        settings: Settings::parse(input, &SIDES)?,
    };
    declaration.settings.entries.iter().try_for_each(check)?;
    Ok(declaration)
}

fn check(entry: &Entry) -> syn::Result<()> {
    match entry.key.to_string().as_str() {
        "require" | "require_ticket" | "online_when" | "schema" => Ok(()),
        "max_consumers" | "buffer_size" | "buffer_bytes" | "disconnect_lagging" | "lag_policy" => {
            entry.only_for(Side::Provider, &SIDES)
        }
        "criteria" | "backoff" | "receive_buffer_bytes" => entry.only_for(Side::User, &SIDES),
        _ => Err(entry.unknown("stream")),
    }
}

/// The call that `entry` makes on the builder of `side`, if any.
fn setter(entry: &Entry, side: Side) -> Option<TokenStream> {
    let key = entry.key.to_string();
    let (applies, method) = match key.as_str() {
        // The prefix names who must satisfy a requirement; the other end checks it.
        "require" | "require_ticket" => (
            entry.side.is_none_or(|subject| subject.opposite() == side),
            key.as_str(),
        ),
        "online_when" => (entry.side.is_none_or(|owner| owner == side), "online_when"),
        "schema" => (entry.side.is_none_or(|owner| owner == side), "with_schema"),
        "max_consumers" => (side == Side::Provider, "with_max_consumers"),
        "buffer_size" => (side == Side::Provider, "with_buffer_size"),
        "buffer_bytes" => (side == Side::Provider, "with_buffer_bytes"),
        "lag_policy" => (side == Side::Provider, "with_lag_policy"),
        "disconnect_lagging" => (side == Side::Provider, "disconnect_lagging"),
        "criteria" => (side == Side::User, "with_criteria"),
        "backoff" => (side == Side::User, "with_backoff"),
        "receive_buffer_bytes" => (side == Side::User, "with_receive_buffer_bytes"),
        _ => (false, ""),
    };
    applies.then(|| entry.call(method))
}

impl Declaration {
    fn generate(&self) -> TokenStream {
        let marker = self.head.marker();
        let producer = self.head.declares(Side::Provider).then(|| self.producer());
        let consumer = self.head.declares(Side::User).then(|| self.consumer());
        quote!(#marker #producer #consumer)
    }

    fn producer(&self) -> TokenStream {
        let (mosaik, datum) = (&self.head.mosaik, &self.datum);
        let setters = self.setters(Side::Provider);
        let trait_path = quote!(#mosaik::streams::StreamProducer);
        let online = online(mosaik, &trait_path, "producer", &quote!(Self::Producer));
        let network = hidden("network");
        self.head.implement(
            &trait_path,
            &quote! {
                type Producer = #mosaik::streams::Producer<#datum>;

                fn producer(#network: &#mosaik::network::Network) -> Self::Producer {
                    #mosaik::streams::Streams::producer::<#datum>(#network.streams())
                        #setters
                        .open()
                }

                #online
            },
        )
    }

    fn consumer(&self) -> TokenStream {
        let (mosaik, datum) = (&self.head.mosaik, &self.datum);
        let setters = self.setters(Side::User);
        let trait_path = quote!(#mosaik::streams::StreamConsumer);
        let online = online(mosaik, &trait_path, "consumer", &quote!(Self::Consumer));
        let network = hidden("network");
        self.head.implement(
            &trait_path,
            &quote! {
                type Consumer = #mosaik::streams::Consumer<#datum>;

                fn consumer(#network: &#mosaik::network::Network) -> Self::Consumer {
                    #mosaik::streams::Streams::consumer::<#datum>(#network.streams())
                        #setters
                        .build()
                }

                #online
            },
        )
    }

    fn setters(&self, side: Side) -> TokenStream {
        let id = self.settings.id.as_ref().map(|id| {
            let id = id.argument(&self.head.mosaik);
            quote!(.with_stream_id(#id))
        });
        let entries = self
            .settings
            .entries
            .iter()
            .filter_map(|entry| setter(entry, side));
        let text = self.settings.id.as_ref().and_then(Id::text);
        let label = self.head.label(text);
        quote!(#id #(#entries)* #label)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
