//! Which field stands for which column.

use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, LitStr, Token, Type, parenthesized};

/// A field by the name of its column.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of_type: Type,
}

pub(super) fn columns(input: &DeriveInput) -> syn::Result<Vec<Column>> {
    let what = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => {
                return fields.named.iter().map(column).collect();
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

fn column(field: &syn::Field) -> syn::Result<Column> {
    let own_name = field.ident.as_ref().map(|ident| ident.unraw().to_string());
    Ok(Column {
        name: renamed(&field.attrs)?.or(own_name).unwrap_or_default(),
        of_type: field.ty.clone(),
    })
}

/// What serde reads the field from, if it was told another name.
fn renamed(attributes: &[Attribute]) -> syn::Result<Option<String>> {
    let mut name = None;
    for attribute in attributes {
        if attribute.path().is_ident("serde") {
            attribute.parse_nested_meta(|option| {
                if !option.path.is_ident("rename") {
                    return skip(&option);
                }
                if option.input.peek(Token![=]) {
                    name = Some(option.value()?.parse::<LitStr>()?.value());
                    return Ok(());
                }
                option.parse_nested_meta(|direction| {
                    let given: LitStr = direction.value()?.parse()?;
                    if direction.path.is_ident("deserialize") {
                        name = Some(given.value());
                    }
                    Ok(())
                })
            })?;
        }
    }
    Ok(name)
}

/// Reads past an option that is serde's own business.
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
