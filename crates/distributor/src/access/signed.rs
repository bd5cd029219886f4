//! Signed tokens: JSON Web Tokens whose claims are the rights.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use jsonwebtoken::crypto::{CryptoProvider, rust_crypto};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use pgherald_core::__private::host::errors;
use pgherald_core::Result;
use serde::Deserialize;

use super::grant::Grant;
use super::rights::Rights;
use super::validity::Validity;
use crate::refusal::{BAD_SIGNATURE, Refusal};

/// The audience of tokens. A token without an audience is accepted, one for other audiences only is not.
const AUDIENCE: &str = "pgherald";

/// How far the clocks of the issuer and this server may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// The shortest secret, in bytes. A shorter one could be found by trying.
const SHORTEST_SECRET: usize = 32;

/// A key that signs tokens. Its kind decides the only algorithm that is accepted, so the header of a token cannot choose.
#[derive(Clone)]
pub(crate) struct Key {
    key: DecodingKey,
    validation: Validation,
}

/// The key may be a secret, so it is not printed.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithms = &self.validation.algorithms;
        f.debug_struct("Key")
            .field("algorithms", algorithms)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<String>,
    exp: f64,
    pgherald: Rights,
}

impl Key {
    /// Reads a key: a public key for EdDSA in PEM, or a secret for HS256.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        // Another part of the program may have chosen a provider; this does nothing then. Without one, decoding panics.
        if CryptoProvider::try_get_default().is_none() {
            let _ = rust_crypto::DEFAULT_PROVIDER.install_default();
        }
        let shown = path.display();
        let content = std::fs::read(path).map_err(|cause| {
            errors::bad_access_because(format!("cannot read the key in {shown}"), cause)
        })?;
        Self::new(&content).map_err(|problem| {
            errors::bad_access(format!("cannot use the key in {shown}: {problem}"))
        })
    }

    fn new(content: &[u8]) -> std::result::Result<Self, String> {
        let content = content.trim_ascii();
        let (algorithm, key) = if content.starts_with(b"-----BEGIN PUBLIC KEY-----") {
            (Algorithm::EdDSA, DecodingKey::from_ed_pem(content))
        } else if content.starts_with(b"-----BEGIN") {
            return Err(
                "the distributor needs the public key only; write it with openssl pkey -in KEY -pubout"
                    .to_owned(),
            );
        } else if content.len() < SHORTEST_SECRET {
            return Err(format!(
                "a secret needs {SHORTEST_SECRET} bytes, it has {}; make one with openssl rand -hex 32",
                content.len()
            ));
        } else {
            (Algorithm::HS256, DecodingKey::from_secret(content))
        };
        let key = key.map_err(|error| {
            format!("{error}; keys are Ed25519 public keys in PEM, or secrets for HS256")
        })?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_audience(&[AUDIENCE]);
        Ok(Self { key, validation })
    }

    /// Returns the grant of a token.
    pub(crate) fn grant(&self, token: &str) -> std::result::Result<Grant, Refusal> {
        let decoded = decode::<Claims>(token, &self.key, &self.validation);
        let claims = decoded.map_err(|error| refusal(error.kind()))?.claims;
        let exp = Duration::try_from_secs_f64(claims.exp).ok();
        let exp = exp.and_then(|exp| SystemTime::UNIX_EPOCH.checked_add(exp + LEEWAY));
        let exp = exp.ok_or_else(|| Refusal::bad_token("the claim exp is not a time"))?;
        let name = claims.sub.as_deref().unwrap_or("signed");
        let grant = Grant::new(name, &claims.pgherald);
        let grant = grant.map_err(|error| Refusal::bad_token(&error.chain()))?;
        Ok(grant.with_validity(Validity::default().until(exp)))
    }
}

/// Tries each key. A key that has signed the token decides.
pub(crate) fn grant(keys: &[Key], token: &str) -> std::result::Result<Grant, Refusal> {
    let mut decided = keys.iter().map(|key| key.grant(token)).filter(|grant| {
        let unsigned = |refusal: &Refusal| refusal.code() == BAD_SIGNATURE;
        !grant.as_ref().is_err_and(unsigned)
    });
    decided
        .next()
        .unwrap_or_else(|| Err(Refusal::bad_signature()))
}

/// Describes why a token is refused, without its content.
fn refusal(kind: &ErrorKind) -> Refusal {
    match kind {
        ErrorKind::ExpiredSignature => Refusal::expired(),
        ErrorKind::ImmatureSignature => {
            Refusal::bad_token("the token is not valid yet; the claim nbf is in the future")
        }
        ErrorKind::MissingRequiredClaim(claim) => {
            Refusal::bad_token(&format!("the token lacks the claim {claim}"))
        }
        ErrorKind::InvalidAudience => Refusal::bad_token(
            "the token is for another audience; its claim aud must be absent or contain \"pgherald\"",
        ),
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Refusal::bad_signature(),
        ErrorKind::Json(cause) if cause.is_data() => Refusal::bad_token(&format!(
            "the header or the claims of the token are not usable: {cause}; the claim pgherald has the rights"
        )),
        _ => Refusal::bad_token("the token is malformed"),
    }
}
