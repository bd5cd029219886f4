//! `pgherald status`.
//!
//! ```text
//! look (the database, once) ──► Picture ──► tables, or one object
//!   ▲                              │
//!   └── after two seconds ◄────────┘ --watch; a look that fails is said, and the next one connects anew
//! ```

mod picture;
mod show;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio_postgres::Client;

use crate::arguments::Status;
use crate::database::Database;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::output::{Output, Tone};
use crate::words;
use picture::{Picture, look};
use show::show;

/// How long between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// After how long a look that is watched counts as failed. Counting lag takes a while where it is millions.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(
    database: &Database,
    output: &mut Output,
    arguments: &Status,
) -> Result<ExitCode, Failure> {
    if !arguments.watch {
        let picture = look(&database.client().await?).await?;
        show(output, &picture)?;
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::select! {
        biased;
        done = interrupted() => done?,
        failed = watch(database, output) => failed?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Looks again and again; ends only if the first look fails, or nobody reads what is said.
async fn watch(database: &Database, output: &mut Output) -> Result<(), Failure> {
    let mut client = Some(database.client().await?);
    let mut was_shown = false;
    let mut is_lost = false;
    let redraws = output.is_terminal() && !output.is_json();
    loop {
        match watched_look(database, &mut client).await {
            Ok(picture) => {
                if redraws {
                    output.clear()?;
                } else if was_shown && !output.is_json() {
                    output.line("")?;
                }
                show(output, &picture)?;
                (was_shown, is_lost) = (true, false);
            }
            Err(failure) if !was_shown => return Err(failure),
            Err(failure) => {
                client = None;
                if !is_lost {
                    say_lost(output, &failure)?;
                }
                is_lost = true;
            }
        }
        output.flush()?;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A look, on the connection there is or a new one, that does not take for ever.
async fn watched_look(
    database: &Database,
    client: &mut Option<Client>,
) -> Result<Picture, Failure> {
    let looking = async {
        let client = match client {
            Some(client) => client,
            None => client.insert(database.client().await?),
        };
        look(client).await
    };
    let late = |_| Failure::problem(format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, looking)
        .await
        .map_err(late)?
}

fn say_lost(output: &mut Output, failure: &Failure) -> io::Result<()> {
    #[derive(Serialize)]
    struct Lost<'a> {
        at: String,
        error: &'a str,
    }
    let at = words::time(SystemTime::now());
    let Failure::Told { message, .. } = failure else {
        return Ok(());
    };
    if output.is_json() {
        return output.object(&Lost { at, error: message });
    }
    let line = format!(
        "{at}  lost: {}; trying again.",
        words::shortened(message, 200)
    );
    output.line("")?;
    let line = output.toned(Tone::Bad, &line);
    output.line(line)
}
