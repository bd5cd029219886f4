//! The live page, for people on call, and the operator API behind it.
//!
//! ```text
//!   Herald ── health, events ──► Monitor ── History, Rates ──┐
//!   Clients ──────────────────────── who is connected ───────┤
//!   Caches ───────────────────────── counts ─────────────────┼──► Status ──► /v1/status ──► page
//!   PostgreSQL ── Database ── Snapshot: groups, outbox ──────┤       └── findings
//!       ▲                                                    │
//!       └────────────── Group::retry_dead_letters … ◄── POST /v1/groups/{name}/… ◄── page
//! ```
//!
//! Parts and what they own:
//! - [`LivePage`] has the options.
//! - `monitor` is one task. It owns the history of the herald's health (`history`) and the rates of tables (`rates`) from the start
//!   of the distributor on, so that a page that is opened after an incident shows it.
//! - `database` owns one session. It reads groups and outbox at most every two seconds while somebody looks, whatever the number of
//!   pages, and closes the session a minute after the last look.
//! - `status` is the answer of `/v1/status`, and `findings` are its conclusions. `findings` is pure.
//! - `groups` lists parked events and runs the operations on groups. `access` decides who may.
//! - `assets` has the files of the page. They load nothing from elsewhere.
//!
//! Limits: 64 tables have rates, further ones are counted together. The history has 256 entries. The list of clients has those 50
//! that are furthest behind.

mod access;
mod assets;
mod caches;
mod database;
mod findings;
mod groups;
mod history;
mod monitor;
mod options;
mod rates;
mod refusal;
mod status;

use std::sync::Arc;
use std::time::SystemTime;

use actix_web::{HttpRequest, HttpResponse, web};
use pgherald_actors::Herald;
use pgherald_core::Result;

pub use options::LivePage;

use crate::distributor::Shared;
use crate::refusal::Refusal;
use crate::routes::add;
use caches::Observed;
use database::Database;
use monitor::Monitor;

/// What the page of one distributor shares.
#[derive(Debug)]
pub(crate) struct Page {
    monitor: Monitor,
    database: Option<Arc<Database>>,
    caches: Vec<Observed>,
}

impl Page {
    /// Starts to watch the herald.
    pub(crate) fn start(herald: &Arc<Herald>, options: LivePage) -> Result<Self> {
        let database = options
            .database
            .map(|config| Arc::new(Database::new(config)));
        Ok(Self {
            monitor: Monitor::start(Arc::clone(herald), database.clone())?,
            database,
            caches: options.caches,
        })
    }
}

/// Adds the routes of the page to those of the distributor.
pub(crate) fn configure(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(assets::index))
        .route("/page/{file:.*}", web::get().to(assets::file));
    add(config, "/v1/status", web::get().to(status));
    groups::configure(config);
}

async fn status(state: web::Data<Shared>, request: HttpRequest) -> Result<HttpResponse, Refusal> {
    let viewer = access::viewer(&state, &request)?;
    let page = state.page()?;
    let database = match &page.database {
        Some(database) => Some(Arc::clone(database).snapshot().await),
        None => None,
    };
    let status = status::Status::new(&state, page, database.as_deref(), viewer.may_operate());
    Ok(assets::no_store(HttpResponse::Ok()).json(status))
}

/// Formats a time as JSON has it: in UTC, with milliseconds.
fn time(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => format!("{time:.3}"),
        // Beyond the year 9999.
        Err(_) => String::new(),
    }
}
