//! `function!`: a remote function and the settings of its handler and caller.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{GenericArgument, PathArguments, Token, Type, parse_quote};

use crate::declaration::{Head, Side, Sides, hidden, online};
use crate::settings::{Entry, Id, Settings};

const SIDES: Sides = Sides {
    provider: "handler",
    user: "caller",
};

pub(crate) fn expand(input: TokenStream) -> TokenStream {
    parse.parse2(input).map_or_else(
        |error| error.to_compile_error(),
        |declaration| declaration.generate(),
    )
}

struct Declaration {
    head: Head,
    request: Type,
    response: Type,
    error: Type,
    settings: Settings,
}

fn parse(input: ParseStream<'_>) -> syn::Result<Declaration> {
    let head = Head::parse(input, &SIDES)?;
    let request = input.parse()?;
    input.parse::<Token![->]>()?;
    let (response, error) = outcome(input.parse()?);
    let settings = Settings::parse(input, &SIDES)?;
    settings.entries.iter().try_for_each(check)?;
    Ok(Declaration {
        head,
        request,
        response,
        error,
        settings,
    })
}

/// Splits a plain `Result<Res, E>`; any other type is the response itself, without an error.
fn outcome(returned: Type) -> (Type, Type) {
    let mut bare = &returned;
    // A type that came through another macro's `$t:ty` is wrapped in a group.
    while let Type::Group(group) = bare {
        bare = &group.elem;
    }
    if let Type::Path(path) = bare
        && path.qself.is_none()
        && path.path.leading_colon.is_none()
        && path.path.segments.len() == 1
        && path.path.segments[0].ident == "Result"
        && let PathArguments::AngleBracketed(arguments) = &path.path.segments[0].arguments
        && arguments.args.len() == 2
        && let (GenericArgument::Type(response), GenericArgument::Type(error)) =
            (&arguments.args[0], &arguments.args[1])
    {
        return (response.clone(), error.clone());
    }
    (returned, parse_quote!(()))
}

fn check(entry: &Entry) -> syn::Result<()> {
    match entry.key.to_string().as_str() {
        "require" | "require_ticket" | "schema" => Ok(()),
        "timeout" | "online_when" | "idempotent" | "hedging" => entry.only_for(Side::User, &SIDES),
        "max_concurrent" | "stall_limit" => entry.only_for(Side::Provider, &SIDES),
        _ => Err(entry.unknown("function")),
    }
}

/// The calls that `entry` makes on the builder of `side`.
fn setter(entry: &Entry, side: Side) -> Option<TokenStream> {
    let (applies, method) = match entry.key.to_string().as_str() {
        "require_ticket" => return Some(tickets(entry)),
        // The prefix names who must satisfy a requirement; the other end checks it.
        "require" => (
            entry.side.is_none_or(|subject| subject.opposite() == side),
            "require",
        ),
        "timeout" => (side == Side::User, "with_call_timeout"),
        "online_when" => (side == Side::User, "online_when"),
        "idempotent" => (side == Side::User, "with_idempotent"),
        "hedging" => (side == Side::User, "with_hedging"),
        "max_concurrent" => (side == Side::Provider, "with_max_concurrent"),
        "stall_limit" => (side == Side::Provider, "with_stall_limit"),
        "schema" => (entry.side.is_none_or(|owner| owner == side), "with_schema"),
        _ => (false, ""),
    };
    applies.then(|| entry.call(method))
}

/// Validators shape the function's id, so both builders get them, whichever side enforces them.
fn tickets(entry: &Entry) -> TokenStream {
    let presented_by = |side| entry.side.is_none_or(|only| only == side);
    let caller = presented_by(Side::User).then(|| entry.call("require_caller_ticket"));
    let handler = presented_by(Side::Provider).then(|| entry.call("require_handler_ticket"));
    quote!(#caller #handler)
}

impl Declaration {
    fn generate(&self) -> TokenStream {
        let marker = self.head.marker();
        let handler = self.head.declares(Side::Provider).then(|| self.handler());
        let caller = self.head.declares(Side::User).then(|| self.caller());
        quote!(#marker #handler #caller)
    }

    fn handler(&self) -> TokenStream {
        let Self {
            request,
            response,
            error,
            ..
        } = self;
        let mosaik = &self.head.mosaik;
        let setters = self.setters(Side::Provider);
        let (network, serve) = (hidden("network"), hidden("serve"));
        self.head.implement(
            &quote!(#mosaik::functions::FunctionHandler),
            &quote! {
                type Req = #request;
                type Res = #response;
                type Err = #error;
                type Handler = #mosaik::functions::Handler<#request, #response, #error>;

                fn handler<__Serve, __Reply>(
                    #network: &#mosaik::network::Network,
                    #serve: __Serve,
                ) -> ::core::result::Result<
                    Self::Handler,
                    #mosaik::functions::handler::BuilderError,
                >
                where
                    __Serve: ::core::ops::Fn(
                            Self::Req,
                            #mosaik::functions::CallContext,
                        ) -> __Reply
                        + ::core::marker::Send
                        + ::core::marker::Sync
                        + 'static,
                    __Reply: ::core::future::Future<
                            Output = ::core::result::Result<Self::Res, Self::Err>,
                        > + ::core::marker::Send
                        + 'static,
                {
                    #mosaik::functions::Functions::handler::<#request, #response, #error>(
                        #network.functions(),
                    )
                    #setters
                    .serve(#serve)
                }
            },
        )
    }

    fn caller(&self) -> TokenStream {
        let Self {
            request,
            response,
            error,
            ..
        } = self;
        let mosaik = &self.head.mosaik;
        let setters = self.setters(Side::User);
        let trait_path = quote!(#mosaik::functions::FunctionCaller);
        let online = online(mosaik, &trait_path, "caller", &quote!(Self::Caller));
        let network = hidden("network");
        self.head.implement(
            &trait_path,
            &quote! {
                type Caller = #mosaik::functions::Caller<#request, #response, #error>;

                fn caller(#network: &#mosaik::network::Network) -> Self::Caller {
                    #mosaik::functions::Functions::caller::<#request, #response, #error>(
                        #network.functions(),
                    )
                    #setters
                    .build()
                }

                #online
            },
        )
    }

    fn setters(&self, side: Side) -> TokenStream {
        let id = self.id();
        let entries = self
            .settings
            .entries
            .iter()
            .filter_map(|entry| setter(entry, side));
        let text = self.settings.id.as_ref().and_then(Id::text);
        let label = self.head.label(text);
        quote!(.with_function_id(#id) #(#entries)* #label)
    }

    /// The written id, or one from the names of the declared type, the request and the response,
    /// so that crates share a function by sharing its declaration.
    fn id(&self) -> TokenStream {
        let Self {
            request, response, ..
        } = self;
        let mosaik = &self.head.mosaik;
        self.settings.id.as_ref().map_or_else(
            || {
                quote! {
                    #mosaik::primitives::Digest::from_parts(&[
                        ::core::any::type_name::<Self>(),
                        ::core::any::type_name::<#request>(),
                        ::core::any::type_name::<#response>(),
                    ])
                }
            },
            |id| id.argument(mosaik),
        )
    }
}

#[cfg(test)]
#[path = "function_tests.rs"]
mod tests;
