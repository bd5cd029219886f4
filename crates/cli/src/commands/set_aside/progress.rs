//! The progress of a change in several steps.

use std::io::{self, IsTerminal, Write};

/// Shows the progress on standard error, if that is a terminal and there is more than one step.
#[derive(Debug)]
pub(super) struct Progress {
    of: usize,
    done: usize,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(of: usize, step: usize) -> Self {
        let is_shown = of > step && io::stderr().is_terminal();
        Self {
            of,
            done: 0,
            is_shown,
        }
    }

    pub(super) fn advance(&mut self, by: usize) {
        self.done += by;
        if self.is_shown {
            // A closed standard error is no reason to fail.
            let _ = write!(io::stderr(), "\r{} of {}", self.done, self.of);
        }
    }
}

/// Clears the line, so that the next output replaces it.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
