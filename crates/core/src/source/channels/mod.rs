//! Channels that are added and removed while a source runs, and their raw payloads.
//!
//! ```text
//!   Channels::listen ── users ──► State ◄── changes, answers ── Requests ──► LISTEN, UNLISTEN
//!                                   │                              (part of the source's session)
//!   Payloads ◄── bounded queue ─────┴── deliver ◄── notifications
//! ```
//!
//! Owners: the handle and the session share the state. Only the session knows what the server listens to, and sends one request
//! at a time.
//!
//! States of a channel: requested, then confirmed by the server. It ends when the last user leaves, the server refuses it, or the
//! session is lost.
//!
//! Guarantees:
//! - A channel is confirmed after the server has answered LISTEN, and notifications are read in the order of the answers. So each
//!   later notification of the session reaches the users of the channel, or ends their [`Payloads`].
//! - A user gets payloads without a gap. After a gap its [`Payloads`] ends, and says why.
//! - A channel that waits for its confirmation survives reconnects.

mod requests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::task::AtomicWaker;
use tokio::sync::{mpsc, watch};

use crate::error::{Error, Result};
use crate::name::ChannelName;

pub(super) use requests::Requests;

/// The payloads that wait for a user by default.
const CAPACITY: usize = 1_024;

/// Listens to channels of any content while a [`NotifySource`](crate::NotifySource) runs. Cloning gives another handle to the
/// same channels.
///
/// Give the handle to one source, with [`NotifySourceBuilder::channels`](crate::NotifySourceBuilder::channels). All users of a
/// channel share one LISTEN. Payloads need not be events; they are passed on as they are.
///
/// ```no_run
/// use pgherald_core::{ChannelName, Channels, ConnectConfig, NotifySource, supervise};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let config: ConnectConfig = "postgresql://app@localhost/shop".parse()?;
/// let channels = Channels::new();
/// let signals = supervise(NotifySource::builder(config).channels(&channels).factory()?);
/// // A task polls `signals`. A listener does that, for example.
/// # drop(signals);
/// let mut payloads = channels.listen(ChannelName::new("chat")?).await?;
/// loop {
///     println!("{}", payloads.recv().await?);
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Channels {
    shared: Arc<Shared>,
}

/// The payloads of one channel, for one user. Dropping it ends the use of the channel.
#[derive(Debug)]
pub struct Payloads {
    receiver: mpsc::Receiver<Arc<str>>,
    user: u64,
    channel: ChannelName,
    ended: Arc<OnceLock<PayloadsEnded>>,
    shared: Arc<Shared>,
}

/// Why [`Payloads`] ended: later payloads may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PayloadsEnded {
    /// The source lost its connection, or was dropped. Call [`Channels::listen`] again to continue after the gap.
    Disconnected,
    /// The queue was full when a payload arrived.
    Lagged,
}

#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
    /// Wakes the session after a change.
    session: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    channels: HashMap<ChannelName, Channel>,
    /// The channels whose users have come or gone since the session looked. Empty without a session.
    changed: HashSet<ChannelName>,
    /// The number of the current session, if there is one.
    session: Option<u64>,
    /// The last number of a session or user.
    last_number: u64,
}

#[derive(Debug)]
struct Channel {
    progress: watch::Sender<Progress>,
    users: Vec<User>,
}

#[derive(Debug)]
enum Progress {
    Requested,
    Confirmed,
    Refused(Error),
}

#[derive(Debug)]
struct User {
    number: u64,
    sender: mpsc::Sender<Arc<str>>,
    ended: Arc<OnceLock<PayloadsEnded>>,
}

