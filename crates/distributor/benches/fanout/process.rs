//! Processes of the benchmark: questions and answers over their standard input and output, processor time and memory.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

pub(crate) struct Process {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// Starts this program with other arguments.
    pub(crate) fn of_this_program(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments);
        Self::start(command)
    }

    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    /// The next line that the process writes.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(
            self.answers.read_line(&mut line).unwrap(),
            0,
            "the process has ended"
        );
        line.trim().to_owned()
    }

    /// Sends a line, and returns the numbers of the answer.
    pub(crate) fn ask(&mut self, question: &str) -> Vec<f64> {
        let mut input = self.child.stdin.as_ref().unwrap();
        writeln!(input, "{question}").unwrap();
        let answer = self.line();
        answer
            .split(' ')
            .map(|word| word.parse().unwrap())
            .collect()
    }

    /// The processor time of all threads so far.
    pub(crate) fn time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .filter_map(|field| field.parse().ok())
            .collect();
        // Without the state, which is no number, user and system time are the fields 10 and 11, in ticks of 10 ms.
        Duration::from_millis((fields[10] + fields[11]) * 10)
    }

    /// The resident memory in KiB.
    pub(crate) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Raises the limit of open files as far as it may be raised.
pub(crate) fn allow_files(count: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return;
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(count));
    let raised = Rlimit {
        current: Some(count),
        maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        println!("the limit of open files cannot be raised to {count}");
    }
}
