//! The rights of one client, in the form in which they are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use pgherald_core::__private::host::events::ColumnTexts;
use pgherald_core::{Event, Filter, Operation, OperationSet, Result};

use super::rights::{Rights, TableRights};
use super::served::Served;
use super::validity::Validity;
use crate::pattern::{Patterns, TablePattern};
use crate::refusal::Refusal;

/// The columns whose values a client may receive.
pub(crate) type Columns = BTreeSet<String>;

/// What one client may receive and do, and until when.
///
/// [`Access`](super::Access) makes a grant from a token. An application with an authentication of its own puts one into the
/// extensions of each request; see [`Access::new`](super::Access::new).
#[derive(Clone, Debug)]
pub struct Grant {
    name: Arc<str>,
    scope: Arc<Scope>,
    served: Arc<Served>,
    validity: Validity,
}

#[derive(Debug, PartialEq, Eq)]
struct Scope {
    rules: Vec<Rule>,
    channels: Patterns,
    observe: bool,
    operate: bool,
}

/// The rights to the tables that a pattern matches.
#[derive(Debug, PartialEq, Eq)]
struct Rule {
    table: TablePattern,
    operations: OperationSet,
    columns: Option<Columns>,
    rows: BTreeMap<String, BTreeSet<String>>,
}

/// What a client receives of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View<'a> {
    /// Nothing.
    Hidden,
    /// That its rows of the table may have changed: the event does not show whether it is about one of them.
    Resync,
    /// The event, with these columns; `None` for all.
    Event(Option<&'a Columns>),
}

impl Grant {
    /// Makes a grant of these rights. The name identifies the client in the access log, so it must not be secret.
    ///
    /// # Errors
    /// If the pattern of a table is neither `*` nor has a dot between schema and name.
    ///
    /// ```
    /// use pgherald_distributor::{Grant, Rights, TableRights};
    ///
    /// let rights = Rights { tables: vec![TableRights::all("public.users")], ..Rights::default() };
    /// let grant = Grant::new("dashboard", &rights)?;
    /// assert_eq!(grant.name(), "dashboard");
    /// # Ok::<(), pgherald_core::Error>(())
    /// ```
    pub fn new(name: impl Into<String>, rights: &Rights) -> Result<Self> {
        let rules = rights.tables.iter().map(Rule::new);
        Ok(Self {
            name: name.into().into(),
            scope: Arc::new(Scope {
                rules: rules.collect::<Result<_>>()?,
                channels: Patterns::new(&rights.channels),
                observe: rights.observe || rights.operate,
                operate: rights.operate,
            }),
            served: Arc::default(),
            validity: Validity::default(),
        })
    }

    /// Returns a grant of all rights, for clients of the same machine.
    pub(crate) fn everything() -> Self {
        Self {
            name: "local".into(),
            scope: Arc::new(Scope {
                rules: vec![Rule::everything()],
                channels: Patterns::new(["*"]),
                observe: true,
                operate: true,
            }),
            served: Arc::default(),
            validity: Validity::default(),
        }
    }

