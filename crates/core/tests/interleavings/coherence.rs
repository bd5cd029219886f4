//! No read returns a version older than the changes that were applied before the read began.

use shuttle::rand::{Rng, thread_rng};

use crate::sync::Arc;
use crate::world::{By, Got, Key, Row, World, tag};
use crate::{explore, together};

/// Two tasks read twice each, while the row changes twice.
fn reads_and_changes(by: By) {
    let world = World::new(&[&[0]], 8);
    let reads = |world: &Arc<World>| twice(world, 0);
    together([
        world.task(reads),
        world.task(reads),
        world.task(move |world| {
            world.change(0, by);
            world.change(0, by);
        }),
    ]);
    world.settled();
}

#[test]
fn loads_and_invalidations_of_a_key() {
    explore(2_000, || reads_and_changes(By::Key));
}

#[test]
fn loads_and_flushes() {
    explore(2_000, || reads_and_changes(By::Flush));
}

#[test]
fn loads_and_two_concurrent_flushes() {
    explore(2_000, || {
        let world = World::new(&[&[0, 1]], 8);
        together([
            world.task(|world| twice(world, 0)),
            world.task(|world| twice(world, 0)),
            world.task(|world| world.change(0, By::Flush)),
            world.task(|world| world.change(1, By::Flush)),
        ]);
        world.settled();
    });
}

#[test]
fn loads_and_a_flush_between_invalidations() {
    explore(2_000, || {
        let world = World::new(&[&[0, 1]], 8);
        together([
            world.task(|world| twice(world, 0)),
            world.task(|world| twice(world, 0)),
            world.task(|world| {
                world.change(0, By::Key);
                world.change(0, By::Tag);
            }),
            world.task(|world| world.change(1, By::Flush)),
        ]);
        world.settled();
    });
}

#[test]
fn loads_and_invalidations_of_a_tag() {
    explore(2_000, || {
        let world = World::new(&[&[0], &[0, 1], &[1]], 8);
        together([
            world.task(|world| {
                world.read(0);
                world.read(1);
            }),
            world.task(|world| {
                world.read(1);
                world.read(2);
                world.read(1);
            }),
            world.task(|world| {
                world.change(0, By::Tag);
                world.change(0, By::Tag);
            }),
            world.task(|world| world.change(1, By::Tag)),
        ]);
        world.settled();
    });
}

#[test]
fn inserts_and_changes_that_make_them_stale() {
    explore(3_000, || {
        let world = World::new(&[&[0]], 8);
        let by = By::any();
        together([
            world.task(|world| _ = world.insert(0)),
            world.task(move |world| {
                world.change(0, by);
                world.read(0);
            }),
            world.task(|world| _ = world.insert(0)),
        ]);
        world.settled();
        assert!(world.insert(0), "nothing speaks against this one");
        assert_eq!(world.floor(0), world.query(0));
        assert_eq!(world.read(0), Got::Valid);
    });
}

/// The store must not lose the later invalidation, in whatever order the two are recorded.
#[test]
fn inserts_and_two_invalidations_of_a_tag() {
    explore(6_000, || {
        let world = World::new(&[&[0]], 8);
        together([
            world.task(|world| _ = world.insert(0)),
            world.task(|world| world.change(0, By::Tag)),
            // Another caller's invalidation, or that of a tag with the same hash.
            world.task(|world| drop(world.store.invalidate_tag(&tag(0)))),
        ]);
        world.settled();
    });
}

#[test]
fn inserts_of_several_keys_with_one_tag() {
    explore(3_000, || {
        let world = World::new(&[&[0, 1], &[1]], 8);
        together([
            world.task(|world| {
                world.insert(0);
                world.insert(1);
            }),
            // Another caller invalidates the same tag, or one with the same hash.
            world.task(|world| drop(world.store.invalidate_tag(&tag(1)))),
            world.task(|world| {
                world.change(1, By::Tag);
                world.read(0);
            }),
            world.task(|world| {
                world.change(0, By::any());
                world.read(0);
                world.read(1);
            }),
        ]);
        world.settled();
    });
}

/// All operations at the same time, in a store with one shard and in one with two.
#[test]
fn everything_at_once() {
    explore(2_000, || {
        let capacity = [2, 8, 128][thread_rng().gen_range(0..3)];
        let world = World::new(&[&[0], &[0, 1], &[1], &[1, 2]], capacity);
        let author = |row: Row| {
            world.task(move |world| {
                for _ in 0..3 {
                    world.change(row, By::any());
                }
            })
        };
        let reader = || world.task(move |world| world.some_reads(capacity));
        together([author(0), author(1), author(2), reader(), reader()]);
        world.settled();
    });
}

fn twice(world: &World, key: Key) {
    world.read(key);
    world.read(key);
}
