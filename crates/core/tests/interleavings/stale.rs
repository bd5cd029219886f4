//! An invalidated value is served for a limited time, marked as stale, and one reader is asked to reload it.

use std::sync::atomic::Ordering::SeqCst;

use shuttle::rand::{Rng, thread_rng};

use crate::store::{Accept, Begin, Found, Outcome};
use crate::sync::{Arc, advance};
use crate::world::{By, Got, KEEP, Load, World};
use crate::{explore, together};

fn keeping(keys: &'static [&'static [u8]], capacity: usize) -> Arc<World> {
    World::keeping(keys, capacity, Some(KEEP))
}

#[test]
fn one_reader_is_asked_to_reload_a_stale_value() {
    explore(1_500, || {
        let world = keeping(&[&[0]], 8);
        world.read(0);
        world.change(0, By::any());
        let look = |world: &Arc<World>| {
            if let Found::Stale(_, revalidate) = world.store.get(&0, Accept::Valid) {
                let revalidate = revalidate.is_some();
                world.asked.fetch_add(u64::from(revalidate), SeqCst);
            }
        };
        together([world.task(look), world.task(look), world.task(look)]);
        assert_eq!(world.asked.load(SeqCst), 1);
        // This reader gives up, so the next one is asked.
        let Begin::Lead(flight) = world.begin(0, &world.floor(0)) else {
            panic!("there is neither a value nor a load");
        };
        world.store.fail(&0, &flight, Outcome::Abandoned);
        together([world.task(look), world.task(look)]);
        assert_eq!(world.asked.load(SeqCst), 2);
        world.store.not_revalidating(&0);
        together([world.task(look), world.task(look)]);
        assert_eq!(world.asked.load(SeqCst), 3);
        world.settled();
    });
}

#[test]
fn a_refresh_is_requested_again_only_after_it_failed() {
    explore(1_500, || {
        let world = keeping(&[&[0]], 8);
        world.read(0);
        world.change(0, By::any());
        let reader = |ends: &'static [Load]| {
            let mut ends = ends.iter();
            world.task(move |world| {
                for _ in 0..2 {
                    world.read_with(0, || *ends.next().unwrap_or(&Load::Succeeds));
                }
            })
        };
        together([
            reader(&[Load::Fails, Load::GoesAway]),
            reader(&[Load::GoesAway]),
            reader(&[]),
        ]);
        let (asked, loads) = (world.asked.load(SeqCst), world.loads.load(SeqCst) - 1);
        assert!(
            asked >= 1 && asked == loads,
            "asked {asked} times, loaded {loads} times"
        );
        // Whatever the loads returned, a later reader reloads the value.
        for _ in 0..2 {
            world.read(0);
        }
        assert_eq!(world.read(0), Got::Valid);
        world.settled();
    });
}

#[test]
fn one_task_is_asked_to_revalidate_eagerly() {
    explore(1_500, || {
        let world = keeping(&[&[0]], 8);
        world.read(0);
        world.change(0, By::Key);
        let eager = |world: &Arc<World>| {
            let asked = world.store.revalidate(&0);
            world.asked.fetch_add(u64::from(asked), SeqCst);
        };
        together([
            world.task(eager),
            world.task(eager),
            world.task(|world| _ = world.read(0)),
        ]);
        // If the reader is asked, it reloads the value at once, and then there is no stale value.
        assert_eq!(world.asked.load(SeqCst), 1);
        world.settled();
    });
}

#[test]
fn an_overtaken_load_is_not_served_as_valid() {
    explore(2_000, || {
        let world = keeping(&[&[0]], 8);
        world.read(0);
        together([
            world.task(|world| {
                let floor = world.floor(0);
                if let Begin::Lead(flight) = world.begin(0, &floor) {
                    let value = Arc::new(world.query(0));
                    world.store.finish(&0, &flight, &value);
                    if world.floor(0) > *value {
                        let found = world.store.get(&0, Accept::Valid);
                        assert!(!matches!(found, Found::Hit(hit) if *hit <= *value));
                    }
                }
            }),
            world.task(|world| {
                let by = By::any();
                world.change(0, by);
                world.read(0);
                world.change(0, by);
                world.read(0);
            }),
        ]);
        world.settled();
    });
}

/// The clock advances between the changes, so that at the second change, the value is already too stale to be served.
#[test]
fn stale_values_are_not_served_for_longer_than_allowed() {
    explore(3_000, || {
        let world = keeping(&[&[0, 1]], 8);
        world.read(0);
        together([
            world.task(|world| {
                world.change(0, By::any());
                advance(KEEP + KEEP / 2);
                world.change(0, By::any());
            }),
            world.task(|world| {
                advance(KEEP / 2);
                world.change(1, By::any());
            }),
            // One reader reloads what it reads. The loads of the other fail at first.
            world.task(|world| {
                world.read(0);
                world.read(0);
            }),
            world.task(|world| {
                let mut ends = [Load::GoesAway, Load::Fails].into_iter();
                world.read_with(0, || ends.next().unwrap_or(Load::Succeeds));
            }),
        ]);
        world.settled();
    });
}

#[test]
fn two_flushes_far_apart() {
    explore(2_000, || {
        let world = keeping(&[&[0]], 8);
        world.read(0);
        world.change(0, By::Flush);
        advance(KEEP * 2);
        together([
            world.task(|world| world.change(0, By::Flush)),
            world.task(|world| _ = world.read(0)),
        ]);
        world.settled();
    });
}

#[test]
fn everything_at_once() {
    explore(2_000, || {
        let capacity = [2, 8, 128][thread_rng().gen_range(0..3)];
        let world = keeping(&[&[0], &[0, 1], &[1], &[1]], capacity);
        let author = |row| {
            world.task(move |world| {
                for _ in 0..3 {
                    world.change(row, By::any());
                    advance(KEEP * thread_rng().gen_range(0..3) / 2);
                }
            })
        };
        let reader = || world.task(move |world| world.some_reads(capacity));
        together([author(0), author(1), reader(), reader()]);
        world.settled();
    });
}
