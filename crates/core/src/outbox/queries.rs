//! The statements of the outbox reader.

use super::row::{bare_columns, columns};

pub(super) const TRIMMED: &str = "SELECT trimmed FROM pgherald.outbox_retention";

/// A point now, to be read after the [floor](FLOOR).
pub(super) const NOW: &str = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text AS snapshot,
        pg_catalog.pg_current_xact_id()::pg_catalog.text AS begun, closed
    FROM pgherald.outbox_retention";

/// The first row that was recorded at a time or later.
pub(super) const FIRST_SINCE: &str =
    "SELECT id FROM pgherald.outbox WHERE sent_at OPERATOR(pg_catalog.>=) $1 ORDER BY id LIMIT 1";

/// The last id taken.
pub(super) const FLOOR: &str = include_str!("floor.sql");

/// The transactions that had begun when snapshot $1 was taken, but were not visible in it: those that the snapshot lists, and
/// those from its xmax up to $3, because a snapshot lists none from its xmax on. There may be many of the latter, so an index
/// finds those that have recorded rows.
macro_rules! late {
    () => {
        "WITH RECURSIVE begun (late_xid) AS (
            SELECT (
                SELECT xid FROM pgherald.outbox
                WHERE xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax($1::pg_catalog.text::pg_catalog.pg_snapshot) AND xid OPERATOR(pg_catalog.<) $3::pg_catalog.text::pg_catalog.xid8
                ORDER BY xid LIMIT 1
            )
            UNION ALL SELECT (
                SELECT xid FROM pgherald.outbox WHERE xid OPERATOR(pg_catalog.>) late_xid AND xid OPERATOR(pg_catalog.<) $3::pg_catalog.text::pg_catalog.xid8 ORDER BY xid LIMIT 1
            ) FROM begun WHERE late_xid IS NOT NULL
        ), late AS (
            SELECT late_xid FROM begun WHERE late_xid IS NOT NULL
            UNION ALL SELECT pg_catalog.pg_snapshot_xip($1::pg_catalog.text::pg_catalog.pg_snapshot)
        )"
    };
}

/// The end of the difference, if there is one. The statement relies on index order, so it does not depend on the planner's
/// statistics.
pub(super) const DIFFERENCE: &str = concat!(
    late!(),
    "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text AS snapshot, CASE
        WHEN (
            SELECT id FROM pgherald.outbox
            WHERE id OPERATOR(pg_catalog.>) $2 AND NOT pg_catalog.pg_visible_in_snapshot(xid, $1::pg_catalog.text::pg_catalog.pg_snapshot)
            ORDER BY id LIMIT 1
        ) IS NOT NULL OR (
            SELECT o.id FROM late CROSS JOIN LATERAL (
                SELECT id FROM pgherald.outbox WHERE xid OPERATOR(pg_catalog.=) late_xid AND id OPERATOR(pg_catalog.<=) $2 ORDER BY xid, id LIMIT 1
            ) AS o
            LIMIT 1
        ) IS NOT NULL THEN pg_catalog.pg_current_xact_id()::pg_catalog.text
    END AS begun, closed
    FROM pgherald.outbox_retention"
);

/// Rows of a difference with ids up to its floor.
macro_rules! late_rows {
    ($columns:expr) => {
        concat!(
            late!(),
            "SELECT ",
            $columns,
            " FROM late CROSS JOIN LATERAL (
                SELECT * FROM pgherald.outbox
                WHERE xid OPERATOR(pg_catalog.=) late_xid AND id OPERATOR(pg_catalog.>) $5 AND id OPERATOR(pg_catalog.<=) $2
                    AND pg_catalog.pg_visible_in_snapshot(late_xid, $4::pg_catalog.text::pg_catalog.pg_snapshot)
                    AND (hash OPERATOR(pg_catalog.&) 2147483647) OPERATOR(pg_catalog.%) $7::int OPERATOR(pg_catalog.=) ANY ($8::int[])
                ORDER BY xid, id LIMIT $6
            ) AS o
            ORDER BY id LIMIT $6"
        )
    };
}
pub(super) const LATE_ROWS: &str = late_rows!(columns!());
pub(super) const BARE_LATE_ROWS: &str = late_rows!(bare_columns!());

/// Rows of a difference with ids beyond its floor, or beyond the last id that was read.
macro_rules! since {
    ($columns:expr) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM pgherald.outbox
            WHERE id OPERATOR(pg_catalog.>) $3
                AND (hash OPERATOR(pg_catalog.&) 2147483647) OPERATOR(pg_catalog.%) $5::int OPERATOR(pg_catalog.=) ANY ($6::int[])
                AND pg_catalog.pg_visible_in_snapshot(xid, $2::pg_catalog.text::pg_catalog.pg_snapshot)
                AND NOT pg_catalog.pg_visible_in_snapshot(xid, $1::pg_catalog.text::pg_catalog.pg_snapshot)
            ORDER BY id LIMIT $4"
        )
    };
}
pub(super) const SINCE: &str = since!(columns!());
pub(super) const BARE_SINCE: &str = since!(bare_columns!());

pub(super) const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM pgherald.outbox WHERE id OPERATOR(pg_catalog.=) $1"
);
