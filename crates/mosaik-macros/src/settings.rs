//! Settings behind the declared type: `[, id] [, side? key : expression]* [,]`.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::ParseStream;
use syn::{Expr, ExprLit, Ident, Lit, Token};

use crate::declaration::{Side, Sides, at_colon, word};
use crate::digest::digest_of;

/// The identifier written after the declared type.
pub(crate) enum Id {
    /// A string literal, and its digest.
    Literal { text: String, digest: [u8; 32] },
    /// Anything that converts into an identifier, evaluated each time a handle is opened.
    Expression(Box<Expr>),
}

impl Id {
    fn new(expression: Expr) -> Self {
        let mut bare = &expression;
        // A literal that came through another macro's `$id:literal` is wrapped in a group.
        while let Expr::Group(group) = bare {
            bare = &group.expr;
        }
        match bare {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) => {
                let text = text.value();
                let digest = digest_of(&text);
                Self::Literal { text, digest }
            }
            _ => Self::Expression(Box::new(expression)),
        }
    }

    /// The written text, unless it is only the digits of an identifier.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Literal { text, .. } => Some(text).filter(|text| text.len() != 64),
            Self::Expression(_) => None,
        }
        .map(String::as_str)
    }

    pub(crate) fn argument(&self, mosaik: &TokenStream) -> TokenStream {
        match self {
            Self::Literal { digest: bytes, .. } => {
                quote!(#mosaik::primitives::Digest::from_bytes([#(#bytes),*]))
            }
            Self::Expression(expression) => expression.to_token_stream(),
        }
    }
}

/// One `side? key: value`.
pub(crate) struct Entry {
    pub(crate) side: Option<Side>,
    pub(crate) key: Ident,
    value: Expr,
}

impl Entry {
    /// The call of a builder method with this entry's value, reported at the key if it fails to
    /// compile.
    pub(crate) fn call(&self, method: &str) -> TokenStream {
        let method = Ident::new(method, self.key.span());
        let value = &self.value;
        quote_spanned!(self.key.span()=> .#method(#value))
    }

    /// The value by itself.
    pub(crate) fn value(&self) -> &Expr {
        &self.value
    }

    /// The error of a key that `kind` declarations don't know.
    pub(crate) fn unknown(&self, kind: &str) -> syn::Error {
        let text = format!("unknown {kind} config key `{}`", self.key);
        syn::Error::new(self.key.span(), text)
    }

    /// Fails when the entry is addressed to another side than the only one that has its key.
    pub(crate) fn only_for(&self, owner: Side, sides: &Sides) -> syn::Result<()> {
        if self.side.is_none_or(|side| side == owner) {
            return Ok(());
        }
        let text = format!("`{}` is a {}-side config key", self.key, sides.word(owner));
        Err(syn::Error::new(self.key.span(), text))
    }
}

/// The optional identifier and the entries, in source order.
pub(crate) struct Settings {
    pub(crate) id: Option<Id>,
    pub(crate) entries: Vec<Entry>,
}

impl Settings {
    pub(crate) fn parse(input: ParseStream<'_>, sides: &Sides) -> syn::Result<Self> {
        let mut settings = Self {
            id: None,
            entries: Vec::new(),
        };
        if !next(input)? {
            return Ok(settings);
        }
        if !at_entry(input, sides) {
            settings.id = Some(Id::new(input.parse()?));
            if !next(input)? {
                return Ok(settings);
            }
        }
        loop {
            settings.entries.push(parse_entry(input, sides)?);
            if !next(input)? {
                return Ok(settings);
            }
        }
    }
}

/// Steps over a comma; false at the end of the input, with or without a trailing comma.
fn next(input: ParseStream<'_>) -> syn::Result<bool> {
    if input.is_empty() {
        return Ok(false);
    }
    input.parse::<Token![,]>()?;
    Ok(!input.is_empty())
}

/// Tells an entry from an identifier expression: `ident :` or `side ident :`.
fn at_entry(input: ParseStream<'_>, sides: &Sides) -> bool {
    let ahead = input.fork();
    let Ok(first) = word(&ahead) else {
        return false;
    };
    at_colon(&ahead) || (sides.named(&first).is_some() && word(&ahead).is_ok() && at_colon(&ahead))
}

fn parse_entry(input: ParseStream<'_>, sides: &Sides) -> syn::Result<Entry> {
    if !at_entry(input, sides) {
        return Err(input.error("expected `key: value`"));
    }
    let first = word(input)?;
    let (side, key) = if at_colon(input) {
        (None, first)
    } else {
        (sides.named(&first), word(input)?)
    };
    input.parse::<Token![:]>()?;
    Ok(Entry {
        side,
        key,
        value: input.parse()?,
    })
}
