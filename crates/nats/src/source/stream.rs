//! Checks whether a source can read a stream.

use async_nats::jetstream::stream::{Config, Source};
use pgherald_core::Result;

use super::builder::Settings;
use super::refusal;
use crate::relay::covers;

/// Fails unless the stream stores everything that the relays send, under the sequences that their heartbeats name.
///
/// A mirror stores the messages of its origin, with the same sequences. A stream that collects from others has sequences of its own.
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
