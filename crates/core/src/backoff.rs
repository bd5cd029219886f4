//! Delays between attempts.

use std::time::Duration;

/// Capped exponential backoff with full jitter.
///
/// The delay before attempt `n` (counted from 0) is drawn evenly from zero to `min(cap, base · 2ⁿ)`. Full jitter spreads
/// clients that lost the same server at the same moment; see Marc Brooker, "Exponential Backoff and Jitter", AWS Architecture
/// Blog, 2015. Each user of a `Backoff` sets its own limits.
///
/// ```
/// use std::time::Duration;
/// use pgherald_core::Backoff;
///
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// assert_eq!(backoff.ceiling(3), Duration::from_millis(800));
/// assert!(backoff.delay(60) <= Duration::from_secs(10));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Makes a backoff that starts at `base` and never exceeds `cap`.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the longest delay before attempt `attempt`.
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let factor = 2_u32.saturating_pow(attempt);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Returns a random delay before attempt `attempt`.
    #[must_use]
    pub fn delay(&self, attempt: u32) -> Duration {
        self.ceiling(attempt).mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn delays_double_up_to_the_cap_and_never_overflow() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let ceilings: Vec<u128> = [0, 1, 2, 8, 9, 40, u32::MAX]
            .map(|n| backoff.ceiling(n).as_millis())
            .to_vec();
        assert_eq!(ceilings, [100, 200, 400, 25_600, 30_000, 30_000, 30_000]);
    }

    #[test]
    fn jitter_uses_the_whole_range() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let delays: Vec<Duration> = (0..1_000).map(|_| backoff.delay(0)).collect();
        assert!(
            delays
                .iter()
                .any(|delay| *delay < Duration::from_millis(100))
        );
        assert!(
            delays
                .iter()
                .any(|delay| *delay > Duration::from_millis(900))
        );
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(1)));
    }
}