    /// Ends the grant at this time. Streams that use it are closed then.
    #[must_use]
    pub fn until(mut self, expires: SystemTime) -> Self {
        self.validity = self.validity.until(expires);
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Returns whether the client may read the state of the distributor and its groups.
    #[must_use]
    pub fn may_observe(&self) -> bool {
        self.scope.observe
    }

    /// Returns whether the client may operate groups.
    #[must_use]
    pub fn may_operate(&self) -> bool {
        self.scope.operate
    }

    pub(crate) fn with_validity(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Limits the grant to the tables that the distributor serves.
    pub(crate) fn within(mut self, served: &Arc<Served>) -> Self {
        self.served = Arc::clone(served);
        self
    }

    pub(crate) fn validity(&self) -> &Validity {
        &self.validity
    }

    /// Refuses a client that may not read the state of the distributor.
    pub(crate) fn require_observe(&self) -> Result<(), Refusal> {
        match self.may_observe() {
            true => Ok(()),
            false => Err(Refusal::forbidden("the token lacks the right \"observe\"")),
        }
    }

    pub(crate) fn require_channel(&self, channel: &str) -> Result<(), Refusal> {
        match self.scope.channels.allow(channel) {
            true => Ok(()),
            false => Err(Refusal::forbidden("the token does not permit this channel")),
        }
    }

    pub(crate) fn require_tables(&self) -> Result<(), Refusal> {
        match self.scope.rules.is_empty() {
            false => Ok(()),
            true => Err(Refusal::forbidden("the token permits no table")),
        }
    }

    /// Refuses a filter for a table of which the client may receive nothing. Without a schema, the filter is for any schema.
    pub(crate) fn require_table(&self, schema: Option<&str>, table: &str) -> Result<(), Refusal> {
        let mut rules = self.scope.rules.iter();
        match rules.any(|rule| match schema {
            Some(_) => rule.table.matches(schema, table),
            None => rule.table.matches_name(table),
        }) {
            true => Ok(()),
            false => Err(Refusal::forbidden("the token does not permit this table")),
        }
    }

    pub(crate) fn require_operation(&self, operation: Operation) -> Result<(), Refusal> {
        let mut rules = self.scope.rules.iter();
        match rules.any(|rule| rule.operations.contains(operation)) {
            true => Ok(()),
            false => Err(Refusal::forbidden(
                "the token does not permit this operation",
            )),
        }
    }

    /// Refuses a filter for a value of a column. Receiving an event shows that the row has the value, so the client must be allowed
    /// to see the column. A value that no permitted row has is refused as well.
    pub(crate) fn require_column(&self, column: &str, value: &str) -> Result<(), Refusal> {
        let permits = |rule: &Rule| match rule.rows.get(column) {
            Some(values) => values.contains(value),
            None => rule
                .columns
                .as_ref()
                .is_none_or(|columns| columns.contains(column)),
        };
        match self.scope.rules.iter().all(permits) {
            true => Ok(()),
            false => Err(Refusal::forbidden(
                "the token does not permit this value of the column",
            )),
        }
    }

    /// Narrows a filter to events of which the client receives something, so that other events neither fill its queue nor count as
    /// lost.
    pub(crate) fn narrow(&self, filter: Filter) -> Filter {
        if self.is_unlimited() && !self.served.is_limited() {
            return filter;
        }
        let rules = &self.scope.rules;
        let mut narrow = Filter::new();
        let exact = rules.iter().map(|rule| rule.table.exact());
        if let Some(exact) = exact.collect::<Option<Vec<_>>>() {
            // The router looks these up.
            let tables = exact.into_iter();
            narrow = tables.fold(narrow, |narrow, (schema, name)| narrow.table(schema, name));
        } else {
            narrow = self.served.narrow(narrow);
        }
        for column in rules.first().into_iter().flat_map(|rule| rule.rows.keys()) {
            let values = rules.iter().map(|rule| rule.rows.get(column));
            let Some(values) = values.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let values = values.into_iter().flatten();
            narrow = values.fold(narrow, |narrow, value| narrow.column(column, value));
        }
        let grant = self.clone();
        narrow = narrow.matching(move |event| grant.view(event) != View::Hidden);
        filter.and(narrow)
    }

    /// Decides what the client receives of an event.
    pub(crate) fn view(&self, event: &Event) -> View<'_> {
        if !self.served.has(event) {
            return View::Hidden;
        }
        let mut rules = self.scope.rules.iter();
        match rules.find(|rule| rule.table.matches(event.schema(), event.table())) {
            Some(rule) => rule.view(event),
            None => View::Hidden,
        }
    }

    /// Whether the client receives all events with all columns.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.scope.rules.first().is_some_and(|rule| {
            rule.table.is_any() && rule.operations == OperationSet::ALL && !rule.is_limited()
        })
    }
}

impl Rule {
    fn everything() -> Self {
        Self {
            table: TablePattern::any(),
            operations: OperationSet::ALL,
            columns: None,
            rows: BTreeMap::new(),
        }
    }

    fn new(rights: &TableRights) -> Result<Self> {
        Ok(Self {
            table: TablePattern::parse(&rights.table)?,
            operations: match &rights.operations {
                Some(operations) => operations.iter().copied().collect(),
                None => OperationSet::ALL,
            },
            columns: rights.columns.clone(),
            rows: rights.rows.clone(),
        })
    }

    fn is_limited(&self) -> bool {
        self.columns.is_some() || !self.rows.is_empty()
    }

    fn view(&self, event: &Event) -> View<'_> {
        if !self.operations.contains(event.operation()) {
            return View::Hidden;
        }
        let mut is_shown = true;
        for (column, permitted) in &self.rows {
            let Some(values) = event.column_texts(column) else {
                is_shown = false;
                continue;
            };
            let is_permitted = |value: &&Option<Box<str>>| {
                value
                    .as_deref()
                    .is_some_and(|value| permitted.contains(value))
            };
            match values.iter().filter(is_permitted).count() {
                0 => return View::Hidden,
                // The row was permitted before the change or is after it.
                some if some < values.len() => is_shown = false,
                _ => {}
            }
        }
        match is_shown {
            true => View::Event(self.columns.as_ref()),
            false => View::Resync,
        }
    }
}

#[cfg(test)]
mod tests {
    use pgherald_core::{Event, EventBuilder, Filter, Operation};

    use super::{Grant, View};

