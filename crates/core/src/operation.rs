//! The operations on tables, and sets of them.

use std::fmt;
use std::ops::BitOr;

use serde::{Deserialize, Serialize};

/// The operation of a statement on a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Rows were inserted, including by COPY, MERGE and INSERT ... ON CONFLICT.
    Insert,
    /// Rows were updated.
    Update,
    /// Rows were deleted, including by a cascading foreign key.
    Delete,
    /// The table was emptied by TRUNCATE.
    Truncate,
}

impl Operation {
    /// All operations, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Insert, Self::Update, Self::Delete, Self::Truncate];

    /// Returns the lower-case word that payloads contain.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    /// Returns the operation for a payload's word. `None` if there is no such operation.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == word)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of [`Operation`]s.
///
/// ```
/// use pgherald_core::{Operation, OperationSet};
///
/// let writes = Operation::Insert | Operation::Update;
/// assert!(writes.contains(Operation::Insert) && !writes.contains(Operation::Delete));
/// assert_eq!(OperationSet::ALL.iter().count(), 4);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationSet(u8);

impl OperationSet {
    /// Every operation.
    pub const ALL: Self = Self(0b1111);

    /// No operation.
    pub const EMPTY: Self = Self(0);

    /// Returns whether the set contains `operation`.
    #[must_use]
    pub const fn contains(self, operation: Operation) -> bool {
        self.0 & (1 << operation as u8) != 0
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the operations that both sets contain.
    pub(crate) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the members, in the order of [`Operation::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL
            .into_iter()
            .filter(move |operation| self.contains(*operation))
    }
}

impl From<Operation> for OperationSet {
    fn from(operation: Operation) -> Self {
        Self(1 << operation as u8)
    }
}

impl<T: Into<Self>> BitOr<T> for OperationSet {
    type Output = Self;

    fn bitor(self, other: T) -> Self {
        Self(self.0 | other.into().0)
    }
}

impl<T: Into<OperationSet>> BitOr<T> for Operation {
    type Output = OperationSet;

    fn bitor(self, other: T) -> OperationSet {
        OperationSet::from(self) | other
    }
}

impl FromIterator<Operation> for OperationSet {
    fn from_iter<I: IntoIterator<Item = Operation>>(operations: I) -> Self {
        operations
            .into_iter()
            .fold(Self::EMPTY, |set, operation| set | operation)
    }
}

impl fmt::Debug for OperationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
