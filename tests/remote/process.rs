//! Processes that a test suspends, kills and starts again.
//!
//! Each process runs one ignored test of this test program. That test is the program of the process: it calls [`run`], or
//! [`arguments`], first.

#![allow(dead_code, reason = "each suite uses a part of it")]

use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::task::LocalSet;

const ARGUMENTS: &str = "PGHERALD_TEST_PROCESS";

/// A process, which is killed when this is dropped.
pub(crate) struct Process {
    command: Command,
    child: Child,
}

impl Process {
    /// Starts the program with this path, `module::test`.
    pub(crate) fn start(program: &str, arguments: &str) -> Self {
        Self::spawn(Self::command(program, arguments))
    }

    /// Returns the command of a program, for example to change where its output goes.
    pub(crate) fn command(program: &str, arguments: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", program, "--ignored", "--nocapture"])
            .env(ARGUMENTS, arguments)
            // The process ends with this one: see `arguments`.
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        command
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let child = command.spawn().unwrap();
        Self { command, child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Suspends the process, as if its machine stood still.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process, suspended or not.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = self.command.spawn().unwrap();
    }

    /// Resumes the process, or starts it again if it has ended.
    pub(crate) fn run_again(&mut self) {
        match self.ended() {
            None => self.resume(),
            Some(status) => {
                // It was killed, or has ended by itself without an error.
                assert!(status.code().is_none_or(|code| code == 0), "{status}");
                self.restart();
            }
        }
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a program if [`Process`] has started this process. Otherwise returns at once, so the test passes.
pub(crate) fn run(program: impl AsyncFnOnce(String)) {
    let Some(arguments) = arguments() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, program(arguments));
}

/// Returns the arguments of this process; `None` if [`Process`] did not start it. The process ends when its parent has ended,
/// because that closes its standard input.
pub(crate) fn arguments() -> Option<String> {
    let arguments = std::env::var(ARGUMENTS).ok()?;
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Some(arguments)
}
