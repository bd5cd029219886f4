//! Sends LISTEN and UNLISTEN in a session, and passes its notifications to the users of channels.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio_postgres::Client;

use super::{Channels, Progress, State};
use crate::error::Result;
use crate::name::ChannelName;
use crate::source::listen::execute;

/// The most channels in one request.
const MAX_BATCH: usize = 128;

/// The requests of one session.
pub(in crate::source) struct Requests {
    channels: Channels,
    client: Arc<Client>,
    session: u64,
    /// The channels to which the session listens in any case.
    fixed: HashSet<ChannelName>,
    /// The other channels to which the server has confirmed to listen, and that no request removes.
    listening: HashSet<ChannelName>,
    sent: Option<Request>,
    /// The number of channels that are requested one by one, because a request with several was refused.
    one_by_one: usize,
}

struct Request {
    listen: Vec<ChannelName>,
    unlisten: Vec<ChannelName>,
    answer: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
}

impl Requests {
    /// Begins a session on `client`, which already listens to the channels `fixed`.
    pub(in crate::source) fn new(
        channels: &Channels,
        client: Arc<Client>,
        fixed: &[ChannelName],
    ) -> Self {
        let mut state = channels.shared.lock();
        state.end_session();
        let session = state.next_number();
        state.session = Some(session);
        state.changed = state.channels.keys().cloned().collect();
        drop(state);
        Self {
            channels: channels.clone(),
            client,
            session,
            fixed: fixed.iter().cloned().collect(),
            listening: HashSet::new(),
            sent: None,
            one_by_one: 0,
        }
    }

    /// Whether payloads of this channel are events.
    pub(in crate::source) fn is_fixed(&self, channel: &ChannelName) -> bool {
        self.fixed.contains(channel)
    }

    /// Passes a payload to the users of its channel.
    ///
    /// Call [`poll`](Self::poll) first: an answer that has arrived before the notification may confirm the channel.
    pub(in crate::source) fn deliver(&self, channel: &ChannelName, payload: &str) {
        let mut state = self.channels.shared.lock();
        if state.session == Some(self.session) {
            state.deliver(channel, payload);
        }
    }

    /// Sends what has changed, and reads answers. Fails if the session cannot be used any more.
    pub(in crate::source) fn poll(&mut self, cx: &mut Context<'_>) -> Result<()> {
        self.channels.shared.session.register(cx.waker());
        loop {
            let Some(request) = &mut self.sent else {
                match self.next_request() {
                    Some(request) => self.sent = Some(request),
                    None => return Ok(()),
                }
                continue;
            };
            let Poll::Ready(answer) = request.answer.as_mut().poll(cx) else {
                return Ok(());
            };
            if let Some(request) = self.sent.take() {
                self.answered(request, answer)?;
            }
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        let shared = Arc::clone(&self.channels.shared);
        let mut state = shared.lock();
        if state.session != Some(self.session) {
            return None;
        }
        let limit = match self.one_by_one {
            0 => MAX_BATCH,
            _ => 1,
        };
        let (mut listen, mut unlisten) = (Vec::new(), Vec::new());
        while listen.len() + unlisten.len() < limit
            && let Some(name) = state.changed.iter().next().cloned()
        {
            state.changed.remove(&name);
            let is_used = state.has_users(&name);
            if !is_used {
                state.channels.remove(&name);
            }
            let is_fixed = self.fixed.contains(&name);
            match (is_used, is_fixed || self.listening.contains(&name)) {
                (true, true) => state.confirm(&name),
                (true, false) => listen.push(name),
                (false, true) if !is_fixed => {
                    self.listening.remove(&name);
                    unlisten.push(name);
                }
                (false, _) => {}
            }
        }
        drop(state);
        self.one_by_one = self.one_by_one.saturating_sub(1);
        if listen.is_empty() && unlisten.is_empty() {
            return None;
        }
        let statements = listen
            .iter()
            .map(|name| format!("LISTEN {}", name.quoted()));
        let others = unlisten
            .iter()
            .map(|name| format!("UNLISTEN {}", name.quoted()));
        let sql = statements.chain(others).collect::<Vec<_>>().join(";");
        let client = Arc::clone(&self.client);
        Some(Request {
            listen,
            unlisten,
            answer: Box::pin(async move { execute(&client, sql).await.map(drop) }),
        })
    }

    fn answered(&mut self, request: Request, answer: Result<()>) -> Result<()> {
        let shared = Arc::clone(&self.channels.shared);
        let mut state = shared.lock();
        if state.session != Some(self.session) {
            return Ok(());
        }
        let Err(error) = answer else {
            for name in request.listen {
                state.confirm(&name);
                self.listening.insert(name);
            }
            return Ok(());
        };
        if error.code().is_none() || error.is_connection() {
            return Err(error);
        }
        // The server has changed nothing, because the statements of a request are one transaction.
        match (&request.listen[..], &request.unlisten[..]) {
            ([name], []) => {
                tracing::warn!(channel = %name, error = %error.chain(), "LISTEN was refused");
                state.refuse(name, error);
                Ok(())
            }
            ([], [_]) => Err(error),
            (listen, unlisten) => {
                self.one_by_one = listen.len() + unlisten.len();
                self.listening.extend(unlisten.iter().cloned());
                state.changed.extend(listen.iter().chain(unlisten).cloned());
                Ok(())
            }
        }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut state = self.channels.shared.lock();
        if state.session == Some(self.session) {
            state.end_session();
        }
    }
}

impl Channels {
    /// The channels that the server has confirmed, and that no request removes.
    pub(in crate::source) fn confirmed(&self) -> Vec<ChannelName> {
        let state = self.shared.lock();
        let confirmed = state
            .channels
            .iter()
            .filter(|(_, channel)| matches!(*channel.progress.borrow(), Progress::Confirmed));
        confirmed.map(|(name, _)| name.clone()).collect()
    }
}

impl State {
    fn has_users(&self, name: &ChannelName) -> bool {
        let channel = self.channels.get(name);
        channel.is_some_and(|channel| !channel.users.is_empty())
    }

    fn confirm(&mut self, name: &ChannelName) {
        if let Some(channel) = self.channels.get(name) {
            channel.progress.send_replace(Progress::Confirmed);
        }
    }

    fn refuse(&mut self, name: &ChannelName, error: crate::Error) {
        if let Some(channel) = self.channels.remove(name) {
            channel.progress.send_replace(Progress::Refused(error));
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests")
            .field("session", &self.session)
            .field("listening", &self.listening.len())
            .finish_non_exhaustive()
    }
}
