//! Requests for pages of the outbox, and for parked events.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::{Request, answer};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::group::connections::Link;
use crate::group::job::Row;
use crate::group::members::Member;
use crate::group::options::DurableOptions;
use crate::group::reads;
use crate::group::slices::Turn;
use crate::group::store::{self, ParkedRow};
use crate::name::TableName;
use crate::outbox::{OutboxReader, Recorded, Rows};
use crate::router::Caches;

pub(in crate::group) struct PageRead {
    pub(in crate::group) turn: Turn,
    pub(in crate::group) rows: Rows,
    /// One for each row: the event, or the decoding error, and the table if it is known.
    pub(in crate::group) events: Vec<Result<Event, (Error, Option<TableName>)>>,
}

pub(super) struct Reading {
    /// Decodes rows. `None` while a page is read.
    reader: Option<OutboxReader>,
    request: Request<(OutboxReader, Result<PageRead>)>,
}

impl Reading {
    pub(super) fn new(reader: OutboxReader) -> Self {
        Self {
            reader: Some(reader),
            request: None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.request.is_some()
    }

    pub(super) fn start(
        &mut self,
        from: (Arc<Link>, Arc<Member>),
        turn: Turn,
        rows: usize,
        limit: Duration,
        caches: Option<Caches>,
    ) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        let reading = async move {
            let (reader, page) = read(reader, from, turn, rows, limit).await;
            if let (Some(caches), Ok(page)) = (caches, &page) {
                caches.apply(page.events.iter().flatten()).await;
            }
            (reader, page)
        };
        self.request = Some(reading.boxed_local());
    }

    pub(super) async fn answer(&mut self) -> Result<PageRead> {
        let (reader, page) = answer(&mut self.request).await;
        self.reader = Some(reader);
        page
    }
}

async fn read(
    mut reader: OutboxReader,
    (link, member): (Arc<Link>, Arc<Member>),
    turn: Turn,
    rows: usize,
    limit: Duration,
) -> (OutboxReader, Result<PageRead>) {
    let page = async {
        let request = reads::Request {
            cursor: turn.cursor.clone(),
            share: turn.share.clone(),
            until: turn.until.clone(),
            limit: rows,
            requested_at: Instant::now(),
            member,
        };
        let rows = link.reads.rows(request).await?;
        let events = reader.events(&rows.rows, None).await?;
        let events = events.into_iter().zip(&rows.rows);
        let events = events
            .map(|(event, row)| event.map_err(|error| (error, reader.table(row))))
            .collect();
        Ok(PageRead { turn, rows, events })
    };
    let page = store::answer_within(limit, page).await;
    (reader, page)
}

pub(in crate::group) struct Fetched {
    pub(in crate::group) requested: Vec<(Row, i64)>,
    pub(in crate::group) rows: Vec<ParkedRow>,
    pub(in crate::group) events: Vec<Result<Event>>,
    /// Whether the size limit was reached, so that events are missing.
    pub(in crate::group) is_truncated: bool,
}

type FetchedRows = (Vec<ParkedRow>, Vec<Result<Event>>, bool);

#[derive(Default)]
pub(super) struct Fetching {
    requested: Vec<(Row, i64)>,
    request: Request<Result<FetchedRows>>,
}

impl Fetching {
    pub(super) fn is_running(&self) -> bool {
        self.request.is_some()
    }

    pub(super) fn start(
        &mut self,
        link: &Arc<Link>,
        options: Arc<DurableOptions>,
        limit: Duration,
        requested: Vec<(Row, i64)>,
        slices: Vec<i32>,
    ) {
        let ids: Vec<i64> = requested.iter().map(|(_, id)| *id).collect();
        self.requested = requested;
        let link = Arc::clone(link);
        let fetching = async move {
            let fetched = fetch(&link, &options, ids, slices);
            let fetched = store::answer_within(limit, fetched).await;
            if let (Some(caches), Ok((_, events, _))) = (&options.caches, &fetched) {
                caches.apply(events.iter().flatten()).await;
            }
            fetched
        };
        self.request = Some(fetching.boxed_local());
    }

    /// Waits for the answer. After an error, the requested events stay here to be [taken](Self::take).
    pub(super) async fn answer(&mut self) -> Result<Fetched> {
        let (rows, events, is_truncated) = answer(&mut self.request).await?;
        Ok(Fetched {
            requested: self.take(),
            rows,
            events,
            is_truncated,
        })
    }

    pub(super) fn take(&mut self) -> Vec<(Row, i64)> {
        std::mem::take(&mut self.requested)
    }
}

async fn fetch(
    link: &Link,
    options: &DurableOptions,
    ids: Vec<i64>,
    slices: Vec<i32>,
) -> Result<FetchedRows> {
    let (client, group) = (Arc::clone(&link.client), Arc::clone(&options.group));
    let fetching = async move { store::parked_rows(&client, &group, &ids, &slices).await };
    let (rows, is_truncated) = link.run(fetching).await?;
    let recorded: Vec<Recorded> = rows.iter().map(|parked| parked.row.clone()).collect();
    let events = OutboxReader::new(Arc::clone(&link.client))
        .events(&recorded, None)
        .await?;
    Ok((rows, events, is_truncated))
}
