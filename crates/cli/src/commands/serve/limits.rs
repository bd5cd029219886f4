//! The limits of the operating system.

/// Open files beside the connections of clients.
const OTHERS: u64 = 256;

/// Raises the limit of open files for this number of clients, as far as the system permits. Logs a warning if that is not enough.
#[cfg(unix)]
pub(super) fn allow_open_files(clients: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let needed = u64::try_from(clients)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if is_enough(limit.current) {
        return;
    }
    let current = Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed)));
    let raised = Rlimit { current, ..limit };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    if !is_raised || !is_enough(current) {
        tracing::warn!(
            needed,
            limit = if is_raised { current } else { limit.current },
            "the limit of open files is too low for all clients: raise it (ulimit -n, LimitNOFILE=), or lower --clients"
        );
    }
}

#[cfg(not(unix))]
pub(super) fn allow_open_files(_: usize) {}
