//! Maps the struct's fields to columns.

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, LitStr, Token, Type, parenthesized};

use super::style::Style;

/// A field and its column.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of_type: Type,
    /// Whether serde reads the field from the column.
    pub(super) is_read: bool,
    /// Whether serde uses a default if there is no such column.
    pub(super) has_default: bool,
    /// Other names from which serde reads the field.
    pub(super) aliases: Vec<String>,
}

pub(super) fn columns(input: &DeriveInput) -> syn::Result<Vec<Column>> {
    let what = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                let container = Serde::of(&input.attrs)?;
                let fields = fields.named.iter();
                return fields.map(|field| column(field, &container)).collect();
            }
            Fields::Unnamed(_) => "a tuple struct has",
            Fields::Unit => "a unit struct has",
        },
        Data::Enum(_) => "an enum has",
        Data::Union(_) => "a union has",
    };
    let message = format!(
        "`derive(Table)` reads the key's type off the struct's named fields, and {what} none to read. Use a \
         struct with a field for each key column, or implement `Table` by hand"
    );
    Err(Error::new_spanned(&input.ident, message))
}

fn column(field: &syn::Field, container: &Serde) -> syn::Result<Column> {
    let serde = Serde::of(&field.attrs)?;
    let own_name = field.ident.as_ref().map(|ident| ident.unraw().to_string());
    let own_name = own_name.map(|name| match container.rename_all {
        Some(style) => style.apply(&name),
        None => name,
    });
    Ok(Column {
        name: serde.rename.or(own_name).unwrap_or_default(),
        of_type: field.ty.clone(),
        is_read: !serde.is_elsewhere && !container.is_elsewhere,
        has_default: serde.has_default || container.has_default,
        aliases: serde.aliases,
    })
}

/// The serde attributes of a struct or a field.
#[derive(Default)]
struct Serde {
    /// The name to read the field from.
    rename: Option<String>,
    /// The style of the names of a struct's fields.
    rename_all: Option<Style>,
    has_default: bool,
    aliases: Vec<String>,
    /// Whether serde does not read the field from its own column, but from another type, from all columns, or not at all.
    is_elsewhere: bool,
}

impl Serde {
    fn of(attributes: &[Attribute]) -> syn::Result<Self> {
        let mut serde = Self::default();
        for attribute in attributes {
            if attribute.path().is_ident("serde") {
                attribute.parse_nested_meta(|option| serde.read(&option))?;
            }
        }
        Ok(serde)
    }

    fn read(&mut self, option: &ParseNestedMeta<'_>) -> syn::Result<()> {
        const ELSEWHERE: [&str; 7] = [
            "skip",
            "skip_deserializing",
            "flatten",
            "from",
            "try_from",
            "transparent",
            "remote",
        ];
        let path = &option.path;
        if path.is_ident("rename") {
            let name = name_to_read(option)?;
            self.rename = name.map(|name| name.value()).or(self.rename.take());
            return Ok(());
        }
        if path.is_ident("rename_all") {
            if let Some(style) = name_to_read(option)? {
                // Serde itself refuses an unknown style.
                self.rename_all = Style::named(&style.value());
            }
            return Ok(());
        }
        if path.is_ident("alias") {
            let name: LitStr = option.value()?.parse()?;
            self.aliases.push(name.value());
            return Ok(());
        }
        self.has_default |= path.is_ident("default");
        self.is_elsewhere |= ELSEWHERE.iter().any(|name| path.is_ident(name));
        skip(option)
    }
}

/// Parses the name in `= "…"` or `(deserialize = "…")`.
fn name_to_read(option: &ParseNestedMeta<'_>) -> syn::Result<Option<LitStr>> {
    if option.input.peek(Token![=]) {
        return Ok(Some(option.value()?.parse()?));
    }
    let mut name = None;
    option.parse_nested_meta(|direction| {
        let given: LitStr = direction.value()?.parse()?;
        if direction.path.is_ident("deserialize") {
            name = Some(given);
        }
        Ok(())
    })?;
    Ok(name)
}

/// Skips an option that does not affect columns.
fn skip(option: &ParseNestedMeta<'_>) -> syn::Result<()> {
    if option.input.peek(Token![=]) {
        option.value()?.parse::<Expr>()?;
    } else if !option.input.is_empty() && !option.input.peek(Token![,]) {
        let content;
        parenthesized!(content in option.input);
        content.parse::<proc_macro2::TokenStream>()?;
    }
    Ok(())
}
