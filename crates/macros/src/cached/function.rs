//! The function that is cached.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Error, FnArg, GenericParam, ItemFn, Signature, Stmt};

use super::scan;
use crate::errors::Errors;

/// A function that can be cached.
pub(super) struct Function {
    pub(super) item: ItemFn,
    /// It stands in an impl block, where neither modules nor types can be added.
    pub(super) associated: bool,
}

impl Function {
    pub(super) fn new(item: ItemFn, told: bool) -> Self {
        let associated = told || item.sig.receiver().is_some() || mentions_self(&item);
        Self { item, associated }
    }

    pub(super) fn sig(&self) -> &Signature {
        &self.item.sig
    }
}

/// Whether `Self` means something where the function stands. Items in the body have a `Self` of their own.
fn mentions_self(item: &ItemFn) -> bool {
    let is_code = |statement: &&Stmt| !matches!(statement, Stmt::Item(_));
    let code = item.block.stmts.iter().filter(is_code);
    let mut tokens: TokenStream = code.map(ToTokens::to_token_stream).collect();
    item.sig.to_tokens(&mut tokens);
    scan::find(tokens, "Self").is_some()
}

/// Refuses what cannot be cached, whatever the options say.
pub(super) fn check(item: &ItemFn) -> syn::Result<()> {
    let sig = &item.sig;
    let mut errors = Errors::default();
    if sig.asyncness.is_none() {
        let message = format!(
            "a cached function waits for whoever loads the same value, so it is async: write `async fn {}`",
            sig.ident
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
