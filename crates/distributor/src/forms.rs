//! The encoded forms of one event: with all columns, and with each set of columns that clients are limited to.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::access::Columns;
use crate::message::Message;

/// The forms of an event, each encoded when the first client needs it. `None` for an event that cannot be encoded.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    whole: OnceLock<Option<Message>>,
    limited: Mutex<HashMap<Columns, Option<Message>>>,
}

impl Forms {
    /// Returns the form with these columns, `None` for all. `encode` is called once for each set.
    pub(crate) fn get(
        &self,
        columns: Option<&Columns>,
        encode: impl FnOnce() -> Option<Message>,
    ) -> Option<Message> {
        let Some(columns) = columns else {
            return self.whole.get_or_init(encode).clone();
        };
        // Ignore a poisoned lock: a form is inserted when it is complete.
        let mut limited = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = limited.get(columns) {
            return known.clone();
        }
        let form = encode();
        limited.insert(columns.clone(), form.clone());
        form
    }
}
