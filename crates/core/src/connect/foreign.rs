//! Options that other drivers accept in a connection string, so that a program's one `DATABASE_URL` serves all of them.
//!
//! Sources: the documentation of sqlx (`PgConnectOptions`), Prisma (connection URLs) and pgx (`pgxpool.ParseConfig`).

use super::conninfo::refusal;
use crate::error::Error;

/// Other spellings of libpq's options.
const SPELLINGS: [(&str, &str); 3] = [
    ("ssl-ca", "sslrootcert"),
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
];

/// Options about a pool or a cache of statements. They change nothing for a connection of its own.
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

/// Options that other drivers obey, and that would have an effect here; with the way out.
const REFUSED: [(&str, &str); 8] = [
    (
        "pgbouncer",
        "it announces a pooler in transaction mode, which cannot carry LISTEN; give a URL of the server itself",
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
    ("ssl-cert", "client certificates are not supported"),
    ("ssl-key", "client certificates are not supported"),
    ("sslidentity", "client certificates are not supported"),
];

/// What becomes of an option of another driver.
pub(super) enum Foreign {
    /// It is libpq's option of this name.
    Spelling(&'static str),
    /// It is a setting of the server, as `options=-c` sets it.
    Setting(String),
    WithoutEffect,
    Refused(Error),
}

/// Looks an option up among those of other drivers.
pub(super) fn foreign(name: &str) -> Option<Foreign> {
    if let Some((_, libpq)) = SPELLINGS.iter().find(|(known, _)| *known == name) {
        return Some(Foreign::Spelling(libpq));
    }
    if WITHOUT_EFFECT.contains(&name) {
        return Some(Foreign::WithoutEffect);
    }
    if let Some((_, way_out)) = REFUSED.iter().find(|(known, _)| *known == name) {
        let message =
            format!("the option {name:?} in the connection string is of another driver: {way_out}");
        return Some(Foreign::Refused(refusal(message)));
    }
    let setting = name.strip_prefix("options[")?.strip_suffix(']')?;
    let is_setting = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    (!setting.is_empty() && setting.chars().all(is_setting))
        .then(|| Foreign::Setting(setting.to_owned()))
}
