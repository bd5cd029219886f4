//! Generates the items beside the function: its cache, and the functions that access it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Ident, Meta, Path, Token, parse_quote};

use super::function::Function;
use super::key::Key;
use super::options::{Dependency, Options};
use super::returned::Returned;
use super::scan;

/// The name of the function that returns the cache.
fn cache_name(function: &Function) -> Ident {
    let ident = &function.sig().ident;
    if function.associated {
        format_ident!("{}_cache", ident.unraw(), span = ident.span())
    } else {
        Ident::new("cache", ident.span())
    }
}

/// The expression that evaluates to the cache, for use in the function.
pub(super) fn access(function: &Function) -> TokenStream {
    let cache = cache_name(function);
    let ident = &function.sig().ident;
    let span = ident.span().resolved_at(Span::call_site());
    if function.associated {
        quote_spanned!(span=> Self::#cache())
    } else {
        quote_spanned!(span=> #ident::#cache())
    }
}

/// A fallback for the function that returns a method's cache. In a trait's impl, the compiler refuses that function. The fallback
/// keeps its call from being a second error. Elsewhere, `Self`'s own function takes precedence over this trait's.
pub(super) fn fallback(function: &Function, krate: &Path) -> TokenStream {
    if !function.associated {
        return TokenStream::new();
    }
    let cache = cache_name(function);
    let quiet = quiet();
    let name = Ident::new("Fallback", Span::mixed_site());
    quote! {
        #quiet
        trait #name {
            fn #cache<K, V>() -> &'static #krate::__private::CachedFn<K, V> {
                loop {}
            }
        }
        #quiet
        impl<T: ?Sized> #name for T {}
    }
}

/// For a free function: an empty enum of the same name, which is in the namespace of types. A module would not do, because names
/// resolve differently in it than beside the function. For a method: one associated function, because in a trait's impl each
/// additional function is an error.
pub(super) fn items(
    function: &Function,
    key: &Key,
    returned: &Returned,
    options: &Options,
) -> TokenStream {
    let cache = cache_function(function, key, returned, options);
    if function.associated {
        return cache;
    }
    let ident = &function.sig().ident;
    let vis = &function.item.vis;
    let attributes = inherited(function);
    let quiet = quiet();
    let doc = format!("The cache of the function `{}`.", ident.unraw());
    let shortcuts = shortcuts(function, key, options);
    quote! {
        #(#attributes)*
        #[doc = #doc]
        #quiet
        #vis enum #ident {}

        #(#attributes)*
        #quiet
        #[automatically_derived]
        impl #ident {
            #cache
            #shortcuts
        }
    }
}

