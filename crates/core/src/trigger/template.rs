//! Renders the `.sql` templates, and quotes function bodies.

use crate::error::{Error, ErrorKind, Result};

/// Replaces each `{{name}}` of `template` by its value, in one pass: placeholders in values are not replaced.
///
/// # Errors
/// If the template names a placeholder that has no value.
pub(super) fn render(template: &str, values: &[(&str, &str)]) -> Result<String> {
    let mut rendered = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let value = values.iter().find(|(candidate, _)| *candidate == name);
        let (_, value) = value.ok_or_else(|| {
            Error::new(
                ErrorKind::Spec,
                format!("an SQL template has no value for {name:?}"),
            )
        })?;
        rendered.push_str(before);
        rendered.push_str(value);
        rest = after;
    }
    rendered.push_str(rest);
    Ok(rendered)
}

/// The qualified name of a table's function. Its characters need no quotes.
pub(super) fn qualified(function: &str) -> String {
    format!("pgherald.{function}")
}

/// Returns a function body as a dollar-quoted string, with a tag that does not occur in it.
///
/// Dollar quotes do not depend on `standard_conforming_strings`, and the body stays readable.
pub(super) fn dollar_quoted(body: &str) -> String {
    let mut tag = String::from("$pgherald");
    // Compared without the closing dollar: the end of the body and the beginning of the tag must not form the tag.
    while body.contains(&tag) {
        tag.push('_');
    }
    format!("{tag}$\n{body}{tag}$")
}

#[cfg(test)]
mod tests {
    use super::{dollar_quoted, render};

    #[test]
    fn placeholders_in_values_are_not_replaced() {
        let sql = render("a {{x}} b {{y}}", &[("x", "{{y}}"), ("y", "{{x}}")]).unwrap();
        assert_eq!(sql, "a {{y}} b {{x}}");
    }

    #[test]
    fn an_unknown_placeholder_is_an_error() {
        let error = render("{{channel}}", &[("chanel", "")]).unwrap_err();
        assert!(error.to_string().contains("\"channel\""), "{error}");
        assert!(render("{{unclosed", &[]).is_err());
    }

    #[test]
    fn a_body_cannot_end_its_own_quotes() {
        assert_eq!(dollar_quoted("x\n"), "$pgherald$\nx\n$pgherald$");
        assert_eq!(
            dollar_quoted("$pgherald$"),
            "$pgherald_$\n$pgherald$$pgherald_$"
        );
        assert_eq!(
            dollar_quoted("$pgherald"),
            "$pgherald_$\n$pgherald$pgherald_$"
        );
    }
}
