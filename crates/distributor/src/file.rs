//! Whether files have changed.

use std::path::Path;
use std::time::SystemTime;

/// What shows that a file has changed: when it was written, and its length.
///
/// Read it before the content, so that a change in between is seen at the next comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileState(Option<(SystemTime, u64)>);

impl FileState {
    /// Returns the present state of a file, or that there is none.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let metadata = std::fs::metadata(path).ok();
        Self(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))))
    }
}
