//! The derive macro `#[derive(Table)]`.

mod fields;
mod name;
mod options;
mod style;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, Type};

use self::fields::Column;
use self::options::Options;
use crate::errors::Errors;

pub(crate) fn expand(input: &DeriveInput) -> syn::Result<TokenStream> {
    let mut errors = Errors::default();
    let columns = errors.take(fields::columns(input));
    let options = errors.take(Options::of(input));
    if let Some(parameter) = input.generics.params.first() {
        errors.push(Error::new_spanned(
            parameter,
            "`derive(Table)` is for types without generic parameters: one type stands for one table. \
             Implement `Table` by hand for each type that is used",
        ));
    }
    let (Some(columns), Some(options)) = (columns, options) else {
        return Err(not_told(errors, input));
    };
    let keys: Vec<&Type> = options
        .key
        .iter()
        .filter_map(|column| errors.take(key_type(input, &columns, column)))
        .collect();
    errors.finish()?;

    let Options {
        krate,
        schema,
        name,
        key,
    } = &options;
    let ident = &input.ident;
    let schema = schema.iter();
    let key_type = match keys.as_slice() {
        [one] => quote!(#one),
        several => quote!((#(#several),*)),
    };
    let is_key = |column: &&Column| key.iter().any(|part| part.value() == column.name);
    let names = |is_wanted: fn(&Column) -> bool| {
        let columns = columns
            .iter()
            .filter(|column| column.is_read && !is_key(column));
        let columns = columns.filter(|column| is_wanted(column));
        let names = columns.map(|column| &column.name);
        quote! {
            if <#krate::__private::Readable<#ident>>::IS_READABLE { &[#(#names),*] } else { &[] }
        }
    };
    let every = names(|_| true);
    let optional = names(|column| column.has_default);
    let aliased = columns.iter().filter(|column| !column.aliases.is_empty());
    let aliased = aliased.map(|Column { name, aliases, .. }| quote!((#name, &[#(#aliases),*])));
    let aliased: Vec<TokenStream> = aliased.collect();
    let aliases = (!aliased.is_empty()).then(|| {
        quote! {
            const ALIASES: &'static [(&'static str, &'static [&'static str])] = &[#(#aliased),*];
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #krate::__private::Table for #ident {
            #(const SCHEMA: &'static str = #schema;)*
            const NAME: &'static str = #name;
            const KEY: &'static [&'static str] = &[#(#key),*];
            const COLUMNS: &'static [&'static str] = {
                #[allow(unused_imports, reason = "it counts only for types that cannot be read")]
                use #krate::__private::Unreadable as _;
                #every
            };
            const OPTIONAL_COLUMNS: &'static [&'static str] = {
                #[allow(unused_imports, reason = "it counts only for types that cannot be read")]
                use #krate::__private::Unreadable as _;
                #optional
            };
            #aliases
            type Key = #key_type;
        }
    })
}

/// Returns the collected errors. There is at least one if the columns or the options are missing.
fn not_told(errors: Errors, input: &DeriveInput) -> Error {
    match errors.finish() {
        Err(error) => error,
        Ok(()) => Error::new_spanned(&input.ident, "`derive(Table)` cannot be understood"),
    }
}

/// The type of a key column's field.
fn key_type<'a>(
    input: &DeriveInput,
    columns: &'a [Column],
    key: &syn::LitStr,
) -> syn::Result<&'a Type> {
    let wanted = key.value();
    if let Some(column) = columns.iter().find(|column| column.name == wanted) {
        return Ok(&column.of_type);
    }
    let known: Vec<String> = columns.iter().map(|c| format!("`{}`", c.name)).collect();
    let message = format!(
        "`{}` has no field for the key column `{wanted}`; there are {}. A field of another name takes \
         `#[serde(rename = \"{wanted}\")]`",
        input.ident,
        known.join(", "),
    );
    Err(Error::new_spanned(key, message))
}
