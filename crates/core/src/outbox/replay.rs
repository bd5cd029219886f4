//! Reads what was recorded after a position, up to now.

use std::sync::Arc;
use std::time::Duration;

use super::cursor::Cursor;
use super::history::History;
use super::position::{Lineage, Position, Progress, Span};
use super::reader::{OutboxReader, Share};
use super::row::failed;
use crate::connect::{ConnectConfig, drive};
use crate::error::Result;
use crate::event::Event;

/// The rows that are read at a time. A client that does not read keeps two pages in memory.
const PAGE: usize = 64;

/// How long connecting may take, and how long the server may be silent.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(10);

/// The server cancels a statement after this time. Positions come from clients, so they may be of any age.
const STATEMENT: &str = "SET statement_timeout = '10s'";

/// A connection that reads the outbox for one client after the other.
#[derive(Debug)]
pub struct Replayer {
    reader: OutboxReader,
    /// The history at the time of the connect. It changes only with another connection, or the source reports it.
    history: History,
}

/// A replay that is under way.
#[derive(Clone, Debug)]
pub struct Replay {
    lineage: Arc<Lineage>,
    cursor: Cursor,
    /// Whether the difference that is being read was begun by this replay, so that it reaches up to a moment after its beginning.
    is_own: bool,
}

/// Whether a replay can begin.
#[derive(Debug)]
pub enum Beginning {
    /// It can.
    Replay(Replay),
    /// Events since the position may be missing: the outbox is another one, triggers or tables were altered, or the server has crashed.
    /// Or more rows were recorded since than the limit.
    Lost,
    /// The source has no session, or one from before the start of the server that the position is from. Positions are compared with
    /// those of the source's session, so try again later.
    Early,
    /// The replayer and the source are connected to servers with different histories. Try again with another connection.
    OtherHistory,
}

/// A part of a replay.
#[derive(Debug)]
pub struct Replayed {
    /// The events, in order.
    pub events: Vec<Event>,
    /// Whether events are missing: rows were trimmed before they were read, or failed to decode, or the server has another history than
    /// the one that the replay began on.
    pub is_gap: bool,
    /// Whether everything up to now was read.
    pub is_last: bool,
}

impl Replayer {
    /// Connects.
    ///
    /// # Errors
    /// If the server cannot be reached, there is no outbox, or this role may not read it.
    pub async fn connect(config: &ConnectConfig) -> Result<Self> {
        let mut config = config.clone();
        config.for_listening("replay", SILENCE, CONNECT);
        let (client, connection) = config.listening_session().await?;
        drive(connection);
        client.batch_execute(STATEMENT).await.map_err(failed)?;
        let history = History::of(&client).await?;
        let reader = OutboxReader::new(Arc::new(client));
        Ok(Self { reader, history })
    }

    /// Begins a replay after `position`, of at most `limit` rows.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn begin(
        &mut self,
        position: &Position,
        source: &Progress,
        limit: usize,
    ) -> Result<Beginning> {
        let Some(lineage) = source.lineage() else {
            return Ok(Beginning::Early);
        };
        if !lineage.is_within(&self.history) {
            return Ok(Beginning::OtherHistory);
        }
        if lineage.is_older_than(position, &self.history) {
            return Ok(Beginning::Early);
        }
        if !lineage.continues(position) {
            return Ok(Beginning::Lost);
        }
        let cursor = position.cursor.clone();
        let read = cursor.done.floor.max(cursor.position().unwrap_or(i64::MIN));
        let recorded = self.reader.now().await?.done.floor.saturating_sub(read);
        Ok(match recorded <= i64::try_from(limit).unwrap_or(i64::MAX) {
            true => Beginning::Replay(Replay {
                lineage,
                cursor,
                is_own: false,
            }),
            false => Beginning::Lost,
        })
    }

    /// Reads the next events of a replay.
    ///
    /// # Errors
    /// If the connection is lost; the replayer is then of no use any more. Of kind [`ErrorKind::History`] if the position is ahead
    /// of the outbox.
    pub async fn next(&mut self, replay: &mut Replay) -> Result<Replayed> {
        if !replay.lineage.is_within(&self.history) {
            return Ok(Replayed {
                events: Vec::new(),
                is_gap: true,
                is_last: false,
            });
        }
        let before = replay.cursor.clone();
        let page = self.reader.rows(&before, &Share::all(), None, PAGE).await?;
        let span = Span::between(Arc::clone(&replay.lineage), &before, &page.cursor);
        let span = Some(Arc::new(span));
        let decoded = self.reader.events(&page.rows, span.as_ref()).await?;
        let count = decoded.len();
        let events: Vec<Event> = decoded.into_iter().filter_map(Result::ok).collect();
        replay.cursor = page.cursor;
        replay.is_own |= before.reading.is_none();
        Ok(Replayed {
            is_gap: page.is_gap || events.len() < count,
            events,
            // The rest of a difference that was begun long ago does not reach up to now.
            is_last: page.is_last && replay.is_own,
        })
    }

    /// Returns whether the connection can be used for another replay.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.reader.client.is_closed()
    }
}

impl Replay {
    /// Returns the position at the end of the replay. `None` until its last part was read.
    #[must_use]
    pub fn end(&self) -> Option<Position> {
        let has_ended = self.cursor.reading.is_none();
        has_ended.then(|| self.lineage.at(self.cursor.clone()))
    }
}
