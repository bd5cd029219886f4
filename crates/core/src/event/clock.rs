//! Parses the times at which payloads were sent.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

/// Caches the last second that was parsed. Under load many payloads share it, and parsing a date is the most expensive part
/// of decoding a payload.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The date and time up to the second, such as `2026-11-22T10:45:33`.
    second: String,
    zone: String,
    start: Option<SystemTime>,
}

impl Clock {
    const SECOND: usize = "2026-11-22T10:45:33".len();
    const FRACTION: usize = ".123456".len();

    /// Parses an RFC 3339 time with zone.
    pub(super) fn read(
        &mut self,
        text: &str,
    ) -> Result<SystemTime, Box<dyn StdError + Send + Sync>> {
        // The library accepts more than RFC 3339, and its arithmetic overflows at its own limit, the year -9999.
        if !Self::has_four_digit_year(text) {
            return Err("sent_at is not a time as in RFC 3339".into());
        }
        let Some((second, micros, zone)) = Self::split(text) else {
            return Ok(text.parse::<jiff::Timestamp>()?.into());
        };
        if self.second != second || self.zone != zone || self.start.is_none() {
            let start: jiff::Timestamp = format!("{second}{zone}").parse()?;
            self.second.replace_range(.., second);
            self.zone.replace_range(.., zone);
            self.start = Some(start.into());
        }
        let start = self.start.unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(start + Duration::from_micros(micros))
    }

    fn has_four_digit_year(text: &str) -> bool {
        let (year, rest) = text.as_bytes().split_at_checked(4).unwrap_or_default();
        year.iter().all(u8::is_ascii_digit) && rest.first() == Some(&b'-')
    }

    /// Splits a time with a fraction of six digits, as PostgreSQL writes it, into second, microseconds and zone.
    fn split(text: &str) -> Option<(&str, u64, &str)> {
        let (second, rest) = text.split_at_checked(Self::SECOND)?;
        let (fraction, zone) = rest.split_at_checked(Self::FRACTION)?;
        let digits = fraction.strip_prefix('.')?;
        let micros = digits.bytes().try_fold(0, |micros, digit| {
            digit
                .is_ascii_digit()
                .then(|| micros * 10 + u64::from(digit - b'0'))
        })?;
        // A seventh digit would belong to the fraction.
        (!zone.starts_with(|c: char| c.is_ascii_digit())).then_some((second, micros, zone))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::Clock;

    #[test]
    fn cached_seconds_do_not_change_parsed_times() {
        let mut clock = Clock::default();
        for text in [
            "2026-01-02T03:04:05.678901+00:00",
            "2026-01-02T03:04:05.000001+00:00",
            "2026-01-02T03:04:05.000001+05:30",
            "2026-01-02T03:04:05.999999Z",
            "2026-01-02T03:04:06.999999+00:00",
            "2026-01-02T03:04:06.9999991+00:00",
            "2026-01-02T03:04:06+00:00",
            "1969-12-31T23:59:59.500000Z",
        ] {
            let parsed: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(
                clock.read(text).unwrap(),
                SystemTime::from(parsed),
                "{text}"
            );
        }
        for text in [
            "",
            "2026-01-02T03:04:05.678901",
            "2026-01-02T03:04:05.67890x+00:00",
            "ü",
        ] {
            assert!(clock.read(text).is_err(), "{text}");
        }
    }
}
