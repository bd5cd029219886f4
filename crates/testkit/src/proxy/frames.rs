//! Parses the server's messages in the byte stream, to drop some of them.
//!
//! A message is `[type u8][length u32, itself included][body]`. Only the answer to a request for encryption, before the
//! first message, is a single byte. `N` declines, and the stream stays unencrypted. Otherwise the bytes that follow cannot
//! be parsed, and are forwarded unchanged.
//!
//! The position is always tracked, because dropping may begin at any byte. It applies from the next message on.

const NOTIFICATION_RESPONSE: u8 = b'A';

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Before the first message.
    Startup,
    Type,
    /// In the length, of which `missing` bytes have not arrived.
    Length {
        missing: u8,
        value: u32,
    },
    Body {
        left: usize,
    },
    Encrypted,
}

#[derive(Debug)]
pub(super) struct Frames {
    position: Position,
    /// Whether the current message is dropped.
    dropping: bool,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            position: Position::Startup,
            dropping: false,
        }
    }

    /// Appends to `out` the bytes of `chunk` that are to be forwarded. If `deaf`, notifications are dropped.
    pub(super) fn filter(&mut self, mut chunk: &[u8], deaf: bool, out: &mut Vec<u8>) {
        while let Some(&byte) = chunk.first() {
            if matches!(self.position, Position::Startup | Position::Type) {
                self.dropping = deaf && byte == NOTIFICATION_RESPONSE;
            }
            let (taken, next) = match self.position {
                Position::Startup => match byte {
                    b'N' => (1, Position::Startup),
                    b'S' | b'G' => (1, Position::Encrypted),
                    _ => (
                        1,
                        Position::Length {
                            missing: 4,
                            value: 0,
                        },
                    ),
                },
                Position::Type => (
                    1,
                    Position::Length {
                        missing: 4,
                        value: 0,
                    },
                ),
                Position::Length { missing, value } => {
                    let value = value << 8 | u32::from(byte);
                    (
                        1,
                        if missing > 1 {
                            Position::Length {
                                missing: missing - 1,
                                value,
                            }
                        } else {
                            body(value)
                        },
                    )
                }
                Position::Body { left } => {
                    let taken = left.min(chunk.len());
                    (
                        taken,
                        if taken < left {
                            Position::Body { left: left - taken }
                        } else {
                            Position::Type
                        },
                    )
                }
                Position::Encrypted => (chunk.len(), Position::Encrypted),
            };
            if !self.dropping {
                out.extend_from_slice(&chunk[..taken]);
            }
            chunk = &chunk[taken..];
            self.position = next;
        }
    }
}

fn body(length: u32) -> Position {
    match length.saturating_sub(4) {
        0 => Position::Type,
        left => Position::Body {
            left: left as usize,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    const AUTHENTICATION: &[u8] = b"R\0\0\0\x08\0\0\0\0";
    const READY: &[u8] = b"Z\0\0\0\x05I";
    const NOTIFICATION: &[u8] = b"A\0\0\0\x0d\0\0\0\x01ch\0p\0";
    const EMPTY: &[u8] = b"I\0\0\0\x04";

    fn filtered(stream: &[u8], chunk: usize) -> Vec<u8> {
        let mut frames = Frames::new();
        let mut out = Vec::new();
        stream
            .chunks(chunk)
            .for_each(|chunk| frames.filter(chunk, true, &mut out));
        out
    }

    #[test]
    fn filter_drops_only_notifications_in_chunks_of_any_size() {
        let stream = [
            b"N",
            AUTHENTICATION,
            NOTIFICATION,
            READY,
            EMPTY,
            NOTIFICATION,
            READY,
        ]
        .concat();
        let expected = [b"N", AUTHENTICATION, READY, EMPTY, READY].concat();
        for chunk in 1..=stream.len() {
            assert_eq!(filtered(&stream, chunk), expected, "chunks of {chunk}");
        }
    }

    #[test]
    fn filter_forwards_encrypted_streams_unchanged() {
        let stream = [b"S", NOTIFICATION].concat();
        assert_eq!(filtered(&stream, 3), stream);
    }

    #[test]
    fn filter_drops_notifications_from_the_next_message_on() {
        let mut frames = Frames::new();
        let mut out = Vec::new();
        frames.filter(AUTHENTICATION, false, &mut out);
        let (begun, rest) = NOTIFICATION.split_at(3);
        frames.filter(begun, false, &mut out);
        frames.filter(rest, true, &mut out);
        frames.filter(NOTIFICATION, true, &mut out);
        assert_eq!(out, [AUTHENTICATION, NOTIFICATION].concat());
    }
}
