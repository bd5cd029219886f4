//! The source of a connection's password. The password is looked up for each connection, because passwords change and tokens
//! expire while programs run.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::Config;

use super::passfile;

type Cause = Box<dyn StdError + Send + Sync>;
type Provided = Pin<Box<dyn Future<Output = Result<String, Cause>> + Send>>;

/// A function of the program that returns a secret for one connection.
pub(crate) type Provider = Arc<dyn Fn() -> Provided + Send + Sync>;

pub(crate) fn provided<P, F, E>(provider: P) -> Provider
where
    P: Fn() -> F + Send + Sync + 'static,
    F: Future<Output = Result<String, E>> + Send + 'static,
    E: Into<Cause>,
{
    Arc::new(move || {
        let secret = provider();
        Box::pin(async move { secret.await.map_err(Into::into) })
    })
}

#[derive(Clone)]
pub(super) enum Password {
    None,
    /// From the connection string or `PGPASSWORD`.
    Fixed(Vec<u8>),
    /// In the password file, if it has a line for the host.
    File(PathBuf),
    /// From a password provider.
    Provider(Provider),
}

impl Password {
    /// Chooses the password in `config`, or the password file if `config` has none.
    pub(super) fn find(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Self {
        match (config.get_password(), passfile::path(env)) {
            (Some(password), _) => Self::Fixed(password.to_owned()),
            (None, Some(path)) => Self::File(path),
            (None, None) => Self::None,
        }
    }

    /// Looks up the password for one connection. `name` is the host's name in the password file.
    pub(super) async fn look_up(
        &self,
        name: &str,
        port: u16,
        config: &Config,
    ) -> Result<Option<Vec<u8>>, Cause> {
        Ok(match self {
            Self::None => None,
            Self::Fixed(password) => Some(password.clone()),
            Self::File(path) => passfile::look_up(path, name, port, config).map(String::into_bytes),
            Self::Provider(provider) => Some(provider().await?.into_bytes()),
        })
    }
}

/// Never prints the password.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no password",
            Self::Fixed(_) => "a password",
            Self::File(_) => "the password file",
            Self::Provider(_) => "a password provider",
        })
    }
}
