//! The payloads of stored messages: messages of the distributor's `/v1`.

use pgherald_core::__private::host::events::ToPayload;
use pgherald_core::__private::host::message::{Content, Scope};
use pgherald_core::Event;

/// Returns the payload of an event.
///
/// # Errors
/// If the columns are not valid JSON.
pub(crate) fn event(event: &Event) -> serde_json::Result<String> {
    event.to_payload_of(None).map(|payload| wrapped(&payload))
}

/// Returns the payload of an event that is too large with its columns.
///
/// # Errors
/// As [`event`].
pub(crate) fn event_without_columns(event: &Event) -> serde_json::Result<String> {
    event.to_bare_payload().map(|payload| wrapped(&payload))
}

fn wrapped(payload: &str) -> String {
    format!(r#"{{"type":"event","event":{payload}}}"#)
}

/// Returns the payload of a resync: changes within the scope may be missing.
pub(crate) fn resync(reasons: &[&str], scope: Scope<'_>) -> String {
    Content::Resync {
        reasons,
        lost: 0,
        scope,
    }
    .to_json()
}

#[cfg(test)]
mod tests {
    use pgherald_core::__private::host::message::{Message, Received, Scope, Within};
    use pgherald_core::{Event, Operation};

    #[test]
    fn payloads_are_messages_of_the_distributor() {
        let change = Event::builder("public", "t", Operation::Insert)
            .key(7)
            .columns_json(r#"{"a":1}"#)
            .build();
        let json = super::event(&change).unwrap();
        let Message::Event(Some(payload)) = Received::read(&json).unwrap().message else {
            panic!("{json}");
        };
        assert!(payload.get().contains(r#""columns":[{"a":1}]"#), "{json}");
        let json = super::event_without_columns(&change).unwrap();
        assert!(
            json.contains(r#""keys":[7]"#) && !json.contains("columns"),
            "{json}"
        );

        let json = super::resync(&["restored"], Scope::default());
        assert_eq!(
            json,
            r#"{"type":"resync","reasons":["restored"],"lost":0,"scope":{}}"#
        );
        let Message::Resync {
            scope: Within::Everything,
            ..
        } = Received::read(&json).unwrap().message
        else {
            panic!("{json}");
        };
        let json = super::resync(
            &["trimmed"],
            Scope {
                slice: Some(3),
                ..Scope::default()
            },
        );
        assert!(json.ends_with(r#""scope":{"slice":3}}"#), "{json}");
    }
}
