//! What the user wishes to hear about a table. Nothing is checked here: only the catalog knows the table.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::Table;
use crate::name::{ChannelName, TableName};
use crate::operation::OperationSet;

/// Which changes of a table are announced, where, and with which columns.
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

/// What becomes of changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// They are announced with NOTIFY.
    #[default]
    Notify,
    /// They are recorded in the outbox.
    Outbox,
}

impl TriggerSpec {
    /// The default of [`value_limit`](Self::value_limit): 1 MiB.
    pub const DEFAULT_VALUE_LIMIT: u32 = 1 << 20;

    /// Every change of `table`, rows told apart by the primary key, on the default channel.
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

    /// Every change of the table that `T` stands for, told apart by the key that `T` names, with the
    /// [columns](Table::COLUMNS) that a `T` is read from. Its [optional](Table::OPTIONAL_COLUMNS) ones are
    /// [optional](Self::optional_columns) here too.
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

    /// The same for another table: one that was renamed, say.
    #[must_use]
    pub fn for_table(mut self, table: TableName) -> Self {
        self.table = table;
        self
    }

    /// Records changes in the outbox, in the writer's transaction, instead of announcing them: no change is lost while
    /// no listener runs, payloads have no limit, and writers that commit at the same time need not wait for each other,
    /// as they do for NOTIFY. See [`outbox`](crate::outbox).
    ///
    /// A table is in one mode: see [`Actual::widened`](super::Actual::widened).
    #[must_use]
    pub fn outbox(mut self) -> Self {
        self.mode = Mode::Outbox;
        self
    }

    /// The channel of the announcements. A table has one channel: see [`Actual::widened`](super::Actual::widened). Not for the
    /// outbox.
    #[must_use]
    pub fn channel(mut self, channel: ChannelName) -> Self {
        self.channel = channel;
        self
    }

    /// The columns that tell rows apart, instead of the primary key. With none, events are about the
    /// whole table, as they are for a table without primary key.
    #[must_use]
    pub fn key_columns<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.key = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Columns whose values the event carries, instead of those that were named before. Default: none. Requires a key. A notification holds 8,000 bytes: a larger value
    /// is [unavailable](crate::Event::unavailable), and if the others do not fit together, the event has no columns. In the
    /// outbox, each value may have up to its [limit](Self::value_limit).
    #[must_use]
    pub fn columns<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Columns whose values the event carries too, if the table has them. Default: none. A column that the table lacks is left
    /// out. As soon as the table has it, it is required like the others: until the triggers are installed again, sources and
    /// groups with this specification are not live, because events would lack a value that the row has.
    #[must_use]
    pub fn optional_columns<C: Into<String>>(
        mut self,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        self.optional_columns = columns.into_iter().map(Into::into).collect();
        self
    }

    /// All columns that the table has when this is installed, instead of some.
    #[must_use]
    pub fn every_column(mut self) -> Self {
        self.every_column = true;
        self
    }

    /// Of an UPDATE, the columns' values before it travel as well, and the names of those that changed. Only for the
    /// outbox.
    #[must_use]
    pub fn old_columns(mut self) -> Self {
        self.old_columns = true;
        self
    }

    /// The maximum size in bytes of the text of one value of the [columns](Self::columns) in the outbox. Default:
    /// [`DEFAULT_VALUE_LIMIT`](Self::DEFAULT_VALUE_LIMIT). A larger value is not copied: the column is reported as
    /// [unavailable](crate::Event::unavailable), never as null. Read its value from the table. Only for the outbox;
    /// keys have no limit. With [`old_columns`](Self::old_columns), a value beyond the limit counts as changed by each UPDATE
    /// of its row, because comparing it would mean reading it.
    #[must_use]
    pub fn value_limit(mut self, bytes: u32) -> Self {
        self.value_limit = Some(bytes);
        self
    }

    /// Which operations are announced. Default: all.
    #[must_use]
    pub fn operations(mut self, operations: impl Into<OperationSet>) -> Self {
        self.operations = operations.into();
        self
    }

    /// Of an UPDATE, only rows are announced in which one of these columns, or the key, changed. Default:
    /// all rows are. One of more than 1,000 rows is announced as a whole once any of them changed.
    ///
    /// Reads all rows of the statement, also beyond the 1,000 that are listed, and compares what the
    /// values look like rather than their equality: `1.0` that becomes `1.00` has changed.
    #[must_use]
    pub fn when_changed<C: Into<String>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.when_changed = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Also fires triggers for rows that logical replication applies, and in sessions whose `session_replication_role` is
    /// `replica`. Use it for a table that a subscription of this database writes. By default, such changes cause no events.
    ///
    /// The server fires only row-level triggers for such rows, so each row is an event of its own, even if one statement or the
    /// initial copy wrote many. A row that moves to another partition is a delete and an insert. Notifications list at most
    /// 1,000 rows of a table per transaction and operation; then one notification is about the whole table. A table without a
    /// key gets one event per transaction and operation. Other sessions cause the same events as without this option.
    #[must_use]
    pub fn replicated(mut self) -> Self {
        self.replicated = true;
        self
    }

    /// Where changes are announced.
    #[must_use]
    pub fn channel_name(&self) -> &ChannelName {
        &self.channel
    }

    /// Whether changes are recorded in the outbox.
    #[must_use]
    pub fn is_outbox(&self) -> bool {
        self.mode == Mode::Outbox
    }

    /// The operations that are announced.
    #[must_use]
    pub fn announced(&self) -> OperationSet {
        self.operations
    }

    /// The columns of the key; `None` for the primary key.
    #[must_use]
    pub fn key_names(&self) -> Option<&[String]> {
        self.key.as_deref()
    }

    /// The columns whose values the event carries. Empty for [every column](Self::every_column) before it is installed.
    #[must_use]
    pub fn column_names(&self) -> &[String] {
        &self.columns
    }

    /// The columns whose values the event carries if the table has them.
    #[must_use]
    pub fn optional_column_names(&self) -> &[String] {
        &self.optional_columns
    }

    /// Whether the event carries the values of [every column](Self::every_column).
    #[must_use]
    pub fn has_every_column(&self) -> bool {
        self.every_column
    }

    /// Whether updates come with the values before as well.
    #[must_use]
    pub fn has_old_columns(&self) -> bool {
        self.old_columns
    }

    /// The limit of each value, if it is not the default.
    #[must_use]
    pub fn limit_of_values(&self) -> Option<u32> {
        self.value_limit
    }

    /// Whether replicated rows fire triggers, too.
    #[must_use]
    pub fn is_replicated(&self) -> bool {
        self.replicated
    }

    /// The columns of which one has to change for an update to count; none if every update does.
    #[must_use]
    pub fn watched_columns(&self) -> &[String] {
        &self.when_changed
    }

    /// The watched table.
    #[must_use]
    pub fn table(&self) -> &TableName {
        &self.table
    }
}
