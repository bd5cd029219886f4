//! `pgherald completions`.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) fn run(output: &mut Output, shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pgherald", &mut script);
    output.verbatim(String::from_utf8_lossy(&script).trim_end())?;
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
