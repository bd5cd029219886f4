//! The cache store and the gate, as they are in `src`, under schedules that `shuttle` chooses.
//!
//! At every lock and every atomic operation of the store, the scheduler may switch to another task. It chooses the task at
//! random: uniformly, or by priorities that change at few points, which finds bugs that need few but unlikely switches.
//! Each test tries thousands of interleavings. A failing one can be repeated:
//!
//! ```console
//! $ PGHERALD_SCHEDULE=<what the failed test printed> cargo test -p pgherald-core --test interleavings <its name>
//! $ PGHERALD_SCHEDULES=100 cargo test --release -p pgherald-core --test interleavings   # 100 times as many
//! ```
//!
//! The tests do not explore reorderings that a weak memory model permits beyond any interleaving, or switches within
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

/// The number of switches up to which the scheduler by priorities finds a bug.
const DEPTH: usize = 4;

/// Tries `schedules` schedules of a scenario with each of the two schedulers.
fn explore(schedules: usize, scenario: fn()) {
    let scenario = move || {
        sync::restart_clock();
        scenario();
    };
    let mut config = Config::new();
    config.stack_size = 0x2_0000;
    config.silence_warnings = true;
    // Some hundreds are usual. Many more mean that a task waits forever.
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

/// Runs the tasks at the same time, until all have finished.
fn together(tasks: impl IntoIterator<Item = Box<dyn FnOnce() + Send>>) {
    let tasks: Vec<_> = tasks.into_iter().map(shuttle::thread::spawn).collect();
    for task in tasks {
        task.join().unwrap();
    }
}
