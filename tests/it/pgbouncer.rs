//! PgBouncer, started by tests that need a pooler.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pgherald_testkit::Postgres;

use crate::support::DEADLINE;

/// A running PgBouncer whose settings can be changed. The tests of `pgherald-cli` include this file, too.
pub(crate) struct Pooler {
    pub(crate) process: Child,
    settings: PathBuf,
    pub(crate) port: u16,
}

impl Pooler {
    /// Starts PgBouncer in `mode` with additional lines of settings. Returns `None` if PgBouncer is not installed. If
    /// `PGHERALD_PGBOUNCER` is set, that is a failure instead.
    pub(crate) async fn start(server: &Postgres, mode: &str, extra: &str) -> Option<Self> {
        let programs = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];
        let Some(program) = programs.iter().find(|program| Path::new(program).is_file()) else {
            let is_required = std::env::var_os("PGHERALD_PGBOUNCER").is_some();
            assert!(!is_required, "PgBouncer is not installed");
            eprintln!("not tested: PgBouncer is not installed");
            return None;
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let settings = std::env::temp_dir().join(format!("pgherald-pooler-{port}.ini"));
        write(&settings, server, port, mode, extra);
        // PgBouncer does not run as root. As root, run it as another user.
        let mut command = Command::new(program);
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.args(["-u", "nobody"]);
        }
        let process = command.arg("-q").arg(&settings).spawn().unwrap();
        let pooler = Self {
            process,
            settings,
            port,
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < DEADLINE, "PgBouncer does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Some(pooler)
    }

    /// Rewrites the settings, which PgBouncer reads again at SIGHUP.
    #[allow(dead_code, reason = "only the tests of the command use it")]
    pub(crate) fn configure(&self, server: &Postgres, mode: &str, extra: &str) {
        write(&self.settings, server, self.port, mode, extra);
    }

    /// `url`, but through the pooler.
    pub(crate) fn url(&self, url: &str, server: &Postgres) -> String {
        url.replace(&format!(":{}/", server.port()), &format!(":{}/", self.port))
    }
}

fn write(settings: &Path, server: &Postgres, port: u16, mode: &str, extra: &str) {
    let (host, at) = (server.host(), server.port());
    let text = format!(
        "[databases]\n* = host={host} port={at} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
        listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n{extra}\n"
    );
    std::fs::write(settings, text).unwrap();
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.settings);
    }
}
