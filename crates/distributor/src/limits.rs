//! What clients may use.

use std::time::Duration;

/// What happens when a client does not read fast enough and its queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenSlow {
    /// Drops the oldest events, and sends `lagged` with their number in their place.
    #[default]
    Lagged,
    /// Closes the stream, over WebSocket with code 4408.
    Disconnect,
}

/// The limits of a distributor. Change the fields of the [default](Self::default) that do not suit.
///
/// ```
/// use pgherald_distributor::Limits;
///
/// let limits = Limits { clients_per_address: 10_000, ..Limits::default() };
/// assert_eq!(limits.clients, 10_000);
/// ```
#[derive(Clone, Debug)]
pub struct Limits {
    /// Clients at the same time. Default: 10,000.
    pub clients: usize,
    /// Clients at the same time from one IP address, as seen by the server. Default: 256. Behind a reverse proxy all clients have
    /// the address of the proxy, so set it to the number of [`clients`](Self::clients).
    pub clients_per_address: usize,
    /// Events that wait for one client of `/v1`. Default: 1,024.
    pub buffer: usize,
    /// What happens when the buffer is full. Default: [`WhenSlow::Lagged`].
    pub when_slow: WhenSlow,
    /// Events of the outbox that are read for a client that continues from a position. If there are more, it receives `resync`
    /// instead. Default: 100,000.
    pub replay: usize,
    /// Parameters of a query. Default: 64.
    pub parameters: usize,
    /// Tickets that were issued and are not used yet. Clients with one name get a sixteenth of them. Default: 4,096.
    pub tickets: usize,
    /// Bytes of a frame that a client sends. Default: 4,096.
    pub frame_bytes: usize,
    /// How long a WebSocket on a channel waits for the confirmation of LISTEN. Default: 10 s.
    pub upgrade: Duration,
    /// The time between two `heartbeat` messages, and between two pings. Default: 5 s.
    pub heartbeat: Duration,
    /// How long a WebSocket client may send nothing, not even the answer to a ping. Default: 20 s.
    pub idle: Duration,
    /// How long a client may take to receive a message for which the buffers of its connection have no room. Default: 30 s.
    pub write: Duration,
    /// Over which time the clients are asked to spread their reconnects at a shutdown. Default: 5 s.
    pub retry_spread: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 10_000,
            clients_per_address: 256,
            buffer: 1_024,
            when_slow: WhenSlow::default(),
            replay: 100_000,
            parameters: 64,
            tickets: 4_096,
            frame_bytes: 4_096,
            upgrade: Duration::from_secs(10),
            heartbeat: Duration::from_secs(5),
            idle: Duration::from_secs(20),
            write: Duration::from_secs(30),
            retry_spread: Duration::from_secs(5),
        }
    }
}
