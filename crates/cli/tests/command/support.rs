//! A database for each test, and the binary.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pgherald_testkit::{Binaries, Postgres};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An empty database, and a connection to it.
pub(crate) struct Scene {
    pub(crate) url: String,
    pub(crate) client: Client,
}

/// The output and the exit code of the binary.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scene {
    pub(crate) async fn new(sql: &str) -> Self {
        Self::on(Postgres::shared().await.unwrap(), sql).await
    }

    /// Creates the database on the given server.
    pub(crate) async fn on(server: &Postgres, sql: &str) -> Self {
        let url = server.create_database().await.unwrap();
        let client = connect(&url).await;
        client.batch_execute(sql).await.unwrap();
        Self { url, client }
    }

    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    pub(crate) async fn value(&self, sql: &str) -> String {
        let row = self.client.query_one(sql, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// Runs `pgherald` with these arguments on this database.
    pub(crate) async fn pgherald(&self, arguments: &[&str]) -> Ran {
        let all = [&["--database-url", &self.url], arguments].concat();
        pgherald(&all).await
    }

    /// Runs `pgherald`, which must succeed, and returns its standard output.
    pub(crate) async fn fine(&self, arguments: &[&str]) -> String {
        let ran = self.pgherald(arguments).await;
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{arguments:?}: {ran:?}");
        ran.stdout
    }

    /// Runs `pgherald --json`, which must succeed, and returns the object of each line.
    pub(crate) async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let all = [arguments, &["--json"]].concat();
        let stdout = self.fine(&all).await;
        stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Runs a fix of `doctor`, which is SQL or a command.
    pub(crate) async fn run_fix(&self, fix: &str) {
        match fix.strip_prefix("pgherald ") {
            Some(arguments) => {
                // Splits the command like a shell, as far as needed here.
                let arguments = arguments.split(' ').map(|word| word.trim_matches('\''));
                self.fine(&arguments.collect::<Vec<_>>()).await;
            }
            None => self.run(fix).await,
        }
    }

    /// Dumps the schema of the database.
    pub(crate) async fn dump(&self) -> String {
        let program = Binaries::find().unwrap().dir().join("pg_dump");
        let url = self.url.clone();
        let output = blocking(move || {
            Command::new(program)
                .arg("--schema-only")
                .arg(url)
                .output()
                .unwrap()
        })
        .await;
        assert!(output.status.success(), "{output:?}");
        let dump = String::from_utf8(output.stdout).unwrap();
        // Newer versions of pg_dump write a random word into each dump.
        let lines = dump
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Runs `pgherald` with these arguments, without the settings of this process.
pub(crate) async fn pgherald(arguments: &[&str]) -> Ran {
    let mut command = binary();
    command.args(arguments);
    let output = blocking(move || command.stdin(Stdio::null()).output().unwrap()).await;
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Returns the command, without environment variables that select a database or colours.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgherald"));
    for (name, _) in std::env::vars() {
        if name.starts_with("PG") || ["DATABASE_URL", "NO_COLOR"].contains(&&*name) {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A folder that is removed at the end of the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("pgherald_command_{name}_{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Writes a file, and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The running binary, and the lines that it has written.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    pub(crate) seen: Vec<String>,
}

impl Running {
    pub(crate) fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut command = binary();
        command
            .arg("--database-url")
            .arg(&scene.url)
            .args(arguments);
        Self::of(command)
    }

    /// Starts the binary with its log in a file.
    pub(crate) fn logged(scene: &Scene, log: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        let program = binary();
        command
            .args(["-c", "exec \"$@\" 2>>\"$LOG\"", "sh"])
            .arg(program.get_program())
            .args(["--database-url", &scene.url])
            .args(arguments)
            .env("LOG", log);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self::of(command)
    }

    /// Starts any program that writes lines.
    pub(crate) fn of(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a new line that matches.
    pub(crate) async fn line(&mut self, matches: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            match self.lines.try_recv() {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if matches(&line) {
                        return line;
                    }
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
            assert!(begun.elapsed() < DEADLINE, "it only wrote {:#?}", self.seen);
        }
    }

    /// Waits for a new object that matches.
    pub(crate) async fn object(&mut self, matches: impl Fn(&Value) -> bool) -> Value {
        let parse = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        let line = self.line(|line| matches(&parse(line))).await;
        parse(&line)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the program ends by itself, and returns its exit code.
    pub(crate) async fn code(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(
                begun.elapsed() < DEADLINE,
                "it does not end: {:#?}",
                self.seen
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
