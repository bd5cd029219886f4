//! Bytes, addresses, UUIDs, decimals, dates and times as parts of keys. In events they are the text that PostgreSQL writes.

#![cfg_attr(
    not(any(feature = "chrono", feature = "jiff", feature = "time")),
    allow(dead_code, reason = "only some features need all of this")
)]

use std::net::IpAddr;

use super::{KeyColumn, KeyPart};

/// A day of the calendar. The year before 1 is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Day {
    year: i32,
    month: u8,
    day: u8,
}

/// A time of the day. PostgreSQL has microseconds, so smaller units are cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Clock {
    hour: u8,
    minute: u8,
    second: u8,
    micros: u32,
}

fn two_digits(text: &str) -> Option<u8> {
    let is_it = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_digit());
    is_it.then(|| text.parse().ok()).flatten()
}

impl Day {
    const BC: &'static str = " BC";

    fn is_bc(self) -> bool {
        self.year <= 0
    }

    fn parse(text: &str, is_bc: bool) -> Option<Self> {
        let mut parts = text.split('-');
        let year: i32 = parts.next()?.parse().ok()?;
        let (month, day) = (two_digits(parts.next()?)?, two_digits(parts.next()?)?);
        let year = if is_bc { 1 - year } else { year };
        parts.next().is_none().then_some(Self { year, month, day })
    }

    /// The text without the suffix ` BC`.
    fn text(self) -> String {
        let Self { year, month, day } = self;
        let year = if self.is_bc() { 1 - year } else { year };
        format!("{year:04}-{month:02}-{day:02}")
    }
}

impl Clock {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let mut parts = whole.split(':').map(two_digits);
        let mut part = || parts.next().flatten();
        let (hour, minute, second) = (part()?, part()?, part()?);
        let is_fraction =
            fraction.len() <= 6 && fraction.bytes().all(|digit| digit.is_ascii_digit());
        let micros = is_fraction.then(|| format!("{fraction:0<6}").parse().ok());
        let clock = Self {
            hour,
            minute,
            second,
            micros: micros.flatten()?,
        };
        parts.next().is_none().then_some(clock)
    }

    fn text(self) -> String {
        let Self {
            hour,
            minute,
            second,
            micros,
        } = self;
        let fraction = format!(".{micros:06}");
        let fraction = fraction.trim_end_matches(['0', '.']);
        format!("{hour:02}:{minute:02}:{second:02}{fraction}")
    }
}

fn text_of(part: &KeyPart) -> Option<&str> {
    match part {
        KeyPart::Text(text) => Some(text),
        KeyPart::Null | KeyPart::Bool(_) | KeyPart::Int(_) => None,
    }
}

/// The bytes that pairs of hexadecimal digits stand for.
pub(super) fn hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

fn part(text: String) -> KeyPart {
    KeyPart::Text(text.into())
}

fn era(text: &str) -> (&str, bool) {
    text.strip_suffix(Day::BC)
        .map_or((text, false), |text| (text, true))
}

fn date_part(day: Day) -> KeyPart {
    let era = if day.is_bc() { Day::BC } else { "" };
    part(day.text() + era)
}

fn part_date(key: &KeyPart) -> Option<Day> {
    let (text, is_bc) = era(text_of(key)?);
    Day::parse(text, is_bc)
}

fn time_part(clock: Clock) -> KeyPart {
    part(clock.text())
}

fn part_time(key: &KeyPart) -> Option<Clock> {
    Clock::parse(text_of(key)?)
}

/// `zone` is `+00` or empty.
fn moment_part(day: Day, clock: Clock, zone: &str) -> KeyPart {
    let era = if day.is_bc() { Day::BC } else { "" };
    part(format!("{} {}{zone}{era}", day.text(), clock.text()))
}

fn part_moment(key: &KeyPart, zone: &str) -> Option<(Day, Clock)> {
    let (text, is_bc) = era(text_of(key)?);
    let (day, clock) = text.strip_suffix(zone)?.split_once(' ')?;
    Some((Day::parse(day, is_bc)?, Clock::parse(clock)?))
}

/// The offset of all `timestamptz` values in events.
const UTC: &str = "+00";

