//! Triggers
