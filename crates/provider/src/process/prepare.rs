//! What happens to an order before it becomes a process, and before its probe is asked.

use std::net::SocketAddr;
use std::sync::Arc;

use super::instance::Instance;
use crate::error::ProviderError;
use crate::spec::InstanceSpec;

/// Makes orders ready to be executed. Each attempt of a start is prepared anew.
pub(crate) trait Prepare: Send + Sync + 'static {
    /// Returns what is to be executed.
    fn prepare(&self) -> impl Future<Output = Result<Prepared, ProviderError>> + Send;

    /// Runs once the process exists; the probe is asked afterwards.
    fn begin(&self, instance: &Arc<Instance>) -> impl Future<Output = Result<(), ProviderError>> + Send;
}

/// What is to be executed.
pub(crate) struct Prepared {
    /// The program, its arguments and everything else about the process.
    pub(crate) spec: InstanceSpec,
    /// Where it will listen; none: on a free loopback port.
    pub(crate) addr: Option<SocketAddr>,
}

/// An order that is executed as it is.
pub(super) struct Plain(pub(super) InstanceSpec);

impl Prepare for Plain {
    async fn prepare(&self) -> Result<Prepared, ProviderError> {
        Ok(Prepared { spec: self.0.clone(), addr: None })
    }

    async fn begin(&self, _instance: &Arc<Instance>) -> Result<(), ProviderError> {
        Ok(())
    }
}
