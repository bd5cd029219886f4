//! A proxy in front of the server that counts requests, and bytes in both directions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pgherald_testkit::Postgres;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Forwards connections, and counts what clients and server send.
#[derive(Clone)]
pub(crate) struct Meter {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Messages that end in a response: simple queries, and the ends of extended ones.
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Bytes of the server's answers.
    answered: AtomicU64,
}

impl Meter {
    pub(crate) async fn start(server: &Postgres) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let (target, counted) = (
            (server.host().to_owned(), server.port()),
            Arc::clone(&counts),
        );
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(target.clone()).await.unwrap();
                // Without this, small messages wait for each other.
                server.set_nodelay(true).unwrap();
                client.set_nodelay(true).unwrap();
                let (mut answers, requests) = server.into_split();
                let (from, mut to) = client.into_split();
                tokio::spawn(forward(from, requests, Arc::clone(&counted)));
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 1 << 16];
                    while let Ok(bytes @ 1..) = answers.read(&mut buffer).await {
                        counted.answered.fetch_add(bytes as u64, Ordering::Relaxed);
                        to.write_all(&buffer[..bytes]).await?;
                    }
                    std::io::Result::Ok(())
                });
            }
        });
        Self { address, counts }
    }

    /// The URL through this proxy. TLS is disabled: its request would be a second message without a type.
    pub(crate) fn url(&self, original: &str) -> String {
        let (scheme, rest) = original.split_once('@').unwrap();
        let (_, database) = rest.split_once('/').unwrap();
        format!("{scheme}@{}/{database}?sslmode=disable", self.address)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }
}

/// Forwards message by message. The first message of a connection has no type.
async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    counts: Arc<Counts>,
) -> std::io::Result<()> {
    let mut is_first = true;
    loop {
        let kind = match std::mem::take(&mut is_first) {
            true => 0,
            false => from.read_u8().await?,
        };
        let length = from.read_u32().await?;
        let mut message = vec![0; 5 + length as usize - 4];
        message[0] = kind;
        message[1..5].copy_from_slice(&length.to_be_bytes());
        from.read_exact(&mut message[5..]).await?;
        let is_end = matches!(kind, b'Q' | b'S');
        counts
            .requests
            .fetch_add(u64::from(is_end), Ordering::Relaxed);
        counts.bytes.fetch_add(u64::from(length), Ordering::Relaxed);
        to.write_all(&message[usize::from(kind == 0)..]).await?;
        to.flush().await?;
    }
}
