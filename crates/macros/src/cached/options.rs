//! The options in `#[cached(…)]`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Error, Expr, Ident, LitStr, Path, Token, Type, parenthesized, parse_quote, token};

use crate::errors::Errors;

const KNOWN: [&str; 20] = [
    "row_of",
    "row_by",
    "keys_by",
    "table_of",
    "key",
    "key_type",
    "ignore",
    "strategy",
    "capacity",
    "ttl",
    "ttl_jitter",
    "when_not_live",
    "load_limit",
    "load_timeout",
    "errors_for",
    "refresh",
    "observer",
    "name",
    "associated",
    "crate",
];

/// A dependency of the values on a table.
pub(super) enum Dependency {
    RowOf(Type),
    RowBy(Type, Expr),
    KeysBy(Type, Expr),
    TableOf(Type),
}

/// The options, checked: there is at least one dependency, and no repeated option that may be given only once.
pub(super) struct Options {
    pub(super) dependencies: Vec<Dependency>,
    pub(super) key: Option<Expr>,
    pub(super) key_type: Option<Type>,
    /// The arguments in `ignore(…)`.
    pub(super) ignored: Vec<Ident>,
    /// Methods of the builder, each with its argument.
    pub(super) settings: Vec<(Ident, Expr)>,
    pub(super) name: Option<LitStr>,
    pub(super) associated: bool,
    pub(super) krate: Path,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self {
            dependencies: Vec::new(),
            key: None,
            key_type: None,
            ignored: Vec::new(),
            settings: Vec::new(),
            name: None,
            associated: false,
            krate: parse_quote!(::pgherald),
        };
        let mut errors = Errors::default();
        let read = options.read_all(input, &mut errors);
        errors.take(read);
        // Do not also report what is missing because an option was mistyped.
        errors.finish()?;
        options.check()?;
        Ok(options)
    }
}

