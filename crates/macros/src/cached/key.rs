//! The key: what it is made of, and its type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Expr, FnArg, Ident, Pat, PatType, Path, Type, parse_quote_spanned};

use super::function::Function;
use super::options::Options;
use super::scan;
use crate::errors::Errors;

/// The key of a call.
pub(super) struct Key {
    pub(super) key_type: Type,
    /// Makes the key while the arguments are still there.
    pub(super) expression: TokenStream,
    /// Where mistakes in it are shown.
    pub(super) span: Span,
}

impl Key {
    pub(super) fn of(function: &Function, options: &Options) -> syn::Result<Self> {
        match (&options.key, &options.key_type) {
            (Some(key), Some(key_type)) => Ok(Self {
                key_type: key_type.clone(),
                expression: key.to_token_stream(),
                span: key.span(),
            }),
            (Some(key), None) => Self::named(function, key, &options.krate),
            (None, _) => Self::all(function, &options.krate),
        }
    }

    /// `key = id`, `key = (id, lang)`.
    fn named(function: &Function, key: &Expr, krate: &Path) -> syn::Result<Self> {
        let names = match key {
            Expr::Tuple(tuple) => tuple.elems.iter().map(name).collect::<syn::Result<_>>()?,
            _ => vec![name(key)?],
        };
        let mut errors = Errors::default();
        let parts: Vec<Part> = names
            .into_iter()
            .filter_map(|name| {
                errors.take(argument(function, name).and_then(|found| Part::of(found, krate)))
            })
            .collect();
        errors.finish()?;
        Ok(Self::made_of(&parts, key.span()))
    }

    /// All arguments.
    fn all(function: &Function, krate: &Path) -> syn::Result<Self> {
        let sig = function.sig();
        if let Some(receiver) = sig.receiver() {
            return Err(Error::new_spanned(
                receiver,
                "a method's key is not guessed, because `self` cannot be part of it: add `key = id` or \
                 `key = (id, lang)` with the arguments that tell values apart; one cache serves all of `self`",
            ));
        }
        let mut errors = Errors::default();
        let parts: Vec<Part> = arguments(function)
            .filter_map(|argument| errors.take(Part::of(argument, krate)))
            .collect();
        errors.finish()?;
        let span = parts
            .first()
            .map_or_else(|| sig.ident.span(), |part| part.span);
        Ok(Self::made_of(&parts, span))
    }

    fn made_of(parts: &[Part], span: Span) -> Self {
        let types = parts.iter().map(|part| &part.owned);
        let values = parts.iter().map(|part| &part.value);
        let (key_type, expression) = match parts {
            [_] => (parse_quote_spanned!(span=> #(#types)*), quote!(#(#values)*)),
            _ => (
                parse_quote_spanned!(span=> (#(#types),*)),
                quote_spanned!(span=> (#(#values),*)),
            ),
        };
        Self {
            key_type,
            expression,
            span,
        }
    }
}

/// An argument that is part of the key.
struct Part {
    owned: Type,
    value: TokenStream,
    span: Span,
}

impl Part {
    fn of(argument: &PatType, krate: &Path) -> syn::Result<Self> {
        let Some(name) = plain_name(argument) else {
            return Err(Error::new_spanned(
                &argument.pat,
                "all arguments form the key, and this one has no name of its own: give it one, or choose \
                 the key with `key = id`",
            ));
        };
        let span = argument.ty.span();
        let key_part = scan::located(quote!(#krate::__private::key_part), span);
        let (owned, value) = match argument.ty.as_ref() {
            Type::Reference(reference) if reference.mutability.is_none() => {
                let inner = &reference.elem;
                match inner.as_ref() {
                    Type::Slice(slice) => {
                        let element = &slice.elem;
                        (
                            parse_quote_spanned!(span=> ::std::vec::Vec<#element>),
                            quote_spanned!(span=> <[#element]>::to_vec(#name)),
                        )
                    }
                    text if text.to_token_stream().to_string() == "str" => (
                        parse_quote_spanned!(span=> ::std::string::String),
                        quote_spanned!(span=> <::std::string::String as ::core::convert::From<&str>>::from(#name)),
                    ),
                    other => (
                        other.clone(),
                        quote_spanned!(span=> #key_part::<#other>(#name)),
                    ),
                }
            }
            other => (
                other.clone(),
                quote_spanned!(span=> #key_part::<#other>(&#name)),
            ),
        };
        if scan::borrows(owned.to_token_stream()) {
            return Err(Error::new_spanned(
                &argument.ty,
                "the key outlives the call, and this argument is borrowed from the caller: leave it out \
                 with `key = …`, or give an owned key with `key = <expression>, key_type = <type>`",
            ));
        }
        Ok(Self { owned, value, span })
    }
}

fn arguments(function: &Function) -> impl Iterator<Item = &PatType> {
    function
        .sig()
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(argument) => Some(argument),
            FnArg::Receiver(_) => None,
        })
}

fn plain_name(argument: &PatType) -> Option<&Ident> {
    match argument.pat.as_ref() {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            Some(&pattern.ident)
        }
        _ => None,
    }
}

/// The name that an expression consists of.
fn name(part: &Expr) -> syn::Result<&Ident> {
    let ident = match part {
        Expr::Paren(inner) => return name(&inner.expr),
        Expr::Group(inner) => return name(&inner.expr),
        Expr::Path(path) => path.path.get_ident(),
        _ => None,
    };
    ident.ok_or_else(|| {
        let message = "the type of this is not known here: add `key_type = <type of the key>`";
        Error::new_spanned(part, message)
    })
}

fn argument<'a>(function: &'a Function, name: &Ident) -> syn::Result<&'a PatType> {
    if let Some(found) = arguments(function).find(|argument| plain_name(argument) == Some(name)) {
        return Ok(found);
    }
    let known: Vec<String> = arguments(function)
        .filter_map(plain_name)
        .map(|name| format!("`{}`", name.unraw()))
        .collect();
    let message = if known.is_empty() {
        format!(
            "there is no argument `{name}`, and no other; for another key add `key_type = <type of the key>`"
        )
    } else {
        let known = known.join(", ");
        format!(
            "there is no argument `{name}`; there are {known}. For another key add `key_type = <type of the key>`"
        )
    };
    Err(Error::new_spanned(name, message))
}
