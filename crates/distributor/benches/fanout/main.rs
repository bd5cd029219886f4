//! Measures the distributor with thousands of clients over loopback: how late events arrive, what an idle client needs, what a
//! delivery costs next to PGCacheWatch's distributor, and what an event costs among many subscriptions that it does not concern.
//!
//! ```text
//!   this process ── SQL ──► PostgreSQL ──► process `serve`, or uvicorn ──► process `connect`: all clients
//! ```
//!
//! Server and clients are processes of their own, so that the server's processor time and memory are measured apart. Each
//! process needs as many files as there are clients: raise the limit with `ulimit -n` if that is refused.
//!
//! `cargo bench -p pgherald-distributor --bench fanout` measures everything; `-- NAME` what contains NAME: `keys`, `all`, `dispatch`.
//! PGCacheWatch is measured if `PGHERALD_PYTHON` names a Python that has pgcachewatch, fastapi, uvicorn and websockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "benchmarks may panic"
)]

mod clients;
mod dispatch;
mod process;
mod server;
mod stage;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["serve", database] => server::run(database),
        ["connect", port, count, path] => {
            clients::run(port.parse().unwrap(), count.parse().unwrap(), path);
        }
        _ => {
            let mut names = words.iter().filter(|word| !word.starts_with("--"));
            stage::run(names.next().unwrap_or(&""));
        }
    }
}
