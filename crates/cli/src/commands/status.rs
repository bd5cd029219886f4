//! `pgherald status`.
//!
//! ```text
//! read (the database, once) ──► Overview ──► tables, or one object
//!   ▲                              │
//!   └── after two seconds ◄────────┘ --watch; a read that fails is reported, and the next one connects again
//! ```

pub(super) mod overview;
pub(super) mod show;
mod watch;

use std::process::ExitCode;

use crate::arguments::Status;
use crate::database::Database;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::output::Output;
use crate::report::print;
use crate::terminal::can_draw;
use overview::read;
use show::parts;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &Status,
) -> Result<ExitCode, Failure> {
    if !arguments.watch {
        let overview = read(&database.client().await?).await?;
        match output.is_json() {
            true => output.object(&overview)?,
            false => {
                let parts = parts(output, &overview);
                print(output, &parts)?;
            }
        }
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let watching = async {
        match output.is_terminal() && !output.is_json() && can_draw() {
            true => watch::on_terminal(database, output).await,
            false => watch::in_lines(database, output).await,
        }
    };
    tokio::select! {
        biased;
        done = interrupted() => done?,
        failed = watching => failed?,
    }
    Ok(ExitCode::SUCCESS)
}
