//! The process of the distributor.

use std::io::Write;
use std::sync::Arc;

use actix_web::{App, HttpServer};
use pgherald_actors::Herald;
use pgherald_core::trigger::TriggerSpec;
use pgherald_core::{Channels, ConnectConfig, TableName};
use pgherald_distributor::{Distributor, Limits};

use crate::process::allow_files;

/// Serves the table `items` and all channels of a database, and writes its port. Ends when it is killed.
pub(crate) fn run(database: &str) {
    allow_files(20_000);
    let config: ConnectConfig = database.parse().unwrap();
    actix_web::rt::System::new().block_on(async {
        let channels = Channels::new();
        let spec = TriggerSpec::new(TableName::new("public", "items").unwrap()).columns(["shop"]);
        let herald = Herald::builder(config.application_name("distributor"))
            .watch_with(spec)
            .install_triggers()
            .source(|source| source.channels(&channels))
            .start()
            .await
            .unwrap();
        let limits = Limits {
            clients: 20_000,
            clients_per_address: 20_000,
            ..Limits::default()
        };
        let distributor = Distributor::builder(Arc::new(herald))
            .channels(channels, ["*"])
            .limits(limits)
            .build()
            .unwrap();
        let server =
            HttpServer::new(move || App::new().configure(|config| distributor.configure(config)))
                .max_connections(20_000)
                .workers(2)
                .bind("127.0.0.1:0")
                .unwrap();
        println!("{}", server.addrs()[0].port());
        std::io::stdout().flush().unwrap();
        server.run().await.unwrap();
    });
}
