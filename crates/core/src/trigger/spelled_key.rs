//! Key columns whose values have several texts. They are no drift, because it depends on the key types of the program whether that
//! matters.

use std::fmt;

use super::actual::Actual;
use super::expression::key_type;
use super::spec::TriggerSpec;
use crate::name::TableName;

/// A key column whose values have several texts. A cache needs a key type that reads all texts of a value as one key, see
/// [`Key`](crate::Key). `Display` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SpelledKey {
    /// The table.
    pub table: TableName,
    /// The column.
    pub column: String,
    /// Its type, as it was declared.
    pub type_name: String,
    /// The key types of this library that fit. `None` if the program must define one.
    pub key_types: Option<&'static str>,
}

impl Actual {
    /// Returns the key columns of a specification whose values have several texts. Empty if the specification does not fit its
    /// table, which [`verify`](Self::verify) reports.
    ///
    /// ```no_run
    /// # async fn example(client: &tokio_postgres::Client) -> pgherald_core::Result<()> {
    /// use pgherald_core::TableName;
    /// use pgherald_core::__private::host::trigger::inspect;
    /// use pgherald_core::trigger::TriggerSpec;
    ///
    /// let spec = TriggerSpec::new(TableName::new("public", "sessions")?);
    /// let actual = inspect(client, &[spec.table()]).await?;
    /// for key in actual.spelled_keys(&spec) {
    ///     println!("{key}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn spelled_keys(&self, spec: &TriggerSpec) -> Vec<SpelledKey> {
        let Ok((valid, _)) = self.validate(spec) else {
            return Vec::new();
        };
        let spelled = valid.key.iter().filter_map(|column| {
            let of = key_type(column);
            (!of.spellings().is_empty()).then(|| SpelledKey {
                table: spec.table().clone(),
                column: column.name.clone(),
                type_name: column.declared.clone(),
                key_types: of.key_types(),
            })
        });
        spelled.collect()
    }
}

impl fmt::Display for SpelledKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            table,
            column,
            type_name,
            key_types,
        } = self;
        write!(
            f,
            "{table}: values of key column {column:?} ({type_name}) have several texts; caches of its rows need {}, not String",
            key_types.unwrap_or("a key type of yours that normalises the text")
        )
    }
}
