//! nats-server as a supervised program: its files, its command line and its signals.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::binary;
use super::config::{self, Access, Files, Node, Options};
use crate::Error;
use crate::process::{Program, Supervised, User, Workspace, pid};

const ANSWER_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Nats {
    pub(super) files: Files,
    pub(super) log_file: PathBuf,
    /// The part of a URL before the host: scheme and credentials.
    pub(super) url_prefix: String,
    binary: PathBuf,
    workspace: Workspace,
}

impl Nats {
    pub(super) fn start(options: &Options, node: Option<&Node>) -> Result<Supervised<Self>, Error> {
        let binary = binary::find()?;
        let workspace = Workspace::create(User::Current)?;
        let files = config::write(&workspace, options, node)?;
        Supervised::start(Self {
            files,
            log_file: workspace.log_file(),
            url_prefix: url_prefix(options),
            binary,
            workspace,
        })
    }

    /// Returns whether the server is healthy, by its own judgement: it knows a leader, and its streams are current.
    pub(super) fn is_healthy(&self) -> bool {
        self.monitor()
            .and_then(|address| get(address, "/healthz").ok())
            .is_some_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    /// Returns the address of the running server's HTTP endpoint. It changes with each start.
    fn monitor(&self) -> Option<SocketAddr> {
        let file = std::fs::read_to_string(self.workspace.pid_file()).ok()?;
        let ports = std::fs::read_to_string(self.ports_file(pid(&file)?)).ok()?;
        let (_, address) = ports.split_once("\"monitoring\":[\"http://")?;
        address.split('"').next()?.parse().ok()
    }

    /// Returns the file that the server writes when it accepts connections.
    fn ports_file(&self, pid: Pid) -> PathBuf {
        let program = self.binary.file_name().unwrap_or_default();
        let name = format!("{}_{pid}.ports", program.to_string_lossy());
        self.workspace.path().join(name)
    }
}

impl Program for Nats {
    const STOP: Signal = Signal::TERM;
    const ABORT: Signal = Signal::KILL;
    const PORT_TAKEN: &str = "address already in use";

    fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    fn command(&self, port: u16) -> Command {
        let mut command = self.workspace.command(&self.binary);
        command
            .arg("-c")
            .arg(&self.files.config)
            .args(["-p", &port.to_string()])
            .arg("-P")
            .arg(self.workspace.pid_file());
        command
    }

    fn is_ready(&self, pid: Pid) -> bool {
        self.ports_file(pid).exists()
    }
}

fn url_prefix(options: &Options) -> String {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let scheme = if options.tls { "tls" } else { "nats" };
    let credentials = match &options.access {
        Access::Open => String::new(),
        Access::Token(token) => format!("{}@", encode(token)),
        Access::Password { user, password } => format!("{}:{}@", encode(user), encode(password)),
    };
    format!("{scheme}://{credentials}")
}

fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
