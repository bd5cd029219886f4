//! A source that says what a test tells it to.

use std::sync::{Arc, Mutex, PoisonError};

use pgherald_core::{Error, Event, Resync, ResyncReason, Signal, Source};
use tokio::sync::mpsc;

/// How many signals may be fed before the listener has taken any.
const AHEAD: usize = 1_024;

/// A source without a database. What its [`FakeFeed`] is told, it says.
///
/// ```
/// use pgherald_core::{Event, Operation};
/// use pgherald_testkit::fake_source;
///
/// # #[actix::main]
/// # async fn main() {
/// use actix::Actor;
/// use pgherald_actors::ListenerActor;
///
/// let (source, feed) = fake_source();
/// let listener = ListenerActor::new(source).start();
/// feed.live().await;
/// feed.events([Event::builder("public", "users", Operation::Insert).key(7).build()]).await;
/// # let _ = listener;
/// # }
/// ```
#[derive(Debug)]
pub struct FakeSource {
    signals: Arc<Mutex<Option<mpsc::Receiver<Command>>>>,
    receiver: Option<mpsc::Receiver<Command>>,
}

/// Tells a [`FakeSource`] what to say. It can be cloned; the source waits for ever once all are gone.
#[derive(Clone, Debug)]
pub struct FakeFeed {
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Say(Signal),
    Panic(String),
}

/// A factory of sources, as [`ListenerActor::new`](pgherald_actors::ListenerActor::new) wants it, and the
/// feed for them. A source made after the one before panicked goes on where that stopped.
pub fn fake_source() -> (impl Fn() -> FakeSource + Clone + Send + 'static, FakeFeed) {
    let (commands, receiver) = mpsc::channel(AHEAD);
    let signals = Arc::new(Mutex::new(Some(receiver)));
    let build = move || FakeSource {
        signals: Arc::clone(&signals),
        receiver: None,
    };
    (build, FakeFeed { commands })
}

impl Source for FakeSource {
    async fn next(&mut self) -> Signal {
        if self.receiver.is_none() {
            self.receiver = lock(&self.signals).take();
        }
        let command = match &mut self.receiver {
            Some(receiver) => receiver.recv().await,
            None => None,
        };
        match command {
            Some(Command::Say(signal)) => signal,
            #[expect(clippy::panic, reason = "this is what it was told to do")]
            Some(Command::Panic(message)) => panic!("{message}"),
            None => std::future::pending().await,
        }
    }
}

impl Drop for FakeSource {
    fn drop(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            *lock(&self.signals) = Some(receiver);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeFeed {
    /// Says a signal. Waits only if more than a thousand were not taken yet.
    pub async fn say(&self, signal: Signal) {
        // Fails only if every source is gone, and with them whoever would have heard it.
        let _ = self.commands.send(Command::Say(signal)).await;
    }

    /// Becomes live, for the first time: a resync, then [`Signal::Live`].
    pub async fn live(&self) {
        self.say(Signal::Resync(Resync::new(ResyncReason::Started)))
            .await;
        self.say(Signal::Live).await;
    }

    /// Becomes live again, as one that has lost count of what it missed: a resync, then [`Signal::Live`].
    pub async fn reconnect(&self) {
        self.say(Signal::Resync(Resync::new(ResyncReason::Reconnected)))
            .await;
        self.say(Signal::Live).await;
    }

    /// Becomes live again, as one that has said all it missed ([`events`](Self::events)) before this:
    /// [`Signal::Resumed`], then [`Signal::Live`].
    pub async fn resume(&self) {
        self.say(Signal::Resumed).await;
        self.say(Signal::Live).await;
    }

    /// Says a batch of events.
    pub async fn events(&self, events: impl IntoIterator<Item = Event>) {
        self.say(Signal::Events(events.into_iter().collect())).await;
    }

    /// Loses the connection.
    pub async fn down(&self) {
        let cause = "a test said so";
        self.say(Signal::Down(Error::disconnected(
            "the connection was lost",
            cause,
        )))
        .await;
    }

    /// Panics inside the source.
    pub async fn panic(&self, message: impl Into<String>) {
        let _ = self.commands.send(Command::Panic(message.into())).await;
    }
}
