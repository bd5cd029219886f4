//! `pgherald token`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use pgherald_distributor::{Rights, TableRights, TokenLine};
use serde::Serialize;

use crate::arguments::NewToken;
use crate::failure::Failure;
use crate::output::Output;

/// A new token in JSON.
#[derive(Serialize)]
struct New<'a> {
    token: &'a str,
    line: &'a TokenLine,
}

/// Makes a token.
pub(crate) fn new(output: &mut Output, new: NewToken) -> Result<ExitCode, Failure> {
    let (name, expires, append) = (new.name.clone(), new.expires, new.append.clone());
    let (token, line) = TokenLine::generate(name, rights(new), expires)
        .map_err(|error| Failure::usage(error.chain()))?;
    if let Some(path) = &append {
        // Before the token is shown, so that no token is passed on whose line is missing.
        add_line(path, &line.to_json())?;
    }
    match (output.is_json(), append) {
        (true, _) => output.object(&New {
            token: &token,
            line: &line,
        })?,
        (false, Some(_)) => output.line(&*token)?,
        (false, None) => {
            output.line(&format!("token: {token}"))?;
            output.line(&format!("line:  {}", line.to_json()))?;
        }
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn rights(new: NewToken) -> Rights {
    let operations = new.operations.into_iter().map(Into::into);
    let operations: Vec<pgherald_core::Operation> = operations.collect();
    let columns: BTreeSet<_> = new.columns.into_iter().collect();
    let mut rows = BTreeMap::<_, BTreeSet<_>>::new();
    for (column, value) in new.rows {
        rows.entry(column).or_default().insert(value);
    }
    let tables = new.tables.into_iter().map(|table| TableRights {
        table,
        operations: (!operations.is_empty()).then(|| operations.clone()),
        columns: (!columns.is_empty()).then(|| columns.clone()),
        rows: rows.clone(),
    });
    Rights {
        tables: tables.collect(),
        channels: new.channels,
        observe: new.observe,
        operate: new.operate,
    }
}

/// Appends a line. A last line without its end gets one.
fn add_line(path: &Path, line: &str) -> Result<(), Failure> {
    let add = || {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let end = match content.last() {
            None | Some(b'\n') => "",
            Some(_) => "\n",
        };
        file.write_all(format!("{end}{line}\n").as_bytes())
    };
    add().map_err(|error| Failure::problem(format!("cannot write {}: {error}", path.display())))
}
