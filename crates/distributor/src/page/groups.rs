//! Lists parked events and dead letters, and runs the operations on groups.
//!
//! | request | effect |
//! |---|---|
//! | `GET /v1/groups/{name}/parked`, `…/dead-letters` | lists them by id, up to `limit`, with ids above `after` |
//! | `POST …/parked/retry`, `…/dead-letters/retry` | retries them: all, or those with the ids of the body |
//! | `POST …/dead-letters/discard` | deletes them |
//! | `POST …/pause`, `…/resume` | pauses the group, or ends the pause |
//!
//! Each operation is logged, with the address of its sender.

use std::sync::Arc;
use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse, web};
use pgherald_core::group::{Group, ParkedEvent};
use pgherald_core::tokio_postgres::Client;
use pgherald_core::{Error, Result as CoreResult};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::database::{Database, LIMIT, late};
use super::{access, assets, time};
use crate::distributor::Shared;
use crate::refusal::Refusal;
use crate::routes::add;

/// Events of a list, because all of them are in memory with their columns.
const MOST: usize = 100;
/// Characters of the columns of an event in a list.
const COLUMNS: usize = 4_096;

type State = web::Data<Shared>;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    add(config, "/v1/groups/{group}/parked", web::get().to(parked));
    add(
        config,
        "/v1/groups/{group}/dead-letters",
        web::get().to(dead_letters),
    );
    add(
        config,
        "/v1/groups/{group}/{operation:.*}",
        web::post().to(operate),
    );
}

/// Which part of a list to return.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    after: Option<i64>,
    limit: Option<usize>,
}

/// A parked event or a dead letter. Ids are texts, because they may be beyond what JavaScript has numbers for.
#[derive(Serialize)]
struct Listed {
    id: String,
    /// `None` for a resync, and for an event that fails to decode.
    table: Option<String>,
    operation: Option<&'static str>,
    key: Option<String>,
    /// JSON, perhaps cut.
    columns: Option<String>,
    is_cut: bool,
    attempts: u32,
    error: Option<String>,
    parked_at: String,
    due_at: Option<String>,
    dead_at: Option<String>,
}

impl Listed {
    fn new(event: ParkedEvent) -> Self {
        let at = |at: Option<SystemTime>| at.map(time);
        let table = event.event.as_ref().map(|event| match event.schema() {
            Some(schema) => format!("{schema}.{}", event.table()),
            None => event.table().to_owned(),
        });
        let cut = event
            .columns
            .as_ref()
            .and_then(|columns| columns.char_indices().nth(COLUMNS));
        Self {
            id: event.id.to_string(),
            table,
            operation: event.event.as_ref().map(|event| event.operation().as_str()),
            key: event.key,
            is_cut: cut.is_some(),
            columns: event.columns.map(|mut columns| {
                columns.truncate(cut.map_or(columns.len(), |(index, _)| index));
                columns
            }),
            attempts: event.attempts,
            error: event.error,
            parked_at: time(event.parked_at),
            due_at: at(event.due_at),
            dead_at: at(event.dead_at),
        }
    }
}

async fn parked(
    state: State,
    request: HttpRequest,
    group: web::Path<String>,
) -> Result<HttpResponse, Refusal> {
    list(&state, &request, &group, false).await
}

async fn dead_letters(
    state: State,
    request: HttpRequest,
    group: web::Path<String>,
) -> Result<HttpResponse, Refusal> {
    list(&state, &request, &group, true).await
}

async fn list(
    state: &Shared,
    request: &HttpRequest,
    group: &str,
    dead: bool,
) -> Result<HttpResponse, Refusal> {
    access::reader(state, request)?;
    let range = web::Query::<Range>::from_query(request.query_string());
    let Range { after, limit } = range
        .map_err(|error| Refusal::bad_request(format!("the query is malformed: {error}")))?
        .into_inner();
    let limit = limit.unwrap_or(MOST).min(MOST);
    let database = database(state)?;
    let listed = on(&database, async |client| {
        let group = Group::new(client, group);
        match dead {
            true => group.dead_letters(after, limit).await,
            false => group.parked(after, limit).await,
        }
    })
    .await?;
    let events: Vec<_> = listed.into_iter().map(Listed::new).collect();
    Ok(assets::no_store(HttpResponse::Ok()).json(events))
}

/// The body of an operation on events: `"all"`, or `{"ids":["1","2"]}`. There is no default, because that would be all of them.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Selection {
    All,
    Ids(Vec<String>),
}

impl Selection {
    /// Returns the ids, or `None` for all events.
    fn parse(body: &[u8]) -> Result<Option<Vec<i64>>, Refusal> {
        let bad = |error: &dyn std::fmt::Display| {
            Refusal::bad_request(format!(
                r#"the body must be "all" or {{"ids":["1","2"]}}: {error}"#
            ))
        };
        match serde_json::from_slice(body).map_err(|error| bad(&error))? {
            Self::All => Ok(None),
            Self::Ids(ids) => {
                let ids = ids.iter().map(|id| id.parse());
                let ids: Result<_, std::num::ParseIntError> = ids.collect();
                ids.map(Some).map_err(|error| bad(&error))
            }
        }
    }
}

#[derive(Serialize)]
struct Changed {
    changed: u64,
}

async fn operate(
    state: State,
    request: HttpRequest,
    path: web::Path<(String, String)>,
    body: web::Bytes,
) -> Result<HttpResponse, Refusal> {
    let operator = access::operator(&state, &request)?;
    let (name, operation) = path.into_inner();
    let ids = match &*operation {
        "pause" | "resume" => None,
        "parked/retry" | "dead-letters/retry" | "dead-letters/discard" => Selection::parse(&body)?,
        _ => {
            return Err(Refusal::bad_request(format!(
                "unknown operation {operation:?}"
            )));
        }
    };
    let database = database(&state)?;
    let changed = on(&database, async |client| {
        let group = Group::new(client, &name);
        let ids = ids.as_deref();
        match &*operation {
            "pause" => group.pause().await.map(|()| 1),
            "resume" => group.resume().await.map(|()| 1),
            "parked/retry" => group.retry_parked(ids).await,
            "dead-letters/retry" => group.retry_dead_letters(ids).await,
            _ => group.discard_dead_letters(ids).await,
        }
    })
    .await?;
    database.expire();
    let address = request.peer_addr().map(|address| address.ip());
    tracing::info!(
        group = name,
        operation,
        changed,
        operator = operator.name(),
        ?address,
        "an operator changed a group by the live page"
    );
    Ok(assets::no_store(HttpResponse::Ok()).json(Changed { changed }))
}

fn database(state: &Shared) -> Result<Arc<Database>, Refusal> {
    state
        .page()?
        .database
        .clone()
        .ok_or_else(Refusal::no_database)
}

/// Runs statements within the limit.
async fn on<T>(
    database: &Database,
    statements: impl AsyncFnOnce(&Arc<Client>) -> CoreResult<T>,
) -> Result<T, Refusal> {
    let done = timeout(LIMIT, async { statements(&database.client().await?).await }).await;
    let done = done.unwrap_or_else(|_| {
        database.forget_session();
        Err::<T, Error>(late())
    });
    done.map_err(|error| {
        tracing::warn!(error = %error.chain(), "a request of the live page failed");
        Refusal::failed(&error)
    })
}
