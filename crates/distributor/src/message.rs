//! The messages of `/v1`, in both of their forms: JSON for WebSocket frames, and blocks of Server-Sent Events.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::web::Bytes;
use bytestring::ByteString;
use pgherald_core::__private::host::events::{ToPayload, attached};
use pgherald_core::__private::host::message::{Content, Scope, VERSION};
use pgherald_core::__private::host::outbox::{Located, Position};
use pgherald_core::{Error, ErrorKind, Event, Resync, ResyncReason};

use crate::access::Columns;
use crate::forms::Forms;
use crate::phase::Announcement;

/// An encoded message. Clones share its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Message(Arc<Encoded>);

#[derive(Debug)]
struct Encoded {
    name: &'static str,
    json: ByteString,
    /// The position after the message.
    id: Option<Box<str>>,
    /// Encoded when the first client needs it.
    sse: OnceLock<Bytes>,
}

impl Message {
    /// The first message of a stream.
    pub(crate) fn hello(heartbeat: Duration, resumable: bool) -> Self {
        Self::of(
            "hello",
            &Content::Hello {
                version: VERSION,
                heartbeat_ms: millis(heartbeat),
                resumable,
            },
        )
    }

    /// A stream is live. `here` is the position after everything that was sent.
    pub(crate) fn live(here: Option<&Position>) -> Self {
        let id = here.map(text);
        let content = Content::Live { id: id.as_deref() };
        let json = content.to_json();
        Self::encoded("live", json, id)
    }

    /// What a stream announces about its source. `cause` is that of a source that is down.
    pub(crate) fn announcement(announcement: Announcement, cause: Option<&Error>) -> Self {
        match announcement {
            Announcement::Live => Self::live(None),
            Announcement::Resumed => Self::of("resumed", &Content::Resumed),
            Announcement::Down => {
                let reason = cause.map_or("connecting", reason);
                Self::of("down", &Content::Down { reason })
            }
        }
    }

    /// The messages for a resync: `lagged` if the queue of this client was full, and `resync` for other reasons.
    /// A client with limited rights does not see the channel, and reads everything again.
    pub(crate) fn resync(resync: &Resync, is_unlimited: bool) -> Vec<Self> {
        let others = resync
            .reasons()
            .iter()
            .filter(|reason| !is_overflow(reason));
        let others: Vec<&str> = others.map(ResyncReason::label).collect();
        let mut messages = Vec::with_capacity(2);
        let missed = resync.lost();
        let has_lagged = others.len() < resync.reasons().len();
        if has_lagged {
            messages.push(Self::of("lagged", &Content::Lagged { missed }));
        }
        if !others.is_empty() {
            let content = Content::Resync {
                reasons: &others,
                lost: if has_lagged { 0 } else { missed },
                scope: Scope {
                    channel: resync
                        .channel()
                        .filter(|_| is_unlimited)
                        .map(|channel| channel.as_str()),
                    ..Scope::default()
                },
            };
            messages.push(Self::of("resync", &content));
        }
        messages
    }

    /// The client cannot continue from the position that it has sent.
    pub(crate) fn position_lost() -> Self {
        let content = Content::Resync {
            reasons: &["position_lost"],
            lost: 0,
            scope: Scope::default(),
        };
        Self::of("resync", &content)
    }

    /// A sign of life. `here` is the position after everything that was sent.
    pub(crate) fn heartbeat(here: Option<&Position>) -> Self {
        let now = jiff::Timestamp::now();
        let id = here.map(text);
        let content = Content::Heartbeat {
            at: format!("{now:.3}"),
            id: id.as_deref(),
        };
        let json = content.to_json();
        Self::encoded("heartbeat", json, id)
    }

    /// The last message of a stream that the server ends.
    pub(crate) fn closing(reason: &str, retry: Duration) -> Self {
        let retry_ms = millis(retry);
        Self::of("closing", &Content::Closing { reason, retry_ms })
    }

    /// The resync in place of an event that does not show whether the client may receive it. It has no key and no count, which
    /// could be those of rows that the client may not receive.
    pub(crate) fn resync_of_table(event: &Event) -> Self {
        let table = match event.schema() {
            Some(schema) => format!("{schema}.{}", event.table()),
            None => event.table().to_owned(),
        };
        let content = Content::Resync {
            reasons: &["rows_unknown"],
            lost: 0,
            scope: Scope {
                tables: Some([table]),
                ..Scope::default()
            },
        };
        Self::of("resync", &content)
    }

