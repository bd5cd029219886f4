//! The picture in words, or as one object.

use std::io;

use pgherald_core::trigger::TriggerSpec;

use super::picture::{GroupState, Node, Outbox, Picture, Required, Session, Table};
use crate::output::{Output, Text, Tone};
use crate::words;

pub(super) fn show(output: &mut Output, picture: &Picture) -> io::Result<()> {
    if output.is_json() {
        return output.object(picture);
    }
    output.line(&picture.at)?;
    show_sessions(output, &picture.sessions)?;
    if !picture.is_installed {
        output.line("")?;
        output.line("Nothing is installed in this database.")?;
        return output.line("Begin with: pgherald install TABLE --commit");
    }
    show_tables(output, &picture.tables)?;
    if let Some(why) = &picture.hidden {
        output.line("")?;
        output.line(&format!("Outbox: not shown: {why}"))?;
    }
    if let Some(outbox) = &picture.outbox {
        show_outbox(output, outbox)?;
        show_groups(output, &picture.groups)?;
        show_requirements(output, &picture.requirements)?;
    }
    Ok(())
}

/// A table under its title, or the title and "none".
fn section<C>(
    output: &mut Output,
    title: &str,
    headings: &[&str],
    rows: &[Vec<C>],
) -> io::Result<()>
where
    for<'a> &'a C: Into<Text>,
{
    output.line("")?;
    if rows.is_empty() {
        return output.line(&format!("{title}: none"));
    }
    output.line(title)?;
    output.table(headings, rows)
}

fn show_sessions(output: &mut Output, sessions: &[Session]) -> io::Result<()> {
    let row = |session: &Session| {
        vec![
            session.role.clone(),
            session.application_name.clone(),
            session.pid.to_string(),
            session.user.clone(),
            session.client_address.clone(),
            session.since.clone(),
            session.state.clone(),
        ]
    };
    let rows: Vec<_> = sessions.iter().map(row).collect();
    let headings = [
        "ROLE",
        "APPLICATION",
        "PID",
        "USER",
        "CLIENT",
        "SINCE",
        "STATE",
    ];
    section(output, "Sessions", &headings, &rows)
}

fn show_tables(output: &mut Output, tables: &[Table]) -> io::Result<()> {
    let mut rows = Vec::new();
    for table in tables {
        let state = match &table.drift {
            None => output.toned(Tone::Good, "ok"),
            Some(drift) => output.toned(Tone::Bad, drift),
        };
        let cells = [
            table.table.clone(),
            match (table.mode.unwrap_or("unknown"), table.replicated) {
                (mode, false) => mode.to_owned(),
                (mode, true) => format!("{mode},replicated"),
            },
            table.channel.clone().unwrap_or_else(|| "-".to_owned()),
            table.operations.join(","),
            list(&table.key),
            list(&table.columns),
            table.triggers.to_string(),
        ];
        let mut row: Vec<Text> = cells.iter().map(Text::from).collect();
        // Last, for its colour counts as width.
        row.push(state);
        rows.push(row);
    }
    let headings = [
        "TABLE",
        "MODE",
        "CHANNEL",
        "OPERATIONS",
        "KEY",
        "COLUMNS",
        "TRIGGERS",
        "STATE",
    ];
    section(output, "Watched tables", &headings, &rows)
}

fn list(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.join(","),
    }
}

fn show_outbox(output: &mut Output, outbox: &Outbox) -> io::Result<()> {
    let row = vec![
        words::size(outbox.bytes),
        outbox
            .oldest_seconds
            .map_or_else(|| "empty".to_owned(), words::duration),
        words::duration(outbox.keep_seconds),
        words::size(outbox.max_bytes),
    ];
    section(
        output,
        "Outbox",
        &["SIZE", "OLDEST", "KEPT FOR", "AT MOST"],
        &[row],
    )
}

