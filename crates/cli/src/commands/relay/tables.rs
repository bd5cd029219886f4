//! The tables of a relay: those that are installed in outbox mode and match a pattern.

use pgherald_core::__private::host;
use pgherald_core::Filter;
use pgherald_core::trigger::{Drift, TriggerSpec};
use pgherald_distributor::__private::TablePattern;
use tokio_postgres::Client;

use crate::commands::group::must_have_outbox;
use crate::failure::Failure;
use crate::guarded::guarded;
use crate::words;

/// The tables, and the patterns that select them.
pub(super) struct Tables {
    patterns: Vec<TablePattern>,
    specs: Vec<TriggerSpec>,
}

impl Tables {
    /// Finds the recorded tables that match a pattern; without patterns, all recorded tables.
    ///
    /// Fails if a pattern matches no recorded table, or a matching table does not record all changes.
    pub(super) async fn find(client: &Client, patterns: &[String]) -> Result<Self, Failure> {
        let parsed = patterns.iter().map(|pattern| TablePattern::parse(pattern));
        let parsed: Vec<_> = parsed
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::usage(error.chain()))?;
        must_have_outbox(client).await?;
        let reading = async { Ok(host::trigger::inspect_all(client, &[]).await?) };
        let actual = guarded(client, reading).await?;
        let installed = actual.watched().into_iter().filter_map(|one| one.spec);
        let (recorded, announced): (Vec<_>, Vec<_>) = installed.partition(TriggerSpec::is_outbox);
        for (pattern, text) in parsed.iter().zip(patterns) {
            if !recorded.iter().any(|spec| matches(pattern, spec)) {
                return Err(unmatched(pattern, text, &announced));
            }
        }
        let found = Self {
            specs: recorded,
            patterns: parsed,
        };
        let found = found.selected();
        if found.specs.is_empty() {
            return Err(Failure::problem("no table records its changes")
                .hint("pgherald install TABLE --mode outbox --commit"));
        }
        for spec in &found.specs {
            if let Some(drift) = actual.verify(spec).into_iter().find(Drift::loses_changes) {
                return Err(
                    Failure::problem(drift.to_string()).hint("pgherald doctor prints the fix")
                );
            }
        }
        Ok(found)
    }

    /// Keeps the tables that a pattern selects.
    fn selected(mut self) -> Self {
        let patterns = &self.patterns;
        let is_selected = |spec: &TriggerSpec| {
            patterns.is_empty() || patterns.iter().any(|one| matches(one, spec))
        };
        self.specs.retain(is_selected);
        self
    }

    /// Returns the triggers that the relay requires.
    pub(super) fn specs(&self) -> &[TriggerSpec] {
        &self.specs
    }

    /// Returns the names of the tables.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.specs.iter().map(|spec| spec.table().to_string());
        names.collect()
    }

    /// Returns the filter of the events. It includes tables that are installed later, if a pattern matches them.
    pub(super) fn filter(&self) -> Filter {
        if self.patterns.is_empty() {
            return Filter::new();
        }
        let patterns = self.patterns.clone();
        Filter::new().matching(move |event| {
            let mut patterns = patterns.iter();
            patterns.any(|pattern| pattern.matches(event.schema(), event.table()))
        })
    }
}

fn matches(pattern: &TablePattern, spec: &TriggerSpec) -> bool {
    pattern.matches(Some(spec.table().schema()), spec.table().name())
}

fn unmatched(pattern: &TablePattern, text: &str, announced: &[TriggerSpec]) -> Failure {
    match announced.iter().find(|spec| matches(pattern, spec)) {
        Some(spec) => {
            let table = spec.table();
            let message = format!("{table} announces its changes, and a relay needs them in the outbox");
            let table = words::table(table);
            Failure::problem(message)
                .hint(format!("pgherald install {table} --mode outbox --commit"))
        }
        None => Failure::problem(format!("no table that records its changes matches {text:?}"))
            .hint("pgherald status lists what is installed; pgherald install TABLE --mode outbox --commit installs"),
    }
}
