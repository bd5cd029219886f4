//! The process of all clients: minimal WebSocket clients that count frames and measure how old their events are.

use std::cell::RefCell;
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::allow_files;

/// Connections that are being opened at a time.
const OPENING: usize = 64;

#[derive(Default)]
struct Counts {
    /// Frames with an event or a payload.
    frames: u64,
    /// The ages of events in microseconds.
    ages: Vec<u64>,
    /// Connections that have received `live`, or that were accepted if their stream has no such message.
    live: usize,
    /// Connections that the server has closed, because they were too slow.
    closed: usize,
}

type Shared = Rc<RefCell<Counts>>;

/// Connects `count` clients to `path`, in which `{}` stands for the number of the client, and writes a line. Then answers each line:
/// the number of frames since the last one, the 50th and 99th percentile of the ages of events in
/// milliseconds, and the number of closed connections.
pub(crate) fn run(port: u16, count: usize, path: &str) {
    allow_files(20_000);
    // The benchmark would wait for a client that has panicked.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(1);
    }));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let counts = Shared::default();
    let local = tokio::task::LocalSet::new();
    let has_live = path.starts_with("/v1/");
    local.block_on(&runtime, async {
        let permits = Rc::new(tokio::sync::Semaphore::new(OPENING));
        for number in 0..count {
            let path = path.replace("{}", &number.to_string());
            let (shared, permits) = (Rc::clone(&counts), Rc::clone(&permits));
            tokio::task::spawn_local(async move {
                let permit = permits.acquire().await.unwrap();
                let stream = connect(port, &path).await;
                drop(permit);
                if !has_live {
                    shared.borrow_mut().live += 1;
                }
                read(stream, &shared).await;
            });
            if number == 0 {
                connected(&counts, 1).await;
                if !has_live {
                    // PGCacheWatch accepts clients before it listens, and fails if others connect meanwhile.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        connected(&counts, count).await;
        answer("1");
        let (questions, mut asked) = tokio::sync::mpsc::channel(1);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines() {
                questions.blocking_send(line.unwrap()).unwrap();
            }
        });
        while asked.recv().await.is_some() {
            let mut now = counts.borrow_mut();
            let Counts { live, closed, .. } = *now;
            let rest = Counts {
                live,
                closed,
                ..Counts::default()
            };
            let Counts {
                frames, mut ages, ..
            } = std::mem::replace(&mut *now, rest);
            drop(now);
            ages.sort_unstable();
            let percentile = |percent: usize| {
                let index = ages.len() * percent / 100;
                ages.get(index).map_or(0.0, |age| *age as f64 / 1_000.0)
            };
            answer(&format!(
                "{frames} {} {} {closed}",
                percentile(50),
                percentile(99)
            ));
        }
    });
}

async fn connected(counts: &Shared, count: usize) {
    while counts.borrow().live < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn answer(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

async fn connect(port: u16, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(
        head.starts_with(b"HTTP/1.1 101"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    stream
}

/// Reads frames until the connection ends.
async fn read(mut stream: TcpStream, counts: &Shared) {
    let mut buffer = Vec::with_capacity(2_048);
    loop {
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return counts.borrow_mut().closed += 1,
            Ok(_) => {}
        }
        let mut start = 0;
        while let Some((opcode, body)) = frame(&buffer[start..]) {
            let payload = &buffer[start + body.start..start + body.end];
            match opcode {
                // A ping of no length: its pong has no data, and any mask.
                9 => stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap(),
                1 => note(payload, &mut counts.borrow_mut()),
                // A close: the end of the connection follows.
                8 => {}
                other => panic!("a frame with opcode {other}"),
            }
            start += body.end;
        }
        buffer.drain(..start);
    }
}

/// The opcode of the first frame, and where its payload is, if it is complete.
fn frame(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (opcode, short) = (bytes.first()? & 0x0f, usize::from(*bytes.get(1)?));
    let (start, length) = match short {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => panic!("a frame of over 64 KiB"),
        short => (2, short),
    };
    (bytes.len() >= start + length).then_some((opcode, start..start + length))
}

fn note(payload: &[u8], counts: &mut Counts) {
    let text = std::str::from_utf8(payload).unwrap();
    if !text.starts_with("{\"type\":\"") {
        counts.frames += 1;
        return;
    }
    if text.starts_with("{\"type\":\"live") {
        counts.live += 1;
        return;
    }
    if !text.starts_with("{\"type\":\"event") {
        return;
    }
    counts.frames += 1;
    // Every 16th age is enough for percentiles, and parsing costs more than everything else.
    if counts.frames.is_multiple_of(16) {
        let sent_at = text.split_once("\"sent_at\":\"").unwrap().1;
        let sent_at: jiff::Timestamp = sent_at.split_once('"').unwrap().0.parse().unwrap();
        let age = SystemTime::now().duration_since(sent_at.into());
        counts.ages.push(age.unwrap_or_default().as_micros() as u64);
    }
}
