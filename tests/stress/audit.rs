//! Compares committed writes with the consumers' effects, and describes each lost row.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::SystemTime;

use tokio_postgres::{Client, Row};

use crate::cursors::Cursors;
use crate::faults::{Fault, Journal};
use crate::stage::clock;
use crate::worker::{Kind, SLICES};

/// How many lost rows, and other findings of each kind, are described.
const DESCRIBED: usize = 10;

/// An audit in progress, with its findings.
pub(crate) struct Audit<'a> {
    pub(crate) client: &'a Client,
    pub(crate) journal: &'a Journal,
    pub(crate) cursors: &'a Cursors,
    /// The number of slices that the cursors belong to.
    pub(crate) slices: i32,
    /// The numbers of the writes that a consumer in this process has seen.
    pub(crate) seen: Option<&'a HashSet<i64>>,
    pub(crate) findings: Vec<String>,
}

/// A write that no consumer has seen.
struct Lost {
    n: i64,
    row: i32,
    version: i64,
    xid: u64,
    server: SystemTime,
}

impl<'a> Audit<'a> {
    pub(crate) fn new(client: &'a Client, journal: &'a Journal, cursors: &'a Cursors) -> Self {
        Self {
            client,
            journal,
            cursors,
            slices: 1,
            seen: None,
            findings: Vec::new(),
        }
    }

