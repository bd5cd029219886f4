//! Options that other drivers accept in a connection string, so that one `DATABASE_URL` of a program serves all of them.
//!
//! Sources: the documentation of sqlx (`PgConnectOptions`), Prisma (connection URLs) and pgx (`pgxpool.ParseConfig`).

use super::options::refusal;
use crate::error::Error;

/// Other spellings of libpq's options.
const SPELLINGS: [(&str, &str); 3] = [
    ("ssl-ca", "sslrootcert"),
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
];

/// Options about a pool or a cache of statements. They have no effect on a single connection.
const WITHOUT_EFFECT: [&str; 13] = [
    "connection_limit",
    "default_query_exec_mode",
    "description_cache_capacity",
    "pool_health_check_period",
    "pool_max_conn_idle_time",
    "pool_max_conn_lifetime",
    "pool_max_conn_lifetime_jitter",
    "pool_max_conns",
    "pool_min_conns",
    "pool_timeout",
    "statement-cache-capacity",
    "statement_cache_capacity",
    "statement_cache_size",
];

/// Options that other drivers obey and that would have an effect here, with the alternative.
const REFUSED: [(&str, &str); 8] = [
    (
        "pgbouncer",
        "LISTEN does not work through a pooler in transaction mode; use the URL of the server itself",
    ),
    (
        "schema",
        "write options=-csearch_path%3Dname, or name the schema of each table",
    ),
    ("search_path", "write options=-csearch_path%3Dname"),
    (
        "socket_timeout",
        "set the heartbeat of the source, or tcp_user_timeout",
    ),
    ("ssl", "write sslmode=require, or sslmode=verify-full"),
    (
        "ssl-cert",
        "give the client certificate to ConnectConfig::tls_config",
    ),
    (
        "ssl-key",
        "give the client certificate to ConnectConfig::tls_config",
    ),
    (
        "sslidentity",
        "give the client certificate to ConnectConfig::tls_config",
    ),
];

/// How an option of another driver is handled.
pub(super) enum Foreign {
    /// It stands for this option of libpq.
    Spelling(&'static str),
    /// It is a setting of the server, as set by `options=-c`.
    Setting(String),
    WithoutEffect,
    Refused(Error),
}

/// Returns how to handle an option, if it belongs to another driver.
pub(super) fn foreign(name: &str) -> Option<Foreign> {
    if let Some((_, libpq)) = SPELLINGS.iter().find(|(known, _)| *known == name) {
        return Some(Foreign::Spelling(libpq));
    }
    if WITHOUT_EFFECT.contains(&name) {
        return Some(Foreign::WithoutEffect);
    }
    if let Some((_, way_out)) = REFUSED.iter().find(|(known, _)| *known == name) {
        let message = format!(
            "the option {name:?} in the connection string belongs to another driver: {way_out}"
        );
        return Some(Foreign::Refused(refusal(message)));
    }
    let setting = name.strip_prefix("options[")?.strip_suffix(']')?;
    let is_setting = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    (!setting.is_empty() && setting.chars().all(is_setting))
        .then(|| Foreign::Setting(setting.to_owned()))
}
