//! Continuing from a position: a replay, and the events of a source after it.

use pgherald::{ConnectConfig, Event, OutboxSource, Signal, Source, TableName};
use pgherald_core::__private::host::outbox::{
    Beginning, Live, Located, Position, Progress, Progresses, Replayer,
};
use pgherald_core::trigger::{self, TriggerSpec};
use pgherald_testkit::Postgres;
use tokio_postgres::Client;

use crate::source::DEADLINE;

struct Stage {
    config: ConnectConfig,
    client: Client,
    source: OutboxSource,
    progress: Progress,
    replayer: Replayer,
}

impl Stage {
    /// A source that is live. It reads only when a test waits for its next events.
    async fn new() -> Self {
        Self::on(Postgres::shared().await.unwrap()).await
    }

    async fn on(server: &Postgres) -> Self {
        let config: ConnectConfig = server.create_database().await.unwrap().parse().unwrap();
        let client = config.client().await.unwrap();
        client
            .batch_execute("CREATE TABLE counters (id int PRIMARY KEY)")
            .await
            .unwrap();
        let plan = trigger::plan(&client, &[counters()]).await;
        plan.unwrap().apply(&client).await.unwrap();
        let (source, progress) = live_source(&config).await;
        let replayer = Replayer::connect(&config).await.unwrap();
        Self {
            config,
            client,
            source,
            progress,
            replayer,
        }
    }

    /// A stage whose replay has read row 2, and the position at its end. The source has read neither row 2 nor row 1, which took its
    /// id before row 2 and was committed after the replay.
    async fn ahead() -> (Self, Position) {
        let mut stage = Self::new().await;
        stage.insert(0).await;
        let begin = stage.events().await[0].position().unwrap();
        let mut late = stage.config.client().await.unwrap();
        let late = late.transaction().await.unwrap();
        late.batch_execute("INSERT INTO counters VALUES (1)")
            .await
            .unwrap();
        stage.insert(2).await;
        let (keys, end) = stage.replay(&begin).await;
        assert_eq!(keys, ["2"]);
        late.commit().await.unwrap();
        (stage, end)
    }

    async fn insert(&self, id: i32) {
        let sql = format!("INSERT INTO counters VALUES ({id})");
        self.client.batch_execute(&sql).await.unwrap();
    }

    async fn events(&mut self) -> Vec<Event> {
        events(&mut self.source).await
    }

    async fn begin(&mut self, position: &Position, limit: usize) -> Beginning {
        let begun = self.replayer.begin(position, &self.progress, limit);
        begun.await.unwrap()
    }

    /// Replays everything after a position. Returns the keys, and where the replay ended.
    async fn replay(&mut self, position: &Position) -> (Vec<String>, Position) {
        let begun = self.begin(position, 100).await;
        let Beginning::Replay(mut replay) = begun else {
            panic!("{begun:?}");
        };
        let mut keys = Vec::new();
        loop {
            let page = self.replayer.next(&mut replay).await.unwrap();
            assert!(!page.is_gap);
            keys.extend(page.events.iter().map(key));
            if page.is_last {
                return (keys, replay.end().unwrap());
            }
        }
    }
}

fn counters() -> TriggerSpec {
    TriggerSpec::new(TableName::new("public", "counters").unwrap()).outbox()
}

async fn live_source(config: &ConnectConfig) -> (OutboxSource, Progress) {
    let builder = OutboxSource::builder(config.clone()).watch(counters());
    let progress = builder.progress();
    let mut source = builder.build().unwrap();
    while !matches!(source.next().await, Signal::Live) {}
    (source, progress)
}

