//! The options in `#[table(…)]`.

use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{DeriveInput, Error, LitStr, Path, Token, bracketed, parse_quote, token};

use super::name;
use crate::errors::Errors;

const KNOWN: &str = "`name`, `schema`, `key` and `crate`";

/// The checked options.
pub(super) struct Options {
    pub(super) krate: Path,
    pub(super) schema: Option<String>,
    pub(super) name: String,
    pub(super) key: Vec<LitStr>,
}

/// The options as the user wrote them.
#[derive(Default)]
struct Given {
    krate: Option<Path>,
    schema: Option<LitStr>,
    name: Option<LitStr>,
    key: Option<Vec<LitStr>>,
}

impl Options {
    pub(super) fn of(input: &DeriveInput) -> syn::Result<Self> {
        let mut given = Given::default();
        let mut errors = Errors::default();
        for attribute in &input.attrs {
            if attribute.path().is_ident("table") {
                let parsed = attribute.parse_nested_meta(|option| given.read(&option, &mut errors));
                errors.take(parsed);
            }
        }
        // Do not also report an option as missing if it was mistyped.
        errors.finish()?;

        let mut errors = Errors::default();
        let table = errors.take(given.table(input));
        let key = errors.take(given.key(input));
        errors.finish()?;
        let (schema, name) = table.unwrap_or_default();
        Ok(Self {
            krate: given.krate.unwrap_or_else(|| parse_quote!(::pgherald)),
            schema,
            name,
            key: key.unwrap_or_default(),
        })
    }
}

impl Given {
    fn read(&mut self, option: &ParseNestedMeta<'_>, errors: &mut Errors) -> syn::Result<()> {
        let path = &option.path;
        let given_before = if path.is_ident("name") {
            self.name.replace(option.value()?.parse()?).is_some()
        } else if path.is_ident("schema") {
            self.schema.replace(option.value()?.parse()?).is_some()
        } else if path.is_ident("key") {
            self.key.replace(key_columns(option)?).is_some()
        } else if path.is_ident("crate") {
            let krate = option.value()?.call(Path::parse_mod_style)?;
            self.krate.replace(krate).is_some()
        } else {
            return Err(option.error(format!("unknown option; known are {KNOWN}")));
        };
        if given_before {
            errors.push(option.error("this option is given twice; keep one"));
        }
        Ok(())
    }

    /// Returns the schema, if it is given, and the name.
    fn table(&self, input: &DeriveInput) -> syn::Result<(Option<String>, String)> {
        let Some(given) = &self.name else {
            return Err(Error::new_spanned(
                &input.ident,
                "the table's name is missing: add `#[table(name = \"…\", key = \"…\")]`, as it stands in the \
                 database; it is not guessed from the type's name",
            ));
        };
        let mut parts = parts(given)?.into_iter();
        let (first, second, third) = (parts.next(), parts.next(), parts.next());
        let (schema, name) = match (first, second, third) {
            (Some(name), None, None) => (None, name),
            (Some(schema), Some(name), None) => (Some(schema), name),
            _ => {
                return Err(Error::new_spanned(
                    given,
                    "write `table` or `schema.table`; a name with dots in it is written in quotes",
                ));
            }
        };
        let Some(option) = &self.schema else {
            return Ok((schema, name));
        };
        if schema.is_some() {
            return Err(Error::new_spanned(
                option,
                "the schema is in `name` already; give it once",
            ));
        }
        match self::parts(option)?.as_slice() {
            [schema] => Ok((Some(schema.clone()), name)),
            _ => Err(Error::new_spanned(
                option,
                "a schema is one name; a name with dots in it is written in quotes",
            )),
        }
    }

    fn key(&self, input: &DeriveInput) -> syn::Result<Vec<LitStr>> {
        let Some(columns) = &self.key else {
            return Err(Error::new_spanned(
                &input.ident,
                "the row key is missing: add `key = \"id\"` or `key = [\"tenant\", \"id\"]` to `#[table(…)]`, \
                 with the columns of the primary key",
            ));
        };
        for (index, column) in columns.iter().enumerate() {
            let before = columns.iter().take(index);
            if before.map(LitStr::value).any(|name| name == column.value()) {
                let message = format!("the key has column `{}` twice", column.value());
                return Err(Error::new_spanned(column, message));
            }
        }
        Ok(columns.clone())
    }
}

fn parts(text: &LitStr) -> syn::Result<Vec<String>> {
    name::parts(&text.value()).map_err(|reason| Error::new_spanned(text, reason))
}

/// Parses a column or a list of columns that is not empty.
fn key_columns(option: &ParseNestedMeta<'_>) -> syn::Result<Vec<LitStr>> {
    let value = option.value()?;
    if value.peek(token::Bracket) {
        let list;
        let bracket = bracketed!(list in value);
        let columns = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
        if columns.is_empty() {
            return Err(Error::new(
                bracket.span.join(),
                "a key has one column at least",
            ));
        }
        return Ok(columns.into_iter().collect());
    }
    let column = value.parse().map_err(|error: Error| {
        let hint = "`key` takes a column, `\"id\"`, or a list of them, `[\"tenant\", \"id\"]`";
        Error::new(error.span(), hint)
    })?;
    Ok(vec![column])
}
