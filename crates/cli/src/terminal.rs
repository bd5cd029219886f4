//! The terminal while a command draws on it: its size, its keys, and its previous settings.
//!
//! ```text
//!   Terminal::enter ── keys without echo, alternate screen ──► event: a key, a new size
//!         └── dropped, or a panic ──► restore the previous settings
//! ```

#[cfg(unix)]
use std::io;

/// An event of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The user pressed q, or the terminal was closed.
    Quit,
    /// The size of the terminal changed.
    Resized,
}

/// Columns and lines if the terminal does not report them.
const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Whether the terminal supports more than plain lines.
pub(crate) fn can_draw() -> bool {
    std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Returns the columns and lines of the terminal on standard output.
pub(crate) fn size() -> (usize, usize) {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
        && size.ws_row > 0
    {
        return (size.ws_col.into(), size.ws_row.into());
    }
    let variable = |name| {
        let value = std::env::var(name).ok()?;
        value.parse().ok().filter(|number| *number > 0)
    };
    (
        variable("COLUMNS").unwrap_or(DEFAULT_SIZE.0),
        variable("LINES").unwrap_or(DEFAULT_SIZE.1),
    )
}

#[cfg(unix)]
pub(crate) use self::unix::Terminal;
#[cfg(not(unix))]
pub(crate) use self::without_keys::Terminal;

#[cfg(unix)]
mod unix {
    use std::io::{self, IsTerminal, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::sync::{Arc, Mutex, Once, PoisonError};

    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
    };
    use tokio::signal::unix::{Signal, SignalKind, signal};
    use tokio::sync::Notify;

    use super::Event;

    /// Switches to the alternate screen and hides the cursor.
    const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
    /// Shows the cursor and leaves the alternate screen.
    const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

    /// The terminal on standard input, and the settings to restore.
    static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
    static HOOK: Once = Once::new();

    /// A terminal that a command draws on. Dropping this value, or a panic, restores the terminal.
    #[derive(Debug)]
    pub(crate) struct Terminal {
        /// Notified when q is pressed. Never notified if standard input is not a terminal.
        quit: Arc<Notify>,
        resized: Signal,
    }

    impl Terminal {
        /// Prepares the terminal on standard output for drawing.
        pub(crate) fn enter() -> io::Result<Self> {
            HOOK.call_once(|| {
                let report = std::panic::take_hook();
                std::panic::set_hook(Box::new(move |panic| {
                    // Otherwise the panic's message would disappear with the alternate screen.
                    restore();
                    report(panic);
                }));
            });
            let resized = signal(SignalKind::window_change())?;
            let stdin = io::stdin();
            let quit = Arc::new(Notify::new());
            let entered = Self {
                quit: Arc::clone(&quit),
                resized,
            };
            if stdin.is_terminal() {
                without_echo(stdin.as_fd())?;
                // This thread ends with the process, because nothing can interrupt a read of standard input.
                std::thread::spawn(move || wait_for_quit(&quit));
            }
            write(ENTER)?;
            Ok(entered)
        }

        /// Waits for the next event. Cancel safe.
        pub(crate) async fn event(&mut self) -> Event {
            tokio::select! {
                () = self.quit.notified() => Event::Quit,
                _ = self.resized.recv() => Event::Resized,
            }
        }
    }

    impl Drop for Terminal {
        fn drop(&mut self) {
            restore();
        }
    }

    /// Reads keys until q is pressed or the terminal is closed.
    fn wait_for_quit(quit: &Notify) {
        let mut keys = io::stdin().lock();
        let mut pressed = [0; 64];
        loop {
            match keys.read(&mut pressed) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(read @ 1..) if !pressed[..read].iter().any(|key| b"qQ".contains(key)) => {}
                _ => return quit.notify_one(),
            }
        }
    }

    /// Makes the terminal deliver each key at once, without echo. Ctrl-C still interrupts. Ctrl-Z and Ctrl-\ are disabled, because
    /// the process would stop or end without restoring the terminal.
    fn without_echo(terminal: BorrowedFd<'_>) -> io::Result<()> {
        let before = tcgetattr(terminal)?;
        let mut changed = before.clone();
        changed.local_modes &= !(LocalModes::ICANON | LocalModes::ECHO);
        changed.special_codes[SpecialCodeIndex::VMIN] = 1;
        for code in [
            SpecialCodeIndex::VTIME,
            SpecialCodeIndex::VSUSP,
            SpecialCodeIndex::VQUIT,
        ] {
            changed.special_codes[code] = 0;
        }
        // Saved before the change, so that a panic in between restores the settings.
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((terminal.try_clone_to_owned()?, before));
        tcsetattr(terminal, OptionalActions::Now, &changed)?;
        Ok(())
    }

    /// Restores the terminal, once.
    fn restore() {
        let saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((terminal, before)) = saved {
            // An error means that the terminal was closed. Flushing discards unread keys, which the shell would read otherwise.
            let _ = tcsetattr(terminal, OptionalActions::Flush, &before);
        }
        let _ = write(LEAVE);
    }

    fn write(codes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout();
        stdout.write_all(codes)?;
        stdout.flush()
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at once")]
    mod tests {
        use std::os::fd::AsFd;
        use std::panic::catch_unwind;

        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        use rustix::termios::{LocalModes, tcgetattr};

        use super::{SAVED, restore, without_echo};

        /// Restores the terminal when dropped, like [`Terminal`](super::Terminal).
        struct Guard;

        impl Drop for Guard {
            fn drop(&mut self) {
                restore();
            }
        }

        #[test]
        fn a_panic_restores_the_terminal() {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
            let main = openpt(flags).unwrap();
            grantpt(&main).unwrap();
            unlockpt(&main).unwrap();
            let name = ptsname(&main, Vec::new()).unwrap();
            let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
            let terminal = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).unwrap();
            let before = tcgetattr(&terminal).unwrap();
            let panicked = catch_unwind(|| {
                let _guard = Guard;
                without_echo(terminal.as_fd()).unwrap();
                let changed = tcgetattr(&terminal).unwrap();
                assert!(!changed.local_modes.contains(LocalModes::ECHO));
                std::panic::resume_unwind(Box::new(()));
            });
            assert!(panicked.is_err());
            let after = tcgetattr(&terminal).unwrap();
            assert_eq!(after.local_modes, before.local_modes);
            assert!(
                after
                    .local_modes
                    .contains(LocalModes::ECHO | LocalModes::ICANON)
            );
            assert!(SAVED.lock().unwrap().is_none());
        }
    }
}

#[cfg(not(unix))]
mod without_keys {
    use std::io;

    use super::Event;

    /// A terminal whose keys are not read. Ctrl-C ends the command.
    #[derive(Debug)]
    pub(crate) struct Terminal;

    impl Terminal {
        pub(crate) fn enter() -> io::Result<Self> {
            Ok(Self)
        }

        pub(crate) async fn event(&mut self) -> Event {
            std::future::pending().await
        }
    }
}
