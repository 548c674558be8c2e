//! The head of a declaration, `[crate] attribute* visibility? side? Name generics? =`, and the
//! items that every declaration generates from it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Attribute, GenericParam, Generics, Ident, Token, Visibility, bracketed};

/// One of the two ends of a declared thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The end that others come to: a producer, a handler.
    Provider,
    /// The end that looks for providers: a consumer, a caller.
    User,
}

impl Side {
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Provider => Self::User,
            Self::User => Self::Provider,
        }
    }
}

/// The words by which one kind of declaration calls its two sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides {
    pub(crate) provider: &'static str,
    pub(crate) user: &'static str,
}

impl Sides {
    pub(crate) fn named(&self, word: &Ident) -> Option<Side> {
        if word == self.provider {
            Some(Side::Provider)
        } else if word == self.user {
            Some(Side::User)
        } else {
            None
        }
    }

    pub(crate) fn word(&self, side: Side) -> &'static str {
        match side {
            Side::Provider => self.provider,
            Side::User => self.user,
        }
    }
}

/// Everything up to and including the `=`.
pub(crate) struct Head {
    /// Path of the mosaik crate as seen by the declaring crate (`$crate` of the calling macro).
    pub(crate) mosaik: TokenStream,
    attributes: Vec<Attribute>,
    visibility: Visibility,
    /// `None` declares both sides.
    side: Option<Side>,
    name: Ident,
    generics: Generics,
}

impl Head {
    pub(crate) fn parse(input: ParseStream<'_>, sides: &Sides) -> syn::Result<Self> {
        let path;
        bracketed!(path in input);
        let mosaik = path.parse()?;
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let first: Ident = input.parse()?;
        // A side word alone is a name like any other.
        let (side, name) = match sides.named(&first) {
            Some(side) if input.peek(Ident) => (Some(side), input.parse()?),
            _ if input.peek(Ident) => {
                let expected = format!("expected `{}` or `{}`", sides.provider, sides.user);
                return Err(syn::Error::new(first.span(), expected));
            }
            _ => (None, first),
        };
        let mut generics: Generics = input.parse()?;
        generics.where_clause = input.parse()?;
        input.parse::<Token![=]>()?;
        Ok(Self {
            mosaik,
            attributes,
            visibility,
            side,
            name,
            generics,
        })
    }

    /// The declared name.
    pub(crate) fn name(&self) -> String {
        self.name.unraw().to_string()
    }

    /// The call that names what is declared, for people: by its id, or else by the declared type.
    pub(crate) fn label(&self, id: Option<&str>) -> TokenStream {
        let name = self.name();
        let label = id.unwrap_or(&name);
        quote!(.with_label(#label))
    }

    /// Returns whether this declaration generates the given side.
    pub(crate) fn declares(&self, side: Side) -> bool {
        self.side.is_none_or(|only| only == side)
    }

    /// The declared type: a unit struct, or one private phantom field that names the parameters
    /// and is `Send + Sync` whatever they are.
    pub(crate) fn marker(&self) -> TokenStream {
        let Self {
            attributes,
            visibility,
            name,
            generics,
            ..
        } = self;
        let where_clause = &generics.where_clause;
        let phantoms: Vec<_> = generics
            .params
            .iter()
            .filter_map(|param| match param {
                GenericParam::Type(param) => {
                    let ident = &param.ident;
                    Some(quote!(fn() -> #ident))
                }
                GenericParam::Lifetime(param) => {
                    let lifetime = &param.lifetime;
                    Some(quote!(fn() -> & #lifetime ()))
                }
                GenericParam::Const(_) => None,
            })
            .collect();
        let fields = match phantoms.as_slice() {
            [] => quote!(),
            [one] => quote!((::core::marker::PhantomData<#one>)),
            several => quote!((::core::marker::PhantomData<(#(#several),*)>)),
        };
        quote! {
            #(#attributes)*
            #[allow(non_camel_case_types, reason = "a declared name may be spelled freely")]
            #visibility struct #name #generics #fields #where_clause;
        }
    }

    /// `impl trait_path for Name { body }`, with the declared generics.
    pub(crate) fn implement(&self, trait_path: &TokenStream, body: &TokenStream) -> TokenStream {
        let name = &self.name;
        let (parameters, arguments, where_clause) = self.generics.split_for_impl();
        quote! {
            impl #parameters #trait_path for #name #arguments #where_clause {
                #body
            }
        }
    }

    /// `impl Name { body }`, with the declared generics.
    pub(crate) fn implement_inherently(&self, body: &TokenStream) -> TokenStream {
        let name = &self.name;
        let (parameters, arguments, where_clause) = self.generics.split_for_impl();
        quote! {
            impl #parameters #name #arguments #where_clause {
                #body
            }
        }
    }
}

/// An identifier for generated code that expressions written by the user can't see.
pub(crate) fn hidden(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

/// `fn online_<side>`: opens one side and resolves with it once it is online.
///
/// The handle exists when the function returns, so that what happens before the first poll of the
/// future isn't missed.
pub(crate) fn online(
    mosaik: &TokenStream,
    trait_path: &TokenStream,
    side: &str,
    handle: &TokenStream,
) -> TokenStream {
    let open = Ident::new(side, Span::call_site());
    // The trait needn't be in scope where the declaration stands.
    open_online(mosaik, &quote!(<Self as #trait_path>::#open), side, handle)
}

/// `fn online_<side>` around the function that opens this side.
pub(crate) fn open_online(
    mosaik: &TokenStream,
    open: &TokenStream,
    side: &str,
    handle: &TokenStream,
) -> TokenStream {
    let online = format_ident!("online_{side}");
    let (network, opened) = (hidden("network"), hidden("opened"));
    quote! {
        fn #online(
            #network: &#mosaik::network::Network,
        ) -> impl ::core::future::Future<Output = #handle>
            + ::core::marker::Send
            + ::core::marker::Sync
            + 'static {
            let #opened = #open(#network);
            async move {
                #opened.when().online().await;
                #opened
            }
        }
    }
}

/// Returns whether the next tokens are `:`, but not `::`.
pub(crate) fn at_colon(input: ParseStream<'_>) -> bool {
    input.peek(Token![:]) && !input.peek(Token![::])
}

/// Any word, keywords included, so that a misspelt key is reported as such.
pub(crate) fn word(input: ParseStream<'_>) -> syn::Result<Ident> {
    input.call(Ident::parse_any)
}
