//! The one comparison behind plans and verification: what is wanted against what is there.

use std::collections::{HashMap, HashSet};

use super::VERSION;
use super::installed::{Function, Installed, Trigger};
use super::wanted::{Note, Wanted, WantedTrigger, transition_tables};

/// One difference.
#[derive(Debug)]
pub(super) enum Finding<'a> {
    /// The function is absent.
    FunctionMissing,
    /// The function differs; `redefine` tells whether in more than its comment, `unheard` why changes that are wanted go
    /// unheard because of it, if they do.
    FunctionOutdated {
        reason: String,
        redefine: bool,
        unheard: Option<&'static str>,
    },
    TriggerMissing(&'a WantedTrigger),
    TriggerDisabled(&'a WantedTrigger),
    /// It calls another function, or is not made as it should be; `reason` completes "was installed".
    TriggerAltered {
        trigger: &'a WantedTrigger,
        reason: &'static str,
    },
    /// A trigger of ours where none is wanted.
    TriggerLeftOver(&'a Trigger),
    /// A function of ours under the table's former name.
    FunctionLeftOver(&'a str),
}

/// Lists the differences, in the order in which they are to be put right.
pub(super) fn compare<'a>(wanted: &'a Wanted, installed: &'a Installed) -> Vec<Finding<'a>> {
    let found: HashMap<_, _> = installed
        .triggers
        .iter()
        .map(|trigger| ((&trigger.on, &*trigger.name), trigger))
        .collect();
    let names: HashSet<_> = wanted
        .triggers
        .iter()
        .map(|trigger| (&trigger.on, &*trigger.name))
        .collect();
    let mut findings = Vec::new();
    findings.extend(function(wanted, installed.function.as_ref()));
    // A later program may make them in another way.
    let own = installed.function.as_ref();
    let is_later = own.and_then(|own| version(own.comment.as_deref())) > Some(VERSION);
    findings.extend(wanted.triggers.iter().filter_map(|trigger| {
        let found = found.get(&(&trigger.on, &*trigger.name));
        compare_trigger(wanted, trigger, found.copied(), is_later)
    }));
    let left_over = installed
        .triggers
        .iter()
        .filter(|trigger| !names.contains(&(&trigger.on, &*trigger.name)));
    findings.extend(left_over.map(Finding::TriggerLeftOver));
    findings.extend(
        installed
            .superseded
            .iter()
            .map(|(name, _)| Finding::FunctionLeftOver(name)),
    );
    findings
}

fn function<'a>(wanted: &Wanted, installed: Option<&Function>) -> Option<Finding<'a>> {
    let Some(installed) = installed else {
        return Some(Finding::FunctionMissing);
    };
    let comment = installed.comment.as_deref();
    let same_body = is_body(&installed.body, &wanted.body);
    let note = note(comment);
    let same_note = note.as_ref() == Some(&wanted.note);
    let unheard = note.and_then(|note| unheard(&note, &wanted.note));
    let same_rights = installed.is_definer && installed.settings == wanted.pinned();
    let reason = match version(comment) {
        None => "its comment is not pgherald's".to_owned(),
        Some(version) if version != VERSION => other_version(version),
        Some(_) if !same_note => "it was made for another specification or table".to_owned(),
        Some(_) if !same_body => "its body is not what this specification asks for".to_owned(),
        Some(_) if !same_rights => {
            "it runs with other rights or settings than it should".to_owned()
        }
        Some(_) if !installed.has_trusted_helper => {
            "schema pgherald or pgherald.notify_rows belongs to neither its owner nor a superuser"
                .to_owned()
        }
        Some(_) if !installed.has_callable_helper => {
            "its owner may not call pgherald.notify_rows".to_owned()
        }
        Some(_) => return None,
    };
    let redefine = !same_body || !same_rights;
    Some(Finding::FunctionOutdated {
        reason,
        redefine,
        unheard,
    })
}

/// Why whoever wants `wanted` does not hear all of it from what was made for `installed`.
fn unheard(installed: &Note, wanted: &Note) -> Option<&'static str> {
    let watches = |column| installed.when_changed.contains(column);
    let fewer = match (&*installed.when_changed, &*wanted.when_changed) {
        ([], _) => false,
        (_, []) => true,
        (_, wanted) => !wanted.iter().all(watches),
    };
    if installed.outbox != wanted.outbox {
        Some("in the other mode (announcing, or recording in the outbox)")
    } else if installed.channel != wanted.channel {
        Some("for another channel")
    } else if fewer {
        Some("to leave out updates that are to be heard of")
    } else {
        None
    }
}

fn compare_trigger<'a>(
    wanted: &Wanted,
    trigger: &'a WantedTrigger,
    found: Option<&Trigger>,
    is_later: bool,
) -> Option<Finding<'a>> {
    let Some(found) = found else {
        return Some(Finding::TriggerMissing(trigger));
    };
    let (new, old) = transition_tables(trigger.operation);
    if found.function != wanted.function {
        let reason = "under another name of the table";
        Some(Finding::TriggerAltered { trigger, reason })
    } else if !is_later && !found.is_made_for(trigger.operation, new, old) {
        let reason = "in another way than pgherald does";
        Some(Finding::TriggerAltered { trigger, reason })
    } else if !found.enabled {
        Some(Finding::TriggerDisabled(trigger))
    } else {
        None
    }
}

/// Whether the body that the catalog keeps is `body`: dollar quotes begin on the line before it.
pub(super) fn is_body(installed: &str, body: &str) -> bool {
    installed.strip_prefix('\n') == Some(body)
}

/// The version that a comment tells, if it is one of pgherald's.
pub(super) fn version(comment: Option<&str>) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    serde_json::from_str::<Versioned>(comment?)
        .ok()
        .map(|note| note.version)
}

fn note(comment: Option<&str>) -> Option<Note> {
    serde_json::from_str(comment?).ok()
}

/// Whether a function was made from what `wanted` is, whatever program made it.
pub(super) fn is_made_from(function: &Function, wanted: &Note) -> bool {
    let note = note(function.comment.as_deref());
    note.is_some_and(|note| {
        let (version, settings) = (wanted.version, wanted.settings);
        Note {
            version,
            settings,
            names_objects: wanted.names_objects,
            ..note
        } == *wanted
    })
}

pub(super) fn other_version(installed: u32) -> String {
    format!("version {installed} is installed, this program has version {VERSION}")
}
