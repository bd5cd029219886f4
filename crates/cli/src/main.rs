//! The `pgherald` command: installs triggers, shows events, serves them to clients, relays them, and operates durable handlers.
//!
//! ```text
//!  arguments ──► main ──► commands/* ──► database (connects) ──► pgherald-core
//!                  │          └────────► report ──► output (tables, colours, JSON lines) ──► stdout
//!                  └─ failure: message, hint ──► stderr, exit code
//! ```
//!
//! Exit codes: 0 for success; 1 if a problem was found or the server refused a statement; 2 if the command line is wrong or
//! there is no connection.

mod arguments;
mod commands;
mod database;
mod failure;
mod guarded;
mod interrupt;
mod keys;
mod log;
mod output;
mod report;
mod rights;
mod tables;
mod terminal;
mod text;
mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use pgherald_core::__private::host;

use arguments::{Arguments, Command, Token};
use failure::Failure;
use output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() && has_stray_url(std::env::args_os()) => {
            return failure::stray_url().report();
        }
        Err(error) if error.use_stderr() && shows_url(&error, std::env::args_os()) => {
            return failure::stray_server().report();
        }
        // clap also reports --help and --version as errors; those go to standard output.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::problem(format!("cannot start: {error}"))),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// Whether a URL is given anywhere but in `--database-url`. It may contain a password, which clap's message would show. Servers of
/// NATS are given by URLs as well.
fn has_stray_url(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut others = arguments.skip(1);
    while let Some(argument) = others.next() {
        let argument = argument.to_string_lossy();
        if argument == "--database-url" {
            others.next();
        } else if host::resembles(&argument)
            && !["--database-url=", "nats://", "tls://"]
                .iter()
                .any(|start| argument.starts_with(start))
        {
            return true;
        }
    }
    false
}

/// Whether clap's message shows a URL of the command line.
fn shows_url(error: &clap::Error, mut arguments: impl Iterator<Item = OsString>) -> bool {
    let message = error.to_string();
    arguments.any(|argument| {
        let argument = argument.to_string_lossy();
        let url = argument.split_once("://");
        url.is_some_and(|(_, rest)| !rest.is_empty() && message.contains(rest))
    })
}

/// Runs the command and returns its exit code.
async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments {
        database_url,
        json,
        command,
    } = arguments;
    if database_url.is_some()
        && matches!(
            command,
            Command::Demo | Command::Completions { .. } | Command::Token(_)
        )
    {
        return Err(
            Failure::usage("this command does not connect to a given database")
                .hint("leave --database-url out"),
        );
    }
    let mut output = Output::new(json);
    let database = database::Database::new(database_url);
    match command {
        Command::Install(install) => commands::install::run(&database, &mut output, &install).await,
        Command::Uninstall(uninstall) => {
            commands::uninstall::run(&database, &mut output, &uninstall).await
        }
        Command::Upgrade(upgrade) => commands::upgrade::run(&database, &mut output, &upgrade).await,
        Command::Grant(grant) => commands::grant::run(&database, &mut output, &grant).await,
        Command::Watch(watch) => commands::watch::run(&database, &mut output, &watch).await,
        Command::Doctor(doctor) => commands::doctor::run(&database, &mut output, &doctor).await,
        Command::Status(status) => commands::status::run(&database, &mut output, &status).await,
        Command::Parked(action) => {
            commands::set_aside::parked(&database, &mut output, &action).await
        }
        Command::DeadLetters(action) => {
            commands::set_aside::dead_letters(&database, &mut output, &action).await
        }
        Command::Group(action) => commands::group::run(&database, &mut output, &action).await,
        Command::Serve(serve) => commands::serve::run(&database, &mut output, &serve).await,
        Command::Relay(relay) => commands::relay::run(&database, &mut output, &relay).await,
        Command::Token(Token::New(new)) => commands::token::new(&mut output, new),
        Command::Demo => commands::demo::run(&mut output).await,
        Command::Completions { shell } => commands::completions::run(&mut output, shell),
    }
}
