//! Tickets: short-lived credentials for clients that cannot send headers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::grant::Grant;
use super::secret::{Digest, random};
use crate::refusal::Refusal;

/// How long a ticket is valid.
pub(crate) const LIFETIME: Duration = Duration::from_secs(30);

/// The share of all tickets that clients with one name may have, so that one client leaves room for others.
const SHARE: usize = 16;

/// The tickets that were not used yet.
#[derive(Debug)]
pub(crate) struct Tickets {
    limit: usize,
    issued: Mutex<HashMap<Digest, Ticket>>,
}

#[derive(Debug)]
struct Ticket {
    grant: Grant,
    expires: Instant,
}

impl Tickets {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            issued: Mutex::default(),
        }
    }

    /// Makes a ticket for the rights of `grant`.
    pub(crate) fn issue(&self, grant: &Grant, now: Instant) -> Result<String, Refusal> {
        let secret = random().map_err(|_| Refusal::no_random_numbers())?;
        let mut issued = self.issued();
        let of_name = |ticket: &&Ticket| ticket.grant.name() == grant.name();
        if issued.len() >= self.limit || issued.values().filter(of_name).count() >= self.share() {
            issued.retain(|_, ticket| ticket.expires > now);
        }
        if issued.len() >= self.limit || issued.values().filter(of_name).count() >= self.share() {
            return Err(Refusal::too_many_tickets(LIFETIME));
        }
        let ticket = Ticket {
            grant: grant.clone(),
            expires: now + LIFETIME,
        };
        issued.insert(Digest::of(&secret), ticket);
        Ok(secret)
    }

    /// Uses up a ticket.
    pub(crate) fn redeem(&self, secret: &str, now: Instant) -> Result<Grant, Refusal> {
        let ticket = self.issued().remove(&Digest::of(secret));
        match ticket {
            Some(ticket) if ticket.expires > now => Ok(ticket.grant),
            _ => Err(Refusal::bad_ticket()),
        }
    }

    fn share(&self) -> usize {
        self.limit.div_ceil(SHARE)
    }

    fn issued(&self) -> MutexGuard<'_, HashMap<Digest, Ticket>> {
        // Ignore a poisoned lock: each change under it is complete.
        let issued = self.issued.lock();
        issued.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{LIFETIME, Tickets};
    use crate::access::{Grant, Rights};

    fn grant(name: &str) -> Grant {
        Grant::new(name, &Rights::everything()).unwrap()
    }

    #[test]
    fn a_ticket_is_valid_once_and_for_a_short_time() {
        let (tickets, now) = (Tickets::new(16), Instant::now());
        let secret = tickets.issue(&grant("a"), now).unwrap();
        assert_eq!(tickets.redeem(&secret, now).unwrap().name(), "a");
        let code = |secret: &str, now| tickets.redeem(secret, now).unwrap_err().code();
        assert_eq!(code(&secret, now), "bad_ticket");
        assert_eq!(code("", now), "bad_ticket");
        let secret = tickets.issue(&grant("a"), now).unwrap();
        assert_eq!(code(&secret, now + LIFETIME), "bad_ticket");
    }

    #[test]
    fn one_client_leaves_room_for_the_tickets_of_others() {
        let (tickets, now) = (Tickets::new(32), Instant::now());
        for _ in 0..2 {
            tickets.issue(&grant("a"), now).unwrap();
        }
        let refused = |name| tickets.issue(&grant(name), now).unwrap_err().code();
        assert_eq!(refused("a"), "too_many_tickets");
        for other in 0..30 {
            tickets.issue(&grant(&other.to_string()), now).unwrap();
        }
        assert_eq!(refused("b"), "too_many_tickets");
        // Those that have expired make room.
        tickets.issue(&grant("a"), now + LIFETIME).unwrap();
        assert_eq!(tickets.issued().len(), 1);
    }
}
