//! Runs a check, from the first read to the report.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::clients::Clients;
use super::confirm::Confirming;
use super::faults::FaultInjector;
use super::followers::Followers;
use super::quiet::Comparison;
use super::reader::Readers;
use super::report::Rule;
use super::stage::Stage;
use super::writer::{Pause, Writer};
use super::{CoherenceReport, Loader, Subject, reopening};
use crate::Error;

/// The number of connections that the loads share.
const CONNECTIONS: usize = 4;

pub(super) async fn run<S: Subject>(
    stage: Stage,
    subject: S,
    followers: Option<Followers<S>>,
) -> Result<CoherenceReport, Error> {
    let run = &stage.run;
    let clients = Arc::new(Clients::new(stage.config.clone(), CONNECTIONS));
    let loader = Loader::new(Arc::clone(run), Arc::clone(&clients));
    let pause = Pause::new(RwLock::new(()));
    if let Some(followers) = &followers {
        followers.follow(&subject, &loader);
    }
    let mut readers = Readers::start(run, &subject, &loader);
    let writers = start_writers(&stage, &subject, &loader, &pause);
    let comparison = Comparison {
        run,
        subject: &subject,
        clients: &clients,
        loader: &loader,
    };
    let watching = run
        .settings
        .reopening
        .then(|| actix::spawn(reopening::watch(Arc::clone(run))));
    let outcome = inject_faults(&stage, &comparison, &pause).await;
    run.stop();
    readers.finished().await;
    for writer in writers {
        // Writers are not aborted, so an error is a panic, of the subject.
        if writer.await.is_err() {
            run.tally
                .violation(Rule::Deadline, || "a writer panicked".to_owned());
        }
    }
    if run.settings.until_violation.is_none() && outcome.is_ok() {
        comparison.run(&pause).await;
    }
    if let Some(watching) = watching {
        watching.abort();
    }
    readers.stop().await?;
    if let Some(followers) = followers {
        followers.stop().await;
    }
    let report = run.tally.report(&run.settings, stage.lost().await);
    stage.shut_down().await;
    outcome.map(|()| report)
}

fn start_writers<S: Subject>(
    stage: &Stage,
    subject: &S,
    loader: &Loader,
    pause: &Pause,
) -> Vec<JoinHandle<()>> {
    let run = &stage.run;
    (0..run.settings.writers)
        .map(|number| {
            let writer = Writer {
                run: Arc::clone(run),
                config: stage.config.clone(),
                confirming: Confirming::new(run, subject, loader),
                pause: Arc::clone(pause),
                random: run.random(2_000 + number as u64),
            };
            actix::spawn(writer.write_on())
        })
        .collect()
}

/// Injects one fault after the other until the check is done.
async fn inject_faults<S: Subject>(
    stage: &Stage,
    comparison: &Comparison<'_, S>,
    pause: &Pause,
) -> Result<(), Error> {
    let run = comparison.run;
    let mut injector = FaultInjector {
        server: &stage.server,
        proxy: &stage.proxy,
        custom: stage.custom.as_ref(),
        random: run.random(1),
        round: Vec::new(),
    };
    while !run.is_done() {
        sleep(Duration::from_millis(injector.random.u64(..100))).await;
        let Some(fault) = injector.next_fault(&run.settings.kinds) else {
            comparison.run(pause).await;
            continue;
        };
        injector.inject(fault, run, comparison.clients).await?;
        injector.keep(fault, run).await;
        // Sometimes stop writing before the fault ends, so that no later write hides the effects of the fault.
        if injector.random.bool() {
            let paused = pause.write().await;
            injector.repair().await?;
            comparison.run_paused().await;
            drop(paused);
        } else {
            injector.repair().await?;
            // Sometimes inject the next fault before the source has recovered from this one.
            if injector.random.bool() {
                run.liveness.live(run.settings.quiet_deadline()).await;
            }
        }
    }
    Ok(())
}
