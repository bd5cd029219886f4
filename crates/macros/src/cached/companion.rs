//! What is generated beside the function: its cache, and how to speak to it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Ident, Meta};

use super::function::Function;
use super::key::Key;
use super::options::{Dependency, Options};
use super::returned::Returned;
use super::scan;

/// The names of the companion's functions.
struct Names {
    cache: Ident,
    invalidate: Ident,
    invalidate_all: Ident,
    stats: Ident,
}

impl Names {
    fn of(function: &Function) -> Self {
        let ident = &function.sig().ident;
        let name = |what: &str| {
            if function.associated {
                format_ident!("{}_{what}", ident.unraw(), span = ident.span())
            } else {
                Ident::new(what, ident.span())
            }
        };
        Self {
            cache: name("cache"),
            invalidate: name("invalidate"),
            invalidate_all: name("invalidate_all"),
            stats: name("stats"),
        }
    }
}

/// The expression that gives the cache, for use in the function.
pub(super) fn access(function: &Function) -> TokenStream {
    let Names { cache, .. } = Names::of(function);
    let ident = &function.sig().ident;
    let span = ident.span().resolved_at(Span::call_site());
    if function.associated {
        quote_spanned!(span=> Self::#cache())
    } else {
        quote_spanned!(span=> #ident::#cache())
    }
}

/// A free function has an empty enum of its own name, which lives among the types and not among the
/// functions. Unlike in a module, names mean in it what they mean beside the function, in whatever scope
/// that is. A method has more associated functions.
pub(super) fn items(
    function: &Function,
    key: &Key,
    returned: &Returned,
    options: &Options,
) -> TokenStream {
    let functions = functions(function, key, returned, options);
    if function.associated {
        return functions;
    }
    let ident = &function.sig().ident;
    let vis = &function.item.vis;
    let attributes = inherited(function);
    let quiet = quiet();
    let doc = format!("The cache of the function `{}`.", ident.unraw());
    quote! {
        #(#attributes)*
        #[doc = #doc]
        #quiet
        #vis enum #ident {}

        #(#attributes)*
        #quiet
        #[automatically_derived]
        impl #ident {
            #functions
        }
    }
}

fn functions(
    function: &Function,
    key: &Key,
    returned: &Returned,
    options: &Options,
) -> TokenStream {
    let Names {
        cache,
        invalidate,
        invalidate_all,
        stats,
    } = Names::of(function);
    let krate = &options.krate;
    let vis = &function.item.vis;
    let attributes = inherited(function);
    let quiet = quiet();
    let (key_type, value_type) = (&key.key_type, &returned.cached);
    // Mistakes in the types of key and value are shown at the function's name, once.
    let span = function.sig().ident.span().resolved_at(Span::call_site());
    let companion = scan::located(quote!(#krate::__private::companion), span);
    let companion = quote_spanned!(span=> #companion(Self::#cache()));
    let shared = scan::located(quote!(#krate::__private::SharedValue), span);
    let kept = quote_spanned!(span=> <#value_type as #shared>::Itself);
    let describe = describe(function, key, returned, options);
    let of = format!("`{}`", function.sig().ident.unraw());
    let docs = [
        format!(
            "The cache of {of}: start it once with `Herald::cached`; until then every call runs the function."
        ),
        format!("Forgets the value that {of} has cached for `key`; `false` if there is none."),
        format!("Forgets everything that {of} has cached."),
        format!("The counters of {of}'s cache; all zero until it is started."),
    ];
    let [cache_doc, invalidate_doc, invalidate_all_doc, stats_doc] = &docs;
    quote! {
        #(#attributes)*
        #[doc = #cache_doc]
        #quiet
        #[must_use]
        #vis fn #cache() -> &'static #krate::__private::CachedFn<#key_type, #value_type> {
            #describe
            static __PGHERALD_CACHE: #krate::__private::CachedFn<#key_type, #kept> =
                #krate::__private::CachedFn::new(__pgherald_describe);
            &__PGHERALD_CACHE
        }

        #(#attributes)*
        #[doc = #invalidate_doc]
        #quiet
        #vis fn #invalidate(key: &#key_type) -> bool {
            #companion.invalidate(key)
        }

        #(#attributes)*
        #[doc = #invalidate_all_doc]
        #quiet
        #vis fn #invalidate_all() {
            #companion.invalidate_all();
        }

        #(#attributes)*
        #[doc = #stats_doc]
        #quiet
        #[must_use]
        #vis fn #stats() -> #krate::__private::CacheStats {
            #companion.stats()
        }
    }
}

/// The function that builds the cache. It returns a result, so that options can use `?`. Its name, and the
/// static's, are such that they do not hide what the options speak of.
fn describe(function: &Function, key: &Key, returned: &Returned, options: &Options) -> TokenStream {
    let krate = &options.krate;
    let (key_type, value_type) = (&key.key_type, &returned.cached);
    let name = options.name.as_ref().map_or_else(
        || function.sig().ident.unraw().to_string(),
        syn::LitStr::value,
    );
    let new = quote!(#krate::__private::CacheBuilder::<#key_type, #value_type>::new(#name));
    let builder = options
        .dependencies
        .iter()
        .fold(new, |builder, dependency| match dependency {
            Dependency::RowOf(table) => {
                let span = table.span();
                let row_of = scan::located(quote!(#krate::__private::row_of), span);
                quote_spanned!(span=> #row_of::<#table, _, _>(#builder))
            }
            Dependency::RowBy(table, row) => {
                quote_spanned!(table.span()=> #builder.row_by::<#table>(#row))
            }
            Dependency::KeysBy(table, keys) => {
                quote_spanned!(table.span()=> #builder.keys_by::<#table>(#keys))
            }
            Dependency::TableOf(table) => {
                quote_spanned!(table.span()=> #builder.table_of::<#table>())
            }
        });
    let builder = options
        .settings
        .iter()
        .fold(builder, |builder, (setting, value)| {
            let span = value.span();
            match setting.to_string().as_str() {
                "strategy" => {
                    let strategy = scan::located(quote!(#krate::__private::strategy), span);
                    quote_spanned!(span=> #strategy(#builder, #value))
                }
                // A limit is shared: it is taken by reference, whether a `&` was written or not.
                "load_limit" => quote_spanned!(span=> #builder.load_limit(&#value)),
                _ => quote_spanned!(span=> #builder.#setting(#value)),
            }
        });
    quote! {
        fn __pgherald_describe() -> #krate::__private::Result<
            #krate::__private::CacheBuilder<#key_type, #value_type>
        > {
            ::core::result::Result::Ok(
                #builder
            )
        }
    }
}

/// `#[doc(hidden)]` and its like. (`#[cfg]` has done its work before this macro is called.)
fn inherited(function: &Function) -> Vec<&Attribute> {
    let decides = |attribute: &&Attribute| {
        attribute.path().is_ident("doc") && matches!(attribute.meta, Meta::List(_))
    };
    function.item.attrs.iter().filter(decides).collect()
}

/// Generated code is no business of the user's lints.
fn quiet() -> TokenStream {
    quote! {
        #[allow(
            dead_code,
            missing_debug_implementations,
            non_camel_case_types,
            private_interfaces,
            unreachable_pub,
            clippy::all,
            clippy::nursery,
            clippy::pedantic,
            clippy::restriction,
        )]
    }
}
