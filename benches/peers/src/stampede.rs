//! Ten thousand tasks read one cold key.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::caches::{Live, Row};
use crate::contest::{Bounds, Contestant, print, time, turns};

const TASKS: usize = 10_000;
const ROUNDS: usize = 25;

/// A load that ends when all tasks have arrived.
#[derive(Default)]
struct Load {
    arrived: AtomicUsize,
    all_there: Notify,
    loads: AtomicUsize,
}

impl Load {
    fn arrive(&self) {
        if self.arrived.fetch_add(1, SeqCst) + 1 == TASKS {
            self.all_there.notify_one();
        }
    }

    async fn run(&self) -> Result<Row, Infallible> {
        self.loads.fetch_add(1, SeqCst);
        self.all_there.notified().await;
        // A second load, if a cache starts one, has to end as well.
        self.all_there.notify_one();
        Ok(Row::new(7))
    }
}

/// Nanoseconds until all tasks have the value. `most` becomes the largest number of loads.
fn stampede<F: Future<Output = Arc<Row>> + Send + 'static>(
    runtime: &Runtime,
    most: &AtomicUsize,
    get: impl Fn(Arc<Load>) -> F,
) -> f64 {
    let load = Arc::<Load>::default();
    let began = Instant::now();
    let ids: i64 = runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| tokio::spawn(get(Arc::clone(&load))))
            .collect();
        let mut ids = 0;
        for task in tasks {
            ids += task.await.expect("a task").id;
        }
        ids
    });
    let elapsed = began.elapsed();
    assert_eq!(ids, 7 * TASKS as i64);
    most.fetch_max(load.loads.load(SeqCst), SeqCst);
    elapsed.as_nanos() as f64
}

pub(crate) fn run(bounds: &mut Bounds) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    let most = [const { AtomicUsize::new(0) }; 3];
    let live = Live::new(1_000);
    let ours = || {
        live.handle.invalidate(&7);
        stampede(&runtime, &most[0], |load| {
            let cache = live.handle.clone();
            async move {
                load.arrive();
                let row = cache.get_or_load(7, || load.run()).await;
                row.expect("a row")
            }
        })
    };
    let moka = || {
        let cache = moka::future::Cache::new(1_000);
        stampede(&runtime, &most[1], |load| {
            let cache = cache.clone();
            async move {
                load.arrive();
                let row = cache.try_get_with(7_i64, async { load.run().await.map(Arc::new) });
                row.await.expect("a row")
            }
        })
    };
    let quick = || {
        let cache = Arc::new(quick_cache::sync::Cache::new(1_000));
        stampede(&runtime, &most[2], |load| {
            let cache = Arc::clone(&cache);
            async move {
                load.arrive();
                let load = async { load.run().await.map(Arc::new) };
                let row = cache.get_or_insert_async(&7_i64, load);
                row.await.expect("a row")
            }
        })
    };
    let contestants: [Contestant<'_>; 3] = [
        ("pgherald, `get_or_load`", &ours),
        ("moka, `try_get_with`", &moka),
        ("quick_cache, `get_or_insert_async`", &quick),
    ];
    let medians = turns(ROUNDS, &contestants);
    let loads: Vec<usize> = most.iter().map(|most| most.load(SeqCst)).collect();
    let rows = contestants.iter().enumerate().map(|(number, (name, _))| {
        let cells = [time(medians[number]), loads[number].to_string()];
        ((*name).to_owned(), cells)
    });
    print(
        "10,000 tasks on one cold key",
        ["until all have it", "loads"],
        rows,
    );
    bounds.check(
        loads[0] == 1,
        format_args!("10,000 tasks on one cold key loaded {} times, 1", loads[0]),
    );
}
