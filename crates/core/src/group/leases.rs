//! The leases that a node has seen of the nodes of its group.
//!
//! A lease expires by the server's clock. But that clock may be set back, by as much as an hour, and the slices of a dead node
//! must not wait that long. So a lease has also expired if a node has seen it unchanged for its duration, by the node's own
//! clock, which only goes forward. A live node renews its lease three times in that duration.
//!
//! No I/O; the caller passes the time.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The lease of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) node: i64,
    /// By the server's clock.
    pub(super) until: SystemTime,
    /// Its duration, counted from a renewal.
    pub(super) length: Duration,
}

/// The leases of the last tick, and since when each has been unchanged.
#[derive(Debug, Default)]
pub(super) struct Leases {
    seen: HashMap<i64, (Lease, Instant)>,
}

impl Leases {
    /// Records the present leases, and forgets all others.
    pub(super) fn record(&mut self, now: Instant, leases: &[Lease]) {
        let before = std::mem::take(&mut self.seen);
        self.seen = leases
            .iter()
            .map(|lease| match before.get(&lease.node) {
                Some((same, since)) if same == lease => (lease.node, (*lease, *since)),
                _ => (lease.node, (*lease, now)),
            })
            .collect();
    }

    /// Returns the leases that were not renewed for their duration.
    pub(super) fn expired(&self, now: Instant) -> Vec<Lease> {
        let seen = self.seen.values();
        let expired = seen.filter(|(lease, since)| now.duration_since(*since) >= lease.length);
        expired.map(|(lease, _)| *lease).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio::time::Instant;

    use super::{Lease, Leases};

    const SECOND: Duration = Duration::from_secs(1);

    fn lease(node: i64, renewed: u64) -> Lease {
        Lease {
            node,
            until: SystemTime::UNIX_EPOCH + SECOND * u32::try_from(renewed).unwrap(),
            length: SECOND * 10,
        }
    }

    #[test]
    fn lease_expires_after_it_was_seen_unchanged_for_its_duration() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        assert!(leases.expired(start + SECOND * 100).is_empty());
        leases.record(start, &[lease(1, 0), lease(2, 0)]);
        leases.record(start + SECOND * 9, &[lease(1, 0), lease(2, 5)]);
        assert!(leases.expired(start + SECOND * 9).is_empty());
        assert_eq!(leases.expired(start + SECOND * 10), [lease(1, 0)]);
        // The next tick is late.
        assert_eq!(leases.expired(start + SECOND * 19).len(), 2);
        leases.record(start + SECOND * 19, &[lease(1, 7), lease(2, 5)]);
        assert_eq!(leases.expired(start + SECOND * 19), [lease(2, 5)]);
    }

    #[test]
    fn lease_with_an_earlier_end_counts_as_renewed() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        leases.record(start, &[lease(1, 3_600)]);
        leases.record(start + SECOND * 8, &[lease(1, 10)]);
        assert!(leases.expired(start + SECOND * 17).is_empty());
        assert_eq!(leases.expired(start + SECOND * 18), [lease(1, 10)]);
    }

    #[test]
    fn leases_have_their_own_durations_and_removed_leases_are_forgotten() {
        let (mut leases, start) = (Leases::default(), Instant::now());
        let long = Lease {
            length: SECOND * 3_600,
            ..lease(1, 0)
        };
        leases.record(start, &[long, lease(2, 0)]);
        assert_eq!(leases.expired(start + SECOND * 60), [lease(2, 0)]);
        leases.record(start + SECOND * 60, &[long]);
        assert!(leases.expired(start + SECOND * 3_599).is_empty());
        assert_eq!(leases.expired(start + SECOND * 3_600), [long]);
        leases.record(start + SECOND * 3_600, &[]);
        leases.record(start + SECOND * 3_601, &[lease(2, 0)]);
        assert!(leases.expired(start + SECOND * 3_602).is_empty());
    }
}