impl Channels {
    /// Makes a handle without channels. Up to 1,024 payloads wait for each user.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    /// As [`new`](Self::new), with another number of payloads that wait for each user, at least 1. A payload has less than 8,000
    /// bytes, and users of a channel share it.
    #[must_use]
    pub fn with_capacity(payloads: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                capacity: payloads.max(1),
                state: Mutex::default(),
                session: AtomicWaker::new(),
            }),
        }
    }

    /// Starts to use `channel`, and waits until the server has confirmed LISTEN. Each payload that is sent after that is received.
    ///
    /// Waits while the source is not connected. Dropping the future takes the request back.
    ///
    /// # Errors
    /// If the server refuses LISTEN, for example because the encoding of the database lacks a character of the name.
    pub async fn listen(&self, channel: ChannelName) -> Result<Payloads> {
        let (payloads, mut progress) = self.join(channel);
        let answered = progress.wait_for(|progress| !matches!(progress, Progress::Requested));
        match answered.await.as_deref() {
            Ok(Progress::Refused(error)) => Err(error.clone()),
            // A channel that was dropped had been confirmed: its payloads have ended.
            Ok(_) | Err(_) => Ok(payloads),
        }
    }

    /// Returns the number of channels that have users.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.shared.lock();
        let used = state.channels.values();
        used.filter(|channel| !channel.users.is_empty()).count()
    }

    /// Returns whether no channel has a user.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn join(&self, name: ChannelName) -> (Payloads, watch::Receiver<Progress>) {
        let (sender, receiver) = mpsc::channel(self.shared.capacity);
        let ended = Arc::default();
        let mut state = self.shared.lock();
        let user = state.next_number();
        let channel = state
            .channels
            .entry(name.clone())
            .or_insert_with(|| Channel {
                progress: watch::Sender::new(Progress::Requested),
                users: Vec::new(),
            });
        channel.users.push(User {
            number: user,
            sender,
            ended: Arc::clone(&ended),
        });
        let progress = channel.progress.subscribe();
        let is_new = channel.users.len() == 1;
        if is_new && state.session.is_some() {
            state.changed.insert(name.clone());
        }
        drop(state);
        if is_new {
            self.shared.session.wake();
        }
        let payloads = Payloads {
            receiver,
            user,
            channel: name,
            ended,
            shared: Arc::clone(&self.shared),
        };
        (payloads, progress)
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self::new()
    }
}

impl Payloads {
    /// Waits for the next payload. Cancel safe.
    ///
    /// # Errors
    /// If later payloads may be missing. All payloads before the gap have been returned then, and each further call returns the
    /// same error.
    pub async fn recv(&mut self) -> Result<Arc<str>, PayloadsEnded> {
        let lost = || *self.ended.get().unwrap_or(&PayloadsEnded::Disconnected);
        self.receiver.recv().await.ok_or_else(lost)
    }

    /// Returns the channel.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }
}

impl Drop for Payloads {
    fn drop(&mut self) {
        self.shared.leave(&self.channel, self.user);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Ignore a poisoned lock: no code under it can leave the state inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, name: &ChannelName, user: u64) {
        let mut state = self.lock();
        // The channel of that name may be a later one, which has other users.
        let Some(channel) = state.channels.get_mut(name) else {
            return;
        };
        channel.users.retain(|other| other.number != user);
        if !channel.users.is_empty() {
            return;
        }
        if state.session.is_some() {
            state.changed.insert(name.clone());
        } else {
            state.channels.remove(name);
        }
        drop(state);
        self.session.wake();
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Ends the session: users of confirmed channels may miss payloads from now on. The other channels wait for the next session.
    fn end_session(&mut self) {
        self.session = None;
        self.changed.clear();
        self.channels.retain(|_, channel| {
            let waits = matches!(*channel.progress.borrow(), Progress::Requested);
            waits && !channel.users.is_empty()
        });
    }

    /// Passes a payload to the users of a channel.
    fn deliver(&mut self, name: &ChannelName, payload: &str) {
        let Some(channel) = self.channels.get_mut(name) else {
            return;
        };
        if !matches!(*channel.progress.borrow(), Progress::Confirmed) {
            return;
        }
        let payload: Arc<str> = payload.into();
        channel.users.retain(|user| {
            let sent = user.sender.try_send(Arc::clone(&payload));
            if let Err(mpsc::error::TrySendError::Full(_)) = sent {
                // Set before the sender is dropped, which ends the payloads.
                let _ = user.ended.set(PayloadsEnded::Lagged);
            }
            sent.is_ok()
        });
        if channel.users.is_empty() {
            self.changed.insert(name.clone());
        }
    }
}

impl fmt::Display for PayloadsEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disconnected => "the connection to the database was lost; listen again",
            Self::Lagged => "the receiver was too slow and its queue was full; listen again",
        })
    }
}

impl std::error::Error for PayloadsEnded {}
