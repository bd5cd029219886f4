//! `pgherald status`.
//!
//! ```text
//! look (the database, once) ──► Picture ──► tables, or one object
//!   ▲                              │
//!   └── after two seconds ◄────────┘ --watch; a look that fails is reported, and the next one connects anew
//! ```

pub(super) mod picture;
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
use picture::look;
use show::parts;

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &Status,
) -> Result<ExitCode, Failure> {
    if !arguments.watch {
        let picture = look(&database.client().await?).await?;
        match output.is_json() {
            true => output.object(&picture)?,
            false => {
                let parts = parts(output, &picture);
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
