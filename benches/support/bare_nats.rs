//! Measures the limit of a NATS server: a bare socket sends batches that were encoded before.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use async_nats::HeaderMap;

/// The maximum number of messages in an atomic batch.
const MAX_BATCH: usize = 1_000;
/// The maximum number of batches in flight.
const CONCURRENCY: usize = 8;

/// A message of a stream.
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Vec<u8>,
}

/// Stores the messages in atomic batches of one slice each. Returns the number of messages per second.
pub(crate) fn rate(port: u16, messages: &[Message]) -> f64 {
    let batches = encoded(messages);
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(socket.try_clone().unwrap());
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    assert!(line.starts_with("INFO"), "{line}");
    let connect =
        r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
    write!(socket, "{connect}\r\nSUB bare 1\r\n").unwrap();
    let mut acknowledged = || {
        loop {
            line.clear();
            answers.read_line(&mut line).unwrap();
            if line.starts_with("PING") {
                continue;
            }
            assert!(line.starts_with("MSG bare 1 "), "{line}");
            line.clear();
            answers.read_line(&mut line).unwrap();
            assert!(
                line.contains("\"seq\":") && !line.contains("error"),
                "{line}"
            );
            return;
        }
    };
    let began = Instant::now();
    for (number, batch) in batches.iter().enumerate() {
        if number >= CONCURRENCY {
            acknowledged();
        }
        socket.write_all(batch).unwrap();
    }
    for _ in 0..batches.len().min(CONCURRENCY) {
        acknowledged();
    }
    messages.len() as f64 / began.elapsed().as_secs_f64()
}

/// Encodes batches: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
fn encoded(messages: &[Message]) -> Vec<Vec<u8>> {
    let mut slices: BTreeMap<&str, Vec<&Message>> = BTreeMap::new();
    for message in messages {
        let slice = message.subject.split('.').nth(1).unwrap();
        slices.entry(slice).or_default().push(message);
    }
    let chunks = slices.values().flat_map(|slice| slice.chunks(MAX_BATCH));
    let batches = chunks.enumerate().map(|(number, batch)| {
        let mut bytes = Vec::new();
        for (index, message) in batch.iter().enumerate() {
            let mut headers = format!(
                "NATS/1.0\r\nNats-Batch-Id: {number}\r\nNats-Batch-Sequence: {}\r\n",
                index + 1
            );
            let own = message
                .headers
                .iter()
                .filter(|(name, _)| !name.to_string().starts_with("Nats-"));
            for (name, values) in own {
                for value in values {
                    headers += &format!("{name}: {value}\r\n");
                }
            }
            let is_last = index + 1 == batch.len();
            if is_last {
                headers += "Nats-Batch-Commit: 1\r\n";
            }
            headers += "\r\n";
            let (reply, subject) = (if is_last { "bare " } else { "" }, &message.subject);
            let (of_headers, all) = (headers.len(), headers.len() + message.payload.len());
            write!(
                bytes,
                "HPUB {subject} {reply}{of_headers} {all}\r\n{headers}"
            )
            .unwrap();
            bytes.extend(&message.payload);
            bytes.extend(b"\r\n");
        }
        bytes
    });
    batches.collect()
}
