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

/// The transactions whose rows are visible in `$until` and not in snapshot $1: those that $1 lists as running, and those from its
/// xmax up to `$bound`, because a snapshot lists none from its xmax on. There may be many of the latter, so an index finds those
/// that have recorded rows.
///
/// The index also has the rows of transactions that are still running, and may have to pass a million of them to find the next
/// transaction. So the search is divided into gaps between those. The parameters are converted once, not for each row.
macro_rules! late {
    ($until:literal, $bound:literal) => {
        concat!(
            "WITH RECURSIVE point AS MATERIALIZED (
            SELECT p.done, p.until, pg_catalog.pg_snapshot_xmax(p.done) AS xmax, ", $bound, " AS bound
            FROM (SELECT $1::pg_catalog.text::pg_catalog.pg_snapshot AS done, ", $until, " AS until) AS p
        ), running (xid) AS MATERIALIZED (
            SELECT x FROM pg_catalog.pg_snapshot_xip((SELECT until FROM point)) AS x
            WHERE x OPERATOR(pg_catalog.>=) (SELECT xmax FROM point) AND x OPERATOR(pg_catalog.<) (SELECT bound FROM point)
        ), gap (low, high) AS MATERIALIZED (
            SELECT e.xid, coalesce(pg_catalog.lead(e.xid) OVER (ORDER BY e.xid), (SELECT bound FROM point))
            FROM (
                SELECT ((xmax::pg_catalog.text::pg_catalog.numeric OPERATOR(pg_catalog.-) 1)::pg_catalog.text)::pg_catalog.xid8
                FROM point
                UNION ALL SELECT xid FROM running
            ) AS e (xid)
        ), late (late_xid) AS (
            SELECT r.xid FROM gap CROSS JOIN LATERAL (
                WITH RECURSIVE recorded (xid) AS (
                    SELECT (
                        SELECT o.xid FROM pgherald.outbox AS o
                        WHERE o.xid OPERATOR(pg_catalog.>) gap.low AND o.xid OPERATOR(pg_catalog.<) gap.high
                        ORDER BY o.xid LIMIT 1
                    )
                    UNION ALL SELECT (
                        SELECT o.xid FROM pgherald.outbox AS o
                        WHERE o.xid OPERATOR(pg_catalog.>) before.xid AND o.xid OPERATOR(pg_catalog.<) gap.high
                        ORDER BY o.xid LIMIT 1
                    ) FROM recorded AS before WHERE before.xid IS NOT NULL
                )
                SELECT xid FROM recorded WHERE xid IS NOT NULL
            ) AS r
            UNION ALL
            SELECT x FROM pg_catalog.pg_snapshot_xip((SELECT done FROM point)) AS x
            WHERE pg_catalog.pg_visible_in_snapshot(x, (SELECT until FROM point))
        )"
        )
    };
}

/// The end of the difference, if there is one: if a transaction that was not visible in snapshot $1 is visible now and has
/// recorded a row. The statement relies on index order, so it does not depend on the planner's statistics.
pub(super) const DIFFERENCE: &str = concat!(
    late!(
        "pg_catalog.pg_current_snapshot()",
        "pg_catalog.pg_snapshot_xmax(p.until)"
    ),
    "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text AS snapshot, CASE
        WHEN EXISTS (
            SELECT FROM late CROSS JOIN LATERAL (
                SELECT id FROM pgherald.outbox WHERE xid OPERATOR(pg_catalog.=) late_xid ORDER BY xid, id LIMIT 1
            ) AS o
        ) THEN pg_catalog.pg_current_xact_id()::pg_catalog.text
    END AS begun, closed
    FROM pgherald.outbox_retention"
);

/// Rows of a difference with ids up to its floor.
macro_rules! late_rows {
    ($columns:expr) => {
        concat!(
            late!(
                "$4::pg_catalog.text::pg_catalog.pg_snapshot",
                "least($3::pg_catalog.text::pg_catalog.xid8, pg_catalog.pg_snapshot_xmax(p.until))"
            ),
            "SELECT ",
            $columns,
            " FROM late CROSS JOIN LATERAL (
                SELECT * FROM pgherald.outbox
                WHERE xid OPERATOR(pg_catalog.=) late_xid AND id OPERATOR(pg_catalog.>) $5 AND id OPERATOR(pg_catalog.<=) $2
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
                AND pg_catalog.pg_visible_in_snapshot(xid, (SELECT $2::pg_catalog.text::pg_catalog.pg_snapshot))
                AND NOT pg_catalog.pg_visible_in_snapshot(xid, (SELECT $1::pg_catalog.text::pg_catalog.pg_snapshot))
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