fn cache_function(
    function: &Function,
    key: &Key,
    returned: &Returned,
    options: &Options,
) -> TokenStream {
    let cache = cache_name(function);
    let krate = &options.krate;
    let vis = &function.item.vis;
    let attributes = inherited(function);
    let quiet = quiet();
    let (key_type, value_type) = (&key.key_type, &returned.cached);
    // The compiler shows errors in the type of the value once, at the function's name.
    let span = function.sig().ident.span().resolved_at(Span::call_site());
    let shared = scan::located(quote!(#krate::__private::SharedValue), span);
    let kept = quote_spanned!(span=> <#value_type as #shared>::Itself);
    let describe = describe(function, key, returned, options);
    let concrete = concrete(function, options);
    let doc = format!(
        "The cache of `{}`: start it once with `Herald::start_cached`; until then every call runs the function.",
        function.sig().ident.unraw()
    );
    quote! {
        #(#attributes)*
        #[doc = #doc]
        #quiet
        #[must_use]
        #vis fn #cache() -> &'static #krate::__private::CachedFn<#key_type, #value_type> {
            #concrete
            #describe
            static __PGHERALD_CACHE: #krate::__private::CachedFn<#key_type, #kept> =
                #krate::__private::CachedFn::new(__pgherald_describe);
            &__PGHERALD_CACHE
        }
    }
}

/// Generates shortcuts for a free function's cache, as functions beside `cache()`.
fn shortcuts(function: &Function, key: &Key, options: &Options) -> TokenStream {
    let krate = &options.krate;
    let vis = &function.item.vis;
    let attributes = inherited(function);
    let quiet = quiet();
    let key_type = &key.key_type;
    // The compiler shows errors in the types of key and value once, at the function's name.
    let span = function.sig().ident.span().resolved_at(Span::call_site());
    let cache = cache_name(function);
    let companion = scan::located(quote!(#krate::__private::companion), span);
    let companion = quote_spanned!(span=> #companion(Self::#cache()));
    let of = format!("`{}`", function.sig().ident.unraw());
    let docs = [
        format!("Forgets the value that {of} has cached for `key`; `false` if there is none."),
        format!("Forgets everything that {of} has cached."),
        format!("The counters of {of}'s cache; all zero until it is started."),
    ];
    let [invalidate_doc, invalidate_all_doc, stats_doc] = &docs;
    quote! {
        #(#attributes)*
        #[doc = #invalidate_doc]
        #quiet
        #vis fn invalidate(key: &#key_type) -> bool {
            #companion.invalidate(key)
        }

        #(#attributes)*
        #[doc = #invalidate_all_doc]
        #quiet
        #vis fn invalidate_all() {
            #companion.invalidate_all();
        }

        #(#attributes)*
        #[doc = #stats_doc]
        #quiet
        #[must_use]
        #vis fn stats() -> #krate::__private::CacheStats {
            #companion.stats()
        }
    }
}

/// Refuses a method of a generic type, because all instances of the type would share the static. The check is an array whose
/// length cannot be computed from type parameters. Lifetimes do not affect it.
fn concrete(function: &Function, options: &Options) -> TokenStream {
    if !function.associated {
        return TokenStream::new();
    }
    let krate = &options.krate;
    let span = function.sig().ident.span().resolved_at(Span::call_site());
    let concrete = scan::located(quote!(#krate::__private::concrete), span);
    quote_spanned! {span=>
        #concrete([(); { let _ = ::core::mem::needs_drop::<Self>(); 0 }]);
    }
}

/// The name of the cache. It contains the path, so that functions of the same name have separate metrics.
fn name(function: &Function, options: &Options) -> TokenStream {
    let krate = &options.krate;
    let ident = function.sig().ident.unraw().to_string();
    match &options.name {
        Some(name) => name.to_token_stream(),
        None if function.associated => quote! {
            #krate::__private::method_name(&__pgherald_describe, ::core::module_path!(), #ident)
        },
        None => quote!(::core::concat!(::core::module_path!(), "::", #ident)),
    }
}

/// The function that builds the cache. It returns a result, so that options can use `?`. Its name and the name of
/// the static are unusual, so that they do not shadow names in the options.
fn describe(function: &Function, key: &Key, returned: &Returned, options: &Options) -> TokenStream {
    let krate = &options.krate;
    let (key_type, value_type) = (&key.key_type, &returned.cached);
    let name = name(function, options);
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
                // Takes the limit by reference, whether or not the user wrote `&`, because several caches share it.
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

/// `#[doc(hidden)]` and `#[doc(cfg(…))]`. Other contents of `#[doc(…)]` apply to the function alone: an alias leads to it, and
/// an `impl` block cannot have one. (The compiler evaluates `#[cfg]` before it calls this macro.)
fn inherited(function: &Function) -> Vec<Attribute> {
    let mut inherited = Vec::new();
    for attribute in &function.item.attrs {
        if let (true, Meta::List(list)) = (attribute.path().is_ident("doc"), &attribute.meta) {
            let parse = Punctuated::<Meta, Token![,]>::parse_terminated;
            // The compiler reports invalid contents on the function itself.
            for meta in list.parse_args_with(parse).into_iter().flatten() {
                if meta.path().is_ident("hidden") || meta.path().is_ident("cfg") {
                    inherited.push(parse_quote!(#[doc(#meta)]));
                }
            }
        }
    }
    inherited
}

/// Allows lints in generated code, because users cannot fix it.
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
