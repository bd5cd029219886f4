//! Turns the query of a request into a filter.
//!
//! All parameters that are not known are refused, so that a client never receives more than it has asked for because of a
//! misspelled filter.

use actix_web::{HttpRequest, web};
use pgherald_core::{Filter, Key, Operation, RowKey, TableName};

use crate::access::{Grant, TICKET};
use crate::refusal::Refusal;

/// The prefix of a parameter for the value of a column.
const COLUMN: &str = "column.";

/// The header with the id of the last message, which an `EventSource` sends when it reconnects.
const LAST_EVENT_ID: &str = "last-event-id";

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Narrowed to what the client may receive.
    pub(crate) filter: Filter,
    /// The position to continue from.
    pub(crate) since: Option<String>,
    /// The tables, all of them if empty. Without a schema, those of any schema.
    tables: Vec<Named>,
}

impl Wanted {
    /// Reads a request. The header `Last-Event-ID` is newer than the parameter `since` of the same address.
    pub(crate) fn of(
        request: &HttpRequest,
        parameters: usize,
        grant: &Grant,
    ) -> Result<Self, Refusal> {
        let mut wanted = Self::of_query(request.query_string(), parameters, grant)?;
        wanted.filter = grant.narrow(wanted.filter);
        let header = request.headers().get(LAST_EVENT_ID);
        if let Some(id) = header.filter(|id| !id.is_empty()) {
            wanted.since = Some(String::from_utf8_lossy(id.as_bytes()).into_owned());
        }
        Ok(wanted)
    }

    /// Parses a query such as `table=public.users&operation=insert&key=7`.
    ///
    /// Refuses a filter for events that the client may not receive, so that a client does not wait for them.
    fn of_query(query: &str, parameters: usize, grant: &Grant) -> Result<Self, Refusal> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|error| Refusal::bad_filter(format!("the query is malformed: {error}")))?;
        if pairs.len() > parameters {
            return Err(Refusal::bad_filter(format!(
                "the query has {} parameters; the limit is {parameters}",
                pairs.len()
            )));
        }
        let (mut filter, mut since, mut has_key) = (Filter::new(), None, false);
        let mut tables = Vec::new();
        for (name, value) in pairs.into_inner() {
            filter = match (&*name, name.strip_prefix(COLUMN)) {
                ("table", _) => {
                    let table = table(&value)?;
                    grant.require_table(table.0.as_deref(), &table.1)?;
                    let filter = with_table(filter, &table);
                    tables.push(table);
                    filter
                }
                ("operation", _) => {
                    let operation = operation(&value)?;
                    grant.require_operation(operation)?;
                    filter.operations(operation)
                }
                ("key", _) => {
                    has_key = true;
                    filter.key(&key(&value)?)
                }
                ("since", _) if since.is_none() => {
                    since = Some(value);
                    filter
                }
                ("since", _) => return Err(Refusal::bad_filter("since occurs twice")),
                (_, Some(column)) if !column.is_empty() => {
                    grant.require_column(column, &value)?;
                    filter.column(column, &value)
                }
                // Has been used up.
                (TICKET, _) => filter,
                _ => {
                    return Err(Refusal::bad_filter(format!(
                        "unknown parameter {name:?}; the parameters are table, operation, key, column.NAME and since"
                    )));
                }
            };
        }
        match (has_key, tables.len()) {
            (false, _) | (true, 1) => Ok(Self {
                filter,
                since,
                tables,
            }),
            (true, count) => Err(Refusal::bad_filter(format!(
                "key needs exactly one table, because tables have different keys; the query has {count}"
            ))),
        }
    }

    /// Returns whether the client asks for events of a table.
    pub(crate) fn includes(&self, table: &TableName) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|wanted| is_of(wanted, table))
    }

    /// Refuses tables that are not watched: the client would wait for their events without end. `watched` is `None` if events of any
    /// table may arrive.
    pub(crate) fn check_watched(&self, watched: Option<&[TableName]>) -> Result<(), Refusal> {
        let Some(watched) = watched else {
            return Ok(());
        };
        let is_watched = |wanted: &&Named| watched.iter().any(|table| is_of(wanted, table));
        match self.tables.iter().find(|wanted| !is_watched(wanted)) {
            None => Ok(()),
            Some((schema, name)) => {
                let schema = schema
                    .as_deref()
                    .map_or(String::new(), |schema| format!("{schema}."));
                Err(Refusal::unknown_table(format!(
                    "the distributor does not watch the table {schema}{name}"
                )))
            }
        }
    }
}

/// The schema of a table, if it is given, and its name.
type Named = (Option<String>, String);

fn is_of((schema, name): &Named, table: &TableName) -> bool {
    let mut schema = schema.iter();
    name == table.name() && schema.all(|schema| schema == table.schema())
}

fn table(value: &str) -> Result<Named, Refusal> {
    let (schema, name) = match value.split_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, value),
    };
    match TableName::new(schema.unwrap_or("public"), name) {
        Ok(_) => Ok((schema.map(str::to_owned), name.to_owned())),
        Err(error) => Err(Refusal::bad_filter(error.chain())),
    }
}

fn with_table(filter: Filter, (schema, name): &Named) -> Filter {
    match schema {
        Some(schema) => filter.table(schema, name),
        None => filter.table_in_any_schema(name),
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

    use super::Wanted;
    use crate::access::Grant;
    use crate::refusal::Refusal;

    fn wanted(query: &str) -> Result<Wanted, Refusal> {
        Wanted::of_query(query, 64, &Grant::everything())
    }

    fn matches(query: &str, event: &Event) -> bool {
        wanted(query).unwrap().filter.matches(event)
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
            "since=1&since=2",
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
            let refusal = wanted(query).expect_err(query);
            assert_eq!(refusal.code(), "bad_filter", "{query}");
        }
    }
}