fn show_groups(output: &mut Output, groups: &[GroupState]) -> io::Result<()> {
    let row = |group: &GroupState| {
        vec![
            group.group.clone(),
            group.state.clone(),
            words::count(group.lag_events, "event"),
            words::duration(group.lag_seconds),
            group.nodes.len().to_string(),
            group.parked.to_string(),
            group.parked_keys.to_string(),
            group.failing.to_string(),
            group.dead_letters.to_string(),
        ]
    };
    let rows: Vec<_> = groups.iter().map(row).collect();
    let headings = [
        "GROUP",
        "STATE",
        "LAG",
        "OLDEST",
        "NODES",
        "PARKED",
        "KEYS",
        "FAILING",
        "DEAD LETTERS",
    ];
    section(output, "Groups", &headings, &rows)?;
    show_failures(output, groups)?;
    let node = |group: &GroupState, node: &Node| {
        let lease = match node.lease_seconds {
            left if left > 0.0 => words::duration(left),
            over => format!("over for {}", words::duration(-over)),
        };
        let slices = format!("{} of {}", node.slices, group.slices);
        vec![group.group.clone(), node.description.clone(), lease, slices]
    };
    let nodes = groups
        .iter()
        .flat_map(|group| group.nodes.iter().map(move |of| node(group, of)));
    let rows: Vec<_> = nodes.collect();
    section(
        output,
        "Nodes",
        &["GROUP", "NODE", "LEASE", "SLICES"],
        &rows,
    )
}

/// Groups whose events fail, if there are some.
fn show_failures(output: &mut Output, groups: &[GroupState]) -> io::Result<()> {
    let fails = |group: &&GroupState| group.failing > 0 || group.dead_letters > 0;
    let row = |group: &GroupState| {
        let oldest = group.oldest_failing_seconds;
        vec![
            group.group.clone(),
            format!("{} of {} parked", group.failing, group.parked),
            group.failing_recently.to_string(),
            oldest.map_or_else(|| "-".to_owned(), words::duration),
            group.dead_letters.to_string(),
            group.dead_recently.to_string(),
            words::shortened(group.last_error.as_deref().unwrap_or("-"), 80),
        ]
    };
    let rows: Vec<_> = groups.iter().filter(fails).map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let headings = [
        "GROUP",
        "FAILING",
        "IN 5 MIN",
        "OLDEST",
        "DEAD LETTERS",
        "IN 5 MIN",
        "LAST ERROR",
    ];
    section(output, "Failures", &headings, &rows)
}

/// What groups require, if they state something.
fn show_requirements(output: &mut Output, required: &[Required]) -> io::Result<()> {
    if required.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::new();
    for one in required {
        let spec = &one.specification;
        let cells = [
            one.group.clone(),
            spec.table().to_string(),
            operations(spec),
            spec.key_names()
                .map_or_else(|| "primary key".to_owned(), list),
            columns(spec),
        ];
        let mut row: Vec<Text> = cells.iter().map(Text::from).collect();
        row.push(match &one.unmet {
            None => output.toned(Tone::Good, "installed"),
            Some(unmet) => output.toned(Tone::Bad, unmet),
        });
        rows.push(row);
    }
    let headings = ["GROUP", "TABLE", "OPERATIONS", "KEY", "COLUMNS", "STATE"];
    section(output, "Required by groups", &headings, &rows)
}

fn operations(spec: &TriggerSpec) -> String {
    let operations = spec.announced().iter().map(|one| one.as_str());
    let operations = operations.collect::<Vec<_>>().join(",");
    match spec.is_replicated() {
        true => format!("{operations} (replicated rows, too)"),
        false => operations,
    }
}

fn columns(spec: &TriggerSpec) -> String {
    let columns = match spec.has_every_column() {
        true => "*".to_owned(),
        false => list(spec.column_names()),
    };
    let columns = match spec.optional_column_names() {
        [] => columns,
        optional => format!("{columns} (optional {})", list(optional)),
    };
    match spec.has_old_columns() {
        true => format!("{columns} (and before an update)"),
        false => columns,
    }
}
