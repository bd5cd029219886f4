//! The routes of a router, indexed by what their filters require of an event.
//!
//! The cost of an event depends on the routes that it concerns, not on those that exist. A route is filed under the first of
//! these that its filter has: the tables and the keys, the tables and a column, the tables and the operations. The index only
//! narrows down: the filter of each candidate still decides. So a route must be filed wherever an event could match.
//!
//! An event without a key, or without the column, concerns every route that is filed by keys, or by that column.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::queue::{Abandoned, SubscriptionId};
use super::route::Route;
use crate::event::{ColumnValue, Event, RowKey};
use crate::filter::{Filter, Place};
use crate::operation::Operation;

type Map<K, V> = HashMap<K, V, RandomState>;

/// The routes of some subscriptions.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: Map<SubscriptionId, Filed>,
    tables: Map<Box<str>, Leaf>,
    any_table: Leaf,
    /// The routes with candidates in the batch that is being distributed.
    concerned: Vec<SubscriptionId>,
    abandoned: Arc<Abandoned>,
}

#[derive(Debug)]
struct Filed {
    route: Route,
    /// The indices of the batch that may match. Empty between two batches.
    candidates: Vec<Range<usize>>,
}

impl Filed {
    /// Adds indices. They are not before those of earlier calls.
    fn add(&mut self, range: Range<usize>) {
        match self.candidates.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => self.candidates.push(range),
        }
    }
}

/// The routes for the events of one table, or of any table.
#[derive(Debug, Default)]
struct Leaf {
    by_operation: [Vec<SubscriptionId>; Operation::ALL.len()],
    by_key: Map<RowKey, Vec<SubscriptionId>>,
    by_column: Map<Box<str>, Map<ColumnValue, Vec<SubscriptionId>>>,
}

impl Leaf {
    fn is_empty(&self) -> bool {
        let lists = self.by_operation.iter();
        lists.map(Vec::len).sum::<usize>() == 0
            && self.by_key.is_empty()
            && self.by_column.is_empty()
    }

    fn insert(&mut self, id: SubscriptionId, filter: &Filter) {
        match filter.place() {
            Place::Column(name, values) => {
                let by_value = self.by_column.entry(name.into()).or_default();
                for value in values {
                    by_value.entry(value.clone()).or_default().push(id);
                }
            }
            Place::Keys(keys) => {
                for key in keys {
                    self.by_key.entry(key.clone()).or_default().push(id);
                }
            }
            Place::Operations(operations) => {
                for operation in operations.iter() {
                    self.by_operation[operation as usize].push(id);
                }
            }
        }
    }

    fn remove(&mut self, id: SubscriptionId, filter: &Filter) {
        match filter.place() {
            Place::Column(name, values) => {
                if let Some(by_value) = self.by_column.get_mut(name) {
                    values
                        .iter()
                        .for_each(|value| remove_from(by_value, value, id));
                    if by_value.is_empty() {
                        self.by_column.remove(name);
                    }
                }
            }
            Place::Keys(keys) => keys
                .iter()
                .for_each(|key| remove_from(&mut self.by_key, key, id)),
            Place::Operations(_) => self.by_operation.iter_mut().for_each(|ids| {
                ids.retain(|other| *other != id);
                shrink(ids);
            }),
        }
    }

    /// Visits the routes that may want the events of `run`, which have the same operation.
    fn visit(
        &self,
        batch: &[Event],
        run: &Range<usize>,
        mut visit: impl FnMut(SubscriptionId, Range<usize>),
    ) {
        let operation = batch[run.start].operation();
        for id in &self.by_operation[operation as usize] {
            visit(*id, run.clone());
        }
        if self.by_key.is_empty() && self.by_column.is_empty() {
            return;
        }
        for index in run.clone() {
            let mut all = |ids: &[SubscriptionId]| {
                for id in ids {
                    visit(*id, index..index + 1);
                }
            };
            match batch[index].key() {
                Some(key) => all(self.by_key.get(key).map_or(&[], |ids| ids)),
                None => self.by_key.values().for_each(|ids| all(ids)),
            }
            if self.by_column.is_empty() {
                continue;
            }
            let values = batch[index].column_values();
            for (name, by_value) in &self.by_column {
                match values.of(name) {
                    Some(values) => values
                        .filter_map(|value| by_value.get(&value))
                        .for_each(|ids| all(ids)),
                    None => by_value.values().for_each(|ids| all(ids)),
                }
            }
        }
    }
}

