//! A relay for these tests, with the contract of the real one, and without its position in the stream: after each start it announces
//! a resync.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use pgherald::__private::host::events::ToPayload;
use pgherald::trigger::TriggerSpec;
use pgherald::{Backoff, ConnectConfig, Event, OutboxSource, Signal, Source};
use pgherald_nats::NatsConfig;
use pgherald_nats::contract::{EventSubject, Heartbeat, Prefix};
use tokio::time::Instant;

/// The time between two heartbeats.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// The lag of a relay that has nothing to store: until it has read a commit, or noticed that PostgreSQL does not answer.
const LAG: Duration = Duration::from_millis(900);

struct Relay {
    context: Context,
    prefix: Prefix,
    state: Mutex<State>,
}

struct State {
    is_live: bool,
    /// Since when something waits to be stored.
    busy: Option<Instant>,
    sequences: Vec<u64>,
}

pub(crate) async fn serve(nats: &str, slices: u16, config: ConnectConfig, spec: TriggerSpec) {
    let client = loop {
        match NatsConfig::new(nats).unwrap().connect().await {
            Ok(client) => break client,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let relay = Arc::new(Relay {
        context: jetstream::new(client),
        prefix: Prefix::default(),
        state: Mutex::new(State {
            is_live: false,
            busy: None,
            sequences: vec![0; slices.into()],
        }),
    });
    tokio::spawn(Arc::clone(&relay).beat());
    let mut source = OutboxSource::builder(config)
        .watch(spec)
        .poll_interval(Duration::from_millis(50))
        .heartbeat(Duration::from_millis(200), Duration::from_millis(500))
        .connect_timeout(Duration::from_secs(2))
        .backoff(Backoff::new(
            Duration::from_millis(10),
            Duration::from_millis(200),
        ))
        .build()
        .unwrap();
    loop {
        relay.take_in(source.next().await).await;
    }
}

impl Relay {
    async fn take_in(&self, signal: Signal) {
        self.state.lock().unwrap().busy = Some(Instant::now());
        match signal {
            Signal::Live => self.state.lock().unwrap().is_live = true,
            Signal::Down(_) => self.state.lock().unwrap().is_live = false,
            Signal::Resumed => {}
            Signal::Resync(_) => {
                let payload = r#"{"type":"resync","reasons":["trimmed"],"lost":0,"scope":{}}"#;
                self.store(0, self.prefix.control(0), payload.to_owned(), None)
                    .await;
            }
            Signal::Events(events) => {
                for event in events.iter() {
                    self.relay(event).await;
                }
            }
        }
        self.state.lock().unwrap().busy = None;
    }

    async fn relay(&self, event: &Event) {
        let slices = self.state.lock().unwrap().sequences.len();
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let hash = hasher.hash_one(event.key().map(ToString::to_string));
        let slice = u16::try_from(hash % u64::try_from(slices).unwrap()).unwrap();
        let schema = event.schema().unwrap_or_default();
        let subject = EventSubject::new(slice, schema, event.table(), event.operation());
        let payload = event.to_payload_of(None).unwrap();
        let payload = format!(r#"{{"type":"event","event":{payload}}}"#);
        let subject = subject.with(&self.prefix);
        self.store(slice, subject, payload, event.outbox_id()).await;
    }

    /// Stores a message, until the server has confirmed it.
    async fn store(&self, slice: u16, subject: String, payload: String, id: Option<i64>) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let id = id.map_or_else(
            || format!("{}", now.unwrap().as_nanos()),
            |id| id.to_string(),
        );
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", &*id);
        loop {
            let published = self
                .context
                .publish_with_headers(subject.clone(), headers.clone(), payload.clone().into())
                .await;
            let limit = Duration::from_secs(1);
            if let Ok(published) = published
                && let Ok(Ok(stored)) = tokio::time::timeout(limit, published.into_future()).await
            {
                let mut state = self.state.lock().unwrap();
                state.sequences[usize::from(slice)] = stored.sequence;
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn beat(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            for (subject, json) in self.heartbeats() {
                let _ = self.context.client().publish(subject, json.into()).await;
            }
        }
    }

    fn heartbeats(&self) -> Vec<(String, String)> {
        let state = self.state.lock().unwrap();
        if !state.is_live {
            return Vec::new();
        }
        let lag = LAG + state.busy.map_or(Duration::ZERO, |busy| busy.elapsed());
        let slices = u16::try_from(state.sequences.len()).unwrap();
        (0..slices)
            .zip(&state.sequences)
            .map(|(slice, &sequence)| {
                let beat = Heartbeat::new((slice, slices), 1, sequence, lag, INTERVAL);
                (self.prefix.heartbeat(slice), beat.to_json())
            })
            .collect()
    }
}
