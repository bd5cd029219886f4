//! Randomly interleaved transactions: each committed row is read once, in the commit order of its key.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;
use tokio_postgres::Client;

use crate::support::{Scene, shown};

const KEYS: i64 = 12;
const WRITERS: usize = 6;
const STEPS: usize = 500;

/// A connection and the rows that its open transaction has written: before each savepoint, and since the last one.
struct Writer {
    client: Client,
    open: Option<Vec<Vec<String>>>,
    locked: HashSet<i64>,
}

impl Writer {
    async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    /// Writes some keys that no other writer has locked, in one statement.
    async fn write(&mut self, random: &mut Rng, taken: &HashSet<i64>, next: &mut i64) {
        let mut keys: Vec<i64> = (0..KEYS).filter(|key| !taken.contains(key)).collect();
        random.shuffle(&mut keys);
        keys.truncate(random.usize(1..4));
        if keys.is_empty() {
            return;
        }
        if self.open.is_none() {
            self.run("BEGIN").await;
            self.open = Some(vec![Vec::new()]);
        }
        *next += 1;
        let list: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let sql = format!(
            "UPDATE counters SET value = {next} WHERE id IN ({})",
            list.join(",")
        );
        self.run(&sql).await;
        let written = keys.iter().map(|key| format!("{key}={next}"));
        self.open
            .as_mut()
            .unwrap()
            .last_mut()
            .unwrap()
            .extend(written);
        self.locked.extend(keys);
    }

    async fn savepoint(&mut self) {
        if let Some(open) = &mut self.open {
            open.push(Vec::new());
            let sql = format!("SAVEPOINT s{}", open.len());
            self.run(&sql).await;
        }
    }

    async fn rollback_to_savepoint(&mut self) {
        if let Some(open) = &mut self.open
            && open.len() > 1
        {
            let sql = format!("ROLLBACK TO s{0}; RELEASE s{0}", open.len());
            open.pop();
            self.run(&sql).await;
        }
    }

    /// Ends the transaction. Returns the rows that it committed.
    async fn end(&mut self, commit: bool) -> Vec<String> {
        let Some(open) = self.open.take() else {
            return Vec::new();
        };
        self.locked.clear();
        self.run(if commit { "COMMIT" } else { "ROLLBACK" }).await;
        match commit {
            true => open.concat(),
            false => Vec::new(),
        }
    }
}

/// The rows of each key in order, as committed or as read.
#[derive(Default, PartialEq, Debug)]
struct History(HashMap<String, Vec<String>>);

impl History {
    fn add(&mut self, shown: impl IntoIterator<Item = String>) {
        for line in shown {
            let key = line.split('=').next().unwrap().to_owned();
            self.0.entry(key).or_default().push(line);
        }
    }
}

async fn interleave(seed: u64) {
    println!("PGHERALD_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut scene = Scene::new().await;
    let sql = format!(
        "INSERT INTO counters SELECT n, 0 FROM generate_series(0, {}) AS n",
        KEYS - 1
    );
    scene.run(&sql).await;
    scene.cursor = scene.reader.now().await.unwrap();
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push(Writer {
            client: scene.connect().await,
            open: None,
            locked: HashSet::new(),
        });
    }
    let (mut committed, mut read) = (History::default(), History::default());
    let mut next = 0;
    for _ in 0..STEPS {
        let number = random.usize(..WRITERS);
        let others = writers
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number);
        let taken: HashSet<i64> = others
            .flat_map(|(_, writer)| writer.locked.iter().copied())
            .collect();
        let writer = &mut writers[number];
        // The first writer keeps its transactions open for long.
        let ends = if number == 0 { 1 } else { 10 };
        match random.u32(..30) {
            0..10 => writer.write(&mut random, &taken, &mut next).await,
            10 => writer.savepoint().await,
            11 => writer.rollback_to_savepoint().await,
            12..22 if random.u32(..10) < ends => {
                let commit = random.u32(..4) > 0;
                committed.add(writer.end(commit).await);
            }
            22..29 => {
                let (events, _) = scene.page(random.usize(1..6)).await;
                read.add(events.iter().map(shown));
            }
            _ => {
                // Read the rest of the difference, and then the next one: open transactions do not hold back other rows.
                for _ in 0..2 {
                    read.add(scene.read(random.usize(1..20)).await.iter().map(shown));
                }
                assert_eq!(read, committed, "seed {seed}");
            }
        }
    }
    for writer in &mut writers {
        committed.add(writer.end(true).await);
    }
    for _ in 0..2 {
        read.add(scene.read(3).await.iter().map(shown));
    }
    assert_eq!(read, committed, "seed {seed}");
    assert!(!read.0.is_empty());
}

#[tokio::test]
async fn each_committed_row_is_read_once_and_in_order() {
    let seed = std::env::var("PGHERALD_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    match seed {
        Some(seed) => interleave(seed).await,
        None => {
            for _ in 0..3 {
                interleave(fastrand::u64(..)).await;
            }
        }
    }
}
