//! Fills in the options that the connection string lacks, from `PG*` variables and defaults.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::TargetSessionAttrs;

use super::options::refuse_stray;
use super::tls::SslSettings;
use crate::error::{Error, ErrorKind, Result};

/// The directories of the server's socket in common distributions.
pub(super) const SOCKET_DIRECTORIES: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Variables that libpq honours and this crate does not, with the values that have no effect. Ignoring another value could
/// mean to connect elsewhere, or less safely, than intended.
const UNSUPPORTED: [(&str, &[&str]); 10] = [
    ("PGSERVICE", &[]),
    ("PGREQUIREAUTH", &[]),
    ("PGREQUIREPEER", &[]),
    ("PGSSLCERTMODE", &["disable", "allow"]),
    ("PGSSLCRL", &[]),
    ("PGSSLCRLDIR", &[]),
    ("PGCHANNELBINDING", &["disable", "prefer"]),
    ("PGGSSENCMODE", &["disable", "prefer"]),
    ("PGSSLMINPROTOCOLVERSION", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("PGSSLNEGOTIATION", &["postgres"]),
];

fn refuse_unsupported(config: &Config, get: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    for (name, harmless) in UNSUPPORTED {
        // `PGSERVICE` adds nothing if the connection string has host and database.
        let has_host = !config.get_hosts().is_empty() || !config.get_hostaddrs().is_empty();
        let is_complete = has_host && config.get_dbname().is_some();
        if name == "PGSERVICE" && is_complete {
            continue;
        }
        if get(name).is_some_and(|value| !harmless.contains(&&*value)) {
            let way_out = match name {
                "PGSERVICE" => "unset it, or name host and database in the connection string",
                _ => "unset it if it is not needed",
            };
            // The value may be a misplaced password.
            let message = format!("the value of {name} is not supported; {way_out}");
            return Err(Error::new(ErrorKind::Config, message));
        }
    }
    Ok(())
}

pub(super) fn fill(
    config: &mut Config,
    ssl: &mut SslSettings,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let get = |name: &str| env(name).filter(|value| !value.is_empty());
    refuse_unsupported(config, &get)?;
    if config.get_ports().is_empty()
        && let Some(ports) = get("PGPORT")
    {
        for port in ports.split(',') {
            config.port(number("PGPORT", port)?);
        }
    }
    fill_hosts(config, &get)?;
    if config.get_user().is_none()
        && let Some(user) = get("PGUSER")
            .or_else(|| get("USER"))
            .or_else(|| get("LOGNAME"))
    {
        refuse_stray("user", &user, "PGUSER")?;
        config.user(user);
    }
    if config.get_dbname().is_none()
        && let Some(name) = get("PGDATABASE")
    {
        refuse_stray("dbname", &name, "PGDATABASE")?;
        config.dbname(name);
    }
    if config.get_application_name().is_none()
        && let Some(name) = get("PGAPPNAME")
    {
        config.application_name(name);
    }
    if config.get_options().is_none()
        && let Some(options) = get("PGOPTIONS")
    {
        config.options(options);
    }
    if config.get_connect_timeout().is_none()
        && let Some(seconds) = get("PGCONNECT_TIMEOUT")
    {
        // Zero and negative values mean no limit, as in libpq.
        let seconds: i32 = number("PGCONNECT_TIMEOUT", &seconds)?;
        if let Ok(seconds @ 1..) = u64::try_from(seconds) {
            config.connect_timeout(Duration::from_secs(seconds));
        }
    }
    if config.get_target_session_attrs() == TargetSessionAttrs::Any
        && let Some(attrs) = get("PGTARGETSESSIONATTRS")
    {
        config.target_session_attrs(match attrs.as_str() {
            "any" => TargetSessionAttrs::Any,
            "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
            _ => {
                return Err(unusable("PGTARGETSESSIONATTRS", "any or read-write"));
            }
        });
    }
    if !ssl.has_mode()
        && let Some(mode) = get("PGSSLMODE")
    {
        ssl.take("sslmode", &mode)?;
    }
    if !ssl.has_roots()
        && let Some(roots) = get("PGSSLROOTCERT")
    {
        ssl.take("sslrootcert", &roots)?;
    }
    if config.get_password().is_none()
        && let Some(password) = get("PGPASSWORD")
    {
        config.password(password);
    }
    Ok(())
}

fn fill_hosts(config: &mut Config, get: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    if !config.get_hosts().is_empty() {
        return Ok(());
    }
    if config.get_hostaddrs().is_empty()
        && let Some(addresses) = get("PGHOSTADDR")
    {
        for address in addresses.split(',') {
            config.hostaddr(read("PGHOSTADDR", address, "an IP address")?);
        }
    }
    // TLS requires a name. Without host names, the addresses serve as names.
    let addresses: Vec<String> = config
        .get_hostaddrs()
        .iter()
        .map(ToString::to_string)
        .collect();
    match get("PGHOST") {
        Some(hosts) => {
            refuse_stray("host", &hosts, "PGHOST")?;
            hosts.split(',').for_each(|host| {
                config.host(host);
            });
        }
        None if addresses.is_empty() => {
            config.host(default_host(config));
        }
        None => addresses.iter().for_each(|address| {
            config.host(address);
        }),
    }
    Ok(())
}

fn default_host(config: &Config) -> &'static str {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let socket = |dir: &&str| Path::new(dir).join(format!(".s.PGSQL.{port}")).exists();
    SOCKET_DIRECTORIES
        .into_iter()
        .find(socket)
        .unwrap_or("localhost")
}

fn number<T: std::str::FromStr>(variable: &str, value: &str) -> Result<T> {
    read(variable, value, "a number")
}

fn read<T: std::str::FromStr>(variable: &str, value: &str, expected: &str) -> Result<T> {
    let value = value.trim().parse();
    value.map_err(|_| unusable(variable, expected))
}

fn unusable(variable: &str, expected: &str) -> Error {
    // The value may be a misplaced password.
    Error::new(ErrorKind::Config, format!("{variable} must be {expected}"))
}
