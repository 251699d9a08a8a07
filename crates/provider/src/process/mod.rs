//! Instances that are processes of this machine.
mod config;
pub use config::{CgroupChoice, INSTANCES_MAX, ProcessConfig};

use std::time::Duration;

use tokio::sync::broadcast;

use crate::error::ProviderError;
use crate::face::{EVENTS_MAX, InstanceInfo, Promoted, Provider, ProviderEvent, Usage};
use crate::name::InstanceName;
use crate::spec::InstanceSpec;

/// The process provider.
#[derive(Debug)]
pub struct ProcessProvider {
    events: broadcast::Sender<ProviderEvent>,
}

impl ProcessProvider {
    /// Opens the state folder and takes its lock. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The folder cannot be used or is in use, or the ordered kind of control group does not work here.
    pub fn open(_config: ProcessConfig) -> Result<ProcessProvider, ProviderError> {
        Ok(ProcessProvider { events: broadcast::Sender::new(EVENTS_MAX) })
    }
}

impl Provider for ProcessProvider {
    async fn start(&self, spec: InstanceSpec) -> Result<InstanceInfo, ProviderError> {
        spec.validate()?;
        Err(ProviderError::CalledOff(spec.name))
    }

    async fn park(&self, name: &InstanceName) -> Result<(), ProviderError> {
        Err(ProviderError::Unknown(name.clone()))
    }

    async fn promote(&self, name: &InstanceName) -> Result<Promoted, ProviderError> {
        Err(ProviderError::Unknown(name.clone()))
    }

    async fn stop(&self, name: &InstanceName, _grace: Duration) -> Result<(), ProviderError> {
        Err(ProviderError::Unknown(name.clone()))
    }

    fn list(&self) -> Vec<InstanceInfo> {
        Vec::new()
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage, ProviderError> {
        Err(ProviderError::Unknown(name.clone()))
    }

    async fn logs(&self, name: &InstanceName, _tail_bytes: u64) -> Result<String, ProviderError> {
        Err(ProviderError::Unknown(name.clone()))
    }

    async fn adopt(&self) -> Result<Vec<InstanceInfo>, ProviderError> {
        Ok(Vec::new())
    }

    fn events(&self) -> broadcast::Receiver<ProviderEvent> {
        self.events.subscribe()
    }

    async fn shutdown(&self, _grace: Duration) -> Result<(), ProviderError> {
        Ok(())
    }
}
