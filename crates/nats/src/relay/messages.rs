//! Turns the messages of a batch into messages of NATS.

use async_nats::jetstream::message::OutboundMessage;
use async_nats::{HeaderMap, HeaderName};
use pgherald_core::__private::host::group::{Batch, Identity, Mark, Message};
use pgherald_core::__private::host::message::Scope;
use pgherald_core::Event;

use super::session::Session;
use crate::contract::{EventSubject, Prefix, escape, headers, payload, unescape};

/// The names of the headers of events, made once.
static EVENT: HeaderName = HeaderName::from_static(headers::EVENT);
static TRANSACTION: HeaderName = HeaderName::from_static(headers::TRANSACTION);
static RECORDED: HeaderName = HeaderName::from_static(headers::RECORDED);
static KEY: HeaderName = HeaderName::from_static(headers::KEY);
static TRACEPARENT: HeaderName = HeaderName::from_static(headers::TRACEPARENT);

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// The messages of a batch, and the counts to record once they are stored.
#[derive(Default)]
pub(super) struct Built {
    pub(super) messages: Vec<OutboundMessage>,
    /// Events, with or without columns.
    pub(super) events: usize,
    /// Events without columns.
    pub(super) truncated: usize,
    /// The reasons of resyncs.
    pub(super) resyncs: Vec<&'static str>,
}

/// Builds the messages of a batch. The first one has the expected last sequence, and the last one has the position.
pub(super) fn build(batch: &Batch, prefix: &Prefix, session: &Session) -> Built {
    let slice = u16::try_from(batch.slice).unwrap_or(u16::MAX);
    let mut builder = Builder {
        slice,
        prefix,
        session,
        built: Built::default(),
    };
    let last = batch.messages.len().saturating_sub(1);
    for (index, message) in batch.messages.iter().enumerate() {
        let mut headers = HeaderMap::new();
        if index == 0 {
            headers.insert(EXPECTED, batch.expected.to_string());
            headers.insert(EXPECTED_OF, prefix.slice(slice));
        }
        if index == last {
            mark(&mut headers, &batch.mark);
        }
        let message = builder.message(message, headers);
        builder.built.messages.push(message);
    }
    builder.built
}

struct Builder<'a> {
    slice: u16,
    prefix: &'a Prefix,
    session: &'a Session,
    built: Built,
}

impl Builder<'_> {
    fn message(&mut self, message: &Message, headers: HeaderMap) -> OutboundMessage {
        match message {
            Message::Event {
                event,
                identity,
                hash,
            } => self.event(event, identity, *hash, headers),
            Message::Resync {
                reason,
                is_of_slice,
                table,
            } => {
                let tables = table
                    .as_ref()
                    .map(|table| [format!("{}.{}", table.schema(), table.name())]);
                let slice = (*is_of_slice).then_some(self.slice);
                self.resync(
                    reason,
                    Scope {
                        slice,
                        tables,
                        ..Scope::default()
                    },
                    headers,
                )
            }
        }
    }

    fn resync(
        &mut self,
        reason: &'static str,
        scope: Scope<'_>,
        headers: HeaderMap,
    ) -> OutboundMessage {
        self.built.resyncs.push(reason);
        outbound(
            self.prefix.control(self.slice),
            payload::resync(&[reason], scope),
            headers,
        )
    }

    fn event(
        &mut self,
        event: &Event,
        identity: &Identity,
        hash: i32,
        mut headers: HeaderMap,
    ) -> OutboundMessage {
        let (schema, table) = (event.schema().unwrap_or_default(), event.table());
        let subject = EventSubject::new(self.slice, schema, table, event.operation());
        let subject = subject.with(self.prefix);
        let limit = self.session.max_payload(&headers);
        describe(&mut headers, identity, hash);
        match payload::event(event) {
            Ok(json) if json.len() <= limit => {
                self.built.events += 1;
                return outbound(subject, json, headers);
            }
            Ok(_) => {}
            // Does not happen: the outbox stores columns as JSON.
            Err(error) => {
                tracing::error!(id = identity.id, error = %error, "columns are not valid JSON");
            }
        }
        if let Ok(json) = payload::event_without_columns(event)
            && json.len() <= limit
        {
            self.built.truncated += 1;
            self.built.events += 1;
            headers.insert(headers::TRUNCATED, "columns");
            return outbound(subject, json, headers);
        }
        let tables = Some([format!("{schema}.{table}")]);
        self.resync(
            "too_large",
            Scope {
                tables,
                ..Scope::default()
            },
            headers,
        )
    }
}

