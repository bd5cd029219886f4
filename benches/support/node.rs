//! A consumer of a group in a thread of its own.

use std::time::Duration;

use pgherald::group::{Batch, BatchHandler, Consumer, ConsumerHandle};
use pgherald::{Attempt, Event, EventHandler, HandlerResult, Result, Resync};
use tokio::task::LocalSet;

/// A handler without an effect.
pub(crate) struct Nothing;

impl BatchHandler for Nothing {
    type Event = Event;
    async fn handle(&self, _: &mut Batch<Event>) -> HandlerResult {
        Ok(())
    }
    async fn resync(&self, _: Resync) -> HandlerResult {
        Ok(())
    }
}

impl EventHandler for Nothing {
    type Event = Event;
    async fn handle(&self, _: Event, _: Attempt) -> HandlerResult {
        Ok(())
    }
    async fn resync(&self, _: Resync) -> HandlerResult {
        Ok(())
    }
}

type Made = Result<(ConsumerHandle, Consumer)>;

/// A consumer in its own thread.
pub(crate) struct Node {
    pub(crate) handle: ConsumerHandle,
    thread: std::thread::JoinHandle<()>,
}

impl Node {
    pub(crate) fn start(make: impl FnOnce() -> Made + Send + 'static) -> Self {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            let (handle, consumer) = make().expect("a consumer");
            sender.send(handle).expect("the node");
            runtime.block_on(LocalSet::new().run_until(consumer.run()));
        });
        let handle = receiver.recv().expect("a handle");
        Self { handle, thread }
    }

    pub(crate) async fn drain(self) {
        self.handle.drain(Duration::from_secs(30)).await;
        self.thread.join().expect("the node");
    }
}
