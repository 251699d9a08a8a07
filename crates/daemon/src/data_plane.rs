//! Who forwards the requests: the built-in proxy or a HAProxy. The rest of the daemon does not ask which.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haproxy::{Haproxy, HaproxyError};
use proxy::control::{Client, ControlError, Refusal, RouteTable, Router, Stats};
use tokio::process::Child;

use crate::config::{Config, RouterConfig};
use crate::error::{DaemonError, chain};
use crate::proxy_process::ProxyPlace;

/// A way to it. Copies of one share the connection.
#[derive(Clone, Debug)]
pub(crate) enum DataPlane {
    /// By the control socket.
    Builtin(Arc<Client>),
    /// By the Runtime API.
    Haproxy(Arc<Haproxy>),
}

/// Why it did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DataPlaneError {
    /// The built-in proxy's reason.
    #[error(transparent)]
    Builtin(#[from] ControlError),
    /// HAProxy's reason.
    #[error(transparent)]
    Haproxy(#[from] HaproxyError),
}

impl DataPlaneError {
    /// Whether nothing answers where it should be.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(
            self,
            DataPlaneError::Builtin(ControlError::Connect { .. })
                | DataPlaneError::Haproxy(HaproxyError::Connect { .. })
        )
    }

    /// The reason of a table that was refused.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            DataPlaneError::Builtin(ControlError::Refused(refusal))
            | DataPlaneError::Haproxy(HaproxyError::Refused(refusal)) => Some(refusal),
            DataPlaneError::Builtin(_) | DataPlaneError::Haproxy(_) => None,
        }
    }
}

impl Router for DataPlane {
    type Error = DataPlaneError;

    async fn set_table(&self, table: RouteTable) -> Result<u64, DataPlaneError> {
        match self {
            DataPlane::Builtin(client) => Ok(client.set_table(table).await?),
            DataPlane::Haproxy(haproxy) => Ok(haproxy.set_table(table).await?),
        }
    }

    async fn table(&self) -> Result<RouteTable, DataPlaneError> {
        match self {
            DataPlane::Builtin(client) => Ok(client.table().await?),
            DataPlane::Haproxy(haproxy) => Ok(haproxy.table().await?),
        }
    }

    async fn stats(&self) -> Result<Stats, DataPlaneError> {
        match self {
            DataPlane::Builtin(client) => Ok(client.stats().await?),
            DataPlane::Haproxy(haproxy) => Ok(haproxy.stats().await?),
        }
    }

    fn newer(error: &DataPlaneError) -> Option<u64> {
        match error {
            DataPlaneError::Builtin(error) => Client::newer(error),
            DataPlaneError::Haproxy(error) => Haproxy::newer(error),
        }
    }
}

impl DataPlane {
    /// The one that is configured: the built-in proxy is found or started, and then its process is ours to wait for; a
    /// HAProxy must run.
    pub(crate) async fn open(
        config: &Config,
        place: &ProxyPlace,
    ) -> Result<(DataPlane, Option<Child>), DaemonError> {
        match &config.server.router {
            RouterConfig::Builtin => {
                let (client, child) = place.find_or_start().await?;
                Ok((DataPlane::Builtin(Arc::new(client)), child))
            }
            RouterConfig::Haproxy { socket } => {
                let routed = config.workloads.iter().filter(|workload| workload.listen.is_some());
                let names = routed.map(|workload| workload.name.clone());
                Ok((DataPlane::Haproxy(Arc::new(Haproxy::new(socket, names))), None))
            }
        }
    }

    /// A second way, so that readings and tables need not wait for each other where that is possible.
    pub(crate) async fn again(&self, place: &ProxyPlace) -> Result<DataPlane, DataPlaneError> {
        match self {
            DataPlane::Builtin(_) => Ok(DataPlane::Builtin(Arc::new(place.connect().await?))),
            // Only one knows which table is in force.
            DataPlane::Haproxy(haproxy) => Ok(DataPlane::Haproxy(haproxy.clone())),
        }
    }

    /// What becomes of requests while it does not answer.
    pub(crate) fn silent_hint(&self) -> &'static str {
        match self {
            DataPlane::Builtin(_) => {
                "it keeps serving its last route table; a new one is started when it is gone"
            }
            DataPlane::Haproxy(_) => {
                "see that HAProxy runs and that its `stats socket` has `level admin`; it gets its servers as soon as it answers"
            }
        }
    }

    /// Lets requests in flight finish, for as long as `drain`, and passes on no others: the built-in proxy ends, HAProxy stays
    /// without servers of ours.
    pub(crate) async fn end(&self, place: &ProxyPlace, drain: Duration) {
        let deadline = Instant::now() + drain + DRAIN_SLACK;
        let result = match self {
            DataPlane::Builtin(client) => match client.shutdown(drain).await {
                Ok(()) => {
                    while place.connect().await.is_ok() && Instant::now() < deadline {
                        tokio::time::sleep(DRAIN_POLL).await;
                    }
                    Ok(())
                }
                Err(error) => Err(error.into()),
            },
            DataPlane::Haproxy(_) => self.empty(deadline).await,
        };
        if let Err(error) = result {
            tracing::warn!(error = chain(&error), "the router could not be told to end");
        }
    }

    async fn empty(&self, deadline: Instant) -> Result<(), DataPlaneError> {
        let generation = self.table().await?.generation + 1;
        self.set_table(RouteTable { generation, routes: Vec::new() }).await?;
        let busy = |stats: &Stats| stats.workloads.iter().any(|workload| !workload.backends.is_empty());
        while Instant::now() < deadline && busy(&self.stats().await?) {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        Ok(())
    }
}

const DRAIN_SLACK: Duration = Duration::from_secs(2);
const DRAIN_POLL: Duration = Duration::from_millis(20);
