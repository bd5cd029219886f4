//! Arguments of the commands for the distributor.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use pgherald_distributor::Limits;

use super::{Operation, condition};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgherald serve                                   installed tables, for clients on this machine
  pgherald serve --tables 'shop.*' --channels 'chat_*'
  pgherald serve --listen 0.0.0.0:8443 --tokens tokens.jsonl --tls-cert cert.pem --tls-key key.pem \\
    --origin https://app.example.com

Without --tokens and --jwt-key, only clients on this machine are served: everything on it may read everything, and so may
the clients of a reverse proxy on it. Logs go to standard error; RUST_LOG selects them.")]
pub(crate) struct Serve {
    /// The address and port to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    pub(crate) listen: SocketAddr,
    /// Tables to serve, of those that are installed: schema.name, in which * stands for any text [default: all]
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tables: Vec<String>,
    /// Channels to serve at /pgpubsub/CHANNEL; * stands for any text [default: none]
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) channels: Vec<String>,
    /// Accept the tokens of this file; pgherald token new makes them. Read again when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens: Option<PathBuf>,
    /// Accept JSON Web Tokens signed with this key: an Ed25519 public key in PEM, or a secret for HS256
    #[arg(long, value_name = "FILE")]
    pub(crate) jwt_key: Vec<PathBuf>,
    /// Allow pages of this origin, such as https://app.example.com, to connect from a browser
    #[arg(long, value_name = "URL")]
    pub(crate) origin: Vec<String>,
    /// Serve TLS with this chain of certificates in PEM. Read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Clients at the same time
    #[arg(long, value_name = "N", default_value_t = Limits::default().clients)]
    pub(crate) clients: usize,
    /// Clients at the same time from one address. Behind a reverse proxy, all clients have its address
    #[arg(long, value_name = "N", default_value_t = Limits::default().clients_per_address)]
    pub(crate) clients_per_address: usize,
    /// Events that wait for one client that reads slowly
    #[arg(long, value_name = "N", default_value_t = Limits::default().buffer)]
    pub(crate) buffer: usize,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a random token, and its line for the file of pgherald serve --tokens. The line has a digest of the token
    New(NewToken),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgherald token new dashboard --tables public.orders --append tokens.jsonl
  pgherald token new tenant-a --tables public.orders --rows tenant=a --columns id,note --expires 2027-01-01T00:00:00Z
  pgherald token new prometheus --observe

A token without --tables, --channels, --observe and --operate permits nothing. To give tables different rights, edit the
line.")]
pub(crate) struct NewToken {
    /// Names the token in the access log
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    /// Permit these tables: schema.name, in which * stands for any text
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) tables: Vec<String>,
    /// Permit only these operations on the tables [default: all]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "OPERATION,…",
        value_enum,
        requires = "tables"
    )]
    pub(crate) operations: Vec<Operation>,
    /// Permit only these columns of the tables [default: all]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "COLUMN,…",
        requires = "tables"
    )]
    pub(crate) columns: Vec<String>,
    /// Permit only rows with this value of a column; several values of one column are alternatives
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = condition, requires = "tables")]
    pub(crate) rows: Vec<(String, String)>,
    /// Permit these channels; * stands for any text
    #[arg(long, value_name = "PATTERN", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) channels: Vec<String>,
    /// Permit to read metrics and the state of groups
    #[arg(long)]
    pub(crate) observe: bool,
    /// Permit to operate groups: pause, resume, retry, discard. Includes --observe
    #[arg(long)]
    pub(crate) operate: bool,
    /// When the token ends, such as 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<jiff::Timestamp>,
    /// Append the line to this file, and print the token only
    #[arg(long, value_name = "FILE")]
    pub(crate) append: Option<PathBuf>,
}
