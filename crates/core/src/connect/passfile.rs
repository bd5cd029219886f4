//! The password file: `PGPASSFILE`, or `~/.pgpass`.
//!
//! Format and matching are those of libpq (PostgreSQL documentation, "The Password File"): lines of
//! `host:port:database:user:password`, `*` matches any value, and the first matching line counts. A file that other users can
//! access is ignored.

use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::environment::SOCKET_DIRECTORIES;

/// Returns the path of the password file, which may not exist.
pub(super) fn path(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let named = env("PGPASSFILE")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    named.or_else(|| env("HOME").map(|home| Path::new(&home).join(".pgpass")))
}

/// Reads the password for a host. `name` is the host's name in the file.
pub(super) fn look_up(path: &Path, name: &str, port: u16, config: &Config) -> Option<String> {
    // A missing file is not an error, as in libpq.
    let text = std::fs::read_to_string(path).ok()?;
    if is_open_to_others(path) {
        let path = path.display();
        tracing::warn!(%path, "password file ignored, because other users can access it; run chmod 0600 on it");
        return None;
    }
    find(&text, name, port, config)
}

#[cfg(unix)]
fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &Path) -> bool {
    false
}

/// Returns the name of a host in the file. The default socket directories are `localhost`.
pub(super) fn name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path)
            if SOCKET_DIRECTORIES
                .iter()
                .any(|known| path == Path::new(known)) =>
        {
            "localhost".to_owned()
        }
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    }
}

fn find(text: &str, host: &str, port: u16, config: &Config) -> Option<String> {
    let port = port.to_string();
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or(user);
    let expected = [host, &port, database, user];
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = fields(line);
            let (password, conditions) = fields.split_last()?;
            let fits = conditions.len() == expected.len()
                && conditions
                    .iter()
                    .zip(expected)
                    .all(|(field, expected)| field == "*" || field == expected);
            fits.then(|| password.clone())
        })
}

/// Splits a line at its first four colons. A backslash escapes the next character.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, fields.len()) {
            (':', 1..=4) => fields.push(String::new()),
            (c, count) => {
                let c = if c == '\\' { chars.next() } else { Some(c) };
                fields[count - 1].extend(c);
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_first_matching_line_counts() {
        let config = "host=db user=app dbname=shop".parse().unwrap();
        let text =
            "# comment\nother:*:*:*:no\n*:5433:*:*:no\ndb:*:shop:app:p\\:a\\\\s:s\n*:*:*:*:late\n";
        let found = find(text, "db", 5432, &config);
        assert_eq!(found.as_deref(), Some("p:a\\s:s"));
        assert_eq!(find("broken line\n", "db", 5432, &config), None);
    }

    #[test]
    fn passwords_are_matched_by_host_and_port() {
        let config = "host=a,b user=app".parse().unwrap();
        let text = "a:*:*:*:for a\nb:5433:*:*:for b\n";
        assert_eq!(find(text, "a", 5432, &config).as_deref(), Some("for a"));
        assert_eq!(find(text, "b", 5432, &config), None);
        assert_eq!(find(text, "b", 5433, &config).as_deref(), Some("for b"));
    }
}
