//! The arguments that are not part of the key.
//!
//! The cache looks a value up by its key alone. So calls that differ in another argument share a value, and each argument that is
//! left out has to be named in `ignore(…)`. The exception is a handle: a pool or a client, which every call passes along.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericArgument, Ident, Pat, PathArguments, Receiver, Type};

use super::function::{Function, plain_name};
use super::options::{Dependency, Options};
use super::scan;
use crate::errors::Errors;

/// The names of types that are taken for handles. The compiler then checks the type. A pool is a type of another library, which
/// cannot be named here, so the check only requires that it shares state, as pools do. A `Client` may also be a client of an HTTP
/// service, or a customer with its tenant, so it has to be the type of `tokio_postgres`.
const HANDLES: [&str; 4] = ["Pool", "PgPool", "Client", "DatabaseConnection"];
const CLIENT: &str = HANDLES[2];

/// The arguments that the options do not ignore.
pub(super) fn not_ignored<'a>(
    function: &'a Function,
    options: &Options,
) -> syn::Result<Vec<&'a FnArg>> {
    let inputs = &function.sig().inputs;
    let mut errors = Errors::default();
    for name in &options.ignored {
        if !inputs.iter().any(|argument| is_named(argument, name)) {
            errors.push(Error::new_spanned(
                name,
                format!("there is no argument `{name}`"),
            ));
        }
    }
    errors.finish()?;
    let ignored = |argument: &&FnArg| {
        let mut names = options.ignored.iter();
        names.any(|name| is_named(argument, name))
    };
    Ok(inputs
        .iter()
        .filter(|argument| !ignored(argument))
        .collect())
}

/// The arguments whose names are not in the key.
pub(super) fn not_in<'a>(arguments: &[&'a FnArg], in_key: impl Fn(&str) -> bool) -> Vec<&'a FnArg> {
    let named = |argument: &&FnArg| name(argument).is_some_and(|name| in_key(&name));
    arguments
        .iter()
        .filter(|argument| !named(argument))
        .copied()
        .collect()
}

/// Whether the argument's type has the name of a handle, directly, behind a reference, or in an `Arc`.
pub(super) fn is_handle(argument: &FnArg) -> bool {
    matches!(argument, FnArg::Typed(argument) if handle(&argument.ty).is_some())
}

/// The name of a handle that the type has, if any.
fn handle(of_type: &Type) -> Option<&'static str> {
    match of_type {
        Type::Reference(reference) => handle(&reference.elem),
        Type::Paren(inner) => handle(&inner.elem),
        Type::Group(inner) => handle(&inner.elem),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            if last.ident != "Arc" {
                return HANDLES.into_iter().find(|name| last.ident == name);
            }
            let PathArguments::AngleBracketed(arguments) = &last.arguments else {
                return None;
            };
            match arguments.args.first()? {
                GenericArgument::Type(inner) => handle(inner),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Refuses arguments that are neither in the key nor ignored. Returns the types of handles.
pub(super) fn check(
    left_out: &[&FnArg],
    function: &Function,
    options: &Options,
) -> syn::Result<Vec<Type>> {
    let mut errors = Errors::default();
    let mut handles = Vec::new();
    for argument in left_out {
        match argument {
            FnArg::Receiver(receiver) => errors.push(receiver_error(receiver)),
            // The body cannot use it.
            FnArg::Typed(argument) if matches!(*argument.pat, Pat::Wild(_)) => {}
            FnArg::Typed(argument) if handle(&argument.ty).is_some() => {
                handles.push(argument.ty.as_ref().clone());
            }
            FnArg::Typed(argument) => errors.push(match plain_name(argument) {
                Some(name) => argument_error(name, function, options),
                None => Error::new_spanned(
                    &argument.pat,
                    "this argument is not part of the key, so calls that differ in it would share a value: give it \
                     a name, and add that to the key, or to `ignore(…)` if the value does not depend on it",
                ),
            }),
        }
    }
    errors.finish()?;
    Ok(handles)
}

fn argument_error(name: &Ident, function: &Function, options: &Options) -> Error {
    let bare = name.unraw();
    let row_of = options
        .dependencies
        .iter()
        .find_map(|dependency| match dependency {
            Dependency::RowOf(table) => Some(table.to_token_stream()),
            _ => None,
        });
    let row = row_of.map_or_else(String::new, |table| {
        format!("name the row with `row_by({table}, |key| …)` and ")
    });
    let key = key_with(&bare, function, options);
    Error::new_spanned(
        name,
        format!(
            "`{bare}` is not part of the key, so calls that differ in it would share a value: {row}add it to the key, \
             {key}; or add `ignore({bare})`, if the value does not depend on it"
        ),
    )
}

/// Suggests a key that includes the argument, for an error message.
fn key_with(added: &Ident, function: &Function, options: &Options) -> String {
    let (Some(key), None) = (&options.key, &options.key_type) else {
        return "with its type in `key_type`".to_owned();
    };
    let words = key.to_token_stream();
    let parts: Vec<String> = function
        .sig()
        .inputs
        .iter()
        .filter_map(name)
        .filter(|name| *added == name.as_str() || scan::find(words.clone(), name).is_some())
        .collect();
    format!("`key = ({})`", parts.join(", "))
}

pub(super) fn receiver_error(receiver: &Receiver) -> Error {
    Error::new_spanned(
        receiver,
        "`self` is not part of the key, so all values of `self` would share a value: add `ignore(self)` if what is \
         returned does not depend on it, or add what it depends on to the key, as in \
         `key = (self.tenant, id), key_type = (i64, i64)`",
    )
}

fn name(argument: &FnArg) -> Option<String> {
    match argument {
        FnArg::Receiver(_) => Some("self".to_owned()),
        FnArg::Typed(argument) => plain_name(argument).map(ToString::to_string),
    }
}

fn is_named(argument: &FnArg, ident: &Ident) -> bool {
    name(argument).is_some_and(|name| *ident == name)
}

/// Statements with which the compiler checks the types of handles.
pub(super) fn checks(handles: &[Type], krate: &syn::Path) -> TokenStream {
    let checks = handles.iter().map(|of_type| {
        let span = of_type.span();
        if handle(of_type) == Some(CLIENT) {
            let client = scan::located(quote!(#krate::__private::client), span);
            return quote_spanned!(span=> #client::<#of_type>(););
        }
        let argument = scan::located(quote!(#krate::__private::Argument), span);
        quote_spanned!(span=> #argument::<#of_type>::new().check();)
    });
    let checks: TokenStream = checks.collect();
    if checks.is_empty() {
        return checks;
    }
    quote! {
        #[allow(clippy::all, clippy::pedantic, clippy::restriction)]
        {
            #[allow(unused_imports)]
            use #krate::__private::SharesState as _;
            #checks
        }
    }
}
