//! `derive(Table)` generates names, keys and columns from a struct and its attributes.

use std::any::TypeId;

use pgherald::{Changed, Event, FromEvent, Key, Operation, Table};
use serde::Deserialize;

use crate::support::{Order, User};

fn names<T: Table>() -> (&'static str, &'static str, &'static [&'static str]) {
    (T::SCHEMA, T::NAME, T::KEY)
}

fn has_key<T: Table, K: 'static>() -> bool {
    TypeId::of::<T::Key>() == TypeId::of::<K>()
}

#[test]
fn the_key_of_one_column_has_its_fields_type() {
    assert_eq!(names::<User>(), ("public", "users", &["id"][..]));
    assert!(has_key::<User, i64>());
}

#[test]
fn the_key_of_several_columns_is_a_tuple_in_the_order_of_the_key() {
    #[derive(Table)]
    #[table(name = "orders", key = ["number", "shop"])]
    #[expect(dead_code, reason = "only the types matter")]
    struct Reversed {
        shop: String,
        number: i32,
    }

    assert_eq!(
        names::<Order>(),
        ("shop", "orders", &["shop", "number"][..])
    );
    assert!(has_key::<Order, (String, i32)>());
    assert!(has_key::<Reversed, (i32, String)>());
    assert_eq!(names::<Reversed>().2, ["number", "shop"]);
}

#[test]
fn a_list_of_one_key_column_is_not_a_tuple() {
    #[derive(Table)]
    #[table(name = "users", key = ["id"])]
    #[expect(dead_code, reason = "only the types matter")]
    struct Listed {
        id: i32,
    }

    assert!(has_key::<Listed, i32>());
}

#[test]
fn the_schema_is_part_of_the_name_or_an_attribute() {
    #[derive(Table)]
    #[table(schema = "app", name = "Users", key = "id")]
    #[expect(dead_code, reason = "only the types matter")]
    struct Beside {
        id: i32,
    }

    #[derive(Table)]
    #[table(name = "app.Users")]
    #[table(key = "id")]
    #[expect(dead_code, reason = "only the types matter")]
    struct Within {
        id: i32,
    }

    assert_eq!(names::<Beside>(), ("app", "Users", &["id"][..]));
    assert_eq!(names::<Beside>(), names::<Within>());
}

#[test]
fn quoted_names_keep_dots_spaces_and_doubled_quotes() {
    #[derive(Table)]
    #[table(name = "\"My Schema\".\"a.\"\"b\"\"\"", key = "id")]
    #[expect(dead_code, reason = "only the types matter")]
    struct Quoted {
        id: i32,
    }

    #[derive(Table)]
    #[table(schema = "\"x.y\"", name = "\"a.b\"", key = "id")]
    #[expect(dead_code, reason = "only the types matter")]
    struct Apart {
        id: i32,
    }

    assert_eq!(names::<Quoted>().0, "My Schema");
    assert_eq!(names::<Quoted>().1, "a.\"b\"");
    assert_eq!((names::<Apart>().0, names::<Apart>().1), ("x.y", "a.b"));
}

#[test]
fn key_columns_follow_serde_renames_and_raw_identifiers() {
    #[derive(Deserialize, Table)]
    #[serde(deny_unknown_fields)]
    #[table(name = "renamed", key = ["tenant-id", "type", "at"])]
    #[expect(dead_code, reason = "only the types matter")]
    struct Renamed {
        #[serde(default, rename = "tenant-id", alias = "tenant")]
        tenant: u32,
        r#type: String,
        #[serde(
            rename(serialize = "written", deserialize = "at"),
            default = "Default::default"
        )]
        time: i64,
    }

    assert!(has_key::<Renamed, (u32, String, i64)>());
}

