//! Connections for loads. All readers share them, and lost ones are reopened.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pgherald_core::ConnectConfig;
use tokio::sync::Mutex;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::Error;

#[derive(Debug)]
pub(super) struct Clients {
    config: ConnectConfig,
    slots: Vec<Mutex<Option<Arc<Client>>>>,
    next: AtomicUsize,
}

impl Clients {
    pub(super) fn new(config: ConnectConfig, count: usize) -> Self {
        Self {
            config,
            slots: (0..count.max(1)).map(|_| Mutex::default()).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Returns the connections in turn.
    pub(super) async fn client(&self) -> Result<Arc<Client>, Error> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        let mut slot = self.slots[index].lock().await;
        if let Some(client) = slot.as_ref()
            && !client.is_closed()
        {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(self.separate().await?);
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Opens a connection that is not shared.
    pub(super) async fn separate(&self) -> Result<Client, Error> {
        let client = self.config.client().await;
        client.map_err(Error::during("cannot connect"))
    }

    /// Reads the version of `key` from the database.
    pub(super) async fn version(&self, key: i64) -> Result<i64, Error> {
        const SQL: &str = "SELECT version FROM public.coherence WHERE key = $1";
        let client = self.client().await?;
        let failed = "cannot load a version";
        let rows = client
            .query_typed(SQL, &[(&key, Type::INT8)])
            .await
            .map_err(Error::during(failed))?;
        match rows.first() {
            Some(row) => row.try_get(0).map_err(Error::during(failed)),
            None => Err(Error::new(format!("there is no key {key}"))),
        }
    }

    /// Reads the versions of all keys from the database.
    pub(super) async fn versions(&self) -> Result<Vec<(i64, i64)>, Error> {
        const SQL: &str = "SELECT key, version FROM public.coherence ORDER BY key";
        let client = self.client().await?;
        let failed = "cannot read the table";
        let rows = client
            .query_typed(SQL, &[])
            .await
            .map_err(Error::during(failed))?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(Error::during(failed))
    }
}
