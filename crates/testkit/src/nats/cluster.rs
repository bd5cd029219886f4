//! Three servers that form a cluster.

use std::time::Duration;

use super::config::{Node, Options};
use super::program::Nats;
use super::{NatsBuilder, NatsServer};
use crate::Error;
use crate::process::{blocking, free_port, with_free_ports};

const NODES: usize = 3;
const HEALTH_LIMIT: Duration = Duration::from_secs(60);
const HEALTH_INTERVAL: Duration = Duration::from_millis(50);

/// A cluster of three private NATS servers with JetStream, for streams with three replicas.
///
/// ```no_run
/// # async fn example() -> Result<(), pgherald_testkit::Error> {
/// use pgherald_testkit::nats::NatsCluster;
///
/// let cluster = NatsCluster::start().await?;
/// let servers = cluster.urls(); // a client needs all of them
///
/// cluster.nodes()[0].kill().await?;
/// cluster.wait_until_healthy().await?; // the two others have a leader
/// cluster.nodes()[0].start_again().await?;
/// cluster.wait_until_healthy().await?; // all three have the same messages
/// # Ok(())
/// # }
/// ```
///
/// The servers do not advertise each other to clients, so a client that connects through proxies never leaves them.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts a cluster with default options. Returns when all servers are healthy.
    ///
    /// # Errors
    ///
    /// As [`NatsBuilder::start_cluster`].
    pub async fn start() -> Result<Self, Error> {
        NatsBuilder::default().start_cluster().await
    }

    pub(super) async fn with_options(options: Options) -> Result<Self, Error> {
        let nodes = blocking(move || with_free_ports(|| start_nodes(&options))).await?;
        let cluster = Self { nodes };
        cluster.wait_until_healthy().await?;
        Ok(cluster)
    }

    /// Returns the three servers.
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// Returns the URLs of the three servers.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(NatsServer::url).collect()
    }

    /// Waits until all servers that run are [healthy](NatsServer::is_healthy): a leader exists, and the replicas of streams are
    /// current. Servers that were stopped or killed are not waited for.
    ///
    /// # Errors
    ///
    /// If that takes longer than 60 s, or no server runs.
    pub async fn wait_until_healthy(&self) -> Result<(), Error> {
        let healthy = async {
            while !self.is_healthy().await? {
                tokio::time::sleep(HEALTH_INTERVAL).await;
            }
            Ok(())
        };
        tokio::time::timeout(HEALTH_LIMIT, healthy)
            .await
            .unwrap_or_else(|_| {
                let message = format!("the cluster is not healthy after {HEALTH_LIMIT:?}");
                Err(Error::new(message))
            })
    }

    async fn is_healthy(&self) -> Result<bool, Error> {
        let mut running = false;
        for node in &self.nodes {
            if node.is_running().await {
                running = true;
                if !node.is_healthy().await {
                    return Ok(false);
                }
            }
        }
        match running {
            true => Ok(true),
            false => Err(Error::new("no server of the cluster is running")),
        }
    }
}

fn start_nodes(options: &Options) -> Result<Vec<NatsServer>, Error> {
    let routes = (0..NODES)
        .map(|_| free_port())
        .collect::<Result<Vec<_>, _>>()?;
    (0..NODES)
        .map(|index| {
            let node = Node {
                name: format!("node-{index}"),
                route: routes[index],
                routes: routes.clone(),
            };
            Nats::start(options, Some(&node)).map(NatsServer::new)
        })
        .collect()
}
