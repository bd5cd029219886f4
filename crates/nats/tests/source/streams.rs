//! Which streams a source reads.

use async_nats::jetstream::{self, stream};
use pgherald::ErrorKind;
use pgherald_nats::{NatsConfig, NatsSource};
use pgherald_testkit::nats::NatsServer;

use crate::fake::{FakeRelay, PATIENT, STREAM, source};
use crate::signals::{down, live, live_with, word};

fn mirror() -> stream::Config {
    stream::Config {
        name: "MIRROR".to_owned(),
        mirror: Some(stream::Source {
            name: STREAM.to_owned(),
            ..stream::Source::default()
        }),
        ..stream::Config::default()
    }
}

/// Reads an event of the relay through the mirror of a server.
async fn reads_mirror(server: &NatsServer, relay: &FakeRelay) {
    let config = NatsConfig::new(&server.url()).unwrap();
    let source = NatsSource::builder(config, "MIRROR").max_lag(PATIENT);
    let mut source = source.build().unwrap();
    let words = live(&mut source, relay).await;
    assert!(words.ends_with("live"), "{words}");
    relay.insert(2).await;
    assert_eq!(word(&mut source).await, "#2");
}

#[tokio::test]
async fn a_mirror_is_read_like_its_origin() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    relay.insert(1).await;
    relay.context.create_stream(mirror()).await.unwrap();
    reads_mirror(&server, &relay).await;
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_source_at_a_leaf_node_reads_a_mirror_there() {
    let (hub, port) = loop {
        let port = free_port();
        let config = format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}");
        let hub = NatsServer::builder().domain("hub").config(&config);
        // Another program may have taken the port.
        if let Ok(hub) = hub.start().await {
            break (hub, port);
        }
    };
    let remote =
        format!("leafnodes {{ remotes: [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}");
    let leaf = NatsServer::builder().domain("leaf").config(&remote);
    let leaf = leaf.start().await.unwrap();
    let relay = FakeRelay::new(&hub).await;
    relay.insert(1).await;
    let mut mirror = mirror();
    let external = stream::External {
        api_prefix: "$JS.hub.API".to_owned(),
        delivery_prefix: None,
    };
    mirror.mirror.as_mut().unwrap().external = Some(external);
    let context = jetstream::new(async_nats::connect(leaf.url()).await.unwrap());
    context.create_stream(mirror).await.unwrap();
    reads_mirror(&leaf, &relay).await;
}

/// The mirror skips the messages of the new stream until their sequences exceed its last one.
#[tokio::test]
async fn a_mirror_of_a_stream_that_was_created_again_is_refused() {
    let server = NatsServer::start().await.unwrap();
    let mut relay = FakeRelay::new(&server).await;
    let created = async |relay: &FakeRelay| {
        let stream = relay.context.get_stream(STREAM).await.unwrap();
        stream.cached_info().created
    };
    let before = created(&relay).await;
    relay.incarnation = before.unix_timestamp_nanos().to_string().leak();
    for key in 1..=20 {
        relay.insert(key).await;
    }
    relay.context.create_stream(mirror()).await.unwrap();
    let config = NatsConfig::new(&server.url()).unwrap();
    let source = NatsSource::builder(config, "MIRROR").max_lag(PATIENT);
    let mut source = source.build().unwrap();
    live(&mut source, &relay).await;
    let mut after = before;
    // Longer than the allowed difference between the clocks of servers.
    while (after - before).whole_seconds() < 3 {
        relay.recreate_stream().await;
        after = created(&relay).await;
    }
    relay.incarnation = after.unix_timestamp_nanos().to_string().leak();
    // The mirror does not receive this event.
    relay.insert(21).await;
    let words = live_with(&mut source, &relay, "Protocol").await;
    assert!(words.ends_with("Protocol"), "{words}");
}

#[tokio::test]
async fn a_mirror_that_leaves_out_announcements_or_renames_subjects_is_refused() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let config = NatsConfig::new(&server.url()).unwrap();
    let transform = stream::SubjectTransform {
        source: "pg.*.public.>".to_owned(),
        destination: "pg.$1.other.>".to_owned(),
    };
    type Change = Box<dyn Fn(&mut stream::Source)>;
    let changes: [Change; 2] = [
        Box::new(|mirror| mirror.filter_subject = Some("pg.*.public.>".to_owned())),
        Box::new(move |mirror| mirror.subject_transforms = vec![transform.clone()]),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut mirror = mirror();
        mirror.name = format!("MIRROR{number}");
        change(mirror.mirror.as_mut().unwrap());
        let source = NatsSource::builder(config.clone(), &mirror.name);
        relay.context.create_stream(mirror).await.unwrap();
        let error = down(&mut source.build().unwrap()).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains("mirror the whole"), "{error}");
    }
    let mut whole = mirror();
    whole.mirror.as_mut().unwrap().filter_subject = Some("pg.>".to_owned());
    relay.context.create_stream(whole).await.unwrap();
    let source = NatsSource::builder(config, "MIRROR").max_lag(PATIENT);
    live(&mut source.build().unwrap(), &relay).await;
}

#[tokio::test]
async fn a_stream_that_replaces_messages_of_a_subject_is_refused_also_while_it_is_read() {
    let server = NatsServer::start().await.unwrap();
    let relay = FakeRelay::new(&server).await;
    let stream = relay.context.get_stream(STREAM).await.unwrap();
    let keeps = |limit| stream::Config {
        max_messages_per_subject: limit,
        ..stream.cached_info().config.clone()
    };
    let mut source = source(&server.url()).max_lag(PATIENT).build().unwrap();
    live(&mut source, &relay).await;
    relay.context.update_stream(keeps(1)).await.unwrap();
    for _ in 0..2 {
        let error = down(&mut source).await;
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        let way_out = "nats stream edit EVENTS --max-msgs-per-subject=-1";
        assert!(error.to_string().contains(way_out), "{error}");
    }
    relay.context.update_stream(keeps(-1)).await.unwrap();
    let words = live(&mut source, &relay).await;
    assert!(words.ends_with("reconnected live"), "{words}");
}
