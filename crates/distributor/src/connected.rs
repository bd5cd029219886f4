//! Who is connected, for people.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::Instant;

use actix_web::HttpRequest;
use pgherald_core::__private::host::events::SubscriptionObserver;
use serde::Serialize;

use crate::telemetry::ACCESS_LOG;

/// Clients that are listed.
const LISTED: usize = 50;
/// Characters of a filter that are kept for each client.
const FILTER: usize = 200;

/// What a client asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    path: String,
    /// The query without tickets and positions.
    filter: String,
}

impl Target {
    pub(crate) fn of(request: &HttpRequest) -> Self {
        Self {
            path: request.path().chars().take(FILTER).collect(),
            filter: filter(request.query_string()),
        }
    }
}

/// The query as the client sent it, without what is secret or no filter.
fn filter(query: &str) -> String {
    let is_filter = |parameter: &&str| {
        let name = parameter.split('=').next().unwrap_or_default();
        matches!(name, "table" | "operation" | "key") || name.starts_with("column.")
    };
    let parameters: Vec<_> = query.split('&').filter(is_filter).collect();
    parameters.join("&").chars().take(FILTER).collect()
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Connected {
    number: u64,
    address: Option<IpAddr>,
    pub(crate) target: Target,
    since: Instant,
    /// `None` for a client of a channel.
    pub(crate) queue: Option<SubscriptionObserver>,
}

impl Connected {
    pub(crate) fn new(number: u64, address: Option<IpAddr>) -> Self {
        Self {
            number,
            address,
            target: Target::default(),
            since: Instant::now(),
            queue: None,
        }
    }

    /// Writes to the access log that the client's stream has ended. Without the query: see [`crate::front`].
    pub(crate) fn log_end(&self) {
        tracing::info!(
            target: ACCESS_LOG,
            number = self.number,
            path = self.target.path,
            address = self.address.map(|address| address.to_string()),
            seconds = self.since.elapsed().as_secs(),
            delivered = self.queue.as_ref().map(|queue| queue.stats().delivered),
            "stream ended"
        );
    }
}

/// All clients in numbers, and some of them by name.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    pub(crate) count: usize,
    /// Events in all queues.
    waiting: u64,
    /// Events that were dropped from the queues of these clients.
    dropped: u64,
    /// Those that are furthest behind.
    list: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    number: u64,
    address: Option<String>,
    path: String,
    filter: String,
    seconds: u64,
    delivered: u64,
    waiting: u64,
    dropped: u64,
}

impl Overview {
    pub(crate) fn new<'a>(connected: impl Iterator<Item = &'a Connected>) -> Self {
        let mut all: Vec<_> = connected
            .map(|client| (client, client.queue.as_ref().map(|queue| queue.stats())))
            .map(|(client, stats)| {
                let (waiting, dropped, delivered) = match stats {
                    Some(stats) => (stats.queued, stats.lost, stats.delivered),
                    None => (0, 0, 0),
                };
                (waiting, dropped, delivered, client)
            })
            .collect();
        all.sort_by_key(|(waiting, dropped, _, client)| {
            (Reverse(*waiting), Reverse(*dropped), client.number)
        });
        let list = all.iter().take(LISTED);
        let list = list.map(|(waiting, dropped, delivered, client)| Listed {
            number: client.number,
            address: client.address.map(|address| address.to_string()),
            path: client.target.path.clone(),
            filter: client.target.filter.clone(),
            seconds: client.since.elapsed().as_secs(),
            delivered: *delivered,
            waiting: *waiting,
            dropped: *dropped,
        });
        Self {
            count: all.len(),
            waiting: all.iter().map(|(waiting, ..)| waiting).sum(),
            dropped: all.iter().map(|(_, dropped, ..)| dropped).sum(),
            list: list.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Connected, LISTED, Overview, filter};

    #[test]
    fn a_filter_is_shown_without_tickets() {
        let query = "table=a&ticket=secret&column.t=1&since=5&key=7&token=x&Ticket=y";
        assert_eq!(filter(query), "table=a&column.t=1&key=7");
        assert_eq!(
            filter(&format!("table={}", "é".repeat(300)))
                .chars()
                .count(),
            200
        );
    }

    #[test]
    fn the_list_is_bounded_and_the_count_is_not() {
        let clients: Vec<_> = (0..80).map(|n| Connected::new(n, None)).collect();
        let overview = Overview::new(clients.iter());
        assert_eq!((overview.count, overview.list.len()), (80, LISTED));
        assert_eq!(overview.list[0].number, 0);
    }
}
