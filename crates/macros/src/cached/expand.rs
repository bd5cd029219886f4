//! Assembles the generated code.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::Ident;

use super::companion;
use super::function::Function;
use super::key::Key;
use super::left_out;
use super::options::Options;
use super::returned::Returned;
use super::scan;

pub(super) fn function(
    function: &Function,
    key: &Key,
    returned: &Returned,
    options: &Options,
) -> TokenStream {
    let companion = companion::items(function, key, returned, options);
    let wrapper = wrapper(function, key, returned, options);
    quote!(#wrapper #companion)
}

/// The function itself. Its body becomes a future that either the load or the call polls, never both. So the
/// generated code contains the body once, with `self` and the arguments moved into it.
fn wrapper(function: &Function, key: &Key, returned: &Returned, options: &Options) -> TokenStream {
    let item = &function.item;
    let (attributes, vis, sig) = (&item.attrs, &item.vis, &item.sig);
    // Without its braces, because the compiler warns of unnecessary braces around a single expression.
    let body = &item.block.stmts;
    let krate = &options.krate;
    let whole = &returned.whole;
    let (key_type, key_expression) = (&key.key_type, &key.expression);
    // The compiler shows errors in the types of key, value and error once, at the function's name.
    let at = sig.ident.span();
    let span = at.resolved_at(Span::call_site());
    // Hygienic names: the body must not resolve them.
    let hidden = |name: &str| Ident::new(name, at.resolved_at(Span::mixed_site()));
    let (key_name, body_name, never) = (hidden("key"), hidden("body"), hidden("never"));
    let handles = left_out::checks(&key.handles, krate);
    let key = quote_spanned!(key.span=> let #key_name: #key_type = #key_expression;);
    let cache = companion::access(function);
    let fallback = companion::fallback(function, krate);
    let value_type = &returned.cached;
    let call = returned.call();
    let probe = scan::located(quote!(#krate::__private::Returned), span);
    let probe = quote_spanned!(span=> #probe::<#value_type>::new());
    let call = if returned.fallible || returned.shared {
        let function = scan::located(quote!(#krate::__private::#call), span);
        quote_spanned! {span=>
            #probe.check();
            #function(#cache, #key_name, #body_name).await
        }
    } else {
        let call = scan::located(quote!(#call), span);
        quote_spanned!(span=> #probe.#call(#cache, #key_name, #body_name).await)
    };
    quote! {
        #(#attributes)*
        #vis #sig {
            #handles
            #key
            let #body_name = ::core::pin::pin!(async move {
                // Sets the block's type, as the signature of a function would.
                #[allow(unreachable_code, clippy::all, clippy::pedantic, clippy::restriction)]
                if false {
                    let #never: #whole = loop {};
                    return #never;
                }
                #(#body)*
            });
            #[allow(unused_imports)]
            use #krate::__private::Call as _;
            #fallback
            #call
        }
    }
}
