//! The key: its parts and its type.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Expr, FnArg, Ident, PatType, Path, Type, parse_quote_spanned};

use super::function::{Function, plain_name};
use super::left_out;
use super::options::Options;
use super::scan;
use crate::errors::Errors;

/// The key of a call.
pub(super) struct Key {
    pub(super) key_type: Type,
    /// Makes the key before the body takes the arguments.
    pub(super) expression: TokenStream,
    /// The place at which the compiler shows errors in the key.
    pub(super) span: Span,
    /// The types of the arguments that are left out because their names are those of handles. The compiler checks them.
    pub(super) handles: Vec<Type>,
}

impl Key {
    pub(super) fn of(function: &Function, options: &Options) -> syn::Result<Self> {
        let arguments = left_out::not_ignored(function, options)?;
        let (mut key, left_out) = match (&options.key, &options.key_type) {
            (Some(key), Some(key_type)) => {
                let expression = key.to_token_stream();
                let mentioned = |name: &str| scan::find(expression.clone(), name).is_some();
                let left_out = left_out::not_in(&arguments, mentioned);
                let key = Self {
                    key_type: key_type.clone(),
                    span: key.span(),
                    expression,
                    handles: Vec::new(),
                };
                (key, left_out)
            }
            (Some(key), None) => {
                let names = names(key)?;
                let left_out =
                    left_out::not_in(&arguments, |name| names.iter().any(|part| *part == name));
                (
                    Self::named(function, &names, key.span(), options)?,
                    left_out,
                )
            }
            (None, _) => {
                let (handles, parts): (Vec<_>, Vec<_>) = arguments
                    .into_iter()
                    .partition(|argument| left_out::is_handle(argument));
                (Self::all(function, &parts, &options.krate)?, handles)
            }
        };
        key.handles = left_out::check(&left_out, function, options)?;
        Ok(key)
    }

    /// `key = id`, `key = (id, lang)`.
    fn named(
        function: &Function,
        names: &[&Ident],
        span: Span,
        options: &Options,
    ) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let part = |name: &&Ident| {
            if options.ignored.contains(name) {
                let message = format!("`{name}` is part of the key and ignored; keep one");
                return Err(Error::new_spanned(name, message));
            }
            Part::of(argument(function, name)?, &options.krate)
        };
        let parts: Vec<Part> = names
            .iter()
            .filter_map(|name| errors.take(part(name)))
            .collect();
        errors.finish()?;
        Ok(Self::made_of(&parts, span))
    }

    /// All arguments, except ignored ones and handles.
    fn all(function: &Function, arguments: &[&FnArg], krate: &Path) -> syn::Result<Self> {
        let mut errors = Errors::default();
        let part = |argument: &&FnArg| match argument {
            FnArg::Typed(argument) => Part::of(argument, krate),
            FnArg::Receiver(receiver) => Err(left_out::receiver_error(receiver)),
        };
        let parts: Vec<Part> = arguments
            .iter()
            .filter_map(|argument| errors.take(part(argument)))
            .collect();
        errors.finish()?;
        let span = parts
            .first()
            .map_or_else(|| function.sig().ident.span(), |part| part.span);
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
            handles: Vec::new(),
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
                    Type::TraitObject(_) => {
                        let ident = name.unraw();
                        let message = format!(
                            "a trait object cannot be part of the key: add `ignore({ident})` if the value does not depend on it"
                        );
                        return Err(Error::new_spanned(inner, message));
                    }
                    unsized_type if is_unsized(unsized_type) => (
                        parse_quote_spanned!(span=> <#inner as ::std::borrow::ToOwned>::Owned),
                        quote_spanned!(span=> <#inner as ::std::borrow::ToOwned>::to_owned(#name)),
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
                 with `ignore(…)` if the value does not depend on it, or give an owned key with `key = <expression>, key_type = <type>`",
            ));
        }
        Ok(Self { owned, value, span })
    }
}

/// Whether the type is an unsized type of the standard library with an owned form, as `String` is that of `str`.
fn is_unsized(of_type: &Type) -> bool {
    let Type::Path(path) = of_type else {
        return false;
    };
    let last = path.path.segments.last();
    last.is_some_and(|last| {
        ["str", "Path", "OsStr", "CStr"]
            .iter()
            .any(|name| last.ident == name)
    })
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

/// `id`, `(id, lang)`.
fn names(key: &Expr) -> syn::Result<Vec<&Ident>> {
    match key {
        Expr::Tuple(tuple) => tuple.elems.iter().map(name).collect(),
        _ => Ok(vec![name(key)?]),
    }
}

/// The expression as a single name.
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
