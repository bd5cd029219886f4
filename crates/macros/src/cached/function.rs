//! The function to cache.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{AttrStyle, Error, FnArg, GenericParam, Ident, ItemFn, Pat, PatType, Signature, Stmt};

use super::scan;
use crate::errors::Errors;

/// A function that can be cached.
pub(super) struct Function {
    pub(super) item: ItemFn,
    /// Whether the function is in an impl block, where neither modules nor types can be added.
    pub(super) associated: bool,
}

impl Function {
    pub(super) fn new(mut item: ItemFn, is_associated: bool) -> Self {
        // `#![…]` in the body means the same as `#[…]` on the function, but is not valid in front of it.
        for attribute in &mut item.attrs {
            attribute.style = AttrStyle::Outer;
        }
        let associated = is_associated || item.sig.receiver().is_some() || mentions_self(&item);
        Self { item, associated }
    }

    pub(super) fn sig(&self) -> &Signature {
        &self.item.sig
    }
}

/// Whether the function mentions the `Self` of an enclosing impl block. Items in the body have a `Self` of their own.
fn mentions_self(item: &ItemFn) -> bool {
    let is_code = |statement: &&Stmt| !matches!(statement, Stmt::Item(_));
    let code = item.block.stmts.iter().filter(is_code);
    let code: TokenStream = code.map(ToTokens::to_token_stream).collect();
    code_mentions_self(code) || scan::find(item.sig.to_token_stream(), "Self").is_some()
}

fn code_mentions_self(code: TokenStream) -> bool {
    let mut within_item = false;
    for token in code {
        match token {
            TokenTree::Ident(word) if word == "impl" || word == "trait" => within_item = true,
            TokenTree::Ident(word) if word == "Self" && !within_item => return true,
            TokenTree::Group(group) => {
                if !within_item && code_mentions_self(group.stream()) {
                    return true;
                }
                within_item &= group.delimiter() != Delimiter::Brace;
            }
            _ => {}
        }
    }
    false
}

/// Refuses functions that cannot be cached with any options.
pub(super) fn check(item: &ItemFn) -> syn::Result<()> {
    let sig = &item.sig;
    let mut errors = Errors::default();
    if sig.asyncness.is_none() {
        let advice = if scan::find(sig.output.to_token_stream(), "Future").is_some() {
            "write `async fn` instead of returning a future; if another macro such as `async_trait` has rewritten \
             it: let it call a cached function"
                .to_owned()
        } else {
            format!("write `async fn {}`", sig.ident)
        };
        let message = format!(
            "a cached function waits while another call loads the same value, so it is async: {advice}"
        );
        errors.push(Error::new_spanned(sig.fn_token, message));
    }
    if let Some(unsafety) = sig.unsafety {
        errors.push(Error::new_spanned(
            unsafety,
            "a cached function is not `unsafe`: whether the body runs depends on the cache",
        ));
    }
    let generic = sig
        .generics
        .params
        .iter()
        .find(|parameter| match parameter {
            GenericParam::Lifetime(_) => false,
            GenericParam::Type(_) | GenericParam::Const(_) => true,
        });
    if let Some(parameter) = generic {
        errors.push(generic_error(parameter));
    }
    for argument in &sig.inputs {
        let of_type = match argument {
            FnArg::Typed(argument) => &argument.ty,
            FnArg::Receiver(receiver) => &receiver.ty,
        };
        if scan::borrows_mutably(of_type.to_token_stream()) {
            errors.push(Error::new_spanned(
                argument,
                "on a hit the body does not run, and what it would change through `&mut` stays as it is: pass a \
                 pool, or whatever else `&` suffices for; and do not read inside of the caller's transaction, \
                 whose changes are not committed yet",
            ));
        }
        if let FnArg::Typed(argument) = argument
            && scan::find(argument.ty.to_token_stream(), "impl").is_some()
        {
            errors.push(generic_error(&argument.ty));
        }
    }
    errors.finish()
}

fn generic_error(part: &impl ToTokens) -> Error {
    Error::new_spanned(
        part,
        "a generic function has no one cache: cache a non-generic function that calls this one, or use a \
         `CacheHandle`",
    )
}

/// The name of an argument whose pattern is a name.
pub(super) fn plain_name(argument: &PatType) -> Option<&Ident> {
    match argument.pat.as_ref() {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
            Some(&pattern.ident)
        }
        _ => None,
    }
}
