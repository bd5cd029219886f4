//! The server, proxy and listener of a check.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use pgherald_actors::{Herald, ListenerActor};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_core::{Backoff, Caches, ConnectConfig, NotifySource, NotifySourceBuilder};

use super::faults::{Custom, LISTENER};
use super::liveness::Liveness;
use super::run::Run;
use super::{CoherenceContext, Reporter, Row, Settings};
use crate::{Error, FaultProxy, Postgres};

/// The time limit until the listener is live for the first time.
const START: Duration = Duration::from_secs(60);

/// The time limit of the listener's shutdown.
const SHUTDOWN: Duration = Duration::from_secs(5);

const TABLE: &str = "CREATE TABLE public.coherence (key bigint PRIMARY KEY, version bigint NOT NULL); \
     INSERT INTO public.coherence SELECT key, (key << 32) + 1 FROM generate_series(0::bigint, ";

/// Makes the listener of the check, from the URL of the database and the triggers of the table.
pub(super) type MakeListener =
    Box<dyn FnOnce(&str, TriggerSpec) -> pgherald_core::Result<ListenerActor> + 'static>;

pub(super) struct Stage {
    pub(super) server: Postgres,
    pub(super) proxy: FaultProxy,
    pub(super) config: ConnectConfig,
    pub(super) run: Arc<Run>,
    pub(super) herald: Rc<Herald>,
    pub(super) caches: Caches,
    pub(super) custom: Option<Custom>,
}

impl Stage {
    pub(super) async fn set_up(
        settings: Settings,
        listener: MakeListener,
        custom: Option<Custom>,
    ) -> Result<Self, Error> {
        let server = Postgres::start().await?;
        let url = server.url();
        let config: ConnectConfig = url.parse().map_err(Error::during("invalid URL"))?;
        let config = config.application_name("coherence");
        let spec = create_table(&config, &settings).await?;
        let proxy = FaultProxy::start((server.host(), server.port())).await?;
        let seen = format!("{}?application_name={LISTENER}", proxy.url(&url));
        let listener = listener(&seen, spec).map_err(Error::during("cannot make the listener"))?;
        let liveness = Liveness::new(listener.watch_health());
        let caches = listener.caches();
        let herald = Herald::start_on_current_arbiter(listener).await;
        Ok(Self {
            server,
            proxy,
            config,
            run: Arc::new(Run::new(settings, liveness)),
            caches,
            custom,
            herald: Rc::new(herald.map_err(Error::during("cannot start the herald"))?),
        })
    }

    pub(super) fn context(&self) -> CoherenceContext {
        CoherenceContext {
            herald: Rc::clone(&self.herald),
            health: self.run.liveness.health(),
            url: self.server.url(),
            reporter: Reporter::new(Arc::clone(&self.run)),
            capacity: self.run.settings.capacity,
        }
    }

    /// Waits until the listener is live for the first time.
    pub(super) async fn live(&self) -> Result<(), Error> {
        match self.run.liveness.live(START).await {
            true => Ok(()),
            false => Err(Error::new(format!(
                "the listener did not become live within {START:?}"
            ))),
        }
    }

    pub(super) async fn lost(&self) -> u64 {
        let status = self.herald.status().await;
        status.map_or(0, |status| {
            status.subscriptions.iter().map(|stats| stats.lost).sum()
        })
    }

    pub(super) async fn shut_down(self) {
        // If the subject holds the herald too, the herald ends with the actix system.
        if let Some(herald) = Rc::into_inner(self.herald)
            && let Err(error) = herald.shutdown(SHUTDOWN).await
        {
            tracing::warn!(%error, "the listener did not shut down");
        }
    }
}

async fn create_table(config: &ConnectConfig, settings: &Settings) -> Result<TriggerSpec, Error> {
    let keys = settings.keys;
    let failed = "cannot create the table";
    let client = config.client().await.map_err(Error::during(failed))?;
    client
        .batch_execute(&format!("{TABLE}{keys}) AS key"))
        .await
        .map_err(Error::during(failed))?;
    let mut spec = TriggerSpec::of::<Row>()
        .map_err(Error::during(failed))?
        .columns(["version"]);
    if settings.outbox {
        spec = spec.outbox();
    }
    trigger::plan(&client, std::slice::from_ref(&spec))
        .await
        .map_err(Error::during(failed))?
        .apply(&client)
        .await
        .map_err(Error::during(failed))?;
    Ok(spec)
}

/// Returns a source that detects faults and reconnects quickly.
pub(super) fn source(url: &str) -> pgherald_core::Result<NotifySourceBuilder> {
    Ok(NotifySource::builder(url.parse()?)
        .heartbeat(Duration::from_millis(200), Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(2))
        .backoff(Backoff::new(
            Duration::from_millis(10),
            Duration::from_millis(200),
        )))
}
