//! Counts the statements that a client sends to the server.
//!
//! A message is `[type u8][length u32, itself included][body]`. Messages that begin a connection have no type: requests for
//! encryption, which are eight bytes long, and then the startup message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const QUERY: u8 = b'Q';
const EXECUTE: u8 = b'E';
/// The length of a request for encryption.
const REQUEST: usize = 8;

#[derive(Debug)]
pub(super) struct Statements {
    count: Arc<AtomicUsize>,
    has_started: bool,
    /// Type and length of the next message, as far as they have arrived.
    head: Vec<u8>,
    /// The number of bytes of the current message that have not arrived.
    left: usize,
}

impl Statements {
    pub(super) fn new(count: Arc<AtomicUsize>) -> Self {
        Self {
            count,
            has_started: false,
            head: Vec::new(),
            left: 0,
        }
    }

    pub(super) fn follow(&mut self, mut chunk: &[u8]) {
        while let Some((&first, rest)) = chunk.split_first() {
            if self.left > 0 {
                let skipped = self.left.min(chunk.len());
                self.left -= skipped;
                chunk = &chunk[skipped..];
                continue;
            }
            self.head.push(first);
            chunk = rest;
            let length = match (self.has_started, &*self.head) {
                (true, &[_, a, b, c, d]) | (false, &[a, b, c, d]) => [a, b, c, d],
                _ => continue,
            };
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            match self.has_started {
                true if matches!(self.head.first(), Some(&(QUERY | EXECUTE))) => {
                    self.count.fetch_add(1, Ordering::AcqRel);
                }
                true => {}
                false => self.has_started = length != REQUEST,
            }
            self.left = length.saturating_sub(4);
            self.head.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Statements;

    #[test]
    fn statements_are_counted_in_chunks_of_any_size() {
        let mut bytes = vec![0, 0, 0, 8, 4, 210, 22, 47];
        bytes.extend([0, 0, 0, 9, 0, 3, 0, 0, 0]);
        bytes.extend(b"Q\0\0\0\x06Q\0P\0\0\0\x05EE\0\0\0\x09\0\0\0\0\0S\0\0\0\x04");
        for size in [1, 2, 3, 7, bytes.len()] {
            let mut statements = Statements::new(std::sync::Arc::default());
            bytes
                .chunks(size)
                .for_each(|chunk| statements.follow(chunk));
            assert_eq!(
                statements.count.load(std::sync::atomic::Ordering::Acquire),
                2
            );
        }
    }
}
