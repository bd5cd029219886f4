//! Turns the query of a request into a filter.
//!
//! All parameters that are not known are refused, so that a client never receives more than it has asked for because of a
//! misspelled filter.

use actix_web::web;
use pgherald_core::{Filter, Key, Operation, RowKey, TableName};

use crate::access::{Grant, TICKET};
use crate::refusal::Refusal;

/// The prefix of a parameter for the value of a column.
const COLUMN: &str = "column.";

/// Parses a query such as `table=public.users&operation=insert&key=7`.
///
/// Refuses a filter for events that the client may not receive, so that a client does not wait for them.
pub(crate) fn filter(query: &str, parameters: usize, grant: &Grant) -> Result<Filter, Refusal> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
        .map_err(|error| Refusal::bad_filter(format!("the query is malformed: {error}")))?;
    if pairs.len() > parameters {
        return Err(Refusal::bad_filter(format!(
            "the query has {} parameters; the limit is {parameters}",
            pairs.len()
        )));
    }
    let mut filter = Filter::new();
    let (mut tables, mut has_key) = (0, false);
    for (name, value) in pairs.iter() {
        filter = match (&**name, name.strip_prefix(COLUMN)) {
            ("table", _) => {
                tables += 1;
                with_table(filter, value, grant)?
            }
            ("operation", _) => {
                let operation = operation(value)?;
                grant.require_operation(operation)?;
                filter.operations(operation)
            }
            ("key", _) => {
                has_key = true;
                filter.key(&key(value)?)
            }
            (_, Some(column)) if !column.is_empty() => {
                grant.require_column(column, value)?;
                filter.column(column, value)
            }
            // Has been used up.
            (TICKET, _) => filter,
            _ => {
                return Err(Refusal::bad_filter(format!(
                    "unknown parameter {name:?}; the parameters are table, operation, key and column.NAME"
                )));
            }
        };
    }
    match (has_key, tables) {
        (false, _) | (true, 1) => Ok(filter),
        (true, _) => Err(Refusal::bad_filter(format!(
            "key needs exactly one table, because tables have different keys; the query has {tables}"
        ))),
    }
}

fn with_table(filter: Filter, value: &str, grant: &Grant) -> Result<Filter, Refusal> {
    let checked = |schema: &str, name: &str| match TableName::new(schema, name) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::bad_filter(error.chain())),
    };
    match value.split_once('.') {
        Some((schema, name)) => {
            checked(schema, name)?;
            grant.require_table(Some(schema), name)?;
            Ok(filter.table(schema, name))
        }
        None => {
            checked("public", value)?;
            grant.require_table(None, value)?;
            Ok(filter.table_in_any_schema(value))
        }
    }
}

fn operation(value: &str) -> Result<Operation, Refusal> {
    let mut all = Operation::ALL.into_iter();
    all.find(|operation| operation.as_str() == value)
        .ok_or_else(|| {
            Refusal::bad_filter(format!(
                "unknown operation {value:?}; the operations are insert, update, delete and truncate"
            ))
        })
}

/// A key of any table.
struct AnyKey(RowKey);

impl Key for AnyKey {
    fn to_row_key(&self) -> RowKey {
        self.0.clone()
    }

    fn from_row_key(key: &RowKey) -> Option<Self> {
        Some(Self(key.clone()))
    }
}

fn key(value: &str) -> Result<AnyKey, Refusal> {
    serde_json::from_str(value).map(AnyKey).map_err(|error| {
        Refusal::bad_filter(format!(
            "key {value:?} is not a row key in JSON, such as 7, \"a\" with its quotes, or [7,\"a\"]: {error}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use pgherald_core::{Event, Operation};

    use super::filter;
    use crate::access::Grant;

    fn matches(query: &str, event: &Event) -> bool {
        filter(query, 64, &Grant::everything())
            .unwrap()
            .matches(event)
    }

    #[test]
    fn parameters_of_one_name_are_alternatives_and_different_ones_must_all_match() {
        let event = Event::builder("public", "users", Operation::Insert)
            .key(7)
            .columns_json(r#"{"tenant":"a&b","n":1}"#)
            .build();
        for query in [
            "",
            "table=public.users",
            "table=users&table=orders",
            "operation=insert&operation=delete",
            "table=public.users&key=7&key=8",
            "column.tenant=a%26b&column.n=1&column.n=2",
        ] {
            assert!(matches(query, &event), "{query}");
        }
        for query in [
            "table=app.users",
            "table=orders",
            "operation=delete",
            "table=users&key=8",
            "table=users&key=%227%22",
            "column.tenant=a",
            "column.tenant=a%26b&column.n=2",
        ] {
            assert!(!matches(query, &event), "{query}");
        }
        let composite = Event::builder("public", "users", Operation::Insert)
            .key((7, "a"))
            .build();
        assert!(matches("table=users&key=[7,%22a%22]", &composite));
    }

    #[test]
    fn bad_filters_are_refused() {
        for query in [
            "since=1",
            "tables=users",
            "Table=users",
            "column=x",
            "column.=x",
            "=",
            "table=",
            "table=.users",
            "table=public.",
            "table=a%00b",
            &format!("table={}", "x".repeat(64)),
            "operation=upsert",
            "operation=INSERT",
            "key=7",
            "key=7&table=a&table=b",
            "table=a&key=abc",
            "table=a&key={}",
            "table=a&key=1.5",
            "table=a&key=",
            &["operation=insert"; 65].join("&"),
        ] {
            let refusal = filter(query, 64, &Grant::everything()).expect_err(query);
            assert_eq!(refusal.code(), "bad_filter", "{query}");
        }
    }
}
