//! One proxied connection: two pipes, one in each direction.
//!
//! A pipe holds at most one chunk. While traffic is delayed, it keeps that chunk and reads no more. So no bytes are lost or
//! reordered, and senders see the same backpressure as in a network that delivers nothing.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::Instant;

use super::frames::Frames;
use super::state::{Mode, Passage};
use super::statements::Statements;

const CHUNK: usize = 16 * 1024;

/// Forwards until both sides have closed, one side fails, the connections are cut, or the proxy is dropped.
pub(super) async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    cuts: u64,
    state: watch::Receiver<Passage>,
    statements: Statements,
) {
    let mut watched = state.clone();
    let cut = async move {
        // Also returns when the proxy is dropped.
        let _ = watched.wait_for(|state| state.cuts != cuts).await;
    };
    let orderly = tokio::select! {
        biased;
        () = cut => false,
        result = forward(&mut client, target, state, statements) => result.is_ok(),
    };
    if !orderly {
        reset(client);
    }
}

/// Closes a connection with a reset (RST).
pub(super) fn reset(stream: TcpStream) {
    // Fails if the connection is closed already.
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

async fn forward(
    client: &mut TcpStream,
    target: SocketAddr,
    mut state: watch::Receiver<Passage>,
    statements: Statements,
) -> io::Result<()> {
    // During a stall, the connection is accepted, but the server is not contacted yet.
    wait_for_passage(&mut state, Instant::now()).await;
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::try_join!(
        pipe(
            from_client,
            to_server,
            state.clone(),
            Reading::Client(statements)
        ),
        pipe(
            from_server,
            to_client,
            state,
            Reading::Server(Frames::new())
        ),
    )?;
    Ok(())
}

/// Parses the forwarded bytes, by the side that sends them.
enum Reading {
    Client(Statements),
    Server(Frames),
}

async fn pipe(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<Passage>,
    mut reading: Reading,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut passed = Vec::new();
    loop {
        let length = from.read(&mut chunk).await?;
        let received = Instant::now();
        wait_for_passage(&mut state, received).await;
        if length == 0 {
            return to.shutdown().await;
        }
        let bytes = match &mut reading {
            Reading::Client(statements) => {
                statements.follow(&chunk[..length]);
                &chunk[..length]
            }
            Reading::Server(frames) => {
                let deaf = state.borrow().mode == Mode::Deafen;
                passed.clear();
                frames.filter(&chunk[..length], deaf, &mut passed);
                &passed
            }
        };
        write(&mut to, bytes, &mut state, received).await?;
    }
}

/// Writes all bytes. Pauses in between if a stall or delay begins.
async fn write(
    to: &mut WriteHalf<'_>,
    mut bytes: &[u8],
    state: &mut watch::Receiver<Passage>,
    received: Instant,
) -> io::Result<()> {
    while !bytes.is_empty() {
        wait_for_passage(state, received).await;
        tokio::select! {
            biased;
            changed = state.changed() => changed.map_err(|_| io::ErrorKind::ConnectionAborted)?,
            written = to.write(bytes) => match written? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => bytes = &bytes[count..],
            },
        }
    }
    Ok(())
}

/// Returns when bytes received at `received` may be forwarded.
async fn wait_for_passage(state: &mut watch::Receiver<Passage>, received: Instant) {
    loop {
        let mode = state.borrow_and_update().mode;
        let changed = match mode {
            Mode::Forward | Mode::Refuse | Mode::Deafen => return,
            Mode::Stall => state.changed().await,
            Mode::Delay(delay) => tokio::select! {
                biased;
                () = tokio::time::sleep_until(received + delay) => return,
                changed = state.changed() => changed,
            },
        };
        if changed.is_err() {
            // The proxy is dropped: this connection is about to be reset.
            return;
        }
    }
}
