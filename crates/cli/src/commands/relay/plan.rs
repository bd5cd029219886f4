//! What a relay is about to do. Making the plan verifies database, group, server and stream, and writes nothing.

use std::io;
use std::sync::Arc;

use pgherald_core::__private::host;
use pgherald_core::group::{Group, GroupStatus};
use pgherald_nats::{Relay, StreamStatus};
use serde::Serialize;
use tokio_postgres::Client;

use super::tables::Tables;
use super::{group, nats};
use crate::arguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::words;

#[derive(Debug, Serialize)]
pub(super) struct Plan {
    servers: String,
    stream: String,
    prefix: String,
    /// Whether the stream does not exist.
    creates_stream: bool,
    group: String,
    /// Whether the group does not exist. A new group begins with the changes that are committed after its creation.
    creates_group: bool,
    tables: Vec<String>,
    lag_events: i64,
    lag_is_estimate: bool,
    lag_seconds: f64,
    messages: u64,
    bytes: u64,
    /// The share of the stream's limits that is in use.
    usage: f64,
    max_messages: Option<u64>,
    max_bytes: Option<u64>,
    max_age_seconds: Option<f64>,
    replicas: u8,
    warnings: Vec<String>,
}

impl Plan {
    pub(super) async fn make(
        client: &Arc<Client>,
        arguments: &arguments::Relay,
        tables: &Tables,
        relay: &Relay,
        servers: String,
    ) -> Result<Self, Failure> {
        host::group::rehearse(client).await?;
        let name = group(arguments);
        let status = Group::all(client).await?;
        let status = status.into_iter().find(|status| status.name == name);
        if let Some(status) = &status {
            check_group(status, arguments, relay)?;
        }
        let stream = relay.check().await.map_err(nats::refused)?;
        let nearly_full = stream.as_ref().and_then(StreamStatus::nearly_full);
        let mut warnings: Vec<String> = nearly_full.into_iter().collect();
        if status.as_ref().is_some_and(|status| status.is_paused) {
            let resume = format!("pgherald group resume {}", words::last(&name));
            warnings.push(format!(
                "group {name} is paused, so nothing is relayed: {resume}"
            ));
        }
        let max_age = match &stream {
            Some(stream) => stream.max_age,
            None => arguments.max_age,
        };
        Ok(Self {
            servers,
            stream: arguments.stream.clone(),
            prefix: arguments.prefix.to_string(),
            creates_stream: stream.is_none(),
            group: name,
            creates_group: status.is_none(),
            tables: tables.names(),
            lag_events: status.as_ref().map_or(0, |status| status.lag_events),
            lag_is_estimate: status.as_ref().is_some_and(|status| status.lag_is_estimate),
            lag_seconds: status.map_or(0.0, |status| status.lag.as_secs_f64()),
            messages: stream.as_ref().map_or(0, |stream| stream.messages),
            bytes: stream.as_ref().map_or(0, |stream| stream.bytes),
            usage: stream.as_ref().map_or(0.0, StreamStatus::usage),
            max_messages: stream.as_ref().and_then(|stream| stream.max_messages),
            max_bytes: stream.as_ref().and_then(|stream| stream.max_bytes),
            max_age_seconds: max_age.map(|age| age.as_secs_f64()),
            replicas: stream.map_or(arguments.replicas, |stream| {
                u8::try_from(stream.replicas).unwrap_or(u8::MAX)
            }),
            warnings,
        })
    }

    /// Writes what the relay would do.
    pub(super) fn report(&self, output: &mut Output) -> io::Result<()> {
        if output.is_json() {
            output.object(self)?;
            return output.flush();
        }
        output.line(&format!("Tables: {}", self.tables.join(", ")))?;
        output.line(&format!("Group {}: {}", self.group, self.group_state()))?;
        output.line(&format!("Stream {}: {}", self.stream, self.stream_state()))?;
        for warning in &self.warnings {
            output.line(&format!("Warning: {warning}"))?;
        }
        output.line("Nothing was changed. Leave --dry-run out to relay.")?;
        output.flush()
    }

    /// Logs the warnings.
    pub(super) fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
    }

    /// Writes that the relay is live.
    pub(super) fn announce(&self, output: &mut Output) -> io::Result<()> {
        if output.is_json() {
            output.object(self)?;
            return output.flush();
        }
        output.line(&format!(
            "relaying {} to stream {} at {}, subjects {}.>, as group {}",
            self.tables.join(", "),
            self.stream,
            self.servers,
            self.prefix,
            self.group
        ))?;
        output.flush()
    }

    fn group_state(&self) -> String {
        if self.creates_group {
            return "would be created, and begin with the changes from then on".to_owned();
        }
        let lag = words::lag(self.lag_events, self.lag_is_estimate);
        match self.lag_events {
            0 => "exists, 0 events behind".to_owned(),
            _ => format!(
                "exists, {lag} behind, the oldest for {}",
                words::duration(self.lag_seconds)
            ),
        }
    }

    fn stream_state(&self) -> String {
        let mut facts = vec![match self.creates_stream {
            true => format!("would be created at {}", self.servers),
            false => format!(
                "exists at {}, with {} of {}",
                self.servers,
                words::count(self.messages, "message"),
                words::size(self.bytes)
            ),
        }];
        facts.push(format!("subjects {}.>", self.prefix));
        facts.push(words::count(self.replicas, "replica"));
        facts.push(match self.max_age_seconds {
            Some(age) => format!("messages are deleted after {}", words::duration(age)),
            None => "messages of any age".to_owned(),
        });
        if let Some(limit) = self.max_messages {
            facts.push(format!("at most {}", words::count(limit, "message")));
        }
        if let Some(limit) = self.max_bytes {
            facts.push(format!("at most {}", words::size(limit)));
        }
        facts.join(", ")
    }
}

/// Fails if the group runs a handler, relays to another destination, or has another number of slices.
fn check_group(
    status: &GroupStatus,
    arguments: &arguments::Relay,
    relay: &Relay,
) -> Result<(), Failure> {
    let name = &status.name;
    let other = match &status.destination {
        None => Some("runs a handler".to_owned()),
        Some(found) if *found != relay.destination() => Some(format!("relays to {found}")),
        Some(_) => None,
    };
    let delete = format!("pgherald group delete --commit {}", words::last(name));
    if let Some(other) = other {
        return Err(Failure::problem(format!("group {name} {other}")).hint(format!(
            "give this relay a group of its own: --group GROUP; or, if the group is no longer used: {delete}"
        )));
    }
    match arguments.slices {
        Some(asked) if i32::from(asked) != status.slices => {
            let has = words::count(status.slices, "slice");
            let message = format!("group {name} has {has}, and {asked} were asked for");
            Err(Failure::problem(message).hint(
                "leave --slices out; or use another stream and --group GROUP, because slices are part of the subjects",
            ))
        }
        _ => Ok(()),
    }
}
