//! Random secrets, and the digests by which they are found.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a secret.
///
/// Secrets are looked up by their digest in hash maps, whose comparisons take a time that depends on the digests. That shows nothing
/// about the secret: a client that learned how many bytes of a stored digest it has matched would have to find a secret whose digest
/// has these bytes and more, so each further byte costs 256 times the trials of the one before. The secret itself is never compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// Writes 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The digest of a short secret is as good as the secret, so it is not printed.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// Returns a random secret with 256 bits, as characters that need no escape in headers, queries and shells.
///
/// # Errors
/// If the operating system has no random numbers.
pub(crate) fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Digest, random};

    #[test]
    fn digests_are_those_of_sha256sum() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let digest = Digest::of("abc");
        assert_eq!(digest.to_string(), hex);
        assert_eq!(Digest::from_hex(&hex.to_uppercase()), Some(digest));
        for text in ["", &hex[1..], &format!("{}+1", &hex[2..]), &"ü".repeat(32)] {
            assert_eq!(Digest::from_hex(text), None, "{text}");
        }
        assert_eq!(format!("{digest:?}"), "Digest");
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
    }
}
