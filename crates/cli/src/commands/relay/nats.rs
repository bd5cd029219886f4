//! Builds the configuration of the connection to NATS from the arguments, and adds hints to its errors.

use std::fs;
use std::path::Path;

use pgherald_core::{Error, ErrorKind};
use pgherald_nats::NatsConfig;

use crate::arguments::Relay;
use crate::failure::Failure;

/// The name that the server shows for the connection.
const NAME: &str = "pgherald-relay";

/// The longest file with a token or a seed, in bytes.
const MAX_SECRET: u64 = 4_096;

/// Returns the settings of the connection. Reads the secrets, and checks that the other files can be read.
pub(super) fn config(arguments: &Relay) -> Result<NatsConfig, Failure> {
    let config = NatsConfig::new(arguments.servers.as_str());
    let mut config = config
        .map_err(|error| Failure::usage(error.chain()).hint("in a password or token, write @ as %40, / as %2F, : as %3A, # as %23, % as %25; or use --token-file"))?
        .name(NAME);
    if let Some(path) = &arguments.creds {
        readable("credentials", path)?;
        config = config.credentials_file(path);
    }
    if let Some(path) = &arguments.nkey {
        let seed = secret("seed", path)?;
        // Do not show the text: it may be another secret.
        if !(seed.starts_with('S') && seed.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            let message = format!("{} has no seed of an nkey", path.display());
            return Err(Failure::usage(message)
                .hint("a seed begins with SU; for a file of nsc with a JWT, use --creds"));
        }
        config = config.nkey(seed);
    }
    if let Some(path) = &arguments.token_file {
        config = config.token(secret("token", path)?);
    }
    if let Some(path) = &arguments.tls_ca {
        readable("certificates", path)?;
        config = config.root_certificates(path).require_tls();
    }
    if let (Some(certificate), Some(key)) = (&arguments.tls_cert, &arguments.tls_key) {
        readable("certificate", certificate)?;
        readable("key", key)?;
        config = config.client_certificate(certificate, key).require_tls();
    }
    Ok(config)
}

/// Fails if a file cannot be read. Otherwise the relay would retry the connection for ever.
fn readable(what: &str, path: &Path) -> Result<(), Failure> {
    match fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(unreadable(what, path, &error)),
    }
}

/// Returns the only word of a file.
fn secret(what: &str, path: &Path) -> Result<String, Failure> {
    let refuse = |problem: &str| {
        Err(Failure::usage(format!(
            "cannot use the {what} in {}: {problem}",
            path.display()
        )))
    };
    let size = fs::metadata(path).map_err(|error| unreadable(what, path, &error))?;
    if size.len() > MAX_SECRET {
        return refuse("the file is too large");
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(what, path, &error))?;
    match text.trim() {
        "" => refuse("the file is empty"),
        text if text.contains(char::is_whitespace) => refuse("it has more than one word"),
        text => Ok(text.to_owned()),
    }
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!(
        "cannot read the {what} in {}: {error}",
        path.display()
    ))
    .hint("correct the path, or let the user of this process read the file")
}

/// Returns the failure for an error of NATS or of the relay's options. Its hint names options of the command.
pub(super) fn refused(error: Error) -> Failure {
    let message = error.to_string();
    let hint = match error.kind() {
        ErrorKind::Tls => {
            "trust the server's certificate with --tls-ca FILE; if the server asks for one, present --tls-cert FILE and --tls-key FILE"
        }
        ErrorKind::Authentication => {
            "log in with --creds FILE, --nkey FILE or --token-file FILE, or with a user and password of the server in the URL"
        }
        ErrorKind::Connect | ErrorKind::Disconnected => {
            "start the server with JetStream: nats-server -js; or correct the address: nats://HOST:PORT"
        }
        _ if message.starts_with("there is no stream") => "add --create, or create the stream",
        _ if message.contains("another stream has") => {
            "use another prefix: --prefix PREFIX; or that stream: --stream NAME"
        }
        _ => return Failure::from(error),
    };
    Failure::from(error).hint(hint)
}