#[test]
fn deserialized_fields_are_columns() {
    #[derive(Deserialize, Table)]
    #[serde(rename_all = "camelCase")]
    #[table(name = "users", key = "userId")]
    #[expect(dead_code, reason = "only the names matter")]
    struct Read {
        user_id: i64,
        full_name: String,
        #[serde(rename = "mail")]
        email: Option<String>,
        #[serde(default)]
        tags: Vec<String>,
        #[serde(default = "Vec::new", skip_serializing)]
        r#type: Vec<u8>,
        #[serde(skip)]
        skipped: u8,
        #[serde(skip_deserializing)]
        written: u8,
        #[serde(flatten)]
        rest: std::collections::HashMap<String, String>,
    }

    #[derive(Table)]
    #[table(name = "users", key = "id")]
    #[expect(dead_code, reason = "only the names matter")]
    struct Unread {
        id: i64,
        email: String,
    }

    #[derive(Deserialize)]
    struct Other;

    #[derive(Deserialize, Table)]
    #[serde(from = "Other")]
    #[table(name = "users", key = "id")]
    struct From {
        id: i64,
    }

    impl std::convert::From<Other> for From {
        fn from(_: Other) -> Self {
            Self { id: 0 }
        }
    }

    assert_eq!(Read::COLUMNS, ["fullName", "mail", "tags", "type"]);
    assert_eq!(Read::OPTIONAL_COLUMNS, ["tags", "type"]);
    assert!(has_key::<Read, i64>());
    for columns in [Unread::COLUMNS, From::COLUMNS, Unread::OPTIONAL_COLUMNS] {
        assert_eq!(columns, [""; 0]);
    }
    assert_eq!(From::from(Other).id, 0);
    let spec = pgherald::trigger::TriggerSpec::of::<Read>().unwrap();
    let table = pgherald::TableName::new("public", "users").unwrap();
    let expected = pgherald::trigger::TriggerSpec::new(table);
    let expected = expected
        .key_columns(["userId"])
        .columns(["fullName", "mail"])
        .optional_columns(["tags", "type"]);
    assert_eq!(spec, expected);
}

#[test]
fn serde_aliases_are_further_column_names() {
    #[derive(Deserialize, Table)]
    #[table(name = "users", key = "id")]
    #[expect(dead_code, reason = "only the names matter")]
    struct Aliased {
        #[serde(alias = "number", alias = "no")]
        id: i64,
        #[serde(rename = "mail", alias = "email")]
        address: String,
        name: String,
    }

    assert_eq!(Aliased::COLUMNS, ["mail", "name"]);
    let expected: [(&str, &[&str]); 2] = [("id", &["number", "no"]), ("mail", &["email"])];
    assert_eq!(Aliased::ALIASES, expected);
    assert!(User::ALIASES.is_empty());
}

#[test]
fn the_crate_path_can_be_changed() {
    mod elsewhere {
        pub(super) mod __private {
            /// Differs from the real one.
            pub(crate) trait Table {
                const NAME: &'static str;
                const KEY: &'static [&'static str];
                const COLUMNS: &'static [&'static str];
                const OPTIONAL_COLUMNS: &'static [&'static str];
                type Key;
            }
            pub(crate) use pgherald::__private::{Readable, Unreadable};
        }
    }

    #[derive(Table)]
    #[table(name = "users", key = "id", crate = elsewhere)]
    #[expect(dead_code, reason = "only the types matter")]
    struct Other {
        id: i32,
    }

    let _: <Other as elsewhere::__private::Table>::Key = 7_i32;
    assert_eq!(<Other as elsewhere::__private::Table>::NAME, "users");
    assert_eq!(<Other as elsewhere::__private::Table>::KEY, ["id"]);
    assert_eq!(<Other as elsewhere::__private::Table>::COLUMNS, [""; 0]);
    assert_eq!(
        <Other as elsewhere::__private::Table>::OPTIONAL_COLUMNS,
        [""; 0]
    );
}

#[test]
fn events_of_the_table_convert_to_typed_events() {
    let event = Event::builder("shop", "orders", Operation::Update)
        .key(("eu".to_owned(), 7).to_row_key())
        .build();
    let change = Changed::<Order>::from_event(&event).unwrap().unwrap();
    assert_eq!(change.key, ("eu".to_owned(), 7));
    assert!(Changed::<User>::from_event(&event).is_err());
}