    fn grant(tables: &str) -> Grant {
        let rights = serde_json::from_str(&format!(r#"{{"tables":[{tables}]}}"#)).unwrap();
        Grant::new("test", &rights).unwrap()
    }

    fn event(table: &str, operation: Operation, columns: &str) -> EventBuilder {
        Event::builder("public", table, operation)
            .key(7)
            .columns_json(columns)
    }

    #[test]
    fn the_first_rule_of_a_table_decides() {
        let grant = grant(
            r#"{"table":"public.a","operations":["insert"],"columns":["x"]},"public.*",{"table":"*","operations":[]}"#,
        );
        let view = |table, operation| {
            let event = event(table, operation, "{}").build();
            match grant.view(&event) {
                View::Event(columns) => Some(columns.is_some()),
                _ => None,
            }
        };
        assert_eq!(view("a", Operation::Insert), Some(true));
        assert_eq!(view("a", Operation::Delete), None);
        assert_eq!(view("b", Operation::Delete), Some(false));
        let other = Event::builder("app", "a", Operation::Insert).build();
        assert_eq!(grant.view(&other), View::Hidden);
    }

    #[test]
    fn names_with_dots_do_not_match_the_patterns_of_other_schemas() {
        let grant = grant(r#""a.*""#);
        let view =
            |schema, table| grant.view(&Event::builder(schema, table, Operation::Insert).build());
        assert_eq!(view("a", "b.c"), View::Event(None));
        assert_eq!(view("a.b", "c"), View::Hidden);
    }

    #[test]
    fn a_row_is_shown_only_if_its_values_are_known_and_permitted_before_and_after() {
        let grant = grant(r#"{"table":"public.t","rows":{"tenant":["a","7"]}}"#);
        let view = |event: EventBuilder| grant.view(&event.build());
        let insert = |columns| view(event("t", Operation::Insert, columns));
        assert_eq!(insert(r#"{"tenant":"a"}"#), View::Event(None));
        assert_eq!(insert(r#"{"tenant":7}"#), View::Event(None));
        assert_eq!(insert(r#"{"tenant":"b"}"#), View::Hidden);
        assert_eq!(insert(r#"{"tenant":null}"#), View::Hidden);
        assert_eq!(insert(r#"{"note":"a"}"#), View::Resync);
        assert_eq!(
            insert(r#"{"tenant":{"unavailable":{"limit":1}}}"#),
            View::Resync
        );
        let truncate = Event::builder("public", "t", Operation::Truncate);
        assert_eq!(view(truncate), View::Resync);
        let update = |now, old| {
            let event = event("t", Operation::Update, now).old_columns_json(old);
            view(event)
        };
        assert_eq!(
            update(r#"{"tenant":"a"}"#, r#"{"tenant":"b"}"#),
            View::Resync
        );
        assert_eq!(
            update(r#"{"tenant":"b"}"#, r#"{"tenant":"a"}"#),
            View::Resync
        );
        assert_eq!(
            update(r#"{"tenant":"b"}"#, r#"{"tenant":"c"}"#),
            View::Hidden
        );
    }

    #[test]
    fn an_event_without_a_schema_needs_a_pattern_of_any_schema() {
        let payload = r#"{"operation":"insert","table":"users","sent_at":"2026-01-02T03:04:05Z"}"#;
        let mut events = Vec::new();
        pgherald_core::__private::host::events::Decoder::new()
            .decode(
                pgherald_core::ChannelName::DEFAULT,
                payload,
                0,
                std::time::SystemTime::now(),
                &mut events,
            )
            .unwrap();
        let view = |tables: &str| match grant(tables).view(&events[0]) {
            View::Event(_) => "event",
            _ => "hidden",
        };
        assert_eq!(view(r#""public.users""#), "hidden");
        assert_eq!(view(r#""public.*""#), "hidden");
        assert_eq!(view(r#""*.users""#), "event");
    }

    #[test]
    fn a_narrowed_filter_selects_what_the_client_receives() {
        let grant = grant(
            r#"{"table":"public.t","rows":{"tenant":["a"]}},{"table":"public.u","rows":{"tenant":["b"]}}"#,
        );
        let filter = grant.narrow(Filter::new());
        let selects = |table, columns| {
            let event = event(table, Operation::Insert, columns).build();
            assert_eq!(filter.matches(&event), grant.view(&event) != View::Hidden);
            filter.matches(&event)
        };
        assert!(selects("t", r#"{"tenant":"a"}"#));
        assert!(!selects("t", r#"{"tenant":"b"}"#));
        assert!(selects("u", r#"{"tenant":"b"}"#));
        assert!(selects("u", "{}"));
        assert!(!selects("v", "{}"));
    }

    #[test]
    fn filters_must_not_show_what_events_hide() {
        let grant =
            grant(r#"{"table":"public.t","columns":["note"],"rows":{"tenant":["a"]}},"shop.*""#);
        assert!(grant.require_column("note", "x").is_ok());
        assert!(grant.require_column("tenant", "a").is_ok());
        assert!(grant.require_column("tenant", "b").is_err());
        assert!(grant.require_column("salary", "1").is_err());
        assert!(grant.require_table(Some("public"), "t").is_ok());
        assert!(grant.require_table(None, "t").is_ok());
        assert!(grant.require_table(Some("public"), "u").is_err());
        assert!(grant.require_table(None, "u").is_ok());
        for pattern in ["", "users", ".users", "public."] {
            let rights = serde_json::from_str(&format!(r#"{{"tables":["{pattern}"]}}"#)).unwrap();
            assert!(Grant::new("x", &rights).is_err(), "{pattern}");
        }
    }
}
