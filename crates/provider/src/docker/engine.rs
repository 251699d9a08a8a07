//! One engine: every call has a deadline, and every failure says which engine, which step, and why.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, KillContainerOptionsBuilder, RemoveContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::TryStreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::config::DockerConfig;
use super::error::EngineError;
use super::lenient;
use super::transport::Transport;
use crate::error::ProviderError;

/// What the machine of an engine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineSize {
    /// Cores that the engine may use.
    pub cores: u32,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
}

/// One engine.
pub(super) struct Engine {
    pub(super) docker: Docker,
    transport: Arc<Transport>,
    /// How messages name it.
    pub(super) name: String,
    pub(super) deadline: Duration,
    ping_deadline: Duration,
    pub(super) pull_deadline: Duration,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({})", self.name)
    }
}

impl Engine {
    /// Prepares to talk to it; nothing is sent.
    pub(super) fn open(config: &DockerConfig) -> Result<Engine, ProviderError> {
        let name = config.endpoint.to_string();
        let failed = |source| ProviderError::Engine { engine: name.clone(), step: "connect", source };
        let transport = Arc::new(Transport::new(config.endpoint.clone()).map_err(failed)?);
        let sending = Arc::clone(&transport);
        let send = move |request: BollardRequest| Arc::clone(&sending).request(request);
        // Our own deadline is the one that counts.
        let seconds = config.deadline.as_secs().saturating_add(1);
        let docker =
            Docker::connect_with_custom_transport(send, Some("http://engine"), seconds, API_DEFAULT_VERSION)
                .map_err(|error| failed(EngineError::from_client(error, config.deadline)))?;
        let (deadline, pull_deadline) = (config.deadline, config.pull_deadline);
        Ok(Engine { docker, transport, name, deadline, ping_deadline: config.ping_deadline, pull_deadline })
    }

    /// Checks the version, and agrees on the one to speak. To be done with every new connection: engines are upgraded.
    pub(super) async fn agree(&self) -> Result<(), ProviderError> {
        self.check_version().await?;
        // Clones share the version.
        self.ask("agree on a version", self.docker.clone().negotiate_version()).await.map(drop)
    }

    /// Asks whether it is there.
    pub(super) async fn ping(&self) -> Result<(), EngineError> {
        self.call_within(self.ping_deadline, self.docker.ping()).await.map(drop)
    }

    async fn check_version(&self) -> Result<(), ProviderError> {
        let version = self.ask("read the version", self.docker.version()).await?;
        let found = version.api_version.unwrap_or_default();
        let known = found
            .split_once('.')
            .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
        if known.is_some_and(|version| version >= API_VERSION_MIN) {
            return Ok(());
        }
        Err(self.failed("use the engine")(EngineError::TooOld { found, needed: API_VERSION_MIN_TEXT }))
    }

    /// One call, bounded in time.
    pub(super) async fn call<T>(
        &self,
        work: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        self.call_within(self.deadline, work).await
    }

    pub(super) async fn call_within<T>(
        &self,
        deadline: Duration,
        work: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, EngineError> {
        match timeout(deadline, work).await {
            Ok(done) => done.map_err(|error| EngineError::from_client(error, deadline)),
            Err(_) => Err(EngineError::NoAnswer(deadline)),
        }
    }

    /// One call, with a failure that names the engine and the step.
    pub(super) async fn ask<T>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, ProviderError> {
        self.call(work).await.map_err(self.failed(step))
    }

    pub(super) fn failed(&self, step: &'static str) -> impl FnOnce(EngineError) -> ProviderError {
        let engine = self.name.clone();
        move |source| ProviderError::Engine { engine, step, source }
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<ContainerInspectResponse, EngineError> {
        self.look(&format!("/containers/{id}/json")).await
    }

    /// Asks about containers, whatever words the engine has for their states.
    async fn look<T: DeserializeOwned>(&self, target: &str) -> Result<T, EngineError> {
        let asking = async {
            let target = format!("/v{}{target}", self.docker.client_version());
            let sent = Arc::clone(&self.transport).get(&target).await;
            lenient::read(sent.map_err(|error| EngineError::from_client(error, self.deadline))?).await
        };
        timeout(self.deadline, asking).await.unwrap_or(Err(EngineError::NoAnswer(self.deadline)))
    }

    pub(super) async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.call(self.docker.kill_container(id, Some(options))).await
    }

    /// Kills and removes a container with its anonymous volumes; one that is gone is fine.
    pub(super) async fn remove(&self, id: &str) -> Result<(), EngineError> {
        for _ in 0..REMOVE_ATTEMPTS {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match self.call(self.docker.remove_container(id, Some(options))).await {
                Err(error) if error.is_not_found() => return Ok(()),
                // Somebody else removes it at this moment.
                Err(EngineError::Refused { status: 409, .. }) => tokio::time::sleep(REMOVE_PAUSE).await,
                other => return other,
            }
        }
        match self.inspect(id).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(EngineError::Odd("a container is being removed all the time".to_owned())),
        }
    }

    /// Cores and memory of its machine.
    pub(super) async fn size(&self) -> Result<EngineSize, ProviderError> {
        let info = self.ask("ask for the size of the machine", self.docker.info()).await?;
        let cores = info.ncpu.and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        let memory_bytes =
            info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).filter(|bytes| *bytes > 0);
        match (cores, memory_bytes) {
            (Some(cores), Some(memory_bytes)) => Ok(EngineSize { cores, memory_bytes }),
            _ => {
                let odd = EngineError::Odd("it does not say how large its machine is".to_owned());
                Err(self.failed("ask for the size of the machine")(odd))
            }
        }
    }

    /// All containers with this label, running or not.
    pub(super) async fn list(&self, label: &str) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = serde_json::json!({ "label": [label] }).to_string();
        let filters: String = form_urlencoded::byte_serialize(filters.as_bytes()).collect();
        self.look(&format!("/containers/json?all=true&filters={filters}")).await
    }

    /// Fetches an image.
    pub(super) async fn pull(&self, image: &str) -> Result<(), ProviderError> {
        let options = CreateImageOptionsBuilder::new().from_image(&tagged(image)).build();
        let pulling = async {
            self.docker.create_image(Some(options), None, None).try_for_each(|_| async { Ok(()) }).await
        };
        self.call_within(self.pull_deadline, pulling).await.map_err(self.failed("pull the image"))
    }

    /// Whether an image is there.
    pub(super) async fn has_image(&self, image: &str) -> Result<bool, ProviderError> {
        match self.call(self.docker.inspect_image(image)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(self.failed("look for the image")(error)),
        }
    }
}

/// Without a tag the API would pull all of them.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The first version that can do what we need: Docker Engine 20.10.
const API_VERSION_MIN: (u32, u32) = (1, 41);
const API_VERSION_MIN_TEXT: &str = "1.41";
const REMOVE_ATTEMPTS: u32 = 20;
const REMOVE_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        assert_eq!(tagged("web"), "web:latest");
        assert_eq!(tagged("registry:5000/web"), "registry:5000/web:latest");
        assert_eq!(tagged("registry:5000/web:1"), "registry:5000/web:1");
        assert_eq!(tagged("web@sha256:abc"), "web@sha256:abc");
    }
}