fn outbound(subject: String, payload: String, headers: HeaderMap) -> OutboundMessage {
    OutboundMessage {
        subject: subject.into(),
        payload: payload.into(),
        headers: Some(headers),
    }
}

fn describe(headers: &mut HeaderMap, identity: &Identity, hash: i32) {
    let Identity {
        id,
        xid,
        recorded_us,
        ..
    } = identity;
    headers.insert(EVENT.clone(), id.to_string());
    if let Some(xid) = xid {
        headers.insert(TRANSACTION.clone(), xid.to_string());
    }
    headers.insert(RECORDED.clone(), recorded_us.to_string());
    headers.insert(KEY.clone(), format!("{:08x}", hash.cast_unsigned()));
    // Zero is not a valid id in a trace context.
    let trace = u128::from(xid.unwrap_or(0)) << 64 | u128::from(id.cast_unsigned() >> 63) | 1;
    let span = id.cast_unsigned().max(1);
    headers.insert(
        TRACEPARENT.clone(),
        format!("00-{trace:032x}-{span:016x}-00"),
    );
}

fn mark(headers: &mut HeaderMap, mark: &Mark) {
    let (group, slices) = &mark.group;
    headers.insert(headers::GROUP, &*escape(group));
    headers.insert(headers::SLICES, slices.to_string());
    headers.insert(headers::CURSOR, &*mark.cursor);
    headers.insert(headers::HISTORY, &*mark.history);
    if let Some((first, last)) = mark.listed {
        headers.insert(headers::LISTED, format!("{first}-{last}"));
    }
}

/// Reads the position in the headers of a message. Returns `None` if it has none.
pub(super) fn read_mark(headers: &HeaderMap) -> Option<Mark> {
    let text = |name: &'static str| headers.get(name).map(|value| value.as_str().to_owned());
    let listed = text(headers::LISTED).and_then(|text| {
        let (first, last) = text.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    let group = unescape(headers.get(headers::GROUP)?.as_str())?;
    Some(Mark {
        group: (group.into(), text(headers::SLICES)?.parse().ok()?),
        cursor: text(headers::CURSOR)?,
        history: text(headers::HISTORY)?,
        listed,
    })
}

/// Reads the identity of the event in a message. Returns `None` for other messages.
pub(super) fn read_identity(headers: &HeaderMap) -> Option<Identity> {
    let number = |name: &'static str| headers.get(name).map(|value| value.as_str());
    Some(Identity {
        id: number(headers::EVENT)?.parse().ok()?,
        xid: number(headers::TRANSACTION).and_then(|xid| xid.parse().ok()),
        recorded_us: number(headers::RECORDED)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use pgherald_core::__private::host::group::{Identity, Mark};

    use super::{describe, mark, read_identity, read_mark};
    use crate::contract::headers;

    #[test]
    fn positions_and_identities_round_trip_as_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!((read_mark(&headers), read_identity(&headers)), (None, None));
        let identity = Identity {
            id: 77,
            xid: Some(9),
            recorded_us: -5,
        };
        let position = Mark {
            group: ("fléet\r\n a".into(), 32),
            cursor: "9:9: 20 9 1".to_owned(),
            history: "a,b".to_owned(),
            listed: Some((3, 8)),
        };
        describe(&mut headers, &identity, -1);
        mark(&mut headers, &position);
        assert_eq!(read_identity(&headers), Some(identity));
        assert_eq!(read_mark(&headers), Some(position));
        assert_eq!(headers.get(headers::KEY).unwrap().as_str(), "ffffffff");
        let trace = headers.get(headers::TRACEPARENT).unwrap().as_str();
        assert_eq!(
            trace,
            "00-00000000000000090000000000000001-000000000000004d-00"
        );
    }
}
