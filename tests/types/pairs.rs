//! Pairs of a PostgreSQL type and the Rust type that it is read as.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::net::IpAddr;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use pgherald_core::{Event, Operation};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Row, Scene};

const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy');
    CREATE TYPE address AS (street text, zip int, \"at Home\" bool);
    CREATE TYPE customer AS (name text, address address, tags text[], born date, score float8, doc jsonb, raw bytea);
    CREATE DOMAIN price AS numeric(12, 2);
    CREATE DOMAIN tags AS text[];
    CREATE DOMAIN member AS customer;
    CREATE DOMAIN count AS bigint;
    CREATE DOMAIN feeling AS mood;
    CREATE TYPE price_range AS RANGE (subtype = price);
    CREATE DOMAIN span AS int4range;
    CREATE TYPE item AS (
        name text, cost price, mood feeling, moods mood[], tags tags, within price_range, spans span[], owner member
    );
    CREATE DOMAIN items AS item[];
    CREATE TYPE cart AS (items items, best item);";

/// Compared by bits, so that NaN equals itself.
#[derive(Deserialize)]
struct Bits(f64);

impl Debug for Bits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

#[derive(Debug, PartialEq, Deserialize)]
enum Mood {
    #[serde(rename = "sad")]
    Sad,
    #[serde(rename = "so so")]
    SoSo,
    #[serde(rename = "happy")]
    Happy,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Address {
    street: String,
    zip: Option<i32>,
    #[serde(rename = "at Home", default)]
    at_home: bool,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Customer {
    name: String,
    address: Option<Address>,
    tags: Vec<String>,
    born: NaiveDate,
    score: f64,
    doc: Value,
    raw: Vec<u8>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Shape {
    Circle { radius: f64 },
    Square { side: u8 },
}

#[derive(Debug, PartialEq, Deserialize)]
struct Rfc3339(#[serde(with = "time::serde::rfc3339")] time::OffsetDateTime);

time::serde::format_description!(day, Date, "[year]-[month]-[day]");
time::serde::format_description!(
    second,
    PrimitiveDateTime,
    "[year]-[month]-[day]T[hour]:[minute]:[second]"
);

#[derive(Debug, PartialEq, Deserialize)]
struct Day(#[serde(with = "day")] time::Date);

#[derive(Debug, PartialEq, Deserialize)]
struct Second(#[serde(with = "second")] time::PrimitiveDateTime);

/// Compares the columns of an event, or else the old columns of an UPDATE, with the first value, or else with the second.
type Check = Box<dyn Fn(&Event, bool, bool) -> Result<(), String>>;

struct Pair {
    type_name: &'static str,
    rust: &'static str,
    literals: [&'static str; 2],
    check: Check,
}

fn pair<T: DeserializeOwned + PartialEq + Debug + 'static>(
    type_name: &'static str,
    first: (&'static str, T),
    second: (&'static str, T),
) -> Pair {
    let literals = [first.0, second.0];
    let check = move |event: &Event, is_new: bool, is_first: bool| {
        let row = match is_new {
            true => event.columns::<Row<T>>(),
            false => event.old_columns::<Row<T>>(),
        };
        let expected = if is_first { &first.1 } else { &second.1 };
        match row {
            Ok(Some(row)) if row.v == *expected => Ok(()),
            Ok(row) => Err(format!("{row:?} instead of {expected:?}")),
            Err(error) => Err(format!(
                "{error}: {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            )),
        }
    };
    Pair {
        type_name,
        rust: std::any::type_name::<T>(),
        literals,
        check: Box::new(check),
    }
}

fn parsed<T: std::str::FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn numbers() -> Vec<Pair> {
    let many_digits = "123456789012345678901234567890.1234567890";
    vec![
        pair("smallint", ("7", 7_i16), ("-32768", i16::MIN)),
        pair("smallint", ("7", 7_u8), ("0", 0)),
        pair("integer", ("7", 7_i32), ("-2147483648", i32::MIN)),
        pair("integer", ("7", 7_u32), ("2147483647", 2_147_483_647)),
        pair("integer", ("7", Some(7)), ("NULL", None)),
        pair(
            "bigint",
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ),
        pair("bigint", ("9223372036854775807", u64::MAX / 2), ("0", 0)),
        pair(
            "bigint",
            ("9223372036854775807", i128::from(i64::MAX)),
            ("0", 0),
        ),
        pair(
            "bigint",
            ("9223372036854775807", "9223372036854775807".to_owned()),
            ("0", "0".to_owned()),
        ),
        pair(
            "bigint",
            ("9007199254740992", 9_007_199_254_740_992.0),
            ("-1", -1.0),
        ),
        pair(
            "bigint",
            ("9223372036854775807", Decimal::from(i64::MAX)),
            ("-1", Decimal::from(-1)),
        ),
        pair(
            "bigint",
            ("9223372036854775807", json!(i64::MAX)),
            ("NULL", Value::Null),
        ),
        pair("count", ("9223372036854775807", i64::MAX), ("0", 0)),
        pair("oid", ("4294967295", u32::MAX), ("0", 0)),
        pair("boolean", ("true", true), ("false", false)),
        pair(
            "boolean",
            ("true", Value::Bool(true)),
            ("NULL", Value::Null),
        ),
        pair("real", ("0.1", 0.1_f32), ("3.4028235e38", f32::MAX)),
        pair("real", ("0.1", 0.1_f64), ("1e10", 1e10)),
        pair(
            "real",
            ("'NaN'", Bits(f64::NAN)),
            ("'-Infinity'", Bits(f64::NEG_INFINITY)),
        ),
        pair(
            "double precision",
            ("0.1", 0.1_f64),
            ("1.7976931348623157e308", f64::MAX),
        ),
        pair(
            "double precision",
            ("'-0'", Bits(-0.0)),
            ("5e-324", Bits(5e-324)),
        ),
        pair(
            "double precision",
            ("'NaN'", Bits(f64::NAN)),
            ("'Infinity'", Bits(f64::INFINITY)),
        ),
        pair(
            "double precision",
            ("'Infinity'", Some(f64::INFINITY)),
            ("NULL", None),
        ),
        pair(
            "double precision",
            ("0.1", "0.1".to_owned()),
            ("'NaN'", "NaN".to_owned()),
        ),
        pair(
            "double precision",
            ("1.5", json!(1.5)),
            ("'NaN'", json!("NaN")),
        ),
        pair(
            "numeric",
            ("1.50", parsed::<Decimal>("1.50")),
            ("-0.001", parsed("-0.001")),
        ),
        pair(
            "numeric",
            (
                "12345678901234567890.12345678",
                parsed::<Decimal>("12345678901234567890.12345678"),
            ),
            ("0", Decimal::ZERO),
        ),
        pair(
            "numeric",
            (many_digits, many_digits.to_owned()),
            ("'NaN'", "NaN".to_owned()),
        ),
        pair("numeric", ("1.50", 1.5), ("1e30", 1e30)),
        pair("numeric", ("'NaN'", Bits(f64::NAN)), ("1e30", Bits(1e30))),
        pair("numeric", ("9223372036854775807", i64::MAX), ("7.00", 7)),
        pair("numeric", ("1.50", json!("1.50")), ("NULL", Value::Null)),
        pair(
            "price",
            ("1.5", parsed::<Decimal>("1.50")),
            ("0", parsed("0.00")),
        ),
        pair("price", ("1.5", Some(1.5)), ("NULL", None)),
        pair(
            "money",
            ("1234.5", "$1,234.50".to_owned()),
            ("0", "$0.00".to_owned()),
        ),
    ]
}

fn texts() -> Vec<Pair> {
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let text = |text: &str| text.to_owned();
    vec![
        pair(
            "text",
            ("'ü \"{}\" \\'", text("ü \"{}\" \\")),
            ("''", text("")),
        ),
        pair("text", ("'a'", Some(text("a"))), ("NULL", None)),
        pair("text", ("'1.5'", json!("1.5")), ("'{}'", json!("{}"))),
        pair("varchar(9)", ("'a'", text("a")), ("'true'", text("true"))),
        pair("char(4)", ("'ab'", text("ab  ")), ("''", text("    "))),
        pair("\"char\"", ("'a'", 'a'), ("'z'", 'z')),
        pair("name", ("'a'", text("a")), ("'b'", text("b"))),
        pair(
            "uuid",
            (
                Box::leak(format!("'{uuid}'").into_boxed_str()),
                parsed::<Uuid>(uuid),
            ),
            ("'00000000-0000-0000-0000-000000000000'", Uuid::nil()),
        ),
        pair(
            "uuid",
            (
                "'00000000-0000-0000-0000-000000000000'",
                Uuid::nil().to_string(),
            ),
            ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", text(uuid)),
        ),
        pair(
            "inet",
            ("'10.0.0.1'", parsed::<IpAddr>("10.0.0.1")),
            ("'::1'", parsed("::1")),
        ),
        pair(
            "inet",
            ("'10.0.0.1/8'", text("10.0.0.1/8")),
            ("'::1'", text("::1")),
        ),
        pair(
            "cidr",
            ("'10.0.0.0/8'", text("10.0.0.0/8")),
            ("'::/0'", text("::/0")),
        ),
        pair(
            "macaddr",
            ("'08:00:2b:01:02:03'", text("08:00:2b:01:02:03")),
            ("'00:00:00:00:00:00'", text("00:00:00:00:00:00")),
        ),
        pair("bit(3)", ("B'101'", text("101")), ("B'000'", text("000"))),
        pair("tsvector", ("'a b'", text("'a' 'b'")), ("''", text(""))),
        pair("xml", ("'<a/>'", text("<a/>")), ("'<b/>'", text("<b/>"))),
        pair(
            "point",
            ("'(1,2)'", text("(1,2)")),
            ("'(0.1,0)'", text("(0.1,0)")),
        ),
        pair(
            "int4range",
            ("'[1,3)'", text("[1,3)")),
            ("'empty'", text("empty")),
        ),
        pair(
            "daterange",
            ("'[2026-01-01,2026-02-01)'", text("[2026-01-01,2026-02-01)")),
            ("'empty'", text("empty")),
        ),
        pair("mood", ("'so so'", Mood::SoSo), ("'happy'", Mood::Happy)),
        pair("mood", ("'sad'", Some(Mood::Sad)), ("NULL", None)),
        pair(
            "mood",
            ("'so so'", text("so so")),
            ("'happy'", text("happy")),
        ),
        pair("bytea", ("'\\x00ff'", vec![0_u8, 255]), ("''", vec![])),
        pair(
            "bytea",
            ("'\\x00ff'", ByteBuf::from([0, 255])),
            ("''", ByteBuf::new()),
        ),
        pair("bytea", ("'\\x00ff'", [0_u8, 255]), ("'\\x0102'", [1, 2])),
        pair(
            "bytea",
            ("'\\x00ff'", Some(ByteBuf::from([0, 255]))),
            ("NULL", None),
        ),
        pair("bytea", ("'\\x00ff'", text("\\x00ff")), ("''", text("\\x"))),
    ]
}

fn times() -> Vec<Pair> {
    let at = "'2026-11-29 03:02:03.5+02'";
    let old = "'1969-12-31 23:59:59.999999+00'";
    let (at_utc, old_utc) = (
        "2026-11-29T01:02:03.5+00:00",
        "1969-12-31T23:59:59.999999+00:00",
    );
    let (local, local_iso) = ("'2026-11-29 01:02:03'", "2026-11-29T01:02:03");
    let (early, early_iso) = ("'1582-10-15 00:00'", "1582-10-15T00:00:00");
    let text = |text: &str| text.to_owned();
    let format = time::format_description::well_known::Rfc3339;
    let offset = |text| Rfc3339(time::OffsetDateTime::parse(text, &format).unwrap());
    vec![
        pair(
            "timestamptz",
            (at, parsed::<DateTime<Utc>>(at_utc)),
            (old, parsed(old_utc)),
        ),
        pair(
            "timestamptz",
            (at, parsed::<DateTime<FixedOffset>>(at_utc)),
            (old, parsed(old_utc)),
        ),
        pair(
            "timestamptz",
            (at, Some(parsed::<DateTime<Utc>>(at_utc))),
            ("NULL", None),
        ),
        pair(
            "timestamptz",
            (
                "'0044-03-15 12:00+00 BC'",
                parsed::<DateTime<Utc>>("-0043-03-15T12:00:00Z"),
            ),
            ("'12026-01-01 00:00+00'", parsed("+12026-01-01T00:00:00Z")),
        ),
        pair(
            "timestamptz",
            (at, parsed::<jiff::Timestamp>(at_utc)),
            (old, parsed(old_utc)),
        ),
        pair("timestamptz", (at, offset(at_utc)), (old, offset(old_utc))),
        pair(
            "timestamptz",
            (at, text(at_utc)),
            ("'-infinity'", text("-infinity")),
        ),
        pair(
            "timestamp",
            (local, parsed::<NaiveDateTime>(local_iso)),
            (early, parsed(early_iso)),
        ),
        pair(
            "timestamp",
            (local, parsed::<jiff::civil::DateTime>(local_iso)),
            ("'0044-03-15 12:00 BC'", parsed("-000043-03-15T12:00:00")),
        ),
        pair(
            "timestamp",
            (local, Second(time::macros::datetime!(2026-11-29 01:02:03))),
            (early, Second(time::macros::datetime!(1582-10-15 00:00))),
        ),
        pair(
            "timestamp",
            (local, text(local_iso)),
            ("'infinity'", text("infinity")),
        ),
        pair(
            "date",
            ("'2026-11-29'", parsed::<NaiveDate>("2026-11-29")),
            ("'0044-03-15 BC'", parsed("-0043-03-15")),
        ),
        pair(
            "date",
            ("'2026-11-29'", parsed::<jiff::civil::Date>("2026-11-29")),
            ("'0001-01-01'", parsed("0001-01-01")),
        ),
        pair(
            "date",
            ("'2026-11-29'", Day(time::macros::date!(2026 - 11 - 29))),
            ("'1970-01-01'", Day(time::macros::date!(1970 - 01 - 01))),
        ),
        pair(
            "time",
            ("'01:02:03.000001'", parsed::<NaiveTime>("01:02:03.000001")),
            ("'00:00'", parsed("00:00:00")),
        ),
        pair(
            "time",
            ("'01:02:03.5'", parsed::<jiff::civil::Time>("01:02:03.5")),
            ("'00:00'", parsed("00:00:00")),
        ),
        pair(
            "timetz",
            ("'01:02:03+05:30'", text("01:02:03+05:30")),
            ("'01:02:03-08'", text("01:02:03-08:00")),
        ),
        pair(
            "interval",
            ("'1 day 2 hours'", text("P1DT2H")),
            ("'0'", text("PT0S")),
        ),
        pair(
            "interval",
            (
                "'1 hour 1.5 seconds'",
                jiff::SignedDuration::from_millis(3_601_500),
            ),
            ("'0'", jiff::SignedDuration::ZERO),
        ),
    ]
}

fn documents() -> Vec<Pair> {
    let map = |entries: &[(&str, i64)]| {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), *value))
            .collect::<HashMap<_, _>>()
    };
    let address = |zip| Address {
        street: "Main \"St\"".to_owned(),
        zip,
        at_home: false,
    };
    vec![
        pair(
            "json",
            (
                "'{\"b\": 1, \"a\": [true, null]}'",
                json!({"b": 1, "a": [true, null]}),
            ),
            ("'\"x\"'", json!("x")),
        ),
        pair(
            "jsonb",
            ("'{\"b\": 1.5, \"a\": {}}'", json!({"b": 1.5, "a": {}})),
            ("'null'", Value::Null),
        ),
        pair("jsonb", ("'[]'", Some(json!([]))), ("NULL", None)),
        pair(
            "jsonb",
            ("'{\"a\": 1}'", map(&[("a", 1)])),
            ("'{}'", map(&[])),
        ),
        pair(
            "jsonb",
            (
                "'{\"a\": null, \"b\": 2}'",
                BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), Some(2))]),
            ),
            ("'{}'", BTreeMap::new()),
        ),
        pair(
            "jsonb",
            (
                "'{\"street\": \"Main \\\"St\\\"\", \"zip\": 7}'",
                address(Some(7)),
            ),
            ("'{\"street\": \"Main \\\"St\\\"\"}'", address(None)),
        ),
        pair(
            "jsonb",
            ("'[\"a\", \"b\"]'", strings(&["a", "b"])),
            ("'[]'", strings(&[])),
        ),
        pair(
            "jsonb",
            ("'[[1], []]'", vec![vec![1], vec![]]),
            ("'[]'", vec![]),
        ),
        pair(
            "jsonb",
            ("'[1, \"a\"]'", (1, "a".to_owned())),
            ("'[2, \"b\"]'", (2, "b".to_owned())),
        ),
        pair(
            "jsonb",
            (
                "'{\"kind\": \"circle\", \"radius\": 1.5}'",
                Shape::Circle { radius: 1.5 },
            ),
            (
                "'{\"kind\": \"square\", \"side\": 2}'",
                Shape::Square { side: 2 },
            ),
        ),
        pair(
            "jsonb",
            ("'\"happy\"'", Mood::Happy),
            ("'\"sad\"'", Mood::Sad),
        ),
        pair(
            "jsonb",
            ("'\"a\"'", "a".to_owned()),
            ("'\"\\u00fc\"'", "ü".to_owned()),
        ),
        pair("jsonb", ("'1.5'", 1.5), ("'1e3'", 1000.0)),
        pair(
            "jsonb",
            (
                "'{\"unavailable\":{\"limit\":7999}}'",
                json!({"unavailable": {"limit": 7999}}),
            ),
            ("'{\"unavailable\":{}}'", json!({"unavailable": {}})),
        ),
    ]
}

fn arrays() -> Vec<Pair> {
    let at = "2026-11-29T01:02:03Z";
    vec![
        pair("integer[]", ("'{1,2}'", vec![1, 2]), ("'{}'", vec![])),
        pair(
            "integer[]",
            ("'[0:2]={1,2,3}'", [1, 2, 3]),
            ("'{4,5,6}'", [4, 5, 6]),
        ),
        pair(
            "integer[]",
            ("'{{1,2},{3,4}}'", vec![vec![1, 2], vec![3, 4]]),
            ("'{}'", vec![]),
        ),
        pair(
            "integer[]",
            (
                "'{{{1},{2}},{{3},{4}}}'",
                vec![vec![vec![1], vec![2]], vec![vec![3], vec![4]]],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "integer[]",
            ("'{{1,NULL}}'", json!([[1, null]])),
            ("NULL", Value::Null),
        ),
        pair(
            "bigint[]",
            ("'{9223372036854775807,NULL}'", vec![Some(i64::MAX), None]),
            ("'{}'", vec![]),
        ),
        pair(
            "boolean[]",
            ("'{t,f,NULL}'", vec![Some(true), Some(false), None]),
            ("'{}'", vec![]),
        ),
        pair(
            "double precision[]",
            (
                "'{1.5,NaN,-Infinity}'",
                vec![Bits(1.5), Bits(f64::NAN), Bits(f64::NEG_INFINITY)],
            ),
            ("'{}'", vec![]),
        ),
        pair("real[]", ("'{0.1}'", vec![0.1_f32]), ("'{}'", vec![])),
        pair(
            "numeric[]",
            ("'{1.50}'", vec![parsed::<Decimal>("1.50")]),
            ("'{}'", vec![]),
        ),
        pair(
            "text[]",
            (
                "ARRAY['a,b', '\"', 'NULL', '\\', '', '{}']",
                strings(&["a,b", "\"", "NULL", "\\", "", "{}"]),
            ),
            ("'{}'", strings(&[])),
        ),
        pair(
            "text[]",
            (
                "'{b,a,b}'",
                BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            ),
            ("'{}'", BTreeSet::new()),
        ),
        pair("text[]", ("'{a}'", Some(strings(&["a"]))), ("NULL", None)),
        pair("tags", ("'{a}'", strings(&["a"])), ("'{}'", strings(&[]))),
        pair(
            "uuid[]",
            (
                "'{00000000-0000-0000-0000-000000000000}'",
                vec![Uuid::nil()],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "timestamptz[]",
            (
                "'{2026-11-29 01:02:03+00}'",
                vec![parsed::<DateTime<Utc>>(at)],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "date[]",
            (
                "'{2026-11-29,NULL}'",
                vec![Some(parsed::<NaiveDate>("2026-11-29")), None],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "jsonb[]",
            (
                "ARRAY['{\"a\": [1, \"x,y\"]}'::jsonb, NULL]",
                vec![json!({"a": [1, "x,y"]}), Value::Null],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "bytea[]",
            (
                "'{\"\\\\x00ff\",\"\\\\x\"}'",
                vec![ByteBuf::from([0, 255]), ByteBuf::new()],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "mood[]",
            ("'{\"so so\",sad}'", vec![Mood::SoSo, Mood::Sad]),
            ("'{}'", vec![]),
        ),
        pair(
            "inet[]",
            (
                "'{10.0.0.1,::1}'",
                vec![parsed::<IpAddr>("10.0.0.1"), parsed("::1")],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "box[]",
            (
                "'{(1,1),(0,0);(2,2),(0,0)}'",
                strings(&["(1,1),(0,0)", "(2,2),(0,0)"]),
            ),
            ("'{}'", strings(&[])),
        ),
        pair(
            "price[]",
            ("'{1.5}'", vec![parsed::<Decimal>("1.50")]),
            ("'{}'", vec![]),
        ),
    ]
}

fn composites() -> Vec<Pair> {
    let address = |street: &str, zip| Address {
        street: street.to_owned(),
        zip,
        at_home: true,
    };
    let customer = || Customer {
        name: "A \"B\", (C)\\".to_owned(),
        address: Some(address("x, y", Some(7))),
        tags: strings(&["a b", "\"", "\\"]),
        born: parsed("2026-11-29"),
        score: 0.1,
        doc: json!({"a": ["\"", "\\"]}),
        raw: vec![0, 255],
    };
    let sql = "ROW('A \"B\", (C)\\', ROW('x, y', 7, true)::address, ARRAY['a b', '\"', '\\'], '2026-11-29', 0.1,
        '{\"a\": [\"\\\"\", \"\\\\\"]}', '\\x00ff')";
    let value = json!({
        "name": "A \"B\", (C)\\", "address": {"street": "x, y", "zip": 7, "at Home": true}, "tags": ["a b", "\"", "\\"],
        "born": "2026-11-29", "score": 0.1, "doc": {"a": ["\"", "\\"]}, "raw": "\\x00ff",
    });
    vec![
        pair(
            "address",
            ("ROW('', NULL, true)", address("", None)),
            ("ROW('b', 7, true)", address("b", Some(7))),
        ),
        pair(
            "address",
            ("ROW('a', 7, true)", Some(address("a", Some(7)))),
            ("NULL", None),
        ),
        pair(
            "address[]",
            (
                "ARRAY[ROW('a', 7, true), ROW('b', NULL, true)]::address[]",
                vec![address("a", Some(7)), address("b", None)],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "customer",
            (Box::leak(sql.to_owned().into_boxed_str()), customer()),
            (Box::leak(sql.to_owned().into_boxed_str()), customer()),
        ),
        pair(
            "member",
            (Box::leak(sql.to_owned().into_boxed_str()), Some(customer())),
            ("NULL", None),
        ),
        pair(
            "customer[]",
            (
                Box::leak(format!("ARRAY[{sql}::customer]").into_boxed_str()),
                vec![customer()],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "customer",
            (Box::leak(sql.to_owned().into_boxed_str()), value),
            ("NULL", Value::Null),
        ),
    ]
}

#[derive(Debug, PartialEq, Deserialize)]
struct Item {
    name: String,
    cost: Decimal,
    mood: Mood,
    moods: Vec<Mood>,
    tags: Vec<String>,
    within: String,
    spans: Vec<String>,
    owner: Option<Customer>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Cart {
    items: Vec<Item>,
    best: Option<Item>,
}

/// User-defined types and types composed of them.
fn user_defined() -> Vec<Pair> {
    let item = || Item {
        name: "a, \"b\"".to_owned(),
        cost: parsed("1.50"),
        mood: Mood::SoSo,
        moods: vec![Mood::Sad, Mood::SoSo],
        tags: strings(&["x", "y z"]),
        within: "[1.00,2.50)".to_owned(),
        spans: strings(&["[1,3)", "empty"]),
        owner: None,
    };
    let sql = "ROW('a, \"b\"', 1.5, 'so so', '{sad,\"so so\"}', '{x,\"y z\"}', price_range(1::price, 2.5::price),
        ARRAY['[1,3)', 'empty']::span[], NULL)::item";
    let text = |sql: String| -> &'static str { Box::leak(sql.into_boxed_str()) };
    vec![
        pair("item", (sql, item()), (sql, item())),
        pair("item", (sql, Some(item())), ("NULL", None)),
        pair(
            "item[]",
            (
                text(format!("ARRAY[{sql}, NULL]")),
                vec![Some(item()), None],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "items",
            (text(format!("ARRAY[{sql}, {sql}]")), vec![item(), item()]),
            ("'{}'", vec![]),
        ),
        pair(
            "cart",
            (
                text(format!("ROW(ARRAY[{sql}], NULL)")),
                Cart {
                    items: vec![item()],
                    best: None,
                },
            ),
            (
                text(format!("ROW('{{}}', {sql})")),
                Cart {
                    items: vec![],
                    best: Some(item()),
                },
            ),
        ),
        pair(
            "cart[]",
            (
                text(format!("ARRAY[ROW(ARRAY[{sql}], {sql})::cart]")),
                vec![Cart {
                    items: vec![item()],
                    best: Some(item()),
                }],
            ),
            ("'{}'", vec![]),
        ),
        pair("feeling", ("'so so'", Mood::SoSo), ("'sad'", Mood::Sad)),
        pair(
            "feeling[]",
            ("'{\"so so\",sad}'", vec![Mood::SoSo, Mood::Sad]),
            ("'{}'", vec![]),
        ),
        pair(
            "tags[]",
            (
                r#"'{"{a,\"b c\"}","{}"}'"#,
                vec![strings(&["a", "b c"]), strings(&[])],
            ),
            ("'{}'", vec![]),
        ),
        pair(
            "price_range",
            (
                "price_range(1::price, 2.5::price)",
                "[1.00,2.50)".to_owned(),
            ),
            ("'empty'", "empty".to_owned()),
        ),
        pair(
            "price_range[]",
            (
                "ARRAY[price_range(1::price, NULL), 'empty']",
                strings(&["[1.00,)", "empty"]),
            ),
            ("'{}'", strings(&[])),
        ),
        pair(
            "span",
            ("'[1,3)'", "[1,3)".to_owned()),
            ("'empty'", "empty".to_owned()),
        ),
    ]
}

#[tokio::test]
async fn fields_read_columns_of_every_type_in_both_modes() {
    let pairs = [
        numbers(),
        texts(),
        times(),
        documents(),
        arrays(),
        composites(),
        user_defined(),
    ];
    let pairs: Vec<_> = pairs.into_iter().flatten().collect();
    assert!(pairs.len() >= 56, "{}", pairs.len());
    let names = |mode: &str| -> Vec<String> {
        (0..pairs.len())
            .map(|number| format!("{mode}{number}"))
            .collect()
    };
    let (notified, recorded) = (names("n"), names("r"));
    let mut sql = TYPES.to_owned();
    for (pair, names) in pairs.iter().zip(notified.iter().zip(&recorded)) {
        for name in [names.0, names.1] {
            sql += &format!(
                "CREATE TABLE {name} (id int PRIMARY KEY, v {});",
                pair.type_name
            );
        }
    }
    let mut scene = Scene::new(&sql, &notified, &recorded).await;
    let mut failures = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        let Pair {
            type_name,
            rust,
            literals: [first, second],
            check,
        } = pair;
        for name in [&notified[number], &recorded[number]] {
            scene.run(&format!(
                "INSERT INTO {name} VALUES (1, {first}); UPDATE {name} SET v = {second}; DELETE FROM {name}"
            )).await;
        }
        let (announced, recorded) = scene.events().await;
        for (mode, events) in [("notify", announced), ("outbox", recorded)] {
            assert_eq!(events.len(), 3, "{type_name} {mode}: {events:?}");
            for event in &events {
                let operation = event.operation();
                let mut outcomes = vec![check(event, true, operation == Operation::Insert)];
                if mode == "outbox" && operation == Operation::Update {
                    outcomes.push(check(event, false, true));
                }
                for failure in outcomes.into_iter().filter_map(Result::err) {
                    failures.push(format!(
                        "{type_name} as {rust}, {mode} {operation}: {failure}"
                    ));
                }
                assert!(event.unavailable().is_empty(), "{type_name}");
                serde_json::from_str::<Value>(&event.columns_json().unwrap()).unwrap();
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} pairs\n{}",
        failures.len(),
        pairs.len(),
        failures.join("\n")
    );
}
