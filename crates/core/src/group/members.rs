//! The consumers that share connections, and their notifications.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

/// The first word of a notification that makes the nodes of a group tick. The name of the group follows. Other notifications on
/// the channel wake up readers of the outbox.
pub(super) const CONTROL: &str = "control";

/// The consumers that hold a link.
#[derive(Debug, Default)]
pub(super) struct Members {
    members: Mutex<Vec<Weak<Member>>>,
    wake_ups: AtomicU64,
}

/// What a consumer is notified of.
#[derive(Debug)]
pub(super) struct Member {
    group: Arc<str>,
    lease: Duration,
    /// A writer says that the outbox has new rows.
    pub(super) recorded: Notify,
    /// Another consumer has read new rows.
    pub(super) found: Notify,
    /// The state of the group has changed.
    pub(super) control: Notify,
}

impl Members {
    pub(super) fn join(&self, group: Arc<str>, lease: Duration) -> Arc<Member> {
        let member = Arc::new(Member {
            group,
            lease,
            recorded: Notify::new(),
            found: Notify::new(),
            control: Notify::new(),
        });
        let mut members = self.lock();
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(&member));
        member
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the consumers that exist now.
    fn all(&self) -> Vec<Arc<Member>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn shortest_lease(&self) -> Option<Duration> {
        self.all().iter().map(|member| member.lease).min()
    }

    pub(super) fn are_several(&self) -> bool {
        let members = self.lock();
        members
            .iter()
            .filter(|one| one.strong_count() > 0)
            .nth(1)
            .is_some()
    }

    /// The number of wake-ups so far.
    pub(super) fn wake_ups(&self) -> u64 {
        self.wake_ups.load(Ordering::Acquire)
    }

    /// Notifies the other consumers that `finder` has read new rows.
    pub(super) fn found(&self, finder: &Arc<Member>) {
        let others = self.all().into_iter();
        let others = others.filter(|member| !Arc::ptr_eq(member, finder));
        others.for_each(|member| member.found.notify_one());
    }

    pub(super) fn notified(&self, payload: &str) {
        match payload.split_once(' ') {
            None => {
                self.wake_ups.fetch_add(1, Ordering::AcqRel);
                let all = self.all().into_iter();
                all.for_each(|member| member.recorded.notify_one());
            }
            Some((CONTROL, group)) => {
                let of_group = self.all().into_iter();
                let of_group = of_group.filter(|member| *member.group == *group);
                of_group.for_each(|member| member.control.notify_one());
            }
            Some(_) => {}
        }
    }
}
