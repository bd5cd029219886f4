//! What was invalidated is served for a while, as what it is, and one reader sees to a new value.

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
fn one_reader_is_asked_to_see_to_a_new_value() {
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
        // Now that this one gives up, the next one is.
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
fn failing_refreshes_are_asked_for_again_and_only_then() {
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
        // However it went: somebody sees to it in the end.
        for _ in 0..2 {
            world.read(0);
        }
        assert_eq!(world.read(0), Got::Valid);
        world.settled();
    });
}

#[test]
fn revalidating_eagerly_is_one_task_s_as_well() {
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
        // The reader sees to it at once if it is the one, and then there is nothing stale.
        assert_eq!(world.asked.load(SeqCst), 1);
        world.settled();
    });
}

#[test]
fn what_was_overtaken_does_not_come_back() {
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

/// The clock goes on between changes, so that what was invalidated first is too old when the second one comes.
#[test]
fn nothing_is_served_for_longer_than_allowed() {
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
            // One that has what it reads loaded anew, and one that does not get that far at first.
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
