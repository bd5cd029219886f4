//! The operating system user of the server.
//!
//! `initdb` and `postgres` refuse to run as root. If the test process runs as root (in containers, in CI), it runs them as
//! the user `postgres`, or as `nobody` if there is no such user. Otherwise they run as the user of the test process.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// Returns `None` if the current user can run the server.
    pub(super) fn for_server() -> Result<Option<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        ["postgres", "nobody"]
            .into_iter()
            .find_map(Self::named)
            .map(Some)
            .ok_or_else(|| {
                Error::new(
                    "cannot start a server: PostgreSQL does not run as root, \
                 and neither the user `postgres` nor `nobody` exists",
                )
            })
    }

    fn named(name: &str) -> Option<Self> {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self::in_passwd(&users, name).or_else(|| Self::from_id(name))
    }

    fn in_passwd(users: &str, name: &str) -> Option<Self> {
        // name:password:uid:gid:...
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            if fields.next() != Some(name) {
                return None;
            }
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Self { uid, gid })
        })
    }

    /// Finds users of a directory service, which are not in /etc/passwd.
    fn from_id(name: &str) -> Option<Self> {
        let id = |flag: &str| -> Option<u32> {
            let output = Command::new("id").args([flag, name]).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        Some(Self {
            uid: id("-u")?,
            gid: id("-g")?,
        })
    }

    pub(super) fn apply_to(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    pub(super) fn own(self, path: &Path) -> Result<(), Error> {
        chown(path, Some(self.uid), Some(self.gid)).map_err(Error::during(format!(
            "cannot give {} to the server",
            path.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::Account;

    #[test]
    fn reads_a_passwd_line() {
        let users =
            "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/sh\n";
        assert_eq!(
            Account::in_passwd(users, "postgres"),
            Some(Account { uid: 101, gid: 104 })
        );
        assert_eq!(Account::in_passwd(users, "post"), None);
    }
}
