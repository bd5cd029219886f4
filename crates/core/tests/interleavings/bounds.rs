//! The store stays within its capacity, and its index matches the stored values.

use crate::store::{Accept, Found};
use crate::world::{By, Key, World};
use crate::{explore, together};

const CAPACITY: usize = 2;

/// Removes dead values, as the driver does.
fn expire(world: &World) {
    if world.store.take_due() {
        while world.store.expire(0) {}
    }
}

#[test]
fn evictions_among_loads_and_invalidations() {
    explore(1_000, || {
        let world = World::new(&[&[0], &[0, 1], &[1], &[1]], CAPACITY);
        let reader = |keys: [Key; 4]| {
            world.task(move |world| {
                for key in keys {
                    world.read(key);
                    assert!(world.store.len() <= CAPACITY);
                }
            })
        };
        together([
            reader([0, 1, 2, 0]),
            reader([3, 1, 0, 3]),
            world.task(|world| world.change(0, By::Tag)),
            world.task(|world| world.change(1, By::Tag)),
        ]);
        world.settled();
    });
}

#[test]
fn expiring_among_loads() {
    explore(1_000, || {
        let world = World::new(&[&[0], &[0, 1], &[1]], CAPACITY);
        world.read(0);
        world.read(1);
        together([
            world.task(|world| {
                world.read(2);
                world.read(0);
                assert!(world.store.len() <= CAPACITY);
            }),
            world.task(|world| {
                world.change(0, By::Flush);
                expire(world);
                assert!(!world.store.expire(1), "there is one shard");
            }),
            world.task(|world| world.change(1, By::Tag)),
        ]);
        world.settled();
    });
}

/// Values that were stored after the flush are not dead.
#[test]
fn expiring_keeps_values_stored_after_a_flush() {
    explore(1_000, || {
        let world = World::new(&[&[0], &[1]], CAPACITY);
        world.read(0);
        world.read(1);
        world.change(0, By::Flush);
        together([
            world.task(|world| _ = world.read(0)),
            world.task(|world| expire(world)),
        ]);
        assert_eq!(world.store.len(), 1);
        let loads = world.loads.load(std::sync::atomic::Ordering::SeqCst);
        world.read(0);
        assert_eq!(loads, world.loads.load(std::sync::atomic::Ordering::SeqCst));
        world.settled();
    });
}

/// In every order of a flush, evictions and expiring, each dead value is removed in the end.
#[test]
fn expiring_removes_all_values_from_before_a_flush() {
    explore(1_000, || {
        let world = World::new(&[&[0], &[1]], CAPACITY);
        world.read(0);
        together([
            world.task(|world| _ = world.read(1)),
            world.task(|world| world.change(0, By::Flush)),
            world.task(|world| expire(world)),
        ]);
        expire(&world);
        let left = world.store.len();
        let is_hit = |key: &Key| matches!(world.store.get(key, Accept::Valid), Found::Hit(_));
        assert_eq!([0, 1].iter().filter(|key| is_hit(key)).count(), left);
        world.settled();
    });
}

/// A reader that began before the flush must not remove a value that was stored after it.
#[test]
fn a_late_reader_keeps_values_stored_after_a_flush() {
    explore(1_000, || {
        let world = World::new(&[&[0]], CAPACITY);
        world.read(0);
        together([
            world.task(|world| _ = world.read(0)),
            world.task(|world| {
                world.change(0, By::Flush);
                world.read(0);
            }),
        ]);
        assert!(world.loads.load(std::sync::atomic::Ordering::SeqCst) <= 2);
        world.settled();
    });
}
