//! Every waiting reader finishes, however a load ends, and no load is redundant.

use std::sync::atomic::AtomicU64 as Counter;
use std::sync::atomic::Ordering::SeqCst;

use shuttle::future::{block_on, spawn, yield_now};

use crate::store::{Begin, Outcome};
use crate::sync::Arc;
use crate::world::{By, Got, Lead, Load, World};
use crate::{explore, together};

/// The first `number` loads end with `end`. Later loads succeed.
fn first(number: u64, end: Load) -> impl Fn() -> Load + Clone {
    let begun = Arc::new(Counter::new(0));
    move || match begun.fetch_add(1, SeqCst) {
        before if before < number => end,
        _ => Load::Succeeds,
    }
}

#[test]
fn concurrent_misses_share_one_load() {
    explore(1_500, || {
        let world = World::new(&[&[0]], 8);
        let read = |world: &Arc<World>| assert_eq!(world.read(0), Got::Valid);
        together([world.task(read), world.task(read), world.task(read)]);
        assert_eq!(world.loads.load(SeqCst), 1);
        world.settled();
    });
}

#[test]
fn a_waiting_reader_takes_over_an_abandoned_load() {
    explore(1_500, || {
        let world = World::new(&[&[0]], 8);
        let load = first(2, Load::GoesAway);
        let reader = || {
            let load = load.clone();
            world.task(move |world| assert_eq!(world.read_with(0, load), Got::Valid))
        };
        together([reader(), reader(), reader()]);
        assert_eq!(
            world.loads.load(SeqCst),
            3,
            "one for each that went away, and one"
        );
        world.settled();
    });
}

#[test]
fn an_error_reaches_all_waiting_readers_and_is_not_stored() {
    explore(1_500, || {
        let world = World::new(&[&[0]], 8);
        let load = first(1, Load::Fails);
        let failed = Arc::new(Counter::new(0));
        let reader = || {
            let (load, failed) = (load.clone(), Arc::clone(&failed));
            world.task(move |world| {
                if world.read_with(0, load) == Got::Failed {
                    failed.fetch_add(1, SeqCst);
                }
            })
        };
        together([reader(), reader(), reader()]);
        let (failed, loads) = (failed.load(SeqCst), world.loads.load(SeqCst));
        assert!(failed >= 1, "it reached nobody");
        assert_eq!(loads, if failed == 3 { 1 } else { 2 });
        assert_eq!(world.store.len(), usize::from(failed < 3));
        world.settled();
    });
}

#[test]
fn failing_loads_among_invalidations() {
    for end in [By::Key, By::Tag, By::Flush] {
        // A scenario is a function pointer, so it cannot capture `end`.
        let scenario = match end {
            By::Key => || among(By::Key),
            By::Tag => || among(By::Tag),
            By::Flush => || among(By::Flush),
        };
        explore(750, scenario);
    }

    fn among(by: By) {
        let world = World::new(&[&[0]], 8);
        let gone = first(1, Load::GoesAway);
        let failing = first(1, Load::Fails);
        together([
            world.task(move |world| _ = world.read_with(0, gone)),
            world.task(move |world| _ = world.read_with(0, failing)),
            world.task(|world| _ = world.read(0)),
            world.task(move |world| {
                world.change(0, by);
                world.change(0, by);
            }),
        ]);
        world.settled();
    }
}

/// Readers as tasks, one of which is cancelled at any point.
#[test]
fn cancelled_readers() {
    explore(1_500, || {
        let world = World::new(&[&[0]], 8);
        let reader = || {
            let world = Arc::clone(&world);
            spawn(async move {
                loop {
                    match world.begin(0, &vec![0]) {
                        Begin::Found(_) => return,
                        Begin::Join(flight) => match flight.ended().await {
                            Outcome::Abandoned => {}
                            outcome => return assert!(matches!(outcome, Outcome::Loaded(_))),
                        },
                        Begin::Lead(flight) => {
                            let lead = Lead::new(&world, 0, flight);
                            yield_now().await;
                            let value = Arc::new(world.query(0));
                            yield_now().await;
                            lead.finish(&value);
                            return;
                        }
                    }
                }
            })
        };
        let (one, two, three) = (reader(), reader(), reader());
        let canceller = shuttle::thread::spawn({
            let handle = one.abort_handle();
            move || handle.abort()
        });
        block_on(async {
            two.await.unwrap();
            three.await.unwrap();
            // Cancelled, or finished before.
            let _ = one.await;
        });
        canceller.join().unwrap();
        assert_eq!(world.store.len(), 1);
        world.settled();
    });
}
