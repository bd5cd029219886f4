//! `pgherald status --watch`: looks at intervals. On a terminal, each look is drawn to its size, until q is pressed; otherwise
//! each is printed in full.

use std::io;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use super::picture::{Picture, look};
use super::show::parts;
use crate::database::Database;
use crate::failure::Failure;
use crate::output::{Output, Text, Tone};
use crate::report::{Part, fitted, print};
use crate::terminal::{Event, Terminal, size};
use crate::words;

/// How long between two looks.
const INTERVAL: Duration = Duration::from_secs(2);
/// After how long a look that is watched counts as failed. Counting lag takes a while where it is millions.
const PATIENCE: Duration = Duration::from_secs(30);

/// Prints each look. Ends only if the first look fails, or the output cannot be written.
pub(super) async fn in_lines(database: &Database, output: &mut Output) -> Result<(), Failure> {
    let mut client = Some(database.client().await?);
    let mut was_shown = false;
    let mut is_lost = false;
    loop {
        match watched_look(database, &mut client).await {
            Ok(picture) => {
                if output.is_json() {
                    output.object(&picture)?;
                } else {
                    if was_shown {
                        output.line("")?;
                    }
                    let parts = parts(output, &picture);
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

/// Draws each look until q is pressed. Fails if the first look does.
pub(super) async fn on_terminal(database: &Database, output: &mut Output) -> Result<(), Failure> {
    let mut client = Some(database.client().await?);
    let mut picture = watched_look(database, &mut client).await?;
    let mut lost = None;
    let mut terminal = Terminal::enter()?;
    loop {
        draw(output, &picture, lost.as_ref())?;
        let next = Instant::now() + INTERVAL;
        let found = {
            let looking = async {
                sleep_until(next).await;
                watched_look(database, &mut client).await
            };
            tokio::pin!(looking);
            // A look may take long: keys are read meanwhile.
            loop {
                tokio::select! {
                    event = terminal.event() => match event {
                        Event::Quit => return Ok(()),
                        Event::Resized => draw(output, &picture, lost.as_ref())?,
                    },
                    found = &mut looking => break found,
                }
            }
        };
        match found {
            Ok(found) => (picture, lost) = (found, None),
            Err(failure) => {
                client = None;
                lost = lost.or_else(|| lost_line(output, &failure));
            }
        }
    }
}

/// Draws a look. If the connection is lost, the last look stays, with a line that says so.
fn draw(output: &mut Output, picture: &Picture, lost: Option<&Text>) -> io::Result<()> {
    let (width, height) = size();
    let mut parts = parts(output, picture);
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

/// The line that reports a look that has failed.
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
