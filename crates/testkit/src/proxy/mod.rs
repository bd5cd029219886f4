//! A TCP proxy with faults to switch on and off.
//!
//! The proxy's handle owns the accepting task and the sender of a watch. Each connection is a task that watches the
//! receiver. A new fault replaces the previous one:
//!
//! | fault | existing connections | new connections |
//! |---|---|---|
//! | [`stall`](FaultProxy::stall) | stay open, silent in both directions | accepted, silent |
//! | [`delay`](FaultProxy::delay) | each chunk arrives late | the same |
//! | [`deafen`](FaultProxy::deafen) | notifications are dropped | the same |
//! | [`refuse`](FaultProxy::refuse) | unaffected | reset at once |
//! | [`resume`](FaultProxy::resume) | unaffected; held bytes are forwarded | unaffected |
//!
//! [`cut`](FaultProxy::cut) resets connections once. It does not replace the current fault.

mod connection;
mod frames;
mod state;
mod statements;
mod url;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Error;
use state::{Mode, Passage};
use statements::Statements;

/// A TCP proxy on its own port of 127.0.0.1, with faults to switch on and off.
///
/// No bytes are lost or reordered, except for notifications after [`deafen`](Self::deafen) and bytes in transit at a
/// [`cut`](Self::cut). Dropping the proxy closes its port and resets its connections.
///
/// ```no_run
/// # async fn example() -> Result<(), pgherald_testkit::Error> {
/// use pgherald_testkit::{FaultProxy, Postgres};
///
/// let server = Postgres::shared().await?;
/// let url = server.create_database().await?;
/// let proxy = FaultProxy::start((server.host(), server.port())).await?;
/// let url = proxy.url(&url); // connect to this one
/// proxy.stall();
/// // ... the client has to notice by itself ...
/// proxy.resume();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    addr: SocketAddr,
    state: watch::Sender<Passage>,
    live: Arc<AtomicUsize>,
    statements: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy that forwards to `target`, on the current runtime.
    ///
    /// # Errors
    ///
    /// If `target` does not resolve, or no port is free.
    pub async fn start(target: impl ToSocketAddrs) -> Result<Self, Error> {
        let target = tokio::net::lookup_host(target)
            .await
            .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map_err(Error::during(
                "cannot resolve the address of the proxy's target",
            ))?;
        let unbound = "cannot listen on a port for the proxy";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Error::during(unbound))?;
        let addr = listener.local_addr().map_err(Error::during(unbound))?;

        let (state, watched) = watch::channel(Passage {
            mode: Mode::Forward,
            cuts: 0,
        });
        let live = Arc::new(AtomicUsize::new(0));
        let statements = Arc::new(AtomicUsize::new(0));
        let counts = (Arc::clone(&live), Arc::clone(&statements));
        let accepting = tokio::spawn(accept(listener, target, watched, counts));
        Ok(Self {
            addr,
            state,
            live,
            statements,
            accepting,
        })
    }

    /// Returns the address on which the proxy listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the port of [`addr`](Self::addr).
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Replaces host and port of a URL like `postgresql://user@host:port/database` by those of the proxy. Text that is not a
    /// URL is returned unchanged.
    pub fn url(&self, original: &str) -> String {
        url::with_authority(original, self.addr)
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// Returns the number of statements that clients have sent so far, on all connections together: messages of the kinds
    /// `Query`, which may hold several statements, and `Execute`. Statements on encrypted connections cannot be counted.
    pub fn statements(&self) -> usize {
        self.statements.load(Ordering::Acquire)
    }

    /// Resets all existing connections, like a failing router. New connections are not affected.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Resets new connections at once. Together with [`cut`](Self::cut), this makes the server unreachable.
    pub fn refuse(&self) {
        self.set(Mode::Refuse);
    }

    /// Stops forwarding in both directions, including the end of a stream. Connections stay open, and new ones are accepted.
    pub fn stall(&self) {
        self.set(Mode::Stall);
    }

    /// Forwards each chunk with a delay of `by` after it was received.
    ///
    /// Reads no further chunk meanwhile, so throughput decreases too.
    pub fn delay(&self, by: Duration) {
        self.set(Mode::Delay(by));
    }

    /// Drops notifications (`NotificationResponse`) and forwards everything else. LISTEN behaves like this behind a
    /// transaction pooler. Has no effect on encrypted connections.
    pub fn deafen(&self) {
        self.set(Mode::Deafen);
    }

    /// Ends the current fault. Held bytes are forwarded at once.
    pub fn resume(&self) {
        self.set(Mode::Forward);
    }

    fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // Closes the port. The connections end when the watch's sender is dropped.
        self.accepting.abort();
    }
}

/// Counts a connection until its task ends, in whatever way.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    state: watch::Receiver<Passage>,
    (live, statements): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                // Probably there are no file descriptors left: retrying at once would not help.
                tracing::debug!(%error, "the proxy cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let Passage { mode, cuts } = *state.borrow();
        if mode == Mode::Refuse {
            connection::reset(client);
            continue;
        }
        let counted = Live::new(&live);
        let statements = Statements::new(Arc::clone(&statements));
        tokio::spawn(serve(
            client,
            target,
            cuts,
            state.clone(),
            statements,
            counted,
        ));
    }
}

async fn serve(
    client: TcpStream,
    target: SocketAddr,
    cuts: u64,
    state: watch::Receiver<Passage>,
    statements: Statements,
    counted: Live,
) {
    connection::serve(client, target, cuts, state, statements).await;
    drop(counted);
}
