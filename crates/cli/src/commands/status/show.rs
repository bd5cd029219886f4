//! Formats the overview for people.

use pgherald_core::__private::host::trigger::SpecParts;
use pgherald_core::trigger::TriggerSpec;

use super::overview::{Outbox, Overview, Session, Table};
use crate::commands::group::state::{GroupState, Node, Required};
use crate::output::{Output, Tone};
use crate::report::{Part, cells};
use crate::words;

/// Returns the parts of the report.
pub(super) fn parts(output: &Output, overview: &Overview) -> Vec<Part> {
    let mut parts = vec![Part::line(&overview.at), sessions(&overview.sessions)];
    if !overview.is_installed {
        parts.push(Part::line("Nothing is installed in this database."));
        parts.push(Part::line("Begin with: pgherald install TABLE --commit"));
        return parts;
    }
    parts.push(tables(output, &overview.tables));
    if let Some(why) = &overview.hidden {
        parts.push(Part::line(&format!("Outbox: not shown: {why}")));
    }
    if let Some(shown) = &overview.outbox {
        parts.push(outbox(shown));
        parts.push(groups(&overview.groups));
        parts.extend(relays(output, &overview.groups));
        parts.extend(failures(&overview.groups));
        parts.push(nodes(&overview.groups));
        parts.extend(requirements(output, &overview.requirements));
    }
    parts
}

fn sessions(sessions: &[Session]) -> Part {
    let row = |session: &Session| {
        cells(&[
            session.role.clone(),
            session.application_name.clone(),
            session.pid.to_string(),
            session.user.clone(),
            session.client_address.clone(),
            session.since.clone(),
            session.state.clone(),
        ])
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
    Part::table("Sessions", &headings, rows)
}

fn tables(output: &Output, tables: &[Table]) -> Part {
    let mut rows = Vec::new();
    for table in tables {
        let state = match &table.drift {
            None => output.toned(Tone::Good, "ok"),
            Some(drift) => output.toned(Tone::Bad, drift),
        };
        let mut row = cells(&[
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
        ]);
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
    Part::table("Watched tables", &headings, rows)
}

fn list(names: &[String]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.join(","),
    }
}

fn outbox(outbox: &Outbox) -> Part {
    let row = cells(&[
        words::size(outbox.bytes),
        outbox
            .oldest_seconds
            .map_or_else(|| "empty".to_owned(), words::duration),
        words::duration(outbox.keep_seconds),
        words::size(outbox.max_bytes),
    ]);
    let headings = ["SIZE", "OLDEST", "KEPT FOR", "AT MOST"];
    Part::table("Outbox", &headings, vec![row])
}

fn groups(groups: &[GroupState]) -> Part {
    let row = |group: &GroupState| {
        cells(&[
            group.group.clone(),
            group.state.clone(),
            words::lag(group.lag_events, group.lag_is_estimate),
            words::duration(group.lag_seconds),
            group.nodes.len().to_string(),
            group.parked.to_string(),
            group.parked_keys.to_string(),
            group.failing.to_string(),
            group.dead_letters.to_string(),
        ])
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
    Part::table("Groups", &headings, rows)
}

/// Lists the consumers of groups.
pub(in crate::commands) fn nodes(groups: &[GroupState]) -> Part {
    let node = |group: &GroupState, node: &Node| {
        let lease = match node.lease_seconds {
            left if left > 0.0 => words::duration(left),
            left => format!("expired {} ago", words::duration(-left)),
        };
        let slices = format!("{} of {}", node.slices, group.slices);
        cells(&[group.group.clone(), node.description.clone(), lease, slices])
    };
    let nodes = groups
        .iter()
        .flat_map(|group| group.nodes.iter().map(move |of| node(group, of)));
    let headings = ["GROUP", "NODE", "LEASE", "SLICES"];
    Part::table("Nodes", &headings, nodes.collect())
}

/// Lists the relays, if there are any.
pub(in crate::commands) fn relays(output: &Output, groups: &[GroupState]) -> Option<Part> {
    let mut rows = Vec::new();
    for group in groups {
        let Some(destination) = &group.destination else {
            continue;
        };
        let usage = group.destination_usage;
        let mut row = cells(&[
            group.group.clone(),
            destination.clone(),
            words::lag(group.lag_events, group.lag_is_estimate),
            words::duration(group.lag_seconds),
            usage.map_or_else(|| "-".to_owned(), |usage| format!("{:.0} %", usage * 100.0)),
        ]);
        row.push(match &group.destination_error {
            None => output.toned(Tone::Good, "-"),
            Some(error) => output.toned(Tone::Bad, &words::shortened_error(error, 120)),
        });
        rows.push(row);
    }
    let headings = ["GROUP", "DESTINATION", "LAG", "OLDEST", "USED", "PROBLEM"];
    (!rows.is_empty()).then(|| Part::table("Relays", &headings, rows))
}

/// Lists groups with failing events or dead letters, if there are any.
fn failures(groups: &[GroupState]) -> Option<Part> {
    let fails = |group: &&GroupState| group.failing > 0 || group.dead_letters > 0;
    let row = |group: &GroupState| {
        let oldest = group.oldest_failing_seconds;
        cells(&[
            group.group.clone(),
            format!("{} of {} parked", group.failing, group.parked),
            group.failing_recently.to_string(),
            oldest.map_or_else(|| "-".to_owned(), words::duration),
            group.dead_letters.to_string(),
            group.dead_recently.to_string(),
            words::shortened_error(group.last_error.as_deref().unwrap_or("-"), 80),
        ])
    };
    let rows: Vec<_> = groups.iter().filter(fails).map(row).collect();
    let headings = [
        "GROUP",
        "FAILING",
        "IN 5 MIN",
        "OLDEST",
        "DEAD LETTERS",
        "IN 5 MIN",
        "LAST ERROR",
    ];
    (!rows.is_empty()).then(|| Part::table("Failures", &headings, rows))
}

/// Lists the requirements of groups, if there are any.
pub(in crate::commands) fn requirements(output: &Output, required: &[Required]) -> Option<Part> {
    let mut rows = Vec::new();
    for one in required {
        let spec = &one.specification;
        let mut row = cells(&[
            one.group.clone(),
            spec.table().to_string(),
            operations(spec),
            spec.key_names()
                .map_or_else(|| "primary key".to_owned(), list),
            columns(spec),
        ]);
        row.push(match &one.unmet {
            None => output.toned(Tone::Good, "installed"),
            Some(unmet) => output.toned(Tone::Bad, unmet),
        });
        rows.push(row);
    }
    let headings = ["GROUP", "TABLE", "OPERATIONS", "KEY", "COLUMNS", "STATE"];
    (!rows.is_empty()).then(|| Part::table("Required by groups", &headings, rows))
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
        true => format!("{columns} (with old values)"),
        false => columns,
    }
}
