//! Three worker processes share a group while faults happen.

use std::path::{Path, PathBuf};
use std::time::Instant;

use fastrand::Rng;

use crate::audit::Audit;
use crate::faults::{Fault, Faults};
use crate::settings::Settings;
use crate::stage::{Durability, Stage, connect_at_last};
use crate::watch::Watch;
use crate::worker::{Kind, Workers};
use crate::workload::{Speed, Workload};

const WORKERS: usize = 3;
/// Minimum number of committed writes in a short run.
const WRITES: i64 = 1_500;

const ROUND: [Fault; 11] = [
    Fault::Stop,
    Fault::Stop,
    Fault::Stop,
    Fault::Kill,
    Fault::Kill,
    Fault::Terminate,
    Fault::Terminate,
    Fault::Trim,
    Fault::Trim,
    Fault::Restart,
    Fault::Crash,
];

/// Runs a group and audits it. Panics if the group broke a promise.
pub(crate) async fn run(kind: Kind) {
    let mode = kind.name();
    let settings = Settings::from_env(mode);
    let mut random = Rng::with_seed(settings.seed);
    let durability = Durability::drawn(&mut random);
    let stage = Stage::start(durability).await;
    let logs = logs(mode, settings.seed);

    let mut faults = Faults::new(
        random.fork(),
        settings.round(&ROUND),
        settings.duration.is_none(),
    );
    let watch = Watch::start(&stage.url);
    let mut workers = Workers::start(&stage.url, kind, WORKERS, &logs);
    // Before that, trimming would spare the rows of the neighbours only, and the group would begin after them.
    Watch::group_exists(&stage.url).await;
    let writers = random.usize(1..=3);
    let workload = Workload::start(
        &stage.url,
        &mut random,
        writers,
        Speed::Paced,
        watch.behind.clone(),
    );
    let began = Instant::now();
    let mut ended = None;
    while settings.goes_on(
        began,
        faults.has_dealt_all() && workload.committed() >= WRITES,
    ) && ended.is_none()
    {
        tokio::time::sleep(faults.pause()).await;
        workers.go_on(false, &mut faults.journal);
        ended = workers.ended();
        match faults.deal() {
            Some(Fault::Stop) => {
                let (place, span) = (faults.victim(workers.count()), faults.standstill());
                workers.stop(place, span, &mut faults.journal);
            }
            Some(Fault::Kill) => {
                let place = faults.victim(workers.count());
                workers.kill(place, &mut faults.journal);
            }
            Some(fault) => faults.inject(fault, &stage).await,
            None => {}
        }
    }
    let number = workload.end().await;
    workers.go_on(true, &mut faults.journal);
    let settled = Watch::settled(&stage.url).await;
    println!(
        "{mode}: {durability:?}, {} writers, {} writes tried, {} in {:.0?}",
        writers,
        number - 1,
        faults.journal.counts(),
        began.elapsed()
    );

    let client = connect_at_last(&stage.url).await;
    let cursors = std::mem::take(&mut *watch.cursors.lock().unwrap());
    let mut audit = Audit::new(&client, &faults.journal, &cursors);
    audit.findings.extend(ended);
    audit.findings.extend(settled.err());
    audit.of_group(kind).await;
    let counts = "SELECT format('%s writes committed, %s effects', (SELECT count(*) FROM written), (SELECT count(*) FROM effects))";
    let counts = client.query_one(counts, &[]).await.unwrap();
    println!("{mode}: {}", counts.get::<_, &str>(0));
    audit.conclude(settings.seed, &format!("\nlogs: {}", logs.display()));
    drop(workers);
    std::fs::remove_dir_all(logs).unwrap();
}

/// Creates a directory for the workers' logs.
fn logs(mode: &str, seed: u64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stress-{mode}-{seed}"));
    std::fs::create_dir_all(&path).unwrap();
    path
}
