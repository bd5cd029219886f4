//! Checks whether a source can read a stream.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, Info, Source};
use pgherald_core::Result;

use super::builder::Settings;
use super::refusal;
use crate::relay::covers;

/// Fails unless the stream stores everything that the relays send, with the sequences that their heartbeats name.
///
/// A mirror stores the messages of its origin with the same sequences. A stream that collects other streams (`sources`) assigns
/// sequences of its own.
pub(super) fn check(settings: &Settings, config: &Config) -> Result<()> {
    match &config.mirror {
        Some(mirror) if !is_whole(settings, mirror) => {
            return Err(refusal::partial_mirror(settings, &mirror.name));
        }
        Some(_) => {}
        None => {
            // Relays store announcements at this subject.
            let control = settings.prefix.control(0);
            let subjects = &config.subjects;
            if !subjects.iter().any(|subject| covers(subject, &control)) {
                return Err(refusal::other_subjects(settings, subjects));
            }
        }
    }
    if let Some(transform) = &config.subject_transform {
        let subjects = [transform.destination.clone()];
        return Err(refusal::other_subjects(settings, &subjects));
    }
    // If a message is replaced before it is delivered, the sequences of the consumer have no gap.
    if config.max_messages_per_subject > 0 {
        return Err(refusal::replaces_messages(
            settings,
            config.max_messages_per_subject,
        ));
    }
    Ok(())
}

fn is_whole(settings: &Settings, mirror: &Source) -> bool {
    let filter = mirror.filter_subject.as_deref().unwrap_or_default();
    let has_all = filter.is_empty() || covers(filter, &settings.prefix.all());
    has_all && mirror.subject_transforms.is_empty()
}

/// The maximum difference between the clocks of two servers.
const CLOCKS: Duration = Duration::from_secs(2);

/// The time at which the oldest message of a mirror was stored, in nanoseconds since 1970. `None` if the mirror has received no
/// message, or if the stream is not a mirror.
///
/// A mirror continues after its last sequence. If its origin was deleted and created again, the mirror skips the new messages until
/// their sequences exceed its last one.
pub(super) struct Mirrored(Option<i128>);

impl Mirrored {
    pub(super) fn of(info: &Info) -> Self {
        let state = &info.state;
        let oldest = match state.messages {
            0 => state.last_timestamp,
            _ => state.first_timestamp,
        };
        let has_some = info.config.mirror.is_some() && state.last_sequence > 0;
        Self(has_some.then(|| oldest.unix_timestamp_nanos()))
    }

    /// Whether the mirror has messages that are older than the stream with this incarnation, which is the stream's time of
    /// creation.
    pub(super) fn is_of_earlier_origin(&self, incarnation: &str) -> bool {
        match (self.0, incarnation.parse::<i128>()) {
            (Some(oldest), Ok(created)) => oldest + nanoseconds(CLOCKS) < created,
            _ => false,
        }
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}
