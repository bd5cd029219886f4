//! The permissions that the documentation of `NatsSource` names are sufficient.

use pgherald_nats::{NatsConfig, NatsSource};
use pgherald_testkit::nats::NatsServer;

use crate::fake::{FakeRelay, PATIENT, STREAM};
use crate::signals::{live, signals};

#[tokio::test]
async fn source_needs_no_other_permissions_than_the_documented_ones() {
    let publish =
        ["STREAM.INFO", "CONSUMER.CREATE"].map(|api| format!("\"$JS.API.{api}.{STREAM}\""));
    let config = format!(
        "authorization {{
           users: [
             {{ user: relay, password: secret }}
             {{ user: cache, password: secret, permissions: {{
                 publish: [{}, \"$JS.FC.{STREAM}.>\"], subscribe: [\"pg-heartbeat.*\", \"_INBOX.>\"]
             }} }}
           ]
         }}",
        publish.join(", ")
    );
    let server = NatsServer::builder().config(&config).start().await.unwrap();
    let at = |user| format!("nats://{user}:secret@{}:{}", server.host(), server.port());
    let relay = FakeRelay::at(vec![at("relay")]).await;
    relay.create_stream().await;
    let config = NatsConfig::new(&at("cache")).unwrap();
    let source = NatsSource::builder(config, STREAM).max_lag(PATIENT);
    let mut source = source.build().unwrap();
    assert_eq!(live(&mut source, &relay).await, "started live");
    // Enough messages for a flow control request of the server.
    for key in 1..=500 {
        relay.insert(key).await;
    }
    let mut last = String::new();
    while !last.ends_with("#500") {
        last = signals(&mut source, 1).await;
        assert!(last.starts_with('#'), "{last}");
    }
}
