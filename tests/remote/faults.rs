//! Faults of a distributor's process, and of the connection to it.

use std::cell::{Cell, RefCell, RefMut};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use pgherald::trigger::TriggerSpec;
use pgherald_core::{Backoff, DistributorSource, DistributorSourceBuilder};
use pgherald_testkit::FaultProxy;
use rustix::process::Signal;

use crate::process::Process;
use crate::program;
use crate::support::soon;

/// The faults that last until they are repaired.
pub(crate) const FAULTS: [&str; 5] = [
    "kill_distributor",
    "terminate_distributor",
    "suspend_distributor",
    "refuse_client",
    "stall_client",
];

/// The faults that end by themselves.
pub(crate) const LOSSES: [&str; 1] = ["cut_client"];

/// A distributor in a process of its own behind a proxy.
pub(crate) struct Remote {
    port: u16,
    proxy: FaultProxy,
    /// None until it is started.
    process: RefCell<Option<Process>>,
    was_terminated: Cell<bool>,
}

impl Remote {
    pub(crate) async fn new() -> Rc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Rc::new(Self {
            port,
            proxy: FaultProxy::start(("127.0.0.1", port)).await.unwrap(),
            process: RefCell::default(),
            was_terminated: Cell::default(),
        })
    }

    fn process(&self) -> RefMut<'_, Process> {
        RefMut::map(self.process.borrow_mut(), |process| {
            process.as_mut().unwrap()
        })
    }

    /// Starts the process on a database, and returns a source that reads it through the proxy, and detects faults quickly.
    pub(crate) fn start(&self, url: &str, spec: &TriggerSpec) -> DistributorSourceBuilder {
        *self.process.borrow_mut() = Some(program::start(self.port, url, spec));
        DistributorSource::builder(format!("http://{}", self.proxy.addr()))
            .connect_timeout(Duration::from_secs(2))
            .silence_limit(Duration::from_secs(2))
            .backoff(Backoff::new(
                Duration::from_millis(10),
                Duration::from_millis(200),
            ))
    }

    /// Injects the fault of a name.
    pub(crate) async fn inject(&self, fault: &str) {
        match fault {
            "kill_distributor" => self.process().kill(),
            "terminate_distributor" => {
                self.process().signal(Signal::TERM);
                self.was_terminated.set(true);
            }
            "suspend_distributor" => self.process().suspend(),
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
    pub(crate) async fn repair(&self) {
        self.proxy.resume();
        let was_terminated = self.was_terminated.take();
        soon(async {
            while was_terminated && self.process().ended().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        self.process().run_again();
    }
}
