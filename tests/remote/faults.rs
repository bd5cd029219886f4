//! Faults of a distributor's process, and of the connection to it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use pgherald::trigger::TriggerSpec;
use pgherald_core::{Backoff, DistributorSource, DistributorSourceBuilder};
use pgherald_testkit::FaultProxy;
use rustix::process::Signal;

use crate::process::Process;
use crate::support::DEADLINE;

/// The faults that last until they are repaired.
pub(crate) const FAULTS: [&str; 5] = [
    "kill_distributor",
    "terminate_distributor",
    "suspend_distributor",
    "refuse_client",
    "stall_client",
];

/// A distributor in a process of its own behind a proxy. Clones share it.
#[derive(Clone)]
pub(crate) struct Remote {
    proxy: Rc<FaultProxy>,
    state: Rc<RefCell<State>>,
}

struct State {
    process: Process,
    was_terminated: bool,
}

impl Remote {
    pub(crate) async fn new() -> Self {
        let process = Process::new();
        let proxy = FaultProxy::start(("127.0.0.1", process.port())).await;
        Self {
            proxy: Rc::new(proxy.unwrap()),
            state: Rc::new(RefCell::new(State {
                process,
                was_terminated: false,
            })),
        }
    }

    /// Starts the process on a database, and returns a source that reads it through the proxy, and detects faults quickly.
    pub(crate) fn start(&self, url: &str, spec: &TriggerSpec) -> DistributorSourceBuilder {
        self.state.borrow_mut().process.start(url, spec);
        DistributorSource::builder(format!("http://{}", self.proxy.addr()))
            .connect_timeout(Duration::from_secs(2))
            .silence_limit(Duration::from_secs(2))
            .backoff(Backoff::new(
                Duration::from_millis(10),
                Duration::from_millis(200),
            ))
    }

    /// Injects the fault of a name.
    pub(crate) fn inject(&self, fault: &str) {
        let mut state = self.state.borrow_mut();
        match fault {
            "kill_distributor" => state.process.kill(),
            "terminate_distributor" => {
                state.process.terminate();
                state.was_terminated = true;
            }
            "suspend_distributor" => state.process.signal(Signal::STOP),
            "cut_client" => self.proxy.cut(),
            "refuse_client" => {
                self.proxy.refuse();
                self.proxy.cut();
            }
            "stall_client" => self.proxy.stall(),
            other => panic!("no fault {other}"),
        }
    }

    /// Ends all faults.
    pub(crate) async fn repair(self) {
        self.proxy.resume();
        let was_terminated = std::mem::take(&mut self.state.borrow_mut().was_terminated);
        let has_ended = async {
            while was_terminated && !self.state.borrow_mut().process.has_ended() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(DEADLINE, has_ended).await.unwrap();
        self.state.borrow_mut().process.run_again();
    }
}