async fn events(source: &mut OutboxSource) -> Vec<Event> {
    match source.next().await {
        Signal::Events(events) => events.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn key(event: &Event) -> String {
    event.key().unwrap().to_string()
}

#[tokio::test]
async fn a_replay_has_what_was_committed_after_a_position_and_nothing_else() {
    let mut stage = Stage::new().await;
    for id in 1..=3 {
        stage.insert(id).await;
    }
    let mut events = Vec::new();
    while events.len() < 3 {
        events.extend(stage.events().await);
    }
    for (index, event) in events.iter().enumerate() {
        let position = event.position().unwrap();
        let text = position.to_string();
        assert_eq!(text.parse::<Position>().unwrap(), position);
        let rest: Vec<String> = events[index + 1..].iter().map(key).collect();
        assert_eq!(stage.replay(&position).await.0, rest);
    }
}

/// A page of the source may begin before the end of a replay and end after it. Row 1 takes its id before row 2 and is committed
/// after it, and the replay ends in between. So the client receives row 1 of the source, and has had row 2, which follows in the
/// page.
#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_an_overlap_receives_nothing_twice() {
    let (mut stage, end) = Stage::ahead().await;
    stage.insert(3).await;
    let page = stage.events().await;
    assert_eq!(page.iter().map(key).collect::<Vec<_>>(), ["1", "2", "3"]);
    let Live::Overlapping(Some(position)) = end.place(&page[0]) else {
        panic!("{:?}", end.place(&page[0]));
    };
    assert_eq!(end.place(&page[1]), Live::Replayed);
    assert!(matches!(end.place(&page[2]), Live::Overlapping(_)));
    assert_eq!(stage.replay(&position).await.0, ["3"]);
    assert_eq!(stage.replay(&end).await.0, ["1", "3"]);

    stage.insert(4).await;
    let later = stage.events().await;
    assert_eq!(end.place(&later[0]), Live::Beyond);
}

/// A replay reads what the source has not read yet. If the next connection of the client begins with a resync, and not with a replay,
/// the source then emits events that the client has had.
#[tokio::test]
async fn the_source_may_be_behind_a_position() {
    let (mut stage, position) = Stage::ahead().await;
    assert!(!stage.progress.is_past(&position));
    let page = stage.events().await;
    assert_eq!(page.iter().map(key).collect::<Vec<_>>(), ["1", "2"]);
    let Live::Overlapping(Some(after)) = position.place(&page[0]) else {
        panic!("{:?}", position.place(&page[0]));
    };
    assert_eq!(stage.replay(&after).await.0, [""; 0]);
    assert_eq!(position.place(&page[1]), Live::Replayed);
    // Of the same page, the client may also have had a part.
    let first = page[0].position().unwrap();
    assert_eq!(first.place(&page[0]), Live::Replayed);
    let after = page[1].position();
    assert_eq!(first.place(&page[1]), Live::Overlapping(after));

    stage.insert(3).await;
    let later = stage.events().await;
    assert_eq!(position.place(&later[0]), Live::Beyond);
    assert!(stage.progress.is_past(&position));
    let mut other = Stage::new().await;
    other.insert(1).await;
    assert_eq!(position.place(&other.events().await[0]), Live::Beyond);
}

/// The source has emitted an event before the server starts again, and a replay reads it after that.
#[tokio::test]
async fn a_restart_of_the_server_makes_no_event_new() {
    let server = Postgres::start().await.unwrap();
    let mut stage = Stage::on(&server).await;
    stage.insert(0).await;
    let begin = stage.events().await[0].position().unwrap();
    stage.insert(1).await;
    let before = stage.events().await;
    server.restart().await.unwrap();
    stage.client = stage.config.client().await.unwrap();
    stage.replayer = Replayer::connect(&stage.config).await.unwrap();
    // A source of another process connects before this one notices the restart.
    let (mut other, _) = live_source(&stage.config).await;
    stage.insert(2).await;
    let later = events(&mut other).await[0].position().unwrap();
    let begun = stage.begin(&later, 100).await;
    assert!(matches!(begun, Beginning::Early), "{begun:?}");

    while !matches!(stage.source.next().await, Signal::Live) {}
    let begun = stage.begin(&later, 100).await;
    assert!(matches!(begun, Beginning::Replay(_)), "{begun:?}");
    let (keys, end) = stage.replay(&begin).await;
    assert_eq!(keys, ["1", "2"]);
    assert_eq!(end.place(&before[0]), Live::Replayed);
    stage.insert(3).await;
    let after = stage.events().await;
    assert_ne!(end.place(&after[0]), Live::Replayed);
}

/// The error of the statement then has a code of the server, and is not one of a connection that was closed.
#[tokio::test]
async fn a_session_that_the_server_ends_within_a_statement_is_a_lost_connection() {
    let mut stage = Stage::new().await;
    stage.insert(0).await;
    let begin = stage.events().await[0].position().unwrap();
    let Beginning::Replay(mut replay) = stage.begin(&begin, 100).await else {
        panic!("the position is valid");
    };
    let lock = "BEGIN; LOCK TABLE pgherald.outbox IN ACCESS EXCLUSIVE MODE";
    stage.client.batch_execute(lock).await.unwrap();
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let is_terminated =
        async { while stage.client.query(terminate, &[]).await.unwrap().is_empty() {} };
    let is_terminated = tokio::time::timeout(DEADLINE, is_terminated);
    let (page, ()) = tokio::join!(stage.replayer.next(&mut replay), async {
        is_terminated.await.unwrap();
    });
    let error = page.unwrap_err();
    assert!(error.is_connection() && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_position_of_another_outbox_or_of_other_triggers_begins_no_replay() {
    let mut stage = Stage::new().await;
    stage.insert(1).await;
    let position = stage.events().await[0].position().unwrap();
    let mut other = Stage::new().await;
    assert!(matches!(other.begin(&position, 100).await, Beginning::Lost));
    assert!(matches!(
        stage.begin(&position, 100).await,
        Beginning::Replay(_)
    ));
    let progress = std::mem::take(&mut stage.progress);
    let begun = stage.begin(&position, 100).await;
    assert!(matches!(begun, Beginning::Early), "{begun:?}");
    stage.progress = progress;
    for id in 2..=4 {
        stage.insert(id).await;
    }
    assert!(matches!(
        stage.begin(&position, 3).await,
        Beginning::Replay(_)
    ));
    assert!(matches!(stage.begin(&position, 2).await, Beginning::Lost));
    stage
        .client
        .batch_execute(
            "ALTER TABLE counters DISABLE TRIGGER ALL; ALTER TABLE counters ENABLE TRIGGER ALL",
        )
        .await
        .unwrap();
    // The source notices it at its next heartbeat.
    while !matches!(stage.source.next().await, Signal::Resync(_)) {}
    assert!(matches!(stage.begin(&position, 100).await, Beginning::Lost));
}

#[tokio::test]
async fn a_position_includes_the_events_up_to_it() {
    let mut stage = Stage::new().await;
    stage
        .client
        .batch_execute("INSERT INTO counters VALUES (1), (2)")
        .await
        .unwrap();
    let events = stage.events().await;
    let [one, two] = &events[..] else {
        panic!("{events:?}");
    };
    let (first, second) = (one.position().unwrap(), two.position().unwrap());
    let (one, two) = (one.mark().unwrap(), two.mark().unwrap());
    assert!(first.includes(&one) && second.includes(&one) && second.includes(&two));
    assert!(!first.includes(&two));
    let (_, end) = stage.replay(&first).await;
    assert!(end.includes(&two));
    stage.insert(3).await;
    let later = stage.events().await[0].mark().unwrap();
    assert!(!second.includes(&later) && !end.includes(&later));
}

/// A difference of many rows takes several pages. Rows that are recorded meanwhile do not prolong a replay.
#[tokio::test]
async fn a_replay_ends_after_the_first_difference_that_it_has_begun() {
    let mut stage = Stage::new().await;
    stage.insert(0).await;
    let begin = stage.events().await[0].position().unwrap();
    let insert = |from: i32| {
        format!(
            "INSERT INTO counters SELECT n FROM generate_series({from}, {}) AS n",
            from + 99
        )
    };
    stage.client.batch_execute(&insert(1)).await.unwrap();
    let Beginning::Replay(mut replay) = stage.begin(&begin, 1_000).await else {
        panic!("the position is valid");
    };
    let mut count = 0;
    for page in 1.. {
        let read = stage.replayer.next(&mut replay).await.unwrap();
        count += read.events.len();
        if read.is_last {
            break;
        }
        let more = insert(page * 100 + 1);
        stage.client.batch_execute(&more).await.unwrap();
    }
    // The first page is the rest of the difference of row 0.
    assert_eq!(count, 200);
    let end = replay.end().unwrap();
    let Beginning::Replay(mut rest) = stage.begin(&end, 1_000).await else {
        panic!("the position is valid");
    };
    let page = stage.replayer.next(&mut rest).await.unwrap();
    assert_eq!(key(&page.events[0]), "201");
}
