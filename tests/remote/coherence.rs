//! The coherence of caches on machines without access to the database.
//!
//! `PGHERALD_SEED`, `PGHERALD_FAULTS`, `PGHERALD_READS` and `PGHERALD_SECONDS` repeat and prolong a run.

use crate::cache_check;
use crate::faults::FAULTS;
use crate::settings::{assert_coherent, check, sized};

#[actix::test]
async fn a_cache_behind_a_distributor_is_coherent() {
    let check = sized(check().reopening(), 20);
    assert_coherent(&cache_check::run(check, &FAULTS).await);
}

#[actix::test]
async fn a_cache_behind_a_distributor_of_the_outbox_is_coherent() {
    let check = sized(check().outbox(), 20);
    assert_coherent(&cache_check::run(check, &FAULTS).await);
}