    /// Audits a group. Call it when the group has nothing left to do.
    pub(crate) async fn of_group(&mut self, kind: Kind) {
        self.slices = SLICES;
        let lost = "SELECT n FROM written AS w WHERE NOT EXISTS (SELECT FROM effects AS e WHERE e.n = w.n) ORDER BY n";
        let lost = self.numbers(lost).await;
        self.lost(&lost).await;
        let twice = "SELECT format('write %s has %s effects, by %s', n, count(*), string_agg(worker || ' at ' || at, ', ' ORDER BY number))
            FROM effects GROUP BY n HAVING count(*) > 1 ORDER BY n";
        if kind == Kind::Transactional {
            self.find("effects were made twice", twice).await;
        }
        // A crashed server forgets commits that a handler may still be processing. Only a transactional handler is refused then.
        if kind == Kind::Transactional || self.journal.count(Fault::Crash) == 0 {
            let of_nothing = "SELECT format('effect %s of write %s, outbox id %s, by %s at %s', number, n, outbox_id, worker, at)
                FROM effects AS e WHERE NOT EXISTS (SELECT FROM written AS w WHERE w.n = e.n AND w.id = e.id AND w.version = e.version)
                ORDER BY number";
            self.find("effects belong to no write", of_nothing).await;
        }
        let disordered = "SELECT format('row %s: version %s after version %s, effect %s', id, version, before, first) FROM (
                SELECT id, version, first, lag(version) OVER (PARTITION BY id ORDER BY first) AS before FROM (
                    SELECT w.id, w.version, min(e.number) AS first FROM effects AS e JOIN written AS w USING (n) GROUP BY w.n
                ) AS firsts
            ) AS e WHERE version < before ORDER BY first";
        self.find("effects are out of order", disordered).await;
        // The group starts at the beginning of the outbox, and trimming spares its rows, so no other resync is justified.
        let resyncs =
            "SELECT format('%s, handled by %s at %s', reason, worker, at) FROM resyncs ORDER BY at";
        self.find("resyncs came without a cause", resyncs).await;
        self.moved_back();
    }

    /// Audits that no cursor moved back.
    pub(crate) fn moved_back(&mut self) {
        let moved: Vec<_> = self.cursors.moved_back.clone();
        self.list("cursors moved back", &moved);
    }

    /// The numbers that a query returns.
    pub(crate) async fn numbers(&self, sql: &str) -> Vec<i64> {
        let rows = self.client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Reports each row that a query returns as a finding.
    async fn find(&mut self, what: &str, sql: &str) {
        let rows = self.client.query(sql, &[]).await.unwrap();
        let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        self.list(what, &found);
    }

    pub(crate) fn list(&mut self, what: &str, found: &[String]) {
        if found.is_empty() {
            return;
        }
        let shown = found[..found.len().min(DESCRIBED)].join("\n  ");
        self.findings
            .push(format!("{what}: {}\n  {shown}", found.len()));
    }

    /// Describes writes that were lost.
    pub(crate) async fn lost(&mut self, numbers: &[i64]) {
        if numbers.is_empty() {
            return;
        }
        let mut text = format!("writes were lost: {}", numbers.len());
        let sql =
            "SELECT n, id, version, xid::text, server FROM written WHERE n = ANY ($1) ORDER BY n";
        let first = &numbers[..numbers.len().min(DESCRIBED)];
        for row in self.client.query(sql, &[&first]).await.unwrap() {
            let lost = Lost {
                n: row.get(0),
                row: row.get(1),
                version: row.get(2),
                xid: row.get::<_, &str>(3).parse().unwrap(),
                server: row.get(4),
            };
            self.describe(&lost, &mut text).await;
        }
        self.findings.push(text);
    }

    async fn describe(&self, lost: &Lost, text: &mut String) {
        let Lost {
            n,
            row,
            version,
            xid,
            server,
        } = lost;
        let _ = write!(
            text,
            "\n- write {n} of row {row}, version {version}, xid {xid}"
        );
        let sql = "SELECT id, operation::text, hash, sent_at FROM recorded WHERE n = $1 AND xid::text = $2 ORDER BY id";
        let recorded = self
            .client
            .query(sql, &[n, &xid.to_string()])
            .await
            .unwrap();
        if recorded.is_empty() {
            *text += ", is not in the outbox";
        }
        for row in recorded {
            let (id, operation): (i64, &str) = (row.get(0), row.get(1));
            let slice = (row.get::<_, i32>(2) & i32::MAX) % self.slices;
            let sent_at: SystemTime = row.get(3);
            let at = clock(sent_at);
            let _ = write!(
                text,
                "\n  outbox id {id} ({operation}), slice {slice}, sent at {at}"
            );
            // In this process, each reader stores its cursors under its own number and reads all slices.
            let cursors = if self.seen.is_some() { 0 } else { slice };
            let (before, after) = self.cursors.passing(cursors, *server, *xid);
            for (when, sample) in [("before", before), ("after", after)] {
                let sample = sample.map_or("unknown".to_owned(), ToString::to_string);
                let _ = write!(text, "\n  cursor {when} it was passed over: {sample}");
            }
            let faults = self.journal.around(sent_at).join(", ");
            let _ = write!(text, "\n  faults about that time: {faults}");
            self.neighbours("id", &id.to_string(), text).await;
            self.neighbours("xid", &format!("'{xid}'::xid8"), text)
                .await;
        }
    }

    /// Describes the rows beside one, ordered by a column of the outbox.
    async fn neighbours(&self, column: &str, value: &str, text: &mut String) {
        let columns = "id, xid::text::bigint, hash, sent_at, n, (SELECT worker FROM effects AS e WHERE e.n = r.n ORDER BY number LIMIT 1)";
        let sql = format!(
            "(SELECT {columns} FROM recorded AS r WHERE {column} <= {value} ORDER BY {column} DESC, id DESC LIMIT 5)
            UNION ALL (SELECT {columns} FROM recorded AS r WHERE {column} > {value} ORDER BY {column}, id LIMIT 4)
            ORDER BY {}",
            if column == "id" { "1" } else { "2, 1" }
        );
        let _ = write!(text, "\n  neighbours by {column}:");
        for row in self.client.query(&sql, &[]).await.unwrap() {
            let (id, xid, at): (i64, i64, SystemTime) = (row.get(0), row.get(1), row.get(3));
            let slice = (row.get::<_, i32>(2) & i32::MAX) % self.slices;
            let (at, disposition) = (clock(at), self.disposition(&row));
            let _ = write!(
                text,
                "\n    id {id} xid {xid} slice {slice} sent at {at}: {disposition}"
            );
        }
    }

    fn disposition(&self, row: &Row) -> String {
        let number: Option<i64> = row.get(4);
        match (self.seen, row.get::<_, Option<&str>>(5)) {
            (Some(seen), _) if number.is_some_and(|n| seen.contains(&n)) => "seen".to_owned(),
            (Some(_), _) => "not seen".to_owned(),
            (None, Some(worker)) => format!("handled by {worker}"),
            (None, None) => "not handled".to_owned(),
        }
    }

    /// Fails the test if there are findings.
    pub(crate) fn conclude(self, seed: u64, kept: &str) {
        if !self.findings.is_empty() {
            let findings = self.findings.join("\n");
            panic!("{findings}\nPGHERALD_SEED={seed}{kept}");
        }
    }
}
