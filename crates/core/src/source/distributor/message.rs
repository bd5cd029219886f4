//! The messages of a distributor.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::address::Address;
use super::refusal;
use crate::error::Result;
use crate::name::ChannelName;

/// The version of the contract that this source implements.
const VERSION: u64 = 1;

/// A message, and the position after it.
#[derive(Debug)]
pub(super) struct Received<'a> {
    pub(super) id: Option<Box<str>>,
    pub(super) message: Message<'a>,
}

#[derive(Debug)]
pub(super) enum Message<'a> {
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
        scope: Scope,
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
pub(super) enum Scope {
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
    pub(super) fn parse(text: &'a str, from: &Address) -> Result<Self> {
        Self::read(text).map_err(|cause| refusal::not_a_message(from, text, cause))
    }

    fn read(text: &'a str) -> serde_json::Result<Self> {
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
                let scope = Scope::of(&scope);
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
                if hello.version != VERSION {
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

impl Scope {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::address::Address;
    use super::{Message, Received, Scope};
    use crate::{ErrorKind, Result};

    fn parse(text: &str) -> Result<Received<'_>> {
        Received::parse(text, &Address::parse("http://a").unwrap())
    }

    #[test]
    fn the_examples_of_the_contract_are_read() {
        let hello = r#"{"type":"hello","version":1,"heartbeat_ms":5000,"resumable":true}"#;
        let Message::Hello {
            heartbeat,
            resumable,
        } = parse(hello).unwrap().message
        else {
            panic!("{hello}");
        };
        assert_eq!((heartbeat, resumable), (Duration::from_secs(5), true));
        for (json, expected) in [
            (r#"{"type":"live","id":"1:2"}"#, "1:2 Live"),
            (
                r#"{"type":"down","reason":"disconnected"}"#,
                r#"- Down { reason: "disconnected" }"#,
            ),
            (r#"{"type":"resumed"}"#, "- Resumed"),
            (
                r#"{"type":"lagged","missed":12}"#,
                "- Lagged { missed: 12 }",
            ),
            (
                r#"{"type":"heartbeat","at":"2026-11-30T07:00:00.123Z","id":"3"}"#,
                "3 Other",
            ),
            (
                r#"{"type":"closing","reason":"shutdown","retry_ms":1234}"#,
                r#"- Closing { reason: "shutdown", retry: 1.234s }"#,
            ),
            (
                r#"{"type":"resync","reasons":["started"],"lost":0,"scope":{}}"#,
                r#"- Resync { reasons: ["started"], scope: Everything }"#,
            ),
        ] {
            let Received { id, message } = parse(json).unwrap();
            assert_eq!(
                format!("{} {message:?}", id.as_deref().unwrap_or("-")),
                expected
            );
        }
        let event = r#"{"type":"event","id":"4","event":{"operation":"insert"}}"#;
        let Message::Event(Some(payload)) = parse(event).unwrap().message else {
            panic!("{event}");
        };
        assert_eq!(payload.get(), r#"{"operation":"insert"}"#);
    }

    #[test]
    fn unknown_types_fields_and_scopes_are_accepted() {
        for json in [
            r#"{"type":"news","id":7,"event":[],"reasons":1,"retry_ms":"x"}"#,
            r#"{"type":"l\u0069ve2","more":{"a":[1]}}"#,
        ] {
            assert!(
                matches!(parse(json).unwrap().message, Message::Other),
                "{json}"
            );
        }
        let scope = |scope: &str| {
            let json = format!(r#"{{"type":"resync","new":1,"scope":{scope}}}"#);
            match parse(&json).unwrap().message {
                Message::Resync { scope, .. } => scope,
                other => panic!("{other:?}"),
            }
        };
        assert!(
            matches!(scope(r#"{"channel":"c"}"#), Scope::Channel(channel) if channel.as_str() == "c")
        );
        assert_eq!(scope(r#"{"tables":["a.b"]}"#), Scope::Unknown);
        assert_eq!(scope(r#"{"channel":"c","tables":["a.b"]}"#), Scope::Unknown);
        assert_eq!(scope(r#"{"channel":7}"#), Scope::Unknown);
    }

    #[test]
    fn other_texts_are_errors_with_a_short_excerpt() {
        let long = format!(
            r#"{{"type":"down","reason":{{}},"x":"{}"}}"#,
            "ü".repeat(5_000)
        );
        for text in [
            "",
            "junk",
            "[]",
            "{}",
            r#"{"type":7}"#,
            r#"{"type":"hello"}"#,
            r#"{"type":"hello","version":2,"heartbeat_ms":5000}"#,
            r#"{"type":"hello","version":1,"heartbeat_ms":-1}"#,
            r#"{"type":"resync","scope":[]}"#,
            r#"{"type":"closing","retry_ms":1e99}"#,
            &long,
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::Protocol, "{text}");
            assert!(error.chain().len() < 700, "{}", error.chain());
        }
    }
}
