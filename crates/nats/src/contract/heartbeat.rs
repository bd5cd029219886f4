//! The heartbeats of relays.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A heartbeat of a slice. The relay that owns the slice sends one at each interval, once a second by default.
///
/// A reader that has read the stream up to the sequences of recent heartbeats of all slices misses no change that is older than
/// their lag. If two relays send heartbeats of one slice, the one with the greater epoch counts, and the lag of the other one
/// grows. As JSON:
///
/// ```
/// use pgherald_nats::contract::Heartbeat;
///
/// let json = r#"{"type":"heartbeat","version":1,"group":"fleet","slice":3,"slices":32,"epoch":1767600000000000,
///     "history":"a1,b2","incarnation":"1767600000000000000","sequence":4711,"lag_ms":12,"interval_ms":1000,
///     "relay":"4f","sent_ms":86400000}"#;
/// let heartbeat = Heartbeat::parse(json.as_bytes())?;
/// assert_eq!((heartbeat.slice, heartbeat.sequence, heartbeat.lag().as_millis()), (3, 4711, 12));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Heartbeat {
    #[serde(rename = "type")]
    kind: Kind,
    /// The version of the contract: 1.
    pub version: u32,
    /// The relay's group. Each prefix is for one group: if heartbeats of another group arrive, events may be missing.
    pub group: Box<str>,
    /// The slice.
    pub slice: u16,
    /// The number of slices of the relay's group. Their numbers begin with 0.
    pub slices: u16,
    /// The epoch of the slice. Each claim of the slice by a relay raises it.
    pub epoch: i64,
    /// Identifies the history of the database. It changes when visible changes may have been lost: after a crash, after a
    /// promotion, and after a restore from a dump or a base backup. A reader that keeps state then reads the tables again. It does
    /// not change if a data directory is restored that was copied while the server was stopped.
    pub history: Box<str>,
    /// Identifies the stream that `sequence` belongs to: when the stream was created, in nanoseconds since 1970. A stream that was
    /// deleted and created again has another value.
    pub incarnation: Box<str>,
    /// The sequence of the last message that the relay knows to be stored in the slice; 0 if there is none.
    pub sequence: u64,
    /// The lag at the time of the heartbeat, in milliseconds: every change that was committed before that is stored, at `sequence`
    /// or before it. `u64::MAX` if the lag is unknown, because another group stores messages of the slice.
    pub lag_ms: u64,
    /// The time between two heartbeats, in milliseconds.
    pub interval_ms: u64,
    /// Identifies the relay that sends the heartbeat. A relay that was started again has another value.
    pub relay: Box<str>,
    /// Milliseconds since the relay was started, by a monotonic clock. A reader compares this time with its own monotonic clock, to
    /// detect that a heartbeat was delayed.
    pub sent_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Heartbeat,
}

impl Heartbeat {
    /// The version of the contract.
    pub const VERSION: u32 = 1;

    /// Makes the heartbeat of a slice.
    #[must_use]
    pub fn new(
        (group, history): (&str, &str),
        (slice, slices): (u16, u16),
        epoch: i64,
        (incarnation, sequence): (&str, u64),
        lag: Duration,
        interval: Duration,
        (relay, sent): (&str, Duration),
    ) -> Self {
        Self {
            kind: Kind::Heartbeat,
            version: Self::VERSION,
            group: group.into(),
            slice,
            slices,
            epoch,
            history: history.into(),
            incarnation: incarnation.into(),
            sequence,
            lag_ms: millis(lag),
            interval_ms: millis(interval),
            relay: relay.into(),
            sent_ms: millis(sent),
        }
    }

    /// Parses a heartbeat.
    ///
    /// # Errors
    /// If the payload is not a heartbeat, or has another version of the contract.
    pub fn parse(payload: &[u8]) -> serde_json::Result<Self> {
        let heartbeat: Self = serde_json::from_slice(payload)?;
        match heartbeat.version {
            Self::VERSION => Ok(heartbeat),
            version => Err(serde::de::Error::custom(format!(
                "the heartbeat has version {version}, and this program reads version {}",
                Self::VERSION
            ))),
        }
    }

    /// Returns the heartbeat as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Serialization of this type does not fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the lag at the time of the heartbeat.
    #[must_use]
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms)
    }

    /// Returns how long the relay had been running when it sent the heartbeat.
    #[must_use]
    pub fn sent(&self) -> Duration {
        Duration::from_millis(self.sent_ms)
    }

    /// Returns the time between two heartbeats.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Heartbeat;

    #[test]
    fn heartbeats_round_trip_as_json_and_other_payloads_are_errors() {
        let (lag, interval) = (Duration::from_millis(40), Duration::from_secs(1));
        let heartbeat = Heartbeat::new(
            ("fleet", "a1,b2"),
            (2, 32),
            77,
            ("1767", 4_711),
            lag,
            interval,
            ("4f", interval),
        );
        let json = heartbeat.to_json();
        assert!(
            json.starts_with(r#"{"type":"heartbeat","version":1,"#),
            "{json}"
        );
        assert_eq!(Heartbeat::parse(json.as_bytes()).unwrap(), heartbeat);
        let newer = json.replacen('}', r#","more":[1]}"#, 1);
        assert_eq!(Heartbeat::parse(newer.as_bytes()).unwrap(), heartbeat);
        for other in [
            "",
            "{}",
            &json.replace("heartbeat", "news"),
            &json.replace(r#""version":1"#, r#""version":2"#),
            &json.replace("4711", "-1"),
            &json.replace(r#""incarnation":"1767","#, ""),
        ] {
            assert!(Heartbeat::parse(other.as_bytes()).is_err(), "{other}");
        }
    }
}