impl Options {
    fn read_all(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<()> {
        let mut seen: Vec<Ident> = Vec::new();
        while !input.is_empty() {
            let option = input.call(Ident::parse_any)?;
            if !self.read(&option, input)? {
                let known = KNOWN.join(", ");
                let message = format!("unknown option `{option}`; known are {known}");
                errors.push(Error::new_spanned(&option, message));
                skip(input)?;
            } else if !may_repeat(&option) && seen.contains(&option) {
                let message = format!("`{option}` is given twice; keep one");
                errors.push(Error::new_spanned(&option, message));
            }
            seen.push(option);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(())
    }

    /// Reads the value of an option. Returns `false` if there is no such option.
    fn read(&mut self, option: &Ident, input: ParseStream<'_>) -> syn::Result<bool> {
        match option.to_string().as_str() {
            "row_of" => {
                let table = value(
                    option,
                    input,
                    "write `row_of = Type`, a type that implements `Table`",
                )?;
                self.dependencies.push(Dependency::RowOf(table));
            }
            "table_of" => {
                let hint = "write `table_of = Type`, a type that implements `Table`";
                self.dependencies
                    .push(Dependency::TableOf(value(option, input, hint)?));
            }
            "row_by" => {
                let hint = "write `row_by(Type, |key| …)`: from the cache's key to the row's";
                let (table, row) = pair(input, hint)?;
                self.dependencies.push(Dependency::RowBy(table, row));
            }
            "keys_by" => {
                let hint =
                    "write `keys_by(Type, |change| …)`: from a change to the keys it affects";
                let (table, keys) = pair(input, hint)?;
                self.dependencies.push(Dependency::KeysBy(table, keys));
            }
            "key" => {
                let hint = "write `key = id`, `key = (id, lang)`, or `key = <expression>, key_type = <type>`";
                self.key = Some(value(option, input, hint)?);
            }
            "key_type" => {
                self.key_type = Some(value(
                    option,
                    input,
                    "write `key_type = <type of the key>`",
                )?);
            }
            "ignore" => self.ignored.extend(names(input)?),
            "strategy" | "capacity" | "ttl" | "ttl_jitter" | "when_not_live" | "load_limit"
            | "load_timeout" | "errors_for" | "refresh" | "observer" => {
                let hint = format!("write `{option} = <expression>`");
                self.settings
                    .push((option.clone(), value(option, input, &hint)?));
            }
            "name" => self.name = Some(value(option, input, "write `name = \"…\"`")?),
            "associated" => self.associated = true,
            "crate" => {
                self.krate = value_by(
                    option,
                    input,
                    "write `crate = <path>`",
                    Path::parse_mod_style,
                )?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self) -> syn::Result<()> {
        let mut errors = Errors::default();
        if self.dependencies.is_empty() {
            errors.push(Error::new(
                Span::call_site(),
                "the cache depends on nothing, and nothing would invalidate it: name at least one of \
                 `row_of = Type`, `row_by(Type, |key| …)`, `keys_by(Type, |change| …)`, `table_of = Type`",
            ));
        }
        if let (Some(key_type), None) = (&self.key_type, &self.key) {
            errors.push(Error::new_spanned(
                key_type,
                "`key_type` goes with `key = <expression>`: add that, or leave `key_type` away",
            ));
        }
        errors.finish()
    }

    /// Refuses `errors_for` for a function that does not return `Result`.
    pub(super) fn refuse_errors(&self) -> syn::Result<()> {
        let mut names = self.settings.iter().map(|(name, _)| name);
        names.find(|name| *name == "errors_for").map_or(Ok(()), |name| {
            let message = "`errors_for` keeps the errors of a function that returns `Result`, and this one has none: leave it out";
            Err(Error::new_spanned(name, message))
        })
    }

    /// The tokens that the generated code places outside of the function.
    pub(super) fn outside(&self) -> TokenStream {
        let mut tokens = TokenStream::new();
        for dependency in &self.dependencies {
            match dependency {
                Dependency::RowOf(table) | Dependency::TableOf(table) => {
                    table.to_tokens(&mut tokens);
                }
                Dependency::RowBy(table, by) | Dependency::KeysBy(table, by) => {
                    table.to_tokens(&mut tokens);
                    by.to_tokens(&mut tokens);
                }
            }
        }
        for (_, value) in &self.settings {
            value.to_tokens(&mut tokens);
        }
        tokens
    }
}

/// Whether the option may be given more than once.
fn may_repeat(option: &Ident) -> bool {
    ["row_of", "row_by", "keys_by", "table_of", "ignore"]
        .iter()
        .any(|name| option == name)
}

fn value<T: Parse>(option: &Ident, input: ParseStream<'_>, hint: &str) -> syn::Result<T> {
    value_by(option, input, hint, T::parse)
}

/// Parses `= value`.
fn value_by<T>(
    option: &Ident,
    input: ParseStream<'_>,
    hint: &str,
    parse: fn(ParseStream<'_>) -> syn::Result<T>,
) -> syn::Result<T> {
    if input.is_empty() {
        return Err(Error::new_spanned(option, hint));
    }
    let read = input.parse::<Token![=]>().and_then(|_| parse(input));
    read.map_err(|error| explained(&error, hint))
}

/// Parses `(Type, expression)`.
fn pair(input: ParseStream<'_>, hint: &str) -> syn::Result<(Type, Expr)> {
    if !input.peek(token::Paren) {
        return Err(input.error(hint));
    }
    let content;
    parenthesized!(content in input);
    let both = |content: ParseStream<'_>| {
        let table = content.parse()?;
        content.parse::<Token![,]>()?;
        let by = content.parse()?;
        content.parse::<Option<Token![,]>>()?;
        if content.is_empty() {
            Ok((table, by))
        } else {
            Err(content.error("unexpected token"))
        }
    };
    both(&content).map_err(|error| explained(&error, hint))
}

/// Parses `(name, name)`.
fn names(input: ParseStream<'_>) -> syn::Result<Vec<Ident>> {
    let hint = "write `ignore(pool)`, with the arguments on which the value does not depend";
    if !input.peek(token::Paren) {
        return Err(input.error(hint));
    }
    let content;
    parenthesized!(content in input);
    let names = content.parse_terminated(Ident::parse_any, Token![,]);
    Ok(names
        .map_err(|error| explained(&error, hint))?
        .into_iter()
        .collect())
}

fn explained(error: &Error, hint: &str) -> Error {
    Error::new(error.span(), format!("{error}: {hint}"))
}

/// Skips the value of an unknown option.
fn skip(input: ParseStream<'_>) -> syn::Result<()> {
    while !input.is_empty() && !input.peek(Token![,]) {
        input.parse::<TokenTree>()?;
    }
    Ok(())
}
