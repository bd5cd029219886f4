//! The messages of `/v1`, which distributors send and relays store.

#![allow(missing_docs)]

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::name::ChannelName;

/// The version of the contract.
pub const VERSION: u32 = 1;

/// A message to write. Events are not among them, because their payload is JSON already.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Content<'a> {
    Hello {
        version: u32,
        heartbeat_ms: u64,
        resumable: bool,
    },
    Live {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    },
    Down {
        reason: &'a str,
    },
    Resumed,
    Resync {
        reasons: &'a [&'a str],
        lost: u64,
        scope: Scope<'a>,
    },
    Lagged {
        missed: u64,
    },
    Heartbeat {
        at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    },
    Closing {
        reason: &'a str,
        retry_ms: u64,
    },
}

/// What a resync is limited to. Empty for everything.
#[derive(Debug, Default, Serialize)]
pub struct Scope<'a> {
    /// A channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<&'a str>,
    /// A slice of a relay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<u16>,
    /// Tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<[String; 1]>,
}

impl Content<'_> {
    /// Returns the message as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Serialization of these types does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A message, and the position after it.
#[derive(Debug)]
pub struct Received<'a> {
    pub id: Option<Box<str>>,
    pub message: Message<'a>,
}

#[derive(Debug)]
pub enum Message<'a> {
    Hello {
        heartbeat: Duration,
        resumable: bool,
    },
    Live,
    Down {
        reason: Box<str>,
    },
    Resync {
        reasons: Vec<Box<str>>,
        scope: Within,
    },
    Resumed,
    Lagged {
        missed: u64,
    },
    /// `None` if the event is missing.
    Event(Option<&'a RawValue>),
    Closing {
        reason: Box<str>,
        retry: Duration,
    },
    /// A heartbeat, or a type that this source does not know.
    Other,
}

/// What a resync is limited to.
#[derive(Debug, PartialEq)]
pub enum Within {
    Everything,
    Channel(ChannelName),
    /// Something that this source does not know.
    Unknown,
}

/// The fields that are needed to read the others. Their types are checked once the type of the message is known.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Hello {
    version: u64,
    heartbeat_ms: u64,
    #[serde(default)]
    resumable: bool,
}

#[derive(Deserialize)]
struct Down {
    #[serde(default)]
    reason: Box<str>,
}

#[derive(Deserialize)]
struct Resync {
    #[serde(default)]
    reasons: Vec<Box<str>>,
    #[serde(default)]
    scope: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Lagged {
    #[serde(default)]
    missed: u64,
}

#[derive(Deserialize)]
struct Closing {
    #[serde(default)]
    reason: Box<str>,
    #[serde(default)]
    retry_ms: u64,
}

impl<'a> Received<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// If it is not one, or has a known type and a field of the wrong type.
    pub fn read(text: &'a str) -> serde_json::Result<Self> {
        let Envelope { kind, id, event } = serde_json::from_str(text)?;
        let message = match &*kind {
            "event" => Message::Event(event),
            "live" => Message::Live,
            "resumed" => Message::Resumed,
            "down" => {
                let Down { reason } = serde_json::from_str(text)?;
                Message::Down { reason }
            }
            "resync" => {
                let Resync { reasons, scope } = serde_json::from_str(text)?;
                let scope = Within::of(&scope);
                Message::Resync { reasons, scope }
            }
            "lagged" => {
                let Lagged { missed } = serde_json::from_str(text)?;
                Message::Lagged { missed }
            }
            "closing" => {
                let Closing { reason, retry_ms } = serde_json::from_str(text)?;
                let retry = Duration::from_millis(retry_ms);
                Message::Closing { reason, retry }
            }
            "hello" => {
                let hello: Hello = serde_json::from_str(text)?;
                if hello.version != u64::from(VERSION) {
                    let message = format!(
                        "its version is {}, and this source reads {VERSION}",
                        hello.version
                    );
                    return Err(serde::de::Error::custom(message));
                }
                Message::Hello {
                    heartbeat: Duration::from_millis(hello.heartbeat_ms),
                    resumable: hello.resumable,
                }
            }
            _ => Message::Other,
        };
        let id = id.and_then(|id| serde_json::from_str(id.get()).ok());
        Ok(Self { id, message })
    }
}

impl Within {
    fn of(scope: &serde_json::Map<String, serde_json::Value>) -> Self {
        if scope.is_empty() {
            return Self::Everything;
        }
        let channel = scope.get("channel").and_then(|channel| channel.as_str());
        match channel.map(ChannelName::new) {
            Some(Ok(channel)) if scope.len() == 1 => Self::Channel(channel),
            _ => Self::Unknown,
        }
    }
}
