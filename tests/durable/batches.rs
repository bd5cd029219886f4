//! Batches: which events come together, and what follows if some or all of them fail.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use pgherald_core::group::{Batch, BatchHandler, Consumer, ConsumerHandle};
use pgherald_core::{DurableOptions, Event, HandlerError, HandlerResult, Resync};

use crate::support::{Log, Scene, drained, local, options, report, shown};

type Plan = Box<dyn Fn(&mut Batch<Event>, &[String]) -> HandlerResult>;

/// Logs each batch as a line of its events.
struct Batched {
    log: Log,
    plan: Rc<Plan>,
}

impl BatchHandler for Batched {
    type Event = Event;

    async fn handle(&self, batch: &mut Batch<Event>) -> HandlerResult {
        let shown: Vec<String> = batch.events().iter().map(shown).collect();
        self.log.note(shown.join(" "));
        tokio::task::yield_now().await;
        (self.plan)(batch, &shown)
    }

    async fn resync(&self, resync: Resync) -> HandlerResult {
        self.log.note(format!("resync {resync}"));
        Ok(())
    }
}

fn start(scene: &Scene, options: DurableOptions, log: &Log, plan: Plan) -> ConsumerHandle {
    let (log, plan) = (log.clone(), Rc::new(plan));
    let factory = move || Batched {
        log: log.clone(),
        plan: Rc::clone(&plan),
    };
    let (handle, consumer) = Consumer::batches(scene.config(), options, factory).unwrap();
    tokio::task::spawn_local(consumer.run());
    handle
}

fn batches(log: &Log) -> Vec<Vec<String>> {
    let lines = log.lines().into_iter();
    lines
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

#[tokio::test]
async fn a_batch_has_one_event_of_a_row_and_at_most_its_maximum() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run("INSERT INTO jobs SELECT n, 0 FROM generate_series(1, 100) AS n; UPDATE jobs SET value = 1; UPDATE jobs SET value = 2")
            .await;
        let log = Log::default();
        let handle = start(&scene, options("g").max_batch(30), &log, Box::new(|_, _| Ok(())));
        report(&handle, "all", |report| report.handled == 300).await;
        drained(&handle).await;
        let mut next = BTreeMap::<String, i64>::new();
        for batch in batches(&log) {
            assert!(batch.len() <= 30, "{batch:?}");
            let mut ids = BTreeSet::new();
            for event in &batch {
                let (id, value) = event.split_once('=').unwrap();
                assert!(ids.insert(id.to_owned()), "{batch:?}");
                let next = next.entry(id.to_owned()).or_default();
                assert_eq!(value.parse::<i64>().unwrap(), *next, "row {id}");
                *next += 1;
            }
        }
        assert!(log.lines().len() < 30, "{} batches", log.lines().len());
    })
    .await;
}