    /// The change of a row, with these columns. It is encoded once for all clients that receive the same columns. `None` if its
    /// columns are no JSON.
    pub(crate) fn event(event: &Event, columns: Option<&Columns>) -> Option<Self> {
        let forms: Arc<Forms> = attached(event, Arc::default);
        forms.get(columns, || {
            Self::event_at(event, columns, event.position().as_ref())
        })
    }

    /// The change of a row, for a client to whom it has another position than to others.
    pub(crate) fn event_at(
        event: &Event,
        columns: Option<&Columns>,
        position: Option<&Position>,
    ) -> Option<Self> {
        let keeps = columns.map(|columns| |name: &str| columns.contains(name));
        let keeps = keeps.as_ref().map(|keeps| keeps as &dyn Fn(&str) -> bool);
        let payload = event.to_payload_of(keeps).ok()?;
        let id = position.map(text);
        let json = match &id {
            // A position has no characters that JSON would escape.
            Some(id) => format!(r#"{{"type":"event","id":"{id}","event":{payload}}}"#),
            None => format!(r#"{{"type":"event","event":{payload}}}"#),
        };
        Some(Self::encoded("event", json, id))
    }

    fn of(name: &'static str, content: &Content<'_>) -> Self {
        Self::encoded(name, content.to_json(), None)
    }

    fn encoded(name: &'static str, json: String, id: Option<Box<str>>) -> Self {
        Self(Arc::new(Encoded {
            name,
            json: json.into(),
            id,
            sse: OnceLock::new(),
        }))
    }

    /// The text of a WebSocket frame.
    pub(crate) fn json(&self) -> ByteString {
        self.0.json.clone()
    }

    /// The block of a stream of Server-Sent Events.
    pub(crate) fn sse(&self) -> Bytes {
        let Encoded {
            name,
            json,
            id,
            sse,
        } = &*self.0;
        sse.get_or_init(|| block(name, json, id.as_deref())).clone()
    }
}

fn text(position: &Position) -> Box<str> {
    position.to_string().into()
}

/// Whether a reason is about the queue of the subscriber itself, not about the source.
pub(crate) fn is_overflow(reason: &ResyncReason) -> bool {
    matches!(reason, ResyncReason::Overflow)
}

/// Encodes a block. The values of columns are JSON that a trigger has written, and may have line breaks between their tokens. Each
/// line gets a `data:` of its own, or a line could end the block and begin another one.
fn block(name: &str, json: &str, id: Option<&str>) -> Bytes {
    let mut block = format!("event: {name}\n");
    if let Some(id) = id {
        block.push_str("id: ");
        block.push_str(id);
        block.push('\n');
    }
    for line in json.split(['\n', '\r']) {
        block.push_str("data: ");
        block.push_str(line);
        block.push('\n');
    }
    block.push('\n');
    block.into()
}

/// Describes a cause to clients. The error itself may name hosts and roles, so it is only logged.
fn reason(cause: &Error) -> &'static str {
    match cause.kind() {
        ErrorKind::Triggers => "triggers",
        ErrorKind::ShutDown => "shutdown",
        _ if cause.is_connection() => "disconnected",
        _ => "unavailable",
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Message, block};
    use pgherald_core::{Event, Operation};

    #[test]
    fn line_breaks_in_columns_do_not_end_a_block() {
        let event = Event::builder("public", "t", Operation::Insert)
            .columns_json("{\"a\":\n\nevent: forged\r\rdata: 1\r\n}")
            .build();
        assert!(
            Message::event(&event, None).is_none(),
            "{:?}",
            Message::event(&event, None)
        );
        let event = Event::builder("public", "t", Operation::Insert)
            .columns_json("{\"a\":\n\n1\r\n}")
            .build();
        let sse = Message::event(&event, None).unwrap().sse();
        let text = std::str::from_utf8(&sse).unwrap();
        let body = text.strip_suffix("\n\n").unwrap();
        assert!(!body.contains("\n\n") && !body.contains('\r'), "{text:?}");
        for line in body.lines().skip(1) {
            assert!(line.starts_with("data: "), "{text:?}");
        }
        assert_eq!(
            block("live", "{}", Some("1")),
            "event: live\nid: 1\ndata: {}\n\n"
        );
    }

    #[test]
    fn a_heartbeat_has_milliseconds() {
        let json = Message::heartbeat(None).json();
        let at = json
            .strip_prefix(r#"{"type":"heartbeat","at":""#)
            .and_then(|rest| rest.strip_suffix(r#""}"#))
            .unwrap();
        assert_eq!(at.len(), "2026-11-30T07:00:00.123Z".len(), "{json}");
        at.parse::<jiff::Timestamp>().unwrap();
    }
}
