//! The connections of the node. They are [opened again](crate::reconnect) after they were lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use crate::backoff::Backoff;
use crate::error::{Error, ErrorKind, Result};
use crate::group::connections::{CONNECT, Connections};
use crate::group::options::DurableOptions;
use crate::group::requests::{Answer, Requests, Unfinished};
use crate::outbox::History;
use crate::reconnect::{Reconnecting, within_limit};

/// The pauses between attempts to connect.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));

pub(super) struct Connection {
    connections: Connections,
    options: Arc<DurableOptions>,
    session: Reconnecting<LocalBoxFuture<'static, Result<Requests>>, Box<Requests>>,
    /// The history of the previous connections, or of these.
    history: Option<History>,
}

pub(super) enum ConnectionEvent {
    Opened(Box<Requests>),
    Answered(Answer),
    /// The node could not connect, or the connections cannot be used any more.
    Lost(Error),
}

impl Connection {
    pub(super) fn new(connections: Connections, options: Arc<DurableOptions>) -> Self {
        Self {
            connections,
            options,
            session: Reconnecting::new(RECONNECT),
            history: None,
        }
    }

    /// Waits for the next event. Connects if there are no connections. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> ConnectionEvent {
        let event = match self.session.session_mut() {
            Some(requests) => requests.next_answer().await.map(ConnectionEvent::Answered),
            None => {
                let open = || Self::open(self.connections.clone(), Arc::clone(&self.options));
                let opened = self.session.opened(open).await;
                opened.map(|requests| ConnectionEvent::Opened(Box::new(requests)))
            }
        };
        event.unwrap_or_else(ConnectionEvent::Lost)
    }

    fn open(
        connections: Connections,
        options: Arc<DurableOptions>,
    ) -> LocalBoxFuture<'static, Result<Requests>> {
        let opening = async move {
            let opening = Box::pin(Requests::open(&connections, options));
            within_limit(CONNECT, &connections, opening).await
        };
        opening.boxed_local()
    }

    /// Stores new connections. Returns whether the server's history continues that of the previous ones.
    pub(super) fn opened(&mut self, requests: Box<Requests>) -> bool {
        let before = self.history.replace(requests.history.clone());
        let continues = before.is_none_or(|before| requests.history.continues(&before));
        self.session.keep(requests);
        continues
    }

    /// Gives up the connections because of `error`, and schedules the next attempt. Returns the requests that were not answered,
    /// and the delay.
    pub(super) fn lost(&mut self, error: &Error) -> (Option<Unfinished>, Duration) {
        let unfinished = self.session.session_mut().map(|requests| {
            // The server does not answer, or the positions of shared reads belong to an earlier history.
            if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::History) {
                requests.retire();
            }
            requests.unfinished()
        });
        (unfinished, self.session.lost(error))
    }

    /// Returns the requests if the connections are open.
    pub(super) fn requests(&self) -> Option<&Requests> {
        self.session.session().map(|requests| &**requests)
    }

    /// As [`requests`](Self::requests), to send some.
    pub(super) fn requests_mut(&mut self) -> Option<&mut Requests> {
        self.session.session_mut().map(|requests| &mut **requests)
    }
}
