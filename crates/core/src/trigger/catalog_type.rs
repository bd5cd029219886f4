//! Maps the types of the catalog to the types by which texts of values are read.

use std::collections::HashMap;

use serde::Deserialize;

use crate::types::{MAX_DEPTH, Type};

#[derive(Debug, Deserialize)]
pub(super) struct CatalogType {
    oid: i64,
    /// Its name if it comes with PostgreSQL, otherwise empty.
    name: String,
    /// The base type, if it is a domain.
    base: Option<i64>,
    /// The type of its elements, if it is an array.
    element: Option<i64>,
    /// The character between two elements.
    delimiter: Option<char>,
    /// The names and types of its fields, if it is a composite.
    fields: Option<Vec<(Box<str>, i64)>>,
}

#[derive(Debug, Default)]
pub(super) struct CatalogTypes(HashMap<i64, CatalogType>);

impl CatalogTypes {
    pub(super) fn add(&mut self, found: CatalogType) {
        self.0.insert(found.oid, found);
    }

    /// The type by which texts of the catalog type `oid` are read.
    pub(super) fn read_as(&self, oid: i64) -> Type {
        self.within(oid, MAX_DEPTH)
    }

    fn within(&self, mut oid: i64, depth: usize) -> Type {
        while let Some(base) = self.0.get(&oid).and_then(|found| found.base) {
            oid = base;
        }
        let Some(found) = self.0.get(&oid) else {
            return Type::Text;
        };
        let Some(deeper) = depth.checked_sub(1) else {
            return match found.element.is_some() || found.fields.is_some() {
                true => Type::Text,
                false => Type::of_server(&found.name),
            };
        };
        if let Some(element) = found.element {
            return Type::Array {
                element: Box::new(self.within(element, deeper)),
                delimiter: found.delimiter.unwrap_or(','),
            };
        }
        match &found.fields {
            Some(fields) => {
                let fields = fields.iter();
                let fields = fields.map(|(name, of)| (name.clone(), self.within(*of, deeper)));
                Type::Composite(fields.collect())
            }
            None => Type::of_server(&found.name),
        }
    }
}
