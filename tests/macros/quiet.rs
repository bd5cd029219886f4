//! Generated code gives no warnings, even with all lints denied. (Lints that are forbidden cannot be allowed, so they are
//! denied.)

#![deny(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused,
    non_camel_case_types,
    private_interfaces,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]
#![allow(
    clippy::future_not_send,
    clippy::unused_async,
    reason = "these lints check the body as it was written"
)]

/// A library's interface.
pub mod library {
    use pgherald::{Table, cached};

    /// A row.
    #[derive(Clone, Debug, Table)]
    #[table(name = "rows", key = "id")]
    pub struct Row {
        /// Its number.
        pub id: i64,
    }

    /// The row of this number.
    ///
    /// # Errors
    /// Never.
    #[cached(row_of = Row)]
    #[doc(alias = "line")]
    #[must_use = "it was read for something"]
    pub async fn row(id: i64) -> Result<Row, String> {
        Ok(Row { id })
    }

    /// Where rows are.
    #[derive(Debug, Clone, Copy)]
    pub struct Rows;

    impl Rows {
        /// The row of this number.
        #[doc(alias = "line", hidden)]
        #[cached(row_of = Row, key = id, ignore(self))]
        pub async fn find(&self, id: &i64) -> Option<Row> {
            Some(Row { id: *id })
        }
    }

    #[cached(table_of = Row)]
    #[rustfmt::skip]
    pub(super) async fn count() -> usize { 5 }

    #[cached(table_of = Row)]
    #[rustfmt::skip]
    pub(super) async fn negative() -> i64 { -library_size() }

    const fn library_size() -> i64 {
        5
    }

    /// Attributes in the body are those of the function.
    #[cached(row_of = Row)]
    pub async fn lax(id: i64) -> i64 {
        #![allow(unused_variables)]
        let unused = id;
        id
    }

    #[cached(table_of = Row)]
    pub(super) async fn within(name: &str) -> String {
        name.to_owned()
    }
}

#[actix::test]
async fn generated_code_causes_no_lints() {
    assert_eq!(library::row(7).await.map(|row| row.id), Ok(7));
    assert!(library::Rows.find(&7).await.is_some());
    assert_eq!(library::count().await, 5);
    assert_eq!(library::negative().await, -5);
    assert_eq!(library::lax(7).await, 7);
    assert_eq!(library::within("x").await, "x");
}
