//! A source that emits the signals that a test sends.

use std::sync::{Arc, Mutex, PoisonError};

use pgherald_core::{Error, Event, Resync, ResyncReason, Signal, Source};
use tokio::sync::mpsc;

/// The number of signals that may wait for the listener.
const CAPACITY: usize = 1_024;

/// A source without a database. It emits the signals that its [`FakeFeed`] sends.
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

/// Sends signals to a [`FakeSource`]. It can be cloned. When all clones are dropped, the source emits nothing more.
#[derive(Clone, Debug)]
pub struct FakeFeed {
    commands: mpsc::Sender<Command>,
}

#[derive(Debug)]
enum Command {
    Emit(Signal),
    Panic(String),
}

/// Returns a factory of sources for [`ListenerActor::new`](pgherald_actors::ListenerActor::new), and their feed. If a
/// source panics, the next one continues with the next signal.
pub fn fake_source() -> (impl Fn() -> FakeSource + Clone + Send + 'static, FakeFeed) {
    let (commands, receiver) = mpsc::channel(CAPACITY);
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
            Some(Command::Emit(signal)) => signal,
            #[expect(clippy::panic, reason = "the test has requested it")]
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
    /// Emits a signal. Waits only while 1,024 signals wait for the listener.
    pub async fn say(&self, signal: Signal) {
        // Fails only if the sources and their factory are gone.
        let _ = self.commands.send(Command::Emit(signal)).await;
    }

    /// Becomes live for the first time: emits a resync, then [`Signal::Live`].
    pub async fn live(&self) {
        self.say(Signal::Resync(Resync::new(ResyncReason::Started)))
            .await;
        self.say(Signal::Live).await;
    }

    /// Becomes live again, like a source that may have missed events: emits a resync, then [`Signal::Live`].
    pub async fn reconnect(&self) {
        self.say(Signal::Resync(Resync::new(ResyncReason::Reconnected)))
            .await;
        self.say(Signal::Live).await;
    }

    /// Becomes live again, like a source that has caught up on all missed [`events`](Self::events): emits
    /// [`Signal::Resumed`], then [`Signal::Live`].
    pub async fn resume(&self) {
        self.say(Signal::Resumed).await;
        self.say(Signal::Live).await;
    }

    /// Emits a batch of events.
    pub async fn events(&self, events: impl IntoIterator<Item = Event>) {
        self.say(Signal::Events(events.into_iter().collect())).await;
    }

    /// Loses the connection: emits [`Signal::Down`].
    pub async fn down(&self) {
        let cause = "requested by the test";
        self.say(Signal::Down(Error::disconnected(
            "the connection was lost",
            cause,
        )))
        .await;
    }

    /// Makes the source panic.
    pub async fn panic(&self, message: impl Into<String>) {
        let _ = self.commands.send(Command::Panic(message.into())).await;
    }
}
