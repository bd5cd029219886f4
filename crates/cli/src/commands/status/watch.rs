//! `pgherald status --watch`: reads the overview at intervals. On a terminal, each overview is fitted to its size, until q is
//! pressed. Otherwise each one is printed in full.

use std::io;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use super::overview::{Overview, read};
use super::show::parts;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::report::{Part, fitted, print};
use crate::terminal::{Event, Terminal, size};
use crate::text::Text;
use crate::words;

/// The time between two reads.
const INTERVAL: Duration = Duration::from_secs(2);
/// The time after which a read counts as failed. Counting a lag of millions of events takes a while.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints each overview. Ends only if the first read fails, or the output cannot be written.
pub(super) async fn in_lines(database: &Database, output: &mut Output) -> Result<(), Failure> {
    let mut client = Some(database.client().await?);
    let mut was_shown = false;
    let mut is_lost = false;
    loop {
        match read_within_limit(database, &mut client).await {
            Ok(overview) => {
                if output.is_json() {
                    output.object(&overview)?;
                } else {
                    if was_shown {
                        output.line("")?;
                    }
                    let parts = parts(output, &overview);
                    print(output, &parts)?;
                }
                (was_shown, is_lost) = (true, false);
            }
            Err(failure) if !was_shown => return Err(failure),
            Err(failure) => {
                client = None;
                if !is_lost {
                    print_lost(output, &failure)?;
                }
                is_lost = true;
            }
        }
        output.flush()?;
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Draws each overview until q is pressed. Fails if the first read fails.
pub(super) async fn on_terminal(database: &Database, output: &mut Output) -> Result<(), Failure> {
    let mut client = Some(database.client().await?);
    let mut overview = read_within_limit(database, &mut client).await?;
    let mut lost = None;
    let mut terminal = Terminal::enter()?;
    loop {
        draw(output, &overview, lost.as_ref())?;
        let next = Instant::now() + INTERVAL;
        let found = {
            let reading = async {
                sleep_until(next).await;
                read_within_limit(database, &mut client).await
            };
            tokio::pin!(reading);
            // A read may take long, so keys and changes of the size are handled meanwhile.
            loop {
                tokio::select! {
                    event = terminal.event() => match event {
                        Event::Quit => return Ok(()),
                        Event::Resized => draw(output, &overview, lost.as_ref())?,
                    },
                    found = &mut reading => break found,
                }
            }
        };
        match found {
            Ok(found) => (overview, lost) = (found, None),
            Err(failure) => {
                client = None;
                lost = lost.or_else(|| lost_line(output, &failure));
            }
        }
    }
}

/// Draws an overview. If the connection is lost, the last overview stays, with a line that reports the loss.
fn draw(output: &mut Output, overview: &Overview, lost: Option<&Text>) -> io::Result<()> {
    let (width, height) = size();
    let mut parts = parts(output, overview);
    if let Some(Part::Line(at)) = parts.first_mut() {
        let keys = output.toned(Tone::Quiet, "  every 2 s, q quits");
        *at = std::mem::take(at).followed_by(&keys);
    }
    let reserved = usize::from(lost.is_some());
    let mut lines = fitted(output, &parts, width, height.saturating_sub(reserved));
    lines.extend(lost.map(|lost| lost.shortened(width)));
    output.draw(&lines)?;
    output.flush()
}

/// Reads the overview within the time limit, on the existing connection or a new one.
async fn read_within_limit(
    database: &Database,
    client: &mut Option<Client>,
) -> Result<Overview, Failure> {
    let reading = async {
        let client = match client {
            Some(client) => client,
            None => client.insert(database.client().await?),
        };
        read(client).await
    };
    let late = |_| Failure::problem(format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, reading)
        .await
        .map_err(late)?
}

/// Returns the line that reports a failed read.
fn lost_line(output: &Output, failure: &Failure) -> Option<Text> {
    let at = words::time(SystemTime::now());
    let Failure::Reported { message, .. } = failure else {
        return None;
    };
    let message = words::shortened(message, 200);
    let line = format!("{at}  lost: {message}; trying again.");
    Some(output.toned(Tone::Bad, &line))
}

fn print_lost(output: &mut Output, failure: &Failure) -> io::Result<()> {
    #[derive(Serialize)]
    struct Lost<'a> {
        at: String,
        error: &'a str,
    }
    match failure {
        Failure::Reported { message, .. } if output.is_json() => {
            let at = words::time(SystemTime::now());
            output.object(&Lost { at, error: message })
        }
        _ => {
            let Some(line) = lost_line(output, failure) else {
                return Ok(());
            };
            output.line("")?;
            output.line(&line)
        }
    }
}
