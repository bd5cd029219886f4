//! Compares the desired state with the actual one. Plans and verification share this comparison.

use std::collections::{HashMap, HashSet};

use super::VERSION;
use super::actual::Installation;
use super::catalog::{Function, Trigger};
use super::desired::{Desired, DesiredTrigger, Firing};
use super::note::Note;
use super::version::{other_version, version};
use crate::operation::Operation;

#[derive(Debug)]
pub(super) enum Finding<'a> {
    /// The function is absent.
    FunctionMissing,
    /// The function differs.
    FunctionOutdated {
        reason: String,
        /// Whether more than its comment differs.
        redefine: bool,
        /// Why it loses desired changes, if it does.
        unheard: Option<&'static str>,
    },
    /// The function is as desired, but its comment has other numbers of the table or its columns, as after a restore. Its comment
    /// is written again.
    NoteMoved,
    TriggerMissing(&'a DesiredTrigger),
    TriggerDisabled(&'a DesiredTrigger),
    /// The trigger calls another function, or was created in another way. `reason` completes "was installed".
    TriggerAltered {
        trigger: &'a DesiredTrigger,
        reason: &'static str,
    },
    /// A trigger of pgherald that is not desired.
    TriggerLeftOver(&'a Trigger),
    /// Another function of pgherald that the table's own triggers call.
    FunctionLeftOver(&'a str),
}

/// Lists the differences, in the order of their repair.
pub(super) fn compare<'a>(desired: &'a Desired, actual: &'a Installation<'a>) -> Vec<Finding<'a>> {
    let found: HashMap<_, _> = actual
        .triggers
        .iter()
        .map(|trigger| ((&trigger.on.0, &*trigger.name), *trigger))
        .collect();
    let names: HashSet<_> = desired
        .triggers
        .iter()
        .map(|trigger| (&trigger.on, &*trigger.name))
        .collect();
    let own = actual.function.map(|(_, function)| function);
    let mut findings = Vec::new();
    findings.extend(function(desired, own));
    // A later version may create triggers in another way.
    let is_later = own.and_then(|own| version(own.comment.as_deref())) > Some(VERSION);
    let note = own.and_then(|own| own.note.as_ref());
    // The triggers keep firing for replicated rows until they are created again.
    let is_narrowed = note.is_some_and(|note| note.replicated) && !desired.note.replicated;
    findings.extend(desired.triggers.iter().filter_map(|trigger| {
        let found = found.get(&(&trigger.on, &*trigger.name));
        compare_trigger(desired, trigger, found.copied(), is_later, is_narrowed)
    }));
    let left_over = actual.triggers.iter().copied();
    let left_over = left_over.filter(|trigger| !names.contains(&(&trigger.on.0, &*trigger.name)));
    findings.extend(left_over.map(Finding::TriggerLeftOver));
    let superseded = actual.superseded.iter();
    findings.extend(superseded.map(|(name, _)| Finding::FunctionLeftOver(name)));
    findings
}

fn function<'a>(desired: &Desired, actual: Option<&Function>) -> Option<Finding<'a>> {
    let Some(actual) = actual else {
        return Some(Finding::FunctionMissing);
    };
    let comment = actual.comment.as_deref();
    let same_body = is_body(&actual.body, &desired.body);
    let note = actual.note.as_ref();
    let same_note = note.is_some_and(|note| note.is_same(&desired.note));
    let unheard = note.and_then(|note| unheard(note, &desired.note));
    let same_rights = actual.is_definer && actual.settings == desired.pinned();
    let reason = match version(comment) {
        None => "its comment is not pgherald's".to_owned(),
        Some(version) if version != VERSION => other_version(version),
        Some(_) if !same_note => "it was made for another specification or table".to_owned(),
        Some(_) if !same_body => "its body differs from this specification's".to_owned(),
        Some(_) if !same_rights => {
            "it runs with other rights or settings than it should".to_owned()
        }
        Some(_) if !actual.has_trusted_helper => {
            "schema pgherald or pgherald.notify_rows belongs to neither its owner nor a superuser"
                .to_owned()
        }
        Some(_) if !actual.has_callable_helper => {
            "its owner may not call pgherald.notify_rows".to_owned()
        }
        Some(_) if note.and_then(|note| note.place.as_ref()) != desired.note.place.as_ref() => {
            return Some(Finding::NoteMoved);
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

/// Why a subscriber that needs `desired` misses changes while `actual` is installed. `None` if it misses none. The text completes
/// "was installed".
fn unheard(actual: &Note, desired: &Note) -> Option<&'static str> {
    let watches = |column| actual.when_changed.contains(column);
    let fewer = match (&*actual.when_changed, &*desired.when_changed) {
        ([], _) => false,
        (_, []) => true,
        (_, desired) => !desired.iter().all(watches),
    };
    if (&actual.schema, &actual.table) != (&desired.schema, &desired.table) {
        Some("under another name of the table")
    } else if actual.outbox != desired.outbox {
        Some("in the other mode (announcing, or recording in the outbox)")
    } else if actual.channel != desired.channel {
        Some("for another channel")
    } else if fewer {
        Some("to leave out updates that the specification includes")
    } else {
        None
    }
}

fn compare_trigger<'a>(
    desired: &Desired,
    trigger: &'a DesiredTrigger,
    found: Option<&Trigger>,
    is_later: bool,
    is_narrowed: bool,
) -> Option<Finding<'a>> {
    let other_sessions = "to fire in other sessions than it should";
    let Some(found) = found else {
        return Some(Finding::TriggerMissing(trigger));
    };
    if found.function != desired.function {
        let reason = "to call another function";
        Some(Finding::TriggerAltered { trigger, reason })
    } else if !is_later && !is_made_as(found, trigger) {
        let reason = "in another way than pgherald does";
        Some(Finding::TriggerAltered { trigger, reason })
    } else if is_narrowed && found.firing == 'A' {
        let reason = other_sessions;
        Some(Finding::TriggerAltered { trigger, reason })
    } else if trigger.firing.includes(found.firing) {
        None
    } else if found.firing == 'D' || trigger.firing == Firing::Origin {
        Some(Finding::TriggerDisabled(trigger))
    } else {
        let reason = other_sessions;
        Some(Finding::TriggerAltered { trigger, reason })
    }
}

/// Whether the body in the catalog is `body`. The catalog has one more line break, which follows the opening quotes.
pub(super) fn is_body(installed: &str, body: &str) -> bool {
    installed.strip_prefix('\n') == Some(body)
}

/// Whether the trigger is an unconditional AFTER trigger with the level, the operation and the transition tables of `desired`.
fn is_made_as(trigger: &Trigger, desired: &DesiredTrigger) -> bool {
    let (new, old) = desired.transition_tables();
    // The bits of pg_trigger.tgtype. Row level is 1, and BEFORE is 2.
    let event = match desired.operation {
        Operation::Insert => 4,
        Operation::Delete => 8,
        Operation::Update => 16,
        Operation::Truncate => 32,
    };
    trigger.events == event + i16::from(desired.is_row)
        && trigger.new_table.as_deref() == new
        && trigger.old_table.as_deref() == old
        && trigger.is_unconditional
}
