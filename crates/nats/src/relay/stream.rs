//! Creates streams, and verifies existing ones, which it never changes.

use async_nats::jetstream::context::{
    CreateStreamErrorKind, GetStreamByNameErrorKind, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, PersistenceMode, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use pgherald_core::__private::host::errors;
use pgherald_core::{Error, ErrorKind, Result};

use super::options::{RelayOptions, StreamOptions};

/// Opens the stream of a relay. Creates it if it does not exist and the options say so.
pub(super) async fn open(context: &Context, options: &RelayOptions) -> Result<(Stream, Info)> {
    let stream = match (find(context, options).await?, &options.create) {
        (Some(stream), _) => stream,
        (None, Some(create)) => self::create(context, options, create).await?,
        (None, None) => return Err(missing(options)),
    };
    let info = stream.cached_info().clone();
    verify(&info.config, options)?;
    Ok((stream, info))
}

/// Like [`open`], but creates nothing. Returns `None` if the stream does not exist and can be created.
pub(super) async fn look(context: &Context, options: &RelayOptions) -> Result<Option<Info>> {
    if let Some(stream) = find(context, options).await? {
        let info = stream.cached_info().clone();
        verify(&info.config, options)?;
        return Ok(Some(info));
    }
    if options.create.is_none() {
        return Err(missing(options));
    }
    match context.stream_by_subject(options.prefix.all()).await {
        Ok(_) => Err(errors::bad_nats(overlapping(options))),
        Err(cause) if matches!(cause.kind(), GetStreamByNameErrorKind::NotFound) => Ok(None),
        Err(cause) => {
            let message = "cannot list the streams of the NATS server".to_owned();
            Err(errors::nats(
                ErrorKind::Disconnected,
                message,
                Some(cause.into()),
            ))
        }
    }
}

/// Returns the stream, if it exists.
async fn find(context: &Context, options: &RelayOptions) -> Result<Option<Stream>> {
    match context.get_stream(&options.stream).await {
        Ok(stream) => Ok(Some(stream)),
        Err(cause) => match cause.kind() {
            GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            kind => Err(not_opened(options, &kind, cause)),
        },
    }
}

async fn create(
    context: &Context,
    options: &RelayOptions,
    create: &StreamOptions,
) -> Result<Stream> {
    let config = config(options, create);
    let created = context.create_stream(config).await;
    if let Ok(stream) = created {
        tracing::info!(stream = options.stream, "created the stream of a relay");
        return Ok(stream);
    }
    let cause = created.err();
    let Some(cause) = cause else {
        return Err(errors::bad_nats("the stream was not created".to_owned()));
    };
    let name = &options.stream;
    let (kind, message) = match cause.kind() {
        CreateStreamErrorKind::JetStream(error)
            if error.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP =>
        {
            (ErrorKind::Config, overlapping(options))
        }
        CreateStreamErrorKind::JetStreamUnavailable => (ErrorKind::Config, without_jetstream()),
        CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => (
            ErrorKind::Disconnected,
            format!("cannot create stream {name:?}: the server does not respond"),
        ),
        _ => (ErrorKind::Config, format!("cannot create stream {name:?}")),
    };
    Err(errors::nats(kind, message, Some(cause.into())))
}

fn config(options: &RelayOptions, create: &StreamOptions) -> Config {
    let limit =
        |value: Option<u64>| value.map_or(-1, |value| i64::try_from(value).unwrap_or(i64::MAX));
    Config {
        name: options.stream.clone(),
        description: Some("events of PostgreSQL, stored by pgherald".to_owned()),
        subjects: vec![options.prefix.all()],
        storage: match create.in_memory {
            true => StorageType::Memory,
            false => StorageType::File,
        },
        num_replicas: create.replicas,
        max_age: create.max_age.unwrap_or_default(),
        max_bytes: limit(create.max_bytes),
        max_messages: limit(create.max_messages),
        max_messages_per_subject: -1,
        discard: match create.refuses_new {
            true => DiscardPolicy::New,
            false => DiscardPolicy::Old,
        },
        duplicate_window: create.duplicate_window.unwrap_or_default(),
        allow_atomic_publish: true,
        allow_direct: true,
        ..Config::default()
    }
}

/// Fails if a relay cannot use the stream. The error lists everything that has to be changed.
fn verify(config: &Config, options: &RelayOptions) -> Result<()> {
    let mut problems = Vec::new();
    let all = options.prefix.all();
    if !config.subjects.contains(&all) {
        problems.push(format!(
            "its subjects are {}, and {all} is not among them",
            config.subjects.join(", ")
        ));
    }
    let heartbeats = options.prefix.heartbeat(0);
    if let Some(subject) = config
        .subjects
        .iter()
        .find(|subject| covers(subject, &heartbeats))
    {
        problems.push(format!(
            "it would store the heartbeats of the relay, because its subject {subject} covers {}",
            options.prefix.heartbeats()
        ));
    }
    if !config.allow_atomic_publish {
        problems
            .push("it does not allow atomic batches (`nats stream edit --allow-batch`)".to_owned());
    }
    if config.retention != RetentionPolicy::Limits {
        problems.push(format!(
            "its retention is {:?}, which deletes the position of the relay with the messages: it must be limits",
            config.retention
        ));
    }
    if config.max_messages_per_subject > 0 {
        problems.push(format!(
            "it keeps {} messages of each subject (max_msgs_per_subject) and deletes earlier ones, even before a program has read them: \
             set it to -1 (`nats stream edit --max-msgs-per-subject=-1`), and limit the stream by max_age, max_bytes or max_msgs",
            config.max_messages_per_subject
        ));
    }
    for (is_set, what) in [
        (
            config.subject_delete_marker_ttl.is_some(),
            "it stores markers for deleted messages (subject_delete_marker_ttl), which would come between those of the relay",
        ),
        (
            config.persist_mode == Some(PersistenceMode::Async),
            "it acknowledges messages before they are on disk, so a crash of the server loses them (persist_mode: async)",
        ),
        (
            config.allow_message_counter,
            "it stores counters (allow_msg_counter)",
        ),
        (config.no_ack, "it acknowledges nothing (no_ack)"),
        (config.sealed, "it is sealed"),
        (config.mirror.is_some(), "it is a mirror"),
        (
            config.subject_transform.is_some(),
            "it changes subjects (subject_transform)",
        ),
        (
            config
                .sources
                .as_ref()
                .is_some_and(|sources| !sources.is_empty()),
            "it has sources, whose messages would come between those of the relay",
        ),
    ] {
        if is_set {
            problems.push(what.to_owned());
        }
    }
    if let Some(create) = &options.create {
        compare(config, create, &mut problems);
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(errors::bad_nats(format!(
            "stream {:?} cannot be used by the relay: {}; change it, or use another stream",
            options.stream,
            problems.join("; ")
        ))),
    }
}

/// Compares the stream with the stream that the relay would have created.
fn compare(config: &Config, create: &StreamOptions, problems: &mut Vec<String>) {
    if config.num_replicas < create.replicas {
        problems.push(format!(
            "it has {} replicas, and {} were asked for",
            config.num_replicas, create.replicas
        ));
    }
    let is_in_memory = config.storage == StorageType::Memory;
    if is_in_memory != create.in_memory {
        let storage = |in_memory| if in_memory { "in memory" } else { "on disk" };
        problems.push(format!(
            "it is stored {}, and a stream {} was asked for",
            storage(is_in_memory),
            storage(create.in_memory)
        ));
    }
    if let Some(age) = create.max_age
        && config.max_age != age
    {
        problems.push(format!(
            "its max_age is {:?}, and {age:?} was asked for",
            config.max_age
        ));
    }
    if create.refuses_new && config.discard != DiscardPolicy::New {
        problems.push("it deletes old messages when it is full (discard: old)".to_owned());
    }
}

/// Whether limits delete the oldest messages.
pub(super) fn is_limited(config: &Config) -> bool {
    let has_room = config.max_messages > 0 || config.max_bytes > 0;
    !config.max_age.is_zero() || has_room && config.discard == DiscardPolicy::Old
}

/// Whether a filter matches a subject.
pub(crate) fn covers(filter: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    for token in filter.split('.') {
        match (token, subject.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            ("*", Some(_)) => {}
            (token, Some(other)) if token == other => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

fn overlapping(options: &RelayOptions) -> String {
    format!(
        "cannot create stream {:?}: another stream has some of the subjects {}; use another prefix, or the name of that stream",
        options.stream,
        options.prefix.all()
    )
}

fn missing(options: &RelayOptions) -> Error {
    let name = &options.stream;
    errors::bad_nats(format!(
        "there is no stream {name:?}: let the relay create it, or run `nats stream add {name} --subjects '{}' --allow-batch`",
        options.prefix.all()
    ))
}

fn without_jetstream() -> String {
    "the NATS server has no JetStream, or not for this account: enable it in the server's configuration, or use another server or \
     account"
        .to_owned()
}

fn not_opened(
    options: &RelayOptions,
    kind: &GetStreamErrorKind,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let name = &options.stream;
    let (kind, message) = match kind {
        GetStreamErrorKind::JetStream(error) => match error.error_code() {
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                (ErrorKind::Config, without_jetstream())
            }
            _ => (
                ErrorKind::Disconnected,
                format!("cannot open stream {name:?}"),
            ),
        },
        _ => (
            ErrorKind::Disconnected,
            format!("cannot open stream {name:?}: no NATS server with JetStream answers"),
        ),
    };
    errors::nats(kind, message, Some(cause.into()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream::stream::{Config, PersistenceMode, RetentionPolicy};

    use super::{RelayOptions, StreamOptions, config, covers, verify};

    #[test]
    fn streams_that_do_not_fit_are_refused_with_everything_to_change() {
        let options = RelayOptions::new("fleet", "CHANGES");
        let fitting = config(&options, &StreamOptions::new());
        assert!(verify(&fitting, &options).is_ok());
        let bad = Config {
            subjects: vec![">".to_owned()],
            retention: RetentionPolicy::WorkQueue,
            allow_atomic_publish: false,
            no_ack: true,
            max_messages_per_subject: 1,
            subject_delete_marker_ttl: Some(Duration::from_secs(60)),
            persist_mode: Some(PersistenceMode::Async),
            allow_message_counter: true,
            ..fitting.clone()
        };
        let error = verify(&bad, &options).unwrap_err();
        for part in [
            "pg.>",
            "heartbeats",
            "WorkQueue",
            "--allow-batch",
            "no_ack",
            "--max-msgs-per-subject=-1",
            "subject_delete_marker_ttl",
            "persist_mode",
            "allow_msg_counter",
        ] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        let asked = options.create(StreamOptions::new().replicas(3).in_memory().refuse_new());
        let error = verify(&fitting, &asked).unwrap_err().to_string();
        for part in ["1 replicas", "on disk", "discard: old"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn filters_cover_subjects_as_on_the_server() {
        for (filter, subject) in [
            (">", "a"),
            ("a.>", "a.b"),
            ("*.b", "a.b"),
            ("a.b", "a.b"),
            ("a.*", "a.b"),
        ] {
            assert!(covers(filter, subject), "{filter} {subject}");
        }
        for (filter, subject) in [
            ("a.>", "a"),
            ("*", "a.b"),
            ("a.b", "a"),
            ("a.c", "a.b"),
            ("a-x.>", "a.b"),
        ] {
            assert!(!covers(filter, subject), "{filter} {subject}");
        }
    }
}
