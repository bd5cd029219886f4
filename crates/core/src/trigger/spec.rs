//! The specification of a table's triggers. It is checked against the catalog later, by `validate`.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::Table;
use crate::name::{ChannelName, TableName};
use crate::operation::OperationSet;

/// Specifies which changes of a table are announced, where, and with which columns.
///
/// ```
/// use pgherald_core::trigger::TriggerSpec;
/// use pgherald_core::{ChannelName, Operation, TableName};
///
/// # fn main() -> pgherald_core::Result<()> {
/// let spec = TriggerSpec::new(TableName::new("public", "users")?)
///     .channel(ChannelName::new("users")?)
///     .columns(["email"])
///     .operations(Operation::Insert | Operation::Update)
///     .when_changed(["email"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerSpec {
    pub(super) table: TableName,
    pub(super) channel: ChannelName,
    pub(super) key: Option<Vec<String>>,
    pub(super) columns: Vec<String>,
    pub(super) optional_columns: Vec<String>,
    pub(super) every_column: bool,
    pub(super) old_columns: bool,
    pub(super) operations: OperationSet,
    pub(super) when_changed: Vec<String>,
    pub(super) value_limit: Option<u32>,
    pub(super) replicated: bool,
    pub(super) mode: Mode,
}

/// How changes are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// Announces changes with NOTIFY.
    #[default]
    Notify,
    /// Records changes in the outbox.
    Outbox,
}

impl TriggerSpec {
    /// The default of [`value_limit`](Self::value_limit): 1 MiB.
    pub const DEFAULT_VALUE_LIMIT: u32 = 1 << 20;

    /// Creates a specification of every change of `table`, on the default channel. The primary key identifies rows.
    #[must_use]
    pub fn new(table: TableName) -> Self {
        Self {
            table,
            channel: ChannelName::default(),
            key: None,
            columns: Vec::new(),
            optional_columns: Vec::new(),
            every_column: false,
            old_columns: false,
            operations: OperationSet::ALL,
            when_changed: Vec::new(),
            value_limit: None,
            replicated: false,
            mode: Mode::Notify,
        }
    }

    /// Creates a specification of every change of the table that `T` stands for. The key of `T` identifies rows, and events
    /// carry the [columns](Table::COLUMNS) that a `T` is read from. Columns that are [optional](Table::OPTIONAL_COLUMNS) in `T`
    /// are [optional](Self::optional_columns) in the specification.
    ///
    /// # Errors
    /// If `T` names a schema or table that PostgreSQL would not accept.
    pub fn of<T: Table>() -> Result<Self> {
        let spec = Self::new(TableName::new(T::SCHEMA, T::NAME)?);
        let (optional, required): (Vec<_>, Vec<_>) = T::COLUMNS
            .iter()
            .copied()
            .partition(|column| T::OPTIONAL_COLUMNS.contains(column));
        let spec = spec.key_columns(T::KEY.iter().copied());
        Ok(spec.columns(required).optional_columns(optional))
    }

    /// Returns the same specification for another table, for example after a rename.
    #[must_use]
    pub(crate) fn for_table(mut self, table: TableName) -> Self {
        self.table = table;
        self
    }

    /// Records changes in the outbox, in the writer's transaction, instead of announcing them. No change is lost while no
    /// listener runs, payloads have no limit, and writers that commit at the same time do not wait for each other, as they do
    /// with NOTIFY. See [`outbox`](crate::outbox).
    ///
    /// A table has one mode: [`plan_widened`](super::plan_widened) refuses another one.
    #[must_use]
    pub fn outbox(mut self) -> Self {
        self.mode = Mode::Outbox;
        self
    }

    /// Sets the channel on which changes are announced. A table has one channel. The outbox has none.
    #[must_use]
    pub fn channel(mut self, channel: ChannelName) -> Self {
        self.channel = channel;
        self
    }

    /// Sets the columns that identify rows, instead of the primary key. Without any column, events are about the whole table,
    /// as they are for a table without a primary key.
    #[must_use]
    pub fn key_columns<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.key = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the columns whose values events carry. Replaces columns that were named before. Default: none. Requires a key.
    ///
    /// A notification holds 8,000 bytes: a larger value is [unavailable](crate::Event::unavailable), and if the other values do
    /// not fit together, the event has no columns. In the outbox, each value may have up to [`value_limit`](Self::value_limit)
    /// bytes.
    #[must_use]
    pub fn columns<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Sets columns whose values events also carry, if the table has these columns. Default: none.
    ///
    /// A column that the table lacks is left out. As soon as the table has it, it is required like the other columns. Until the
    /// triggers are installed again, sources and groups with this specification are not live, because events would lack a value
    /// that the row has.
    #[must_use]
    pub fn optional_columns<C: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        self.optional_columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Makes events carry the values of all columns that the table has at the installation.
    #[must_use]
    pub fn every_column(mut self) -> Self {
        self.every_column = true;
        self
    }