fn remove_from<K: Eq + std::hash::Hash>(
    lists: &mut Map<K, Vec<SubscriptionId>>,
    key: &K,
    id: SubscriptionId,
) {
    if let Some(ids) = lists.get_mut(key) {
        ids.retain(|other| *other != id);
        if ids.is_empty() {
            lists.remove(key);
        }
    }
    if lists.len() < lists.capacity() / 4 {
        lists.shrink_to(2 * lists.len());
    }
}

/// Gives memory back when a list has become much shorter than it was.
fn shrink<T>(list: &mut Vec<T>) {
    if list.len() < list.capacity() / 4 {
        list.shrink_to(2 * list.len());
    }
}

impl Routes {
    /// Returns the flag that a subscription sets when it is dropped.
    pub(super) fn abandoned(&self) -> &Arc<Abandoned> {
        &self.abandoned
    }

    pub(super) fn insert(&mut self, route: Route) {
        let id = route.queue.id();
        match route.filter.table_names() {
            None => self.any_table.insert(id, &route.filter),
            Some(names) => {
                for name in names {
                    let leaf = self.tables.entry(name.into()).or_default();
                    leaf.insert(id, &route.filter);
                }
            }
        }
        let candidates = Vec::new();
        self.routes.insert(id, Filed { route, candidates });
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) -> Option<Route> {
        let Filed { route, .. } = self.routes.remove(&id)?;
        match route.filter.table_names() {
            None => self.any_table.remove(id, &route.filter),
            Some(names) => {
                for name in names {
                    if let Some(leaf) = self.tables.get_mut(name) {
                        leaf.remove(id, &route.filter);
                        if leaf.is_empty() {
                            self.tables.remove(name);
                        }
                    }
                }
            }
        }
        if self.routes.len() < self.routes.capacity() / 4 {
            self.routes.shrink_to(2 * self.routes.len());
            self.tables.shrink_to(2 * self.tables.len());
            self.concerned.shrink_to(self.routes.len());
        }
        Some(route)
    }

    /// Removes the routes whose subscription was dropped.
    pub(super) fn sweep(&mut self) {
        /// Above this number, filing the remaining routes anew is quicker than to search every list for each dropped one.
        const FEW: usize = 16;
        if !self.abandoned.take() {
            return;
        }
        let dropped = self.iter().filter(|route| route.queue.is_abandoned());
        let dropped: Vec<_> = dropped.map(|route| route.queue.id()).collect();
        if dropped.len() <= FEW {
            for id in dropped {
                self.remove(id);
            }
            return;
        }
        let all = std::mem::take(&mut self.routes).into_values();
        (self.tables, self.any_table) = Default::default();
        self.concerned = Vec::new();
        for Filed { route, .. } in all {
            if !route.queue.is_abandoned() {
                self.insert(route);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().map(|filed| &filed.route)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.routes.values_mut().map(|filed| &mut filed.route)
    }

    /// Passes each route the events of `batch` that match, if there are any. Returns the number of routes whose filter was
    /// evaluated.
    pub(super) fn distribute(
        &mut self,
        batch: &Arc<[Event]>,
        mut visit: impl FnMut(&Route, Arc<[Event]>),
    ) -> usize {
        // There are some left if a recorder of metrics panicked in the last call.
        for id in self.concerned.drain(..) {
            if let Some(filed) = self.routes.get_mut(&id) {
                filed.candidates.clear();
            }
        }
        let mut start = 0;
        for part in batch.chunk_by(is_alike) {
            let run = start..start + part.len();
            start = run.end;
            let of_table = self.tables.get(part[0].table());
            for leaf in of_table.into_iter().chain([&self.any_table]) {
                leaf.visit(batch, &run, |id, range| {
                    if let Some(filed) = self.routes.get_mut(&id) {
                        if filed.candidates.is_empty() {
                            self.concerned.push(id);
                        }
                        filed.add(range);
                    }
                });
            }
        }
        for id in &self.concerned {
            if let Some(Filed { route, candidates }) = self.routes.get_mut(id) {
                if let Some(selected) = route.filter.select(batch, candidates) {
                    visit(route, selected);
                }
                candidates.clear();
            }
        }
        let evaluated = self.concerned.len();
        self.concerned.clear();
        evaluated
    }
}

/// Whether the same routes by table and by operation are candidates for both.
fn is_alike(one: &Event, other: &Event) -> bool {
    Arc::ptr_eq(one.relation(), other.relation()) && one.operation() == other.operation()
}

#[cfg(test)]
mod tests;
