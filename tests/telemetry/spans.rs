//! The span of an attempt, as a subscriber of `tracing` sees it from within a handler.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherald::__private::host::telemetry::SPAN_ATTEMPT;
use pgherald::group::{Batch, BatchHandler, Consumer};

use pgherald::trigger::{self, TriggerSpec};
use pgherald::{
    Attempt, ConnectConfig, DurableOptions, Event, EventHandler, HandlerResult, TableName,
};
use pgherald_testkit::Postgres;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

/// Keeps the fields of the span in which each event of `handled` was logged.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Fields>>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() != "handled" {
            return;
        }
        let span = context.event_span(event).expect("in a span");
        assert_eq!(span.name(), SPAN_ATTEMPT);
        let fields = span.extensions().get::<Fields>().cloned();
        self.0.lock().unwrap().push(fields.unwrap());
    }
}

struct Note;

impl EventHandler for Note {
    type Event = Event;

    async fn handle(&self, _: Event, attempt: Attempt) -> HandlerResult {
        tokio::task::yield_now().await;
        tracing::info!(target: "handled", "here");
        match attempt.number() {
            1 => Err("once more".into()),
            _ => Ok(()),
        }
    }
}

impl BatchHandler for Note {
    type Event = Event;

    async fn handle(&self, _: &mut Batch<Event>) -> HandlerResult {
        tracing::info!(target: "handled", "here");
        Ok(())
    }
}

#[actix::test]
async fn the_span_of_an_attempt_has_its_event_table_and_commit() {
    let spans = Spans::default();
    // The only subscriber of this process.
    tracing::subscriber::set_global_default(Registry::default().with(spans.clone())).unwrap();
    let server = Postgres::start().await.unwrap();
    let config: ConnectConfig = server.create_database().await.unwrap().parse().unwrap();
    let client = config.client().await.unwrap();
    client
        .batch_execute("CREATE TABLE jobs (id bigint PRIMARY KEY)")
        .await
        .unwrap();
    let spec = TriggerSpec::new(TableName::new("public", "jobs").unwrap()).outbox();
    trigger::plan(&client, &[spec])
        .await
        .unwrap()
        .apply(&client)
        .await
        .unwrap();
    client
        .batch_execute("INSERT INTO jobs VALUES (1)")
        .await
        .unwrap();
    let row = client
        .query_one("SELECT id FROM pgherald.outbox", &[])
        .await
        .unwrap();
    let id: i64 = row.get(0);

    let seen = async |count: usize| {
        let began = std::time::Instant::now();
        while spans.0.lock().unwrap().len() < count {
            assert!(began.elapsed() < Duration::from_secs(60), "no attempt");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        std::mem::take(&mut *spans.0.lock().unwrap())
    };
    let options = DurableOptions::new("one by one").from_beginning();
    let (handle, consumer) = Consumer::new(config.clone(), options, || Note).unwrap();
    tokio::task::spawn_local(consumer.run());
    for (number, Fields(fields)) in seen(2).await.into_iter().enumerate() {
        let field = |name: &str| fields.get(name).map(|value| value.trim_matches('"'));
        assert_eq!(field("handler"), Some("one by one"));
        assert_eq!(field("event_id"), Some(&*id.to_string()));
        assert_eq!(field("table"), Some("public.jobs"));
        assert_eq!(field("operation"), Some("insert"));
        assert_eq!(field("attempt"), Some(&*(number + 1).to_string()));
        assert!(field("committed_at").unwrap().ends_with('Z'), "{fields:?}");
        assert_eq!(field("events"), None);
    }
    handle.drain(Duration::from_secs(60)).await;

    client
        .batch_execute("INSERT INTO jobs VALUES (2), (3)")
        .await
        .unwrap();
    let options = DurableOptions::new("batches").from_beginning();
    let (handle, consumer) = Consumer::batches(config, options, || Note).unwrap();
    tokio::task::spawn_local(consumer.run());
    let Fields(fields) = seen(1).await.remove(0);
    assert!(
        fields["events"].parse::<usize>().unwrap() >= 1,
        "{fields:?}"
    );
    assert!(fields.contains_key("committed_at"), "{fields:?}");
    handle.drain(Duration::from_secs(60)).await;
}
