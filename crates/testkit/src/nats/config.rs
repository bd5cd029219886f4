//! The configuration file of a server.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::Error;
use crate::process::{HOST, Workspace};
#[cfg(feature = "tls")]
use crate::tls::Certificates;

/// The options of a server, or of all servers of a cluster.
#[derive(Clone, Default)]
pub(super) struct Options {
    pub(super) access: Access,
    pub(super) tls: bool,
    pub(super) max_payload: Option<usize>,
    pub(super) without_jetstream: bool,
    pub(super) domain: Option<String>,
    /// Lines that the caller adds.
    pub(super) lines: String,
}

/// The credentials that the server requires of clients.
#[derive(Clone, Default)]
pub(super) enum Access {
    #[default]
    Open,
    Token(String),
    Password {
        user: String,
        password: String,
    },
}

/// The options of one node of a cluster.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) route: u16,
    pub(super) routes: Vec<u16>,
}

/// The files that were written.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) config: PathBuf,
    pub(super) authority: Option<PathBuf>,
}

pub(super) fn write(
    workspace: &Workspace,
    options: &Options,
    node: Option<&Node>,
) -> Result<Files, Error> {
    let dir = workspace.path().to_string_lossy();
    let name = node.map_or("pgherald-testkit", |node| &node.name);
    let mut text = format!(
        "server_name: {}\nhost: {HOST}\nhttp: \"{HOST}:-1\"\nports_file_dir: {}\n",
        quoted(name),
        quoted(&dir)
    );
    if let Some(bytes) = options.max_payload {
        line(&mut text, &format!("max_payload: {bytes}"));
    }
    if !options.without_jetstream {
        let store = quoted(&format!("{dir}/jetstream"));
        let domain = options.domain.as_deref().map(quoted);
        let domain = domain.map_or_else(String::new, |domain| format!(", domain: {domain}"));
        line(
            &mut text,
            &format!("jetstream {{ store_dir: {store}{domain} }}"),
        );
    }
    match &options.access {
        Access::Open => {}
        Access::Token(token) => {
            let token = quoted(token);
            line(&mut text, &format!("authorization {{ token: {token} }}"));
        }
        Access::Password { user, password } => {
            let (user, password) = (quoted(user), quoted(password));
            let user = format!("authorization {{ user: {user}, password: {password} }}");
            line(&mut text, &user);
        }
    }
    if let Some(node) = node {
        line(&mut text, &cluster(node));
    }
    let authority = match options.tls {
        #[cfg(feature = "tls")]
        true => Some(enable_tls(workspace, &mut text)?),
        _ => None,
    };
    line(&mut text, &options.lines);
    let config = workspace.write("nats.conf", &text)?;
    Ok(Files { config, authority })
}

/// Nodes do not advertise each other to clients, which would then bypass a proxy.
fn cluster(node: &Node) -> String {
    let routes: Vec<String> = node
        .routes
        .iter()
        .map(|port| quoted(&format!("nats://{HOST}:{port}")))
        .collect();
    format!(
        "cluster {{ name: pgherald-testkit, listen: \"{HOST}:{}\", no_advertise: true, routes: [{}] }}",
        node.route,
        routes.join(", ")
    )
}

#[cfg(feature = "tls")]
fn enable_tls(workspace: &Workspace, text: &mut String) -> Result<PathBuf, Error> {
    let certificates = Certificates::generate()?;
    let certificate = workspace.write("server.crt", &certificates.server)?;
    let key = workspace.write("server.key", &certificates.server_key)?;
    let (certificate, key) = (certificate.to_string_lossy(), key.to_string_lossy());
    let (certificate, key) = (quoted(&certificate), quoted(&key));
    line(
        text,
        &format!("tls {{ cert_file: {certificate}, key_file: {key} }}"),
    );
    workspace.write("ca.crt", &certificates.authority)
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
