//! A scripted relay: the test decides what it stores and sends.

use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};
use pgherald::Backoff;
use pgherald::Operation;
use pgherald_nats::contract::{EventSubject, Heartbeat, Prefix};
use pgherald_nats::{NatsConfig, NatsSource, NatsSourceBuilder};
use pgherald_testkit::nats::{NatsCluster, NatsServer};

use crate::support::soon;

/// The name of all streams of these tests.
pub(crate) const STREAM: &str = "EVENTS";
/// A lag at which no source is late during a test, however busy the machine is.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

pub(crate) struct FakeRelay {
    pub(crate) context: Context,
    pub(crate) prefix: Prefix,
    /// The incarnation of the stream that its heartbeats name.
    pub(crate) incarnation: &'static str,
    pub(crate) slices: u16,
    pub(crate) group: &'static str,
    pub(crate) history: &'static str,
    pub(crate) started: tokio::time::Instant,
}

impl FakeRelay {
    /// A relay of a group with two slices, and its stream.
    pub(crate) async fn new(server: &NatsServer) -> Self {
        let relay = Self::on(server).await;
        relay.create_stream().await;
        relay
    }

    /// A relay of a stream that exists.
    pub(crate) async fn on(server: &NatsServer) -> Self {
        Self::at(vec![server.url()]).await
    }

    /// Like [`new`](Self::new), with three replicas of the stream.
    pub(crate) async fn on_cluster(cluster: &NatsCluster) -> Self {
        let relay = Self::at(cluster.urls()).await;
        let config = stream::Config {
            num_replicas: 3,
            ..config(&relay.prefix)
        };
        relay.context.create_stream(config).await.unwrap();
        relay
    }

    /// A relay of a stream at these servers.
    pub(crate) async fn at(urls: Vec<String>) -> Self {
        // Unlike the client library, `NatsConfig` uses the credentials in the URLs.
        let config = NatsConfig::new(&urls.join(",")).unwrap();
        let client = config.connect().await.unwrap();
        Self {
            context: jetstream::new(client),
            prefix: Prefix::default(),
            incarnation: "A",
            slices: 2,
            group: "fleet",
            history: "1",
            started: tokio::time::Instant::now(),
        }
    }

    /// Deletes the stream, and creates it again.
    pub(crate) async fn recreate_stream(&self) {
        self.context.delete_stream(STREAM).await.unwrap();
        self.create_stream().await;
    }

    pub(crate) async fn create_stream(&self) {
        create_stream(&self.context, &self.prefix).await;
    }

    /// Sends a heartbeat of each slice, up to the end of the stream.
    pub(crate) async fn beat(&self) {
        let last = self.last_sequence().await;
        for slice in 0..self.slices {
            self.beat_of(slice, last, Duration::ZERO).await;
        }
    }

    /// Sends heartbeats until the future is ready.
    pub(crate) async fn beating<T>(&self, until: impl Future<Output = T>) -> T {
        let beats = async {
            loop {
                self.beat().await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            () = beats => unreachable!(),
            output = soon(until) => output,
        }
    }

    pub(crate) async fn beat_of(&self, slice: u16, sequence: u64, lag: Duration) {
        let interval = Duration::from_secs(1);
        let incarnation = (self.incarnation, sequence);
        let heartbeat = Heartbeat::new(
            (self.group, self.history),
            (slice, self.slices),
            1,
            incarnation,
            lag,
            interval,
            ("fake", self.started.elapsed()),
        );
        let subject = self.prefix.heartbeat(slice);
        let client = self.context.client();
        client
            .publish(subject, heartbeat.to_json().into())
            .await
            .unwrap();
        client.flush().await.unwrap();
    }

    pub(crate) async fn last_sequence(&self) -> u64 {
        loop {
            // A cluster may have no leader for a moment.
            if let Ok(stream) = self.context.get_stream(STREAM).await {
                return stream.cached_info().state.last_sequence;
            }
        }
    }

    /// Stores an event of the table `public.NAME`.
    pub(crate) async fn event(&self, table: &str, operation: Operation, key: i64) -> u64 {
        let payload = format!(
            r#"{{"type":"event","event":{{"operation":"{operation}","schema":"public","table":"{table}","sent_at":"2026-01-02T03:04:05Z","keys":[{key}]}}}}"#
        );
        let slice = u16::try_from(key.rem_euclid(i64::from(self.slices))).unwrap();
        let subject = EventSubject::new(slice, "public", table, operation);
        self.store(&subject.with(&self.prefix), &payload).await
    }

    pub(crate) async fn insert(&self, key: i64) -> u64 {
        self.event("t", Operation::Insert, key).await
    }

    /// Stores an announcement of a resync.
    pub(crate) async fn resync(&self, slice: u16, reasons: &str) -> u64 {
        let payload = format!(
            r#"{{"type":"resync","reasons":[{reasons}],"lost":0,"scope":{{"slice":{slice}}}}}"#
        );
        self.store(&self.prefix.control(slice), &payload).await
    }

    pub(crate) async fn store(&self, subject: &str, payload: &str) -> u64 {
        loop {
            let (subject, payload) = (subject.to_owned(), payload.to_owned());
            let published = self.context.publish(subject, payload.into()).await;
            if let Ok(stored) = published.unwrap().await {
                return stored.sequence;
            }
        }
    }
}

pub(crate) async fn create_stream(context: &Context, prefix: &Prefix) {
    context.create_stream(config(prefix)).await.unwrap();
}

fn config(prefix: &Prefix) -> stream::Config {
    stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![prefix.all()],
        allow_atomic_publish: true,
        ..stream::Config::default()
    }
}

/// A source on the server at a URL that retries quickly.
pub(crate) fn source(url: &str) -> NatsSourceBuilder {
    NatsSource::builder(NatsConfig::new(url).unwrap(), STREAM).backoff(Backoff::new(
        Duration::from_millis(10),
        Duration::from_millis(200),
    ))
}
