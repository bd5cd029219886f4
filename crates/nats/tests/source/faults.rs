//! Faults of a relay's process, of the NATS server, and of the connection to it.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

use async_nats::jetstream::Context;
use pgherald::trigger::TriggerSpec;
use pgherald_nats::NatsSourceBuilder;
use pgherald_testkit::FaultProxy;
use pgherald_testkit::nats::NatsServer;

use crate::fake::{self, STREAM};
use crate::process::Process;
use crate::program;
use crate::support::soon;

/// The faults that last until they are repaired.
pub(crate) const FAULTS: [&str; 6] = [
    "kill_relay",
    "suspend_relay",
    "kill_nats",
    "pause_nats",
    "refuse_client",
    "stall_client",
];

/// The faults that end by themselves.
pub(crate) const LOSSES: [&str; 2] = ["cut_client", "recreate_stream"];

/// Far more than the lag that the relay of these tests reports, and its interval of heartbeats.
pub(crate) const MAX_LAG: Duration = Duration::from_millis(2_500);

/// A relay in a process of its own, and a NATS server behind a proxy.
pub(crate) struct Remote {
    server: NatsServer,
    context: Context,
    proxy: FaultProxy,
    slices: u16,
    /// None until it is started.
    process: RefCell<Option<Process>>,
}

impl Remote {
    pub(crate) async fn new() -> Rc<Self> {
        Self::of_slices(4).await
    }

    /// A relay of a group with a number of slices. Events of one slice arrive in their order.
    pub(crate) async fn of_slices(slices: u16) -> Rc<Self> {
        let server = NatsServer::start().await.unwrap();
        let client = async_nats::connect(server.url()).await.unwrap();
        let context = async_nats::jetstream::new(client);
        fake::create_stream(&context, &"pg".parse().unwrap()).await;
        let proxy = FaultProxy::start((server.host(), server.port())).await;
        Rc::new(Self {
            proxy: proxy.unwrap(),
            server,
            context,
            slices,
            process: RefCell::default(),
        })
    }

    fn process(&self) -> RefMut<'_, Process> {
        RefMut::map(self.process.borrow_mut(), |process| {
            process.as_mut().unwrap()
        })
    }

    /// Starts the process on a database, and returns a source that reads through the proxy, and detects faults quickly.
    pub(crate) fn start(&self, url: &str, spec: &TriggerSpec) -> NatsSourceBuilder {
        let relay = program::start(url, &self.server.url(), self.slices, spec);
        *self.process.borrow_mut() = Some(relay);
        fake::source(&self.proxy.url(&self.server.url())).max_lag(MAX_LAG)
    }

    /// Injects the fault with this name.
    pub(crate) async fn inject(&self, fault: &str) {
        match fault {
            "kill_relay" => self.process().kill(),
            "suspend_relay" => self.process().suspend(),
            "kill_nats" => self.server.kill().await.unwrap(),
            "pause_nats" => self.server.pause().await.unwrap(),
            "cut_client" => self.proxy.cut(),
            "recreate_stream" => self.recreate_stream().await,
            "refuse_client" => {
                self.proxy.refuse();
                self.proxy.cut();
            }
            "stall_client" => self.proxy.stall(),
            other => panic!("no fault {other}"),
        }
    }

    /// Deletes the stream with all its messages and consumers, and creates it again.
    async fn recreate_stream(&self) {
        // The client may have to connect again first, after an earlier fault.
        let deleted = async { while self.context.delete_stream(STREAM).await.is_err() {} };
        soon(deleted).await;
        fake::create_stream(&self.context, &"pg".parse().unwrap()).await;
    }

    /// Ends all faults.
    pub(crate) async fn repair(&self) {
        self.proxy.resume();
        match self.server.is_running().await {
            true => self.server.resume().await.unwrap(),
            false => self.server.start_again().await.unwrap(),
        }
        self.process().run_again();
    }
}
