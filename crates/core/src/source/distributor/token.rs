//! The token that a distributor requires.

use std::fmt;

use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::address::Address;
use crate::connect::Provider;
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone)]
pub(super) enum Token {
    None,
    Fixed(String),
    /// Asked for each connection.
    Provider(Provider),
}

impl Token {
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Checks a token that does not change.
    pub(super) fn check(&self) -> Result<()> {
        match self {
            Self::Fixed(token) => header(token).map(drop),
            Self::None | Self::Provider(_) => Ok(()),
        }
    }

    /// Returns the value of the header `Authorization` for one connection.
    ///
    /// # Errors
    /// Of kind [`ErrorKind::Authentication`] if the provider fails.
    pub(super) async fn authorization(&self, to: &Address) -> Result<Option<HeaderValue>> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(token) => header(token).map(Some),
            Self::Provider(provider) => {
                let failed = |cause| {
                    let message = format!("no token for the distributor at {to}");
                    Error::with_source(ErrorKind::Authentication, message, cause)
                };
                header(&provider().await.map_err(failed)?).map(Some)
            }
        }
    }
}

fn header(token: &str) -> Result<HeaderValue> {
    let is_visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = is_visible.then(|| HeaderValue::from_str(&format!("Bearer {token}")));
    let Some(Ok(mut value)) = value else {
        // Without the token.
        let message = "the token is empty, or has characters other than visible ASCII characters";
        return Err(Error::new(ErrorKind::Config, message));
    };
    // It is not printed.
    value.set_sensitive(true);
    Ok(value)
}

/// Never prints the token.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no token",
            Self::Fixed(_) => "a token",
            Self::Provider(_) => "a token provider",
        })
    }
}