    /// Makes the event of an UPDATE also carry the values of the columns before it, and the names of the columns that changed.
    /// Only for the outbox.
    #[must_use]
    pub fn old_columns(mut self) -> Self {
        self.old_columns = true;
        self
    }

    /// Sets the maximum size in bytes of the text of one value of the [columns](Self::columns) in the outbox. Default:
    /// [`DEFAULT_VALUE_LIMIT`](Self::DEFAULT_VALUE_LIMIT). Only for the outbox. Keys have no limit.
    ///
    /// A larger value is not copied: the column is reported as [unavailable](crate::Event::unavailable), never as null. Read its
    /// value from the table. With [`old_columns`](Self::old_columns), a value beyond the limit counts as changed by each UPDATE
    /// of its row, because a comparison would have to read it.
    #[must_use]
    pub fn value_limit(mut self, bytes: u32) -> Self {
        self.value_limit = Some(bytes);
        self
    }

    /// Sets the operations that are announced. Default: all.
    #[must_use]
    pub fn operations(mut self, operations: impl Into<OperationSet>) -> Self {
        self.operations = operations.into();
        self
    }

    /// Reports only the rows of an UPDATE in which one of these columns, or the key, changed. Default: all rows.
    ///
    /// The trigger reads all rows of the statement. It compares the texts of values: `1.0` that becomes `1.00` has changed. In
    /// notify mode, an UPDATE of more than 1,000 rows is announced as a change of the whole table if any of its rows changed.
    #[must_use]
    pub fn when_changed<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.when_changed = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Also fires triggers for rows that logical replication applies, and in sessions whose `session_replication_role` is
    /// `replica`. Use it for a table that a subscription of this database writes. By default, such changes cause no events.
    ///
    /// The server fires only row-level triggers for such rows. So each row is an event of its own, even if one statement or the
    /// initial copy wrote many rows. A row that moves to another partition is a delete and an insert. Notifications list at most
    /// 1,000 rows of a table per transaction and operation. After that, one notification is about the whole table. A table
    /// without a key gets one event per transaction and operation. Other sessions cause the same events as without this option.
    #[must_use]
    pub fn replicated(mut self) -> Self {
        self.replicated = true;
        self
    }

    /// Returns the channel on which changes are announced.
    #[must_use]
    pub(crate) fn channel_name(&self) -> &ChannelName {
        &self.channel
    }

    /// Returns whether changes are recorded in the outbox.
    #[must_use]
    pub fn is_outbox(&self) -> bool {
        self.mode == Mode::Outbox
    }

    /// Returns the operations that are announced.
    #[must_use]
    pub(crate) fn announced(&self) -> OperationSet {
        self.operations
    }

    /// Returns the columns of the key, or `None` for the primary key.
    #[must_use]
    pub(crate) fn key_names(&self) -> Option<&[String]> {
        self.key.as_deref()
    }

    /// Returns the columns whose values events carry. Empty for [every column](Self::every_column) that is not installed yet.
    #[must_use]
    pub(crate) fn column_names(&self) -> &[String] {
        &self.columns
    }

    /// Returns the columns whose values events carry if the table has these columns.
    #[must_use]
    pub(crate) fn optional_column_names(&self) -> &[String] {
        &self.optional_columns
    }

    /// Returns whether events carry the values of [every column](Self::every_column).
    #[must_use]
    pub(crate) fn has_every_column(&self) -> bool {
        self.every_column
    }

    /// Returns whether the event of an UPDATE also carries the old values.
    #[must_use]
    pub(crate) fn has_old_columns(&self) -> bool {
        self.old_columns
    }

    /// Returns the limit of each value in bytes, or `None` for the default.
    #[must_use]
    pub(crate) fn limit_of_values(&self) -> Option<u32> {
        self.value_limit
    }

    /// Returns whether replicated rows also fire triggers.
    #[must_use]
    pub(crate) fn is_replicated(&self) -> bool {
        self.replicated
    }

    /// Returns the columns of which at least one must change for an UPDATE to be announced. Empty if every UPDATE is.
    #[must_use]
    pub(crate) fn watched_columns(&self) -> &[String] {
        &self.when_changed
    }

    /// Returns the watched table.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.table
    }
}
