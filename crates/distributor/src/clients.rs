//! Admits clients and counts them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pgherald_core::__private::host::events::Receive;
use pgherald_core::Subscription;
use tokio::sync::Notify;

use crate::connected::{Connected, Overview, Target};
use crate::limits::Limits;
use crate::refusal::Refusal;
use crate::telemetry::Transport;

/// The clients that are connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: Mutex<Counts>,
    /// Notified when no client is left.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    by_address: HashMap<Option<IpAddr>, usize>,
    /// The clients by their number.
    connected: HashMap<u64, Connected>,
    last: u64,
}

/// The place of one client, until it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    clients: Clients,
    address: Option<IpAddr>,
    number: u64,
    transport: Transport,
}

impl Clients {
    /// Admits a client, or refuses it if a limit is reached. Clients without an address count as one address.
    pub(crate) fn admit(
        &self,
        address: Option<IpAddr>,
        transport: Transport,
        limits: &Limits,
    ) -> Result<Admission, Refusal> {
        let mut counts = self.counts();
        let of_address = counts.by_address.get(&address).copied().unwrap_or_default();
        if counts.connected.len() >= limits.clients {
            return Err(Refusal::too_many_clients(limits.clients));
        }
        if of_address >= limits.clients_per_address {
            return Err(Refusal::too_many_of_address(limits.clients_per_address));
        }
        counts.by_address.insert(address, of_address + 1);
        transport.add_clients(1.0);
        counts.last += 1;
        let number = counts.last;
        counts
            .connected
            .insert(number, Connected::new(number, address));
        Ok(Admission {
            clients: self.clone(),
            address,
            number,
            transport,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.counts().connected.len()
    }

    /// Returns who is connected, those who are furthest behind first.
    pub(crate) fn overview(&self) -> Overview {
        Overview::new(self.counts().connected.values())
    }

    /// Waits until no client is left, for `limit` at most. Returns how many are left.
    pub(crate) async fn gone(&self, limit: Duration) -> usize {
        let gone = async {
            loop {
                let mut empty = std::pin::pin!(self.shared.empty.notified());
                // From here on, no notification is missed.
                empty.as_mut().enable();
                if self.count() == 0 {
                    return;
                }
                empty.await;
            }
        };
        let _ = tokio::time::timeout(limit, gone).await;
        self.count()
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Ignore a poisoned lock: no code under it can leave the counts inconsistent.
        let counts = self.shared.counts.lock();
        counts.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// Makes the client's request visible to [`Clients::overview`].
    pub(crate) fn requested(&self, target: Target) {
        let mut counts = self.clients.counts();
        if let Some(connected) = counts.connected.get_mut(&self.number) {
            connected.target = target;
        }
    }

    /// Makes the queue of the client visible to [`Clients::overview`].
    pub(crate) fn subscribed(&self, subscription: &Subscription) {
        let mut counts = self.clients.counts();
        if let Some(connected) = counts.connected.get_mut(&self.number) {
            connected.queue = Some(subscription.observer());
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.transport.add_clients(-1.0);
        let mut counts = self.clients.counts();
        let connected = counts.connected.remove(&self.number);
        if let Some(count) = counts.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&self.address);
            }
        }
        if counts.connected.is_empty() {
            self.clients.shared.empty.notify_waiters();
        }
        // Logging and freeing a queue are not done under the lock.
        drop(counts);
        if let Some(connected) = connected {
            connected.log_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::Clients;
    use crate::limits::Limits;
    use crate::telemetry::Transport;

    #[test]
    fn places_are_limited_in_total_and_per_address_and_become_free() {
        let clients = Clients::default();
        let limits = Limits {
            clients: 3,
            clients_per_address: 2,
            ..Limits::default()
        };
        let [one, two] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let admit = |address| clients.admit(address, Transport::Sse, &limits);
        let first = admit(one).unwrap();
        let _second = admit(one).unwrap();
        let refused = |address| admit(address).unwrap_err().code();
        assert_eq!(refused(one), "too_many_clients");
        let third = admit(two).unwrap();
        assert_eq!(refused(two), "too_many_clients");
        assert_eq!(clients.count(), 3);
        drop((first, third));
        let _again = (admit(one).unwrap(), admit(two).unwrap());
        assert_eq!(clients.count(), 3);
    }

    #[test]
    fn addresses_without_clients_take_no_memory() {
        let clients = Clients::default();
        for last in 0..=255 {
            let address = Some(IpAddr::from([10, 0, 0, last]));
            let admitted = clients.admit(address, Transport::Sse, &Limits::default());
            drop(admitted.unwrap());
        }
        assert!(clients.counts().by_address.is_empty());
        assert!(clients.counts().connected.is_empty());
    }
}
