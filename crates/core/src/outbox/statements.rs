//! Statements that are prepared once.

use std::collections::HashMap;
use std::fmt;

use tokio_postgres::{GenericClient, Statement};

use super::row::failed;
use crate::error::Result;

/// The prepared statements of one connection.
#[derive(Default)]
pub(crate) struct Statements(HashMap<&'static str, Statement>);

impl Statements {
    /// The number of prepared statements.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the statement, which is prepared at its first use.
    pub(crate) async fn get(
        &mut self,
        client: &impl GenericClient,
        sql: &'static str,
    ) -> Result<Statement> {
        if let Some(statement) = self.0.get(sql) {
            return Ok(statement.clone());
        }
        let statement = client.prepare(sql).await.map_err(failed)?;
        self.0.insert(sql, statement.clone());
        Ok(statement)
    }
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Statements").field(&self.0.len()).finish()
    }
}
