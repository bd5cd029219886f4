//! Signals to other processes, their state and their children.
//!
//! Reads `/proc` on Linux, and runs `pgrep` and `ps` on other systems.

use std::fs;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// Sends a signal. A process that has already ended is no error.
pub(super) fn signal(pid: Pid, signal: Signal) -> Result<(), Error> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::during(format!("cannot signal process {pid}"))(
            std::io::Error::from(errno),
        )),
    }
}

/// Returns whether a process has ended. A zombie counts, because it holds no resources.
pub(super) fn is_gone(pid: Pid) -> bool {
    matches!(state(pid), None | Some('Z' | 'X'))
}

/// Returns whether a process is suspended or has ended.
pub(super) fn is_frozen(pid: Pid) -> bool {
    matches!(state(pid), None | Some('T' | 'Z' | 'X'))
}

pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return lines_of("pgrep", &["-P", &parent.to_string()])
            .filter_map(|l| pid(&l))
            .collect();
    };
    entries
        .flatten()
        .filter_map(|entry| pid(entry.file_name().to_str()?))
        .filter(|&child| stat(child).is_some_and(|(_, of)| of == parent.as_raw_nonzero().get()))
        .collect()
}

pub(crate) fn pid(digits: &str) -> Option<Pid> {
    Pid::from_raw(digits.trim().parse().ok()?)
}

fn state(pid: Pid) -> Option<char> {
    if fs::exists("/proc/self/stat").unwrap_or(false) {
        return stat(pid).map(|(state, _)| state);
    }
    lines_of("ps", &["-o", "stat=", "-p", &pid.to_string()])
        .next()?
        .trim()
        .chars()
        .next()
}

/// Returns state and parent from `pid (name) state ppid ...`. The name may contain spaces and brackets.
fn stat(pid: Pid) -> Option<(char, i32)> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn lines_of(program: &str, args: &[&str]) -> impl Iterator<Item = String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map(|o| o.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    text.lines()
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .into_iter()
}