/// For `bytea`.
impl KeyColumn for Vec<u8> {
    fn to_part(&self) -> KeyPart {
        let digits = self.iter().map(|byte| format!("{byte:02x}"));
        part(format!(r"\x{}", digits.collect::<String>()))
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        hex(text_of(part)?.strip_prefix(r"\x")?)
    }
}

/// For addresses of hosts. An address with a netmask is not a key.
impl KeyColumn for IpAddr {
    fn to_part(&self) -> KeyPart {
        part(self.to_string())
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        let text = text_of(part)?;
        // The `cidr` of a single host ends with its full length.
        let (host, length) = text
            .split_once('/')
            .map_or((text, None), |(host, length)| (host, Some(length)));
        let address: Self = host.parse().ok()?;
        let whole = if address.is_ipv4() { "32" } else { "128" };
        length
            .is_none_or(|length| length == whole)
            .then_some(address)
    }
}

/// For addresses and networks. A `cidr` of a single host equals the `inet` of the host.
#[cfg(feature = "ipnetwork")]
impl KeyColumn for ipnetwork::IpNetwork {
    fn to_part(&self) -> KeyPart {
        let whole = if self.is_ipv4() { 32 } else { 128 };
        match self.prefix() == whole {
            true => self.ip().to_part(),
            false => part(self.to_string()),
        }
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        text_of(part)?.parse().ok()
    }
}

/// Without trailing zeros, because they do not change the number. A value of more than 28 digits, `NaN` and infinity are not
/// keys.
#[cfg(feature = "rust_decimal")]
impl KeyColumn for rust_decimal::Decimal {
    fn to_part(&self) -> KeyPart {
        part(self.normalize().to_string())
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        // `from_str` would round.
        Self::from_str_exact(text_of(part)?).ok()
    }
}

#[cfg(feature = "uuid")]
impl KeyColumn for uuid::Uuid {
    fn to_part(&self) -> KeyPart {
        part(self.hyphenated().to_string())
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        text_of(part)?.parse().ok()
    }
}

/// Implements keys for the four types of a library. The conversion functions have the same names in each library's module.
#[cfg(any(feature = "chrono", feature = "jiff", feature = "time"))]
macro_rules! keys {
    ($date:ty, $time:ty, $local:ty, $moment:ty) => {
        impl KeyColumn for $date {
            fn to_part(&self) -> KeyPart {
                date_part(day_of(*self))
            }

            fn from_part(part: &KeyPart) -> Option<Self> {
                date_of(part_date(part)?)
            }
        }

        impl KeyColumn for $time {
            fn to_part(&self) -> KeyPart {
                time_part(clock_of(*self))
            }

            fn from_part(part: &KeyPart) -> Option<Self> {
                time_of(part_time(part)?)
            }
        }

        impl KeyColumn for $local {
            fn to_part(&self) -> KeyPart {
                moment_part(day_of(self.date()), clock_of(self.time()), "")
            }

            fn from_part(part: &KeyPart) -> Option<Self> {
                let (day, clock) = part_moment(part, "")?;
                Some(local_of(date_of(day)?, time_of(clock)?))
            }
        }

        impl KeyColumn for $moment {
            fn to_part(&self) -> KeyPart {
                let local = to_utc(*self);
                moment_part(day_of(local.date()), clock_of(local.time()), UTC)
            }

            fn from_part(part: &KeyPart) -> Option<Self> {
                let (day, clock) = part_moment(part, UTC)?;
                from_utc(local_of(date_of(day)?, time_of(clock)?))
            }
        }
    };
}

