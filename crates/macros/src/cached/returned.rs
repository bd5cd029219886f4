//! The function's return type, and the part of it that is cached.

use proc_macro2::Span;
use quote::ToTokens;
use syn::{Error, GenericArgument, Ident, PathArguments, ReturnType, Signature, Type, parse_quote};

use super::scan;

/// The return type and its parts.
pub(super) struct Returned {
    /// The type as the user wrote it.
    pub(super) whole: Type,
    /// The type of the cache's values.
    pub(super) cached: Type,
    /// Whether the type is `Result<…>`. Its errors are cached only with `errors_for`.
    pub(super) fallible: bool,
    /// Whether the type is `Arc<…>`, or a result of one. Callers then share the cached value.
    pub(super) shared: bool,
}

impl Returned {
    pub(super) fn of(sig: &Signature) -> syn::Result<Self> {
        let whole = match &sig.output {
            ReturnType::Type(_, whole) if !is_unit(whole) => bare(whole),
            _ => {
                let message = "this function returns nothing that could be cached, and on a hit its body would not run: return the \
                     value that is to be remembered, or take `#[cached]` away";
                return Err(Error::new_spanned(&sig.ident, message));
            }
        };
        if let Some(at) = scan::find(whole.to_token_stream(), "impl") {
            let message =
                "a cached function returns a type with a name: write it instead of `impl …`";
            return Err(Error::new(at, message));
        }
        if scan::borrows(whole.to_token_stream()) {
            let message =
                "what is cached outlives the call: return an owned value instead of a reference";
            return Err(Error::new_spanned(whole, message));
        }
        let (value, fallible) = match arguments(whole, "Result") {
            None => (whole, false),
            Some(arguments) => match arguments.as_slice() {
                [value] | [value, _] => (bare(value), true),
                _ => {
                    let message = "which value is cached? Write `Result<T, E>` or `Result<T>`";
                    return Err(Error::new_spanned(whole, message));
                }
            },
        };
        let inner = match arguments(value, "Arc").as_deref() {
            Some([inner]) if is_sized(inner) => Some(bare(inner)),
            _ => None,
        };
        Ok(Self {
            cached: inner.unwrap_or(value).clone(),
            whole: whole.clone(),
            fallible,
            shared: inner.is_some(),
        })
    }

    /// The function of `__private` that makes the call.
    pub(super) fn call(&self) -> Ident {
        let name = match (self.fallible, self.shared) {
            (true, false) => "cached_result",
            (true, true) => "cached_arc_result",
            (false, false) => "cached_value",
            (false, true) => "cached_arc_value",
        };
        Ident::new(name, Span::call_site())
    }
}

/// The types in `Name<…>`, if the last segment of the type's path is `Name`.
fn arguments<'a>(of_type: &'a Type, name: &str) -> Option<Vec<&'a Type>> {
    let Type::Path(path) = of_type else {
        return None;
    };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Some(Vec::new());
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(argument) => Some(argument),
        _ => None,
    });
    Some(types.collect())
}

/// The type without parentheses.
fn bare(of_type: &Type) -> &Type {
    match of_type {
        Type::Paren(inner) => bare(&inner.elem),
        Type::Group(inner) => bare(&inner.elem),
        _ => of_type,
    }
}

fn is_unit(of_type: &Type) -> bool {
    matches!(bare(of_type), Type::Tuple(tuple) if tuple.elems.is_empty())
}

/// Whether the type is not visibly unsized. A cache's values have a size, so `Arc<str>`, `Arc<[T]>` and `Arc<dyn T>` are cached
/// as they are.
fn is_sized(of_type: &Type) -> bool {
    let text: Type = parse_quote!(str);
    let of_type = bare(of_type);
    let is_text = of_type.to_token_stream().to_string() == text.to_token_stream().to_string();
    !is_text && !matches!(of_type, Type::Slice(_) | Type::TraitObject(_))
}
