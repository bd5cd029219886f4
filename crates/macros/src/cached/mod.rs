//! The attribute macro `#[cached]`.

mod companion;
mod expand;
mod function;
mod key;
mod left_out;
mod options;
mod returned;
mod scan;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Error, ItemFn};

use self::function::Function;
use self::key::Key;
use self::options::Options;
use self::returned::Returned;
use crate::errors::Errors;

/// Returns the function with its cache, or the unchanged function with the errors.
pub(crate) fn expand(options: TokenStream, item: &TokenStream) -> TokenStream {
    generate(options, item.clone()).unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#item #error)
    })
}

fn generate(options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let function = syn::parse2::<ItemFn>(item).map_err(|error| {
        let message = "`#[cached]` goes on an `async fn` with a body";
        Error::new(error.span(), message)
    })?;
    let mut errors = Errors::default();
    let options = errors.take(syn::parse2::<Options>(options));
    errors.take(function::check(&function));
    // The return type of a function that is not async is at most a future, not the value.
    let returned = match function.sig.asyncness {
        Some(_) => errors.take(Returned::of(&function.sig)),
        None => None,
    };
    // The key is checked last, because the checks of a key make no sense for a generic function.
    errors.finish()?;
    let (Some(options), Some(returned)) = (options, returned) else {
        let message = "`#[cached]` cannot be understood";
        return Err(Error::new_spanned(&function.sig.ident, message));
    };
    if !returned.fallible {
        options.refuse_errors()?;
    }
    let function = Function::new(function, options.associated);
    let key = Key::of(&function, &options)?;
    if function.associated {
        refuse_self(&key, &returned, &options)?;
    }
    Ok(expand::function(&function, &key, &returned, &options))
}

/// Refuses `Self` in tokens that the generated code places in a static, which cannot name it.
fn refuse_self(key: &Key, returned: &Returned, options: &Options) -> syn::Result<()> {
    let mut tokens = options.outside();
    key.key_type.to_tokens(&mut tokens);
    returned.cached.to_tokens(&mut tokens);
    scan::find(tokens, "Self").map_or(Ok(()), |span| {
        Err(Error::new(
            span,
            "the cache is a static, which cannot name `Self`: write the type's name here",
        ))
    })
}
