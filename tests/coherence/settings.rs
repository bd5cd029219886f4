//! The settings of checks.

use std::time::Duration;

use pgherald_testkit::coherence::{CoherenceCheck, CoherenceReport};

/// The number in an environment variable.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A check whose seed `PGHERALD_SEED` may set.
pub(crate) fn check() -> CoherenceCheck {
    let seed = number("PGHERALD_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("PGHERALD_SEED={seed}");
    CoherenceCheck::new().seed(seed)
}

/// A check that `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` may prolong.
pub(crate) fn prolonged(check: CoherenceCheck) -> CoherenceCheck {
    sized(check, 12)
}

/// Like [`prolonged`], with another number of faults unless `PGHERALD_FAULTS` sets it.
pub(crate) fn sized(check: CoherenceCheck, faults: u64) -> CoherenceCheck {
    check
        .faults(number("PGHERALD_FAULTS").unwrap_or(faults))
        .reads(number("PGHERALD_READS").unwrap_or(10_000))
        .duration(Duration::from_secs(number("PGHERALD_SECONDS").unwrap_or(0)))
}

/// Fails if a violation was found, or if the check did not exercise everything.
pub(crate) fn assert_coherent(report: &CoherenceReport) {
    println!("{report}");
    assert!(report.is_coherent(), "{report}");
    assert!(
        report.fault_count() > 0 && report.reads_not_live > 0,
        "{report}"
    );
    assert!(report.applied > 0 && report.flushes > 0, "{report}");
    let enough = report.fault_count() >= report.faults.len() as u64;
    let every = report.faults.iter().all(|(_, count)| *count > 0);
    assert!(every || !enough, "{report}");
}
