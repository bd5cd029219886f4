//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::key_types::hex;
use super::{KeyColumn, KeyPart};
use crate::error::{Error, ErrorKind};

/// The value of a `macaddr` or `macaddr8` column, as a key.
///
/// It reads the notations that PostgreSQL reads: with colons, hyphens or dots, or without, in upper or lower case. As in
/// PostgreSQL, an address of six bytes is equal to that of eight bytes with `ff:fe` in the middle.
///
/// ```
/// use pgherald_core::MacAddress;
///
/// # fn main() -> pgherald_core::Result<()> {
/// let address: MacAddress = "08-00-2B-01-02-03".parse()?;
/// assert_eq!(address, MacAddress::from([0x08, 0x00, 0x2b, 0x01, 0x02, 0x03]));
/// assert_eq!(address, "08:00:2b:ff:fe:01:02:03".parse()?);
/// assert_eq!(address.to_string(), "08:00:2b:01:02:03");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 8]);

/// The bytes in the middle of an address that was made from one of six bytes.
const MIDDLE: [u8; 2] = [0xff, 0xfe];

impl From<[u8; 6]> for MacAddress {
    fn from([a, b, c, d, e, f]: [u8; 6]) -> Self {
        let [g, h] = MIDDLE;
        Self([a, b, c, g, h, d, e, f])
    }
}

impl From<[u8; 8]> for MacAddress {
    fn from(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

/// Fails if the text is not an address.
impl FromStr for MacAddress {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        read(text).ok_or_else(|| {
            let message = format!("{text:?} is not a MAC address; write it like 08:00:2b:01:02:03");
            Error::new(ErrorKind::Decode, message)
        })
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

fn read(text: &str) -> Option<MacAddress> {
    let groups: Vec<&str> = text.trim().split([':', '-', '.']).collect();
    // A byte of its own may be written with one digit.
    let digits: String = match groups.len() {
        6 => groups.iter().map(|group| format!("{group:0>2}")).collect(),
        _ => groups.concat(),
    };
    let bytes = hex(&digits)?;
    match bytes.len() {
        6 => <[u8; 6]>::try_from(bytes).ok().map(MacAddress::from),
        8 => <[u8; 8]>::try_from(bytes).ok().map(MacAddress::from),
        _ => None,
    }
}

/// With colons, in lower case; six bytes if the address can be written with six.
impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_long = self.0[3..5] != MIDDLE;
        let bytes = self.0.iter().enumerate();
        let bytes = bytes.filter(|(at, _)| is_long || !(3..5).contains(at));
        for (number, (_, byte)) in bytes.enumerate() {
            let colon = if number > 0 { ":" } else { "" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl KeyColumn for MacAddress {
    fn to_part(&self) -> KeyPart {
        KeyPart::Text(self.to_string().into())
    }

    fn from_part(part: &KeyPart) -> Option<Self> {
        match part {
            KeyPart::Text(text) => read(text),
            KeyPart::Null | KeyPart::Bool(_) | KeyPart::Int(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MacAddress;

    #[test]
    fn all_notations_of_an_address_are_one() {
        let expected = MacAddress::from([0x08, 0x00, 0x2b, 0x01, 0x02, 0x03]);
        for text in [
            "08:00:2b:01:02:03",
            "8:0:2b:1:2:3",
            "08-00-2B-01-02-03",
            "08002b:010203",
            "08002b-010203",
            "0800.2b01.0203",
            "0800-2b01-0203",
            "08002b010203",
            "08:00:2b:ff:fe:01:02:03",
            " 08002bfffe010203 ",
        ] {
            assert_eq!(text.parse::<MacAddress>().unwrap(), expected, "{text}");
        }
        let long: MacAddress = "08:00:2b:01:02:03:04:05".parse().unwrap();
        assert_eq!(long.to_string(), "08:00:2b:01:02:03:04:05");
        for text in [
            "",
            "08",
            "08:00:2b:01:02",
            "08:00:2b:01:02:0g",
            "é8002b010203",
            "+8:0:2b:1:2:3",
        ] {
            assert!(text.parse::<MacAddress>().is_err(), "{text}");
        }
    }
}