#[cfg(feature = "chrono")]
mod with_chrono {
    use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc as Zone};

    use super::{
        Clock, Day, KeyColumn, KeyPart, UTC, date_part, moment_part, part_date, part_moment,
        part_time, time_part,
    };

    fn day_of(date: NaiveDate) -> Day {
        Day {
            year: date.year(),
            month: small(date.month()),
            day: small(date.day()),
        }
    }

    fn date_of(Day { year, month, day }: Day) -> Option<NaiveDate> {
        NaiveDate::from_ymd_opt(year, month.into(), day.into())
    }

    fn clock_of(time: NaiveTime) -> Clock {
        Clock {
            hour: small(time.hour()),
            minute: small(time.minute()),
            second: small(time.second()),
            // During a leap second, the library counts more than one second.
            micros: (time.nanosecond() / 1_000).min(999_999),
        }
    }

    fn time_of(clock: Clock) -> Option<NaiveTime> {
        let Clock {
            hour,
            minute,
            second,
            micros,
        } = clock;
        NaiveTime::from_hms_micro_opt(hour.into(), minute.into(), second.into(), micros)
    }

    fn local_of(date: NaiveDate, time: NaiveTime) -> NaiveDateTime {
        NaiveDateTime::new(date, time)
    }

    fn to_utc(moment: DateTime<Zone>) -> NaiveDateTime {
        moment.naive_utc()
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "other libraries have a smaller range"
    )]
    fn from_utc(local: NaiveDateTime) -> Option<DateTime<Zone>> {
        Some(local.and_utc())
    }

    /// Converts a number below 60.
    fn small(number: u32) -> u8 {
        u8::try_from(number).unwrap_or_default()
    }

    keys!(NaiveDate, NaiveTime, NaiveDateTime, DateTime<Zone>);
}

#[cfg(feature = "jiff")]
mod with_jiff {
    use jiff::Timestamp;
    use jiff::civil::{Date, DateTime, Time};
    use jiff::tz::Offset;

    use super::{
        Clock, Day, KeyColumn, KeyPart, UTC, date_part, moment_part, part_date, part_moment,
        part_time, time_part,
    };

    fn day_of(date: Date) -> Day {
        Day {
            year: date.year().into(),
            month: date.month().unsigned_abs(),
            day: date.day().unsigned_abs(),
        }
    }

    fn date_of(Day { year, month, day }: Day) -> Option<Date> {
        let (year, month, day) = (
            year.try_into().ok()?,
            month.try_into().ok()?,
            day.try_into().ok()?,
        );
        Date::new(year, month, day).ok()
    }

    fn clock_of(time: Time) -> Clock {
        Clock {
            hour: time.hour().unsigned_abs(),
            minute: time.minute().unsigned_abs(),
            second: time.second().unsigned_abs(),
            micros: time.subsec_nanosecond().unsigned_abs() / 1_000,
        }
    }

    fn time_of(clock: Clock) -> Option<Time> {
        let small = |number: u8| i8::try_from(number).ok();
        let nanos = i32::try_from(clock.micros * 1_000).ok()?;
        Time::new(
            small(clock.hour)?,
            small(clock.minute)?,
            small(clock.second)?,
            nanos,
        )
        .ok()
    }

    fn local_of(date: Date, time: Time) -> DateTime {
        DateTime::from_parts(date, time)
    }

    fn to_utc(moment: Timestamp) -> DateTime {
        Offset::UTC.to_datetime(moment)
    }

    fn from_utc(local: DateTime) -> Option<Timestamp> {
        Offset::UTC.to_timestamp(local).ok()
    }

    keys!(Date, Time, DateTime, Timestamp);
}

#[cfg(feature = "time")]
mod with_time {
    use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

    use super::{
        Clock, Day, KeyColumn, KeyPart, UTC, date_part, moment_part, part_date, part_moment,
        part_time, time_part,
    };

    fn day_of(date: Date) -> Day {
        Day {
            year: date.year(),
            month: date.month().into(),
            day: date.day(),
        }
    }

    fn date_of(Day { year, month, day }: Day) -> Option<Date> {
        Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()
    }

    fn clock_of(time: Time) -> Clock {
        let (hour, minute, second, micros) = time.as_hms_micro();
        Clock {
            hour,
            minute,
            second,
            micros,
        }
    }

    fn time_of(clock: Clock) -> Option<Time> {
        Time::from_hms_micro(clock.hour, clock.minute, clock.second, clock.micros).ok()
    }

    fn local_of(date: Date, time: Time) -> PrimitiveDateTime {
        PrimitiveDateTime::new(date, time)
    }

    fn to_utc(moment: OffsetDateTime) -> PrimitiveDateTime {
        let utc = moment.to_offset(UtcOffset::UTC);
        PrimitiveDateTime::new(utc.date(), utc.time())
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "other libraries have a smaller range"
    )]
    fn from_utc(local: PrimitiveDateTime) -> Option<OffsetDateTime> {
        Some(local.assume_utc())
    }

    keys!(Date, Time, PrimitiveDateTime, OffsetDateTime);
}