#[tokio::test]
async fn failed_events_of_a_batch_are_retried_alone_and_in_the_order_of_their_row() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n; UPDATE jobs SET value = 2")
            .await;
        let log = Log::default();
        let failed = std::cell::Cell::new(0);
        let plan = move |batch: &mut Batch<Event>, shown: &[String]| {
            for (index, event) in shown.iter().enumerate() {
                if event == "7=1" && failed.replace(failed.get() + 1) < 2 {
                    batch.fail(index, "not yet");
                    batch.fail(1_000, "out of range");
                }
            }
            Ok(())
        };
        let handle = start(&scene, options("g"), &log, Box::new(plan));
        report(&handle, "all", |report| report.handled == 40).await;
        let end = drained(&handle).await;
        assert_eq!((end.errors, end.retried, end.dead_letters), (2, 2, 0));
        let batches = batches(&log);
        let of = |id: &str| -> Vec<(String, usize)> {
            let of_row = |event: &&String| event.split('=').next() == Some(id);
            batches.iter().flat_map(|b| b.iter().filter(of_row).map(|e| (e.clone(), b.len()))).collect()
        };
        let seventh = of("7");
        let order: Vec<&str> = seventh.iter().map(|(event, _)| &**event).collect();
        assert_eq!(order, ["7=1", "7=1", "7=1", "7=2"]);
        assert!(seventh[1].1 == 1 && seventh[2].1 == 1, "{seventh:?}");
        assert_eq!(of("8").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_failing_event_does_not_fail_the_other_events_of_its_batch() {
    for poison in ["error", "panic", "permanent"] {
        local(async {
            let scene = Scene::new().await;
            scene
                .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n; UPDATE jobs SET value = 2")
                .await;
            let log = Log::default();
            let plan = move |_: &mut Batch<Event>, shown: &[String]| {
                match (shown.iter().any(|event| event == "7=1"), poison) {
                    (false, _) => Ok(()),
                    (true, "panic") => panic!("poison"),
                    (true, "permanent") if shown.len() == 1 => Err(HandlerError::permanent("poison")),
                    (true, _) => Err("poison".into()),
                }
            };
            let handle = start(&scene, options("g"), &log, Box::new(plan));
            report(&handle, "all", |report| report.handled == 39 && report.dead_letters == 1).await;
            drained(&handle).await;
            let letters = scene.group("g").dead_letters(None, 10).await.unwrap();
            assert_eq!(letters.len(), 1);
            assert_eq!(shown(letters[0].event.as_ref().unwrap()), "7=1");
            assert!(letters[0].error.as_deref().unwrap().contains("poison"));
        })
        .await;
    }
}

#[tokio::test]
async fn events_without_a_row_are_delivered_as_a_resync() {
    local(async {
        let scene = Scene::new().await;
        let log = Log::default();
        let handle = start(
            &scene,
            pgherald_core::DurableOptions::new("g"),
            &log,
            Box::new(|_, _| Ok(())),
        );
        assert!(log.has(1).await[0].starts_with("resync"));
        scene
            .run("INSERT INTO jobs VALUES (1, 1); TRUNCATE jobs; INSERT INTO jobs VALUES (2, 1)")
            .await;
        report(&handle, "all", |report| report.handled == 4).await;
        assert_eq!(drained(&handle).await.errors, 0);
    })
    .await;
}

#[tokio::test]
async fn events_of_a_failed_batch_are_retried_concurrently() {
    local(async {
        let scene = Scene::new().await;
        scene
            .run("INSERT INTO jobs SELECT n, 1 FROM generate_series(1, 20) AS n")
            .await;
        let (running, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let factory = {
            let (running, most) = (Rc::clone(&running), Rc::clone(&most));
            move || Concurrent {
                running: Rc::clone(&running),
                most: Rc::clone(&most),
            }
        };
        let options = options("g").concurrency(4).max_batch(20);
        let (handle, consumer) = Consumer::batches(scene.config(), options, factory).unwrap();
        tokio::task::spawn_local(consumer.run());
        report(&handle, "all", |report| report.handled == 20).await;
        drained(&handle).await;
        assert_eq!(most.get(), 4);
    })
    .await;
}

/// Fails whole batches, and counts concurrent attempts of single events.
struct Concurrent {
    running: Rc<Cell<usize>>,
    most: Rc<Cell<usize>>,
}

impl BatchHandler for Concurrent {
    type Event = Event;

    async fn handle(&self, batch: &mut Batch<Event>) -> HandlerResult {
        if batch.attempts()[0].number() == 1 {
            return Err("all of it".into());
        }
        assert_eq!(batch.events().len(), 1);
        self.running.set(self.running.get() + 1);
        self.most.set(self.most.get().max(self.running.get()));
        // Wait until four attempts run at once. The wait is bounded, because fewer events are left at the end.
        for _ in 0..1_000 {
            if self.most.get() >= 4 {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.running.set(self.running.get() - 1);
        Ok(())
    }
}
