//! The cache store and the gate, as they are in `src`, under schedules that `shuttle` chooses.
//!
//! Every lock and every atomic operation of the store is a point where another task may go on. Which one does is
//! decided at random (uniformly, and by priorities that change at few points, which finds what needs few but
//! unlikely switches), so that in each test thousands of interleavings are tried, and a failing one can be repeated:
//!
//! ```console
//! $ PGHERALD_SCHEDULE=<what the failed test printed> cargo test -p pgherald-core --test interleavings <its name>
//! $ PGHERALD_SCHEDULES=100 cargo test --release -p pgherald-core --test interleavings   # 100 times as many
//! ```
//!
//! What is not explored: reorderings that a weak memory model permits beyond any interleaving, and switches within
//! tokio's `Notify`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests stop at once"
)]

#[allow(dead_code, reason = "the library uses the rest")]
#[path = "../../src/gate.rs"]
mod gate;
#[allow(dead_code, unreachable_pub, reason = "the library uses the rest")]
#[path = "../../src/panic.rs"]
mod panic;
#[allow(dead_code, unused_imports, reason = "the library uses the rest")]
#[path = "../../src/cache/store/mod.rs"]
mod store;
mod sync;

mod bounds;
mod coherence;
mod flights;
mod sessions;
mod stale;
mod world;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::{Config, MaxSteps, Runner};

/// How many switches a bug may need that the scheduler by priorities is to find.
const DEPTH: usize = 4;

/// Tries so many schedules of a scenario, each with both schedulers.
fn explore(schedules: usize, scenario: fn()) {
    let scenario = move || {
        sync::restart_clock();
        scenario();
    };
    let mut config = Config::new();
    config.stack_size = 0x2_0000;
    config.silence_warnings = true;
    // Some hundreds are usual. Many more mean that somebody waits for what does not come.
    config.max_steps = MaxSteps::FailAfter(20_000);
    if let Ok(schedule) = std::env::var("PGHERALD_SCHEDULE") {
        let mut scheduler = ReplayScheduler::new_from_encoded(&schedule);
        scheduler.set_allow_incomplete();
        Runner::new(scheduler, config).run(scenario);
        return;
    }
    let times = std::env::var("PGHERALD_SCHEDULES").map_or(1, |times| times.parse().unwrap());
    let schedules = schedules * times;
    Runner::new(RandomScheduler::new(schedules), config.clone()).run(scenario);
    Runner::new(PctScheduler::new(DEPTH, schedules), config).run(scenario);
}

/// Runs tasks to their end.
fn together(tasks: impl IntoIterator<Item = Box<dyn FnOnce() + Send>>) {
    let tasks: Vec<_> = tasks.into_iter().map(shuttle::thread::spawn).collect();
    for task in tasks {
        task.join().unwrap();
    }
}
