//! The methods that the handles of all kinds of servers have.

/// The methods that stop, kill, pause and start a server, in an `impl` of a handle with a field `server` of type
/// `Arc<Supervised<$program>>`.
macro_rules! control_server {
    ($program:ty) => {
        /// Returns `127.0.0.1`.
        pub fn host(&self) -> &str {
            $crate::process::HOST
        }

        /// Returns the TCP port for clients. A restart does not change it.
        pub fn port(&self) -> u16 {
            self.server.port()
        }

        /// Returns the path of the server's log.
        pub fn log_file(&self) -> &std::path::Path {
            &self.server.program().log_file
        }

        /// Shuts the server down and waits until it has ended. Clients are disconnected, and data is written. Does nothing if
        /// the server is not running.
        ///
        /// # Errors
        ///
        /// If the server does not stop within 30 s.
        pub async fn stop(&self) -> Result<(), $crate::Error> {
            self.with_server($crate::process::Supervised::stop).await
        }

        /// Kills the server and all its child processes with SIGKILL.
        ///
        /// # Errors
        ///
        /// If a process cannot be killed.
        pub async fn kill(&self) -> Result<(), $crate::Error> {
            self.with_server($crate::process::Supervised::kill).await
        }

        /// Starts the server after [`stop`](Self::stop) or [`kill`](Self::kill), with the same port and data. Does nothing if
        /// the server is running.
        ///
        /// # Errors
        ///
        /// If the server does not start: the error includes the end of its log.
        pub async fn start_again(&self) -> Result<(), $crate::Error> {
            self.with_server($crate::process::Supervised::start_again)
                .await
        }

        /// [Stops](Self::stop) the server, then [starts](Self::start_again) it.
        ///
        /// # Errors
        ///
        /// As [`stop`](Self::stop) and [`start_again`](Self::start_again).
        pub async fn restart(&self) -> Result<(), $crate::Error> {
            self.with_server(|server| server.stop().and_then(|()| server.start_again()))
                .await
        }

        /// Suspends the server and all its child processes, like a machine that hangs: connections stay open, but the server does
        /// not respond. Until [`resume`](Self::resume), methods that need a response fail; `stop`, `kill` and `restart` work.
        ///
        /// # Errors
        ///
        /// If the server is not running.
        pub async fn pause(&self) -> Result<(), $crate::Error> {
            self.with_server($crate::process::Supervised::pause).await
        }

        /// Resumes a [paused](Self::pause) server.
        ///
        /// # Errors
        ///
        /// If the server is not running.
        pub async fn resume(&self) -> Result<(), $crate::Error> {
            self.with_server($crate::process::Supervised::resume).await
        }

        /// Returns whether the server process exists, paused or not.
        pub async fn is_running(&self) -> bool {
            self.with_server(|server| Ok(server.is_running()))
                .await
                .unwrap_or(false)
        }

        async fn with_server<T: Send + 'static>(
            &self,
            action: impl FnOnce(&$crate::process::Supervised<$program>) -> Result<T, $crate::Error>
            + Send
            + 'static,
        ) -> Result<T, $crate::Error> {
            let server = std::sync::Arc::clone(&self.server);
            $crate::process::blocking(move || action(&server)).await
        }
    };
}

pub(crate) use control_server;
