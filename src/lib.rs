//! PostgreSQL changes as typed events for actix actors.
