//! The messages of a distributor.

use super::address::Address;
use super::refusal;
use crate::error::Result;
pub(super) use crate::message::{Message, Received, Within};

/// Reads a message.
///
/// # Errors
/// If it is not one, or has a known type and a field of the wrong type.
pub(super) fn parse<'a>(text: &'a str, from: &Address) -> Result<Received<'a>> {
    Received::read(text).map_err(|cause| refusal::not_a_message(from, text, cause))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::address::Address;
    use super::{Message, Received, Within, parse as parse_from};
    use crate::{ErrorKind, Result};

    fn parse(text: &str) -> Result<Received<'_>> {
        parse_from(text, &Address::parse("http://a").unwrap())
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
            matches!(scope(r#"{"channel":"c"}"#), Within::Channel(channel) if channel.as_str() == "c")
        );
        assert_eq!(scope(r#"{"tables":["a.b"]}"#), Within::Unknown);
        assert_eq!(
            scope(r#"{"channel":"c","tables":["a.b"]}"#),
            Within::Unknown
        );
        assert_eq!(scope(r#"{"channel":7}"#), Within::Unknown);
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
